"""A sub-model as a .keras file of plain Keras layers, to be trained on or converted further."""

import keras
import tensorflow as tf


def write(models, path, calibration_images=None):
    """Writes the one serving model given."""
    (model,) = models
    model.save(path)


class Predictor:
    """Runs a .keras file as a `tf.function`, whose threads are the whole process's."""

    def __init__(self, path, threads=None):
        model = keras.models.load_model(path, compile=False)
        self.signatures = (model.name,)
        self.image_shape = tuple(model.inputs[0].shape[1:])
        image = tf.TensorSpec(model.inputs[0].shape, tf.uint8)
        infer = tf.function(lambda image: model(image, training=False))
        self._infer = infer.get_concrete_function(image)
        named = isinstance(self._infer.structured_outputs, dict)
        self.outputs = tuple(self._infer.structured_outputs if named else model.output_names)

    def __call__(self, images, signature):
        outputs = self._infer(tf.constant(images))
        return {name: output.numpy() for name, output in outputs.items()}
