"""The pieces all families share: how images enter, and what turning them is for."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.models import layers


def _padded_as_pytorch_pads(model):
    """The same weights, kernels turned, on images as they are, each 3 x 3 padded by 1 all round."""

    def clone(operation):
        config = operation.get_config()
        if getattr(operation, "kernel_size", None) == (3, 3):
            config["padding"] = "valid"
        return type(operation).from_config(config)

    def call(operation, *args, **kwargs):
        if type(operation).__name__ == "Flip":
            return args[0]
        if getattr(operation, "kernel_size", None) == (3, 3):
            args = [keras.layers.ZeroPadding2D(1)(args[0])]
        return operation(*args, **kwargs)

    padded = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in model.layers:
        if layer.weights:
            turned = [w[::-1, ::-1] if w.ndim == 4 else w for w in layer.get_weights()]
            padded.get_layer(layer.name).set_weights(turned)
    return padded


class PrepareImagesTest(tf.test.TestCase, parameterized.TestCase):
    def test_pixels_are_normalised_and_the_image_turned(self):
        image = np.zeros((1, 2, 2, 3), "uint8")
        image[0, 0, 1] = 255
        prepared = layers.prepare_images(image, (0.5, 0.5, 0.0), (0.25, 0.5, 1.0))
        self.assertAllClose(prepared[0, 1, 0], [2.0, 1.0, 1.0])
        for row, column in ((0, 0), (0, 1), (1, 1)):
            self.assertAllClose(prepared[0, row, column], [-2.0, -1.0, 0.0])

    @parameterized.product(
        family=["msdnet_small", "slimmable_mobilenet_v1_small"], image_size=[16, 17, 18]
    )
    def test_a_network_is_the_reference_with_turned_kernels(self, family, image_size):
        network = models.from_preset(family, image_size=image_size)
        images = np.random.default_rng(0).integers(0, 256, (4, image_size, image_size, 3), "uint8")
        for index in range(len(network.submodel_names)):
            submodel = network.submodel(index)
            reference = _padded_as_pytorch_pads(submodel)
            # In training mode, lest an untrained network's logits vanish.
            logits, expected = submodel(images, training=True), reference(images, training=True)
            self.assertAllClose(logits, expected, 1e-3, 1e-4)
            # The tolerance would show images that are turned the other way.
            flipped = submodel(images[:, ::-1], training=True)
            self.assertNotAllClose(flipped, expected, 1e-3, 1e-4)
