"""What an exported file computes: camera bytes to logits, probabilities and class."""

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf.models import folding


def serving_model(submodel, fold=True):
    """A sub-model with the input and outputs of an exported file, normalisation folded or not."""
    submodel_logits = folding.fold_batch_normalization(submodel) if fold else submodel
    image = keras.Input(submodel.inputs[0].shape[1:], dtype="uint8", name="image")
    logits = submodel_logits(keras.ops.cast(image, "float32"))
    outputs = {
        "logits": logits,
        "probabilities": keras.layers.Softmax(name="probabilities")(logits),
        # As argmax; but keras.ops.argmax handles -0.0 with operations that ONNX lacks.
        "class_id": keras.ops.top_k(logits, 1)[1][:, 0],
    }
    return keras.Model(image, outputs, name=submodel.name)


def serving_models(submodels):
    """Serving models of sub-models, folded unless that ends the sharing of their kernels."""
    if len(submodels) == 1:
        return [serving_model(submodels[0])]
    candidates = [[serving_model(model, fold) for model in submodels] for fold in (True, False)]
    return min(candidates, key=lambda models: SharedWeights(models).bytes)


class SharedWeights:
    """The weights of models, smallest first, stored once where leading slices of one another.

    `variables` hold every model's weights, `bytes` is their size; common weights bear one path.
    """

    def __init__(self, models):
        self.variables = []
        self._stored = {}  # variables by the path of the weight
        self._places = {}  # (variable, slices) by the id of a model's weight
        for model in reversed(models):
            for weight in model.variables:
                self._places[id(weight)] = self._place(weight.path, weight.numpy())
        self.bytes = sum(variable.numpy().nbytes for variable in self.variables)

    def read(self, weight):
        """The value of a model's weight, as a tensor computed from the variables."""
        variable, slices = self._places[id(weight)]
        return variable[slices] if slices else variable.value()

    def _place(self, path, value):
        for variable in self._stored.setdefault(path, []):
            slices = tuple(map(slice, value.shape))
            if np.array_equal(variable.numpy()[slices], value):
                return variable, slices if variable.shape != value.shape else None
        name = path.replace("/", "_")
        self.variables.append(tf.Variable(value, trainable=False, name=name))
        self._stored[path].append(self.variables[-1])
        return self.variables[-1], None
