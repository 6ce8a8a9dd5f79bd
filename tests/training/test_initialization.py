"""Weights from a trained network; heads anew where the classes differ."""

import json
import pathlib

import keras
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.training.initialization import initialize_from
from tests.deployment.export import networks
from tests.models.two_exits import TwoExits

FAMILIES = (
    ("msdnet_small", {"blocks": 2, "base": 1, "step": 1}, ["exit_1_logits", "exit_2_logits"]),
    ("slimmable_mobilenet_v1_small", {"widths": (0.5, 1.0), "blocks": ((16, 2),)}, ["logits"]),
    ("tests.models.two_exits:TwoExits", {}, ["logits_1", "logits_2"]),
)


class InitializationTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.run_directory = pathlib.Path(self.create_tempdir().full_path)

    def _write_run(self, name, arguments, dataset="folder:before"):
        trained = models.from_preset(name, image_size=8, num_classes=4, **arguments)
        networks.shake(trained)
        trained.save(self.run_directory / "best.keras")
        result = {"settings": {"dataset": dataset}}
        (self.run_directory / "result.json").write_text(json.dumps(result))
        return trained

    def _assert_taken(self, network, trained, apart_from):
        for weight, value in zip(network.weights, trained.weights, strict=True):
            taken = weight.shape == value.shape and bool(
                tf.reduce_all(tf.equal(weight.numpy(), value.numpy()))
            )
            self.assertEqual(taken, weight.path.split("/")[-2] not in apart_from, weight.path)

    @parameterized.parameters(*FAMILIES)
    def test_the_same_classes_keep_their_heads(self, name, arguments, heads):
        trained = self._write_run(name, arguments)
        network = models.from_preset(name, image_size=8, num_classes=4, **arguments)
        fresh = initialize_from(network, self.run_directory, dataset="folder:before")
        self.assertEmpty(fresh)
        self._assert_taken(network, trained, apart_from=())
        images = networks.images(2, side=8)
        self.assertAllClose(network(images)[1], trained(images)[1])

    @parameterized.parameters(*FAMILIES)
    def test_heads_start_anew_for_another_number_of_classes(self, name, arguments, heads):
        trained = self._write_run(name, arguments)
        network = models.from_preset(name, image_size=8, num_classes=3, **arguments)
        fresh = initialize_from(network, self.run_directory, dataset="folder:before")
        self.assertEqual(fresh, heads)
        self._assert_taken(network, trained, apart_from=heads)

    def test_heads_start_anew_for_as_many_classes_of_other_images(self):
        trained = self._write_run("tests.models.two_exits:TwoExits", {})
        network = TwoExits(num_classes=4, image_size=8)
        fresh = initialize_from(network, self.run_directory, dataset="folder:after")
        self.assertEqual(fresh, ["logits_1", "logits_2"])
        # Kernels are random; the biases were shaken there and are zero here.
        self.assertAllEqual(network.get_layer("logits_1").bias, [0, 0, 0, 0])
        self.assertNotAllClose(trained.get_layer("logits_1").bias, [0, 0, 0, 0])

    def test_a_file_and_another_image_size(self):
        trained = self._write_run("tests.models.two_exits:TwoExits", {})
        network = TwoExits(num_classes=4, image_size=12)
        file = self.run_directory / "best.keras"
        self.assertEmpty(initialize_from(network, file, dataset="folder:before"))
        self._assert_taken(network, trained, apart_from=())
        # The run beside the file says of which data its classes are; a file alone says nothing.
        fresh = initialize_from(network, file, dataset="folder:after")
        self.assertEqual(fresh, ["logits_1", "logits_2"])
        alone = file.rename(self.create_tempdir().full_path + "/alone.keras")
        self.assertEmpty(initialize_from(network, alone, dataset="folder:after"))

    def test_heads_are_the_layers_that_make_the_logits(self):
        def build():
            images = keras.Input([8, 8, 3])
            x = keras.layers.Flatten()(images)
            hidden = keras.layers.Dense(4, name="hidden")(x)
            leaves = [keras.layers.Dense(4, name=f"leaf_{k}")(hidden) for k in range(2)]
            mean = keras.layers.Average()(leaves)
            return keras.Model(images, [keras.layers.Identity()(leaves[0]), mean])

        build().save(self.run_directory / "best.keras")
        (self.run_directory / "result.json").write_text('{"settings": {"dataset": "digits"}}')
        fresh = initialize_from(build(), self.run_directory, dataset="folder:after")
        self.assertEqual(fresh, ["leaf_0", "leaf_1"])

    def test_another_family_or_other_arguments(self):
        self._write_run(*FAMILIES[0][:2])
        for name, arguments in (
            ("tests.models.two_exits:TwoExits", {}),
            ("msdnet_small", {"blocks": 3, "base": 1, "step": 1}),
            ("msdnet_small", {"blocks": 2, "base": 1, "step": 1, "exit_channels": 8}),
        ):
            network = models.from_preset(name, image_size=8, num_classes=4, **arguments)
            before = network.weights[0].numpy()
            with self.assertRaisesRegex(ValueError, "same arguments.*Received: initialize_from="):
                initialize_from(network, self.run_directory)
            self.assertAllEqual(network.weights[0], before)

    def test_no_network_there(self):
        with self.assertRaisesRegex(ValueError, "there is none. Received: initialize_from="):
            initialize_from(TwoExits(image_size=8), self.run_directory)
