"""Whatever makes the networks fast changes neither their outputs nor their gradients."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.distillation import losses
from tests.models import straightforward

NETWORKS = {
    "msdnet": ("msdnet_small", straightforward.msdnet, {}),
    "msdnet_min": (
        "msdnet_small",
        straightforward.msdnet,
        {"prune": "min", "step_mode": "lin_grow"},
    ),
    "msdnet_photographs": (
        "msdnet_small",
        straightforward.msdnet,
        {"stem": "7x7", "exit_channels": None, "blocks": 2},
    ),
    "slimmable": ("slimmable_mobilenet_v1_small", straightforward.slimmable_mobilenet_v1, {}),
    "slimmable_photographs": (
        "slimmable_mobilenet_v1_small",
        straightforward.slimmable_mobilenet_v1,
        {"stem_strides": 2, "blocks": ((64, 2), (64, 1)), "widths": (0.5, 1.0)},
    ),
    "resnet": ("resnet_14", straightforward.resnet, {}),
    "densenet": ("densenet_bc_40_12", straightforward.densenet, {"depth": 16}),
    "hne": ("hne_resnet_small", straightforward.hne_resnet, {}),
    "hne_probabilities": (
        "hne_resnet_small",
        straightforward.hne_resnet,
        {"average": "probabilities", "units": 2, "levels": ((16, 1), (24, 2), (24, 1))},
    ),
}


class StraightforwardTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(name=[*NETWORKS], image_size=[16, 18])
    def test_a_training_steps_outputs_and_gradients(self, name, image_size):
        preset, reference, arguments = NETWORKS[name]
        keras.utils.set_random_seed(0)
        network = models.from_preset(preset, num_classes=3, image_size=image_size, **arguments)
        shape = (16, image_size, image_size, 3)
        images = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
        labels = np.arange(16) % 3
        variables = [variable.value for variable in network.trainable_variables]
        found = {}
        for side, compute in (
            ("ours", lambda: network.train_logits(images)[0]),
            ("theirs", lambda: reference(network, images)),
        ):
            with tf.GradientTape() as tape:
                logits = compute()
                loss = losses.inplace_distillation_loss(labels, logits, "ipkd_ta_m", 0.8, 2.0)
            found[side] = logits, tape.gradient(loss, variables)
        for ours, theirs in zip(found["ours"][0], found["theirs"][0], strict=True):
            self.assertAllClose(ours, theirs, 1e-3, 1e-5)
        for variable, ours, theirs in zip(
            network.trainable_variables, found["ours"][1], found["theirs"][1], strict=True
        ):
            ours, theirs = np.asarray(ours), np.asarray(tf.convert_to_tensor(theirs))
            # Most agree to 1e-6. Where rounding puts a unit on the other side of a ReLU's kink, the
            # gradients that pass it differ by up to a few per cent.
            error = np.linalg.norm(ours - theirs)
            self.assertLessEqual(error, 0.05 * np.linalg.norm(theirs) + 1e-7, variable.path)
