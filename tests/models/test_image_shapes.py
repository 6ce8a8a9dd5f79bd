"""Every family on grey images that are not square."""

import functools

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import ipkd_tf
from ipkd_tf import models
from ipkd_tf.models import cost

SIDES = (12, 20)
FAMILIES = {
    "msdnet_small": {"blocks": 2, "base": 2, "step": 1, "exit_channels": 8},
    "slimmable_mobilenet_v1_small": {"widths": (0.5, 1.0), "blocks": ((16, 2), (16, 1))},
    "us_mobilenet_v1_small": {"widths": (0.5, 1.0), "blocks": ((16, 2), (16, 1))},
    "ofa_mobilenet_v3_small": {
        "named": ("k3_e2_d1_r6", "k3_e3_d2"),
        "sides": (6, 12),
        "kernels": (3,),
        "expansions": (2, 3),
        "depths": (1, 2),
        "stages": ((16, 2, True, "relu"),),
        "head": (16, 24),
    },
    "hne_resnet_small": {"levels": ((8, 1), (8, 2))},
    "cnmm_small": {"channels": (8, 16), "nodes": 2},
    "sp_resnet20_small": {"depth": 6, "channels": (8, 16), "bits": (2, 8)},
    "plain_cnn_exits": {"layout": "8 M 8", "exits": (1,)},
    "resnet_8": {},
    "densenet_bc_40_12": {"depth": 10},
}


class ImageShapesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*FAMILIES)
    def test_grey_and_not_square(self, preset):
        keras.utils.set_random_seed(0)
        arguments = {"image_size": SIDES, "mean": (0.4,), "std": (0.2,), **FAMILIES[preset]}
        network = models.from_preset(preset, num_classes=3, **arguments)
        self.assertEqual(network.inputs[0].shape, (None, 12, 20, 1))
        images = np.random.default_rng(0).integers(0, 256, (16, *SIDES, 1)).astype("uint8")
        trained, _ = network.train_logits(
            tf.cast(images, tf.float32), network.draw(0, tf.constant(1))
        )
        self.assertEqual({logits.shape for logits in trained}, {(16, 3)})
        if network.needs_recalibration:
            for name in network.submodel_names:
                network.recalibrate(name, [images])
        for submodel, logits in zip(
            network.submodels, keras.tree.flatten(network(images)), strict=True
        ):
            self.assertAllClose(network.submodel(submodel)(images), logits, 1e-4, 1e-5)
        if hasattr(network, "_space"):  # Its own count orders what is drawn.
            rows = [network._space.row(submodel) for submodel in network.submodels]
            counts = [cost.of_submodel(network, one)["multiply_adds"] for one in network.submodels]
            self.assertAllEqual(network._space.multiply_adds(rows), counts)

    @parameterized.parameters(
        ({"image_size": (8, 8, 3)}, r"\(height, width\).*image_size=\(8, 8, 3\)"),
        ({"image_size": (8, 0)}, r"positive whole.*image_size=\(8, 0\)"),
        ({"mean": (0.5,)}, r"for each channel.*mean=\(0.5,\)"),
        ({"mean": (), "std": ()}, "for each channel"),
    )
    def test_refuses(self, arguments, message):
        with self.assertRaisesRegex(ValueError, message):
            models.from_preset("resnet_8", **arguments)

    def test_other_images_are_refused_where_they_enter(self):
        network = models.from_preset("resnet_8", num_classes=3, image_size=8)
        distiller = ipkd_tf.InplaceDistiller(network)
        distiller.compile()
        classify = ipkd_tf.early_exit.EarlyExitClassifier(network, [])
        labels, path = np.zeros(2, np.int32), f"{self.get_temp_dir()}/export"
        # Keras lets the first pass: our normalisation would make three channels of one.
        for shape in ((2, 8, 8, 1), (2, 8, 6, 3)):
            images = np.zeros(shape, np.uint8)
            export = functools.partial(ipkd_tf.export.export_submodel, images=images)
            for enter, *arguments in (
                (distiller.fit, images, labels),
                (distiller.evaluate, images, labels),
                (ipkd_tf.evaluation.evaluate, network, (images, labels)),
                (export, network, 0, path),
                (classify, images),
            ):
                message = r"Expected images .*None, 8, 8, 3.*images.shape='\(\w+, 8, \d, \d\)"
                with self.assertRaisesRegex(ValueError, message):
                    enter(*arguments)
