"""TensorFlow SavedModels, with one named signature for each sub-model, and .keras files of one."""

import tensorflow as tf

from ipkd_tf.deployment.export import serving
from ipkd_tf.deployment.export.readers import DEFAULT_SIGNATURE


def write(models, path, calibration_images=None):
    """Writes models of named inputs, smallest first; `serving_default` is the largest."""
    endpoints = Endpoints(models)
    signatures = {DEFAULT_SIGNATURE: endpoints.functions[models[-1].name], **endpoints.functions}
    tf.saved_model.save(endpoints, str(path), signatures=signatures)


def write_keras(models, path, calibration_images=None):
    """Writes the one serving model given, of plain Keras layers."""
    (model,) = models
    model.save(path)


class Endpoints(tf.Module):
    """One function for each model, by name, over shared weights; inputs keep their names."""

    def __init__(self, models):
        super().__init__()
        weights = serving.SharedWeights(models)
        self.weights = weights.variables
        self.functions = {model.name: _function(model, weights) for model in models}


def _function(model, weights):
    specs = {t.name: tf.TensorSpec(t.shape, t.dtype, t.name) for t in model.inputs}

    def infer(**tensors):
        trainable = [weights.read(weight) for weight in model.trainable_variables]
        others = [weights.read(weight) for weight in model.non_trainable_variables]
        inputs = [tensors[name] for name in specs]
        inputs = inputs if len(inputs) > 1 else inputs[0]
        return model.stateless_call(trainable, others, inputs, training=False)[0]

    return tf.function(infer).get_concrete_function(**specs)
