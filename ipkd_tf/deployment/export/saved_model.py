"""TensorFlow SavedModels: a directory with one named signature for each sub-model."""

import tensorflow as tf

from ipkd_tf.deployment.export import serving

DEFAULT_SIGNATURE = "serving_default"


def write(models, path, calibration_images=None):
    """Writes serving models, smallest first; `serving_default` is the largest."""
    endpoints = serving.Endpoints(models)
    signatures = {DEFAULT_SIGNATURE: endpoints.functions[models[-1].name], **endpoints.functions}
    tf.saved_model.save(endpoints, str(path), signatures=signatures)


class Predictor:
    """Runs a SavedModel with TensorFlow, whose threads are the whole process's."""

    def __init__(self, path, threads=None):
        self._model = tf.saved_model.load(str(path))
        named = [name for name in self._model.signatures if name != DEFAULT_SIGNATURE]
        self.signatures = tuple(named or self._model.signatures)
        function = self._model.signatures[self.signatures[0]]
        self.image_shape = tuple(function.structured_input_signature[1]["image"].shape[1:])
        self.outputs = tuple(function.structured_outputs)

    def __call__(self, images, signature):
        outputs = self._model.signatures[signature](image=tf.constant(images))
        return {name: output.numpy() for name, output in outputs.items()}
