"""Batch normalisation folded into the convolutions before it: fewer operations, same function."""

import collections

import keras
import numpy as np

from ipkd_tf.models import graph, layers

_ABSORBING = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def fold_batch_normalization(model: keras.Model) -> keras.Model:
    """Returns a copy of the model without the batch normalisations that a convolution can absorb.

    In inference, normalisation is `scale * x + offset` per channel; a linear convolution or dense
    layer before it takes the scale into its kernel and the offset into its bias, also through a
    concatenation. A normalisation of anything else stays, and so does one whose input is also read
    elsewhere. Equal up to float32 rounding. (Jacob et al., CVPR 2018, section 3.2.)
    """
    observed = _Graph(model)
    norms = observed.normalizations()
    absorbers = {observed.name(norm.operation): observed.absorbers(norm) for norm in norms}
    absorbers = {norm: names for norm, names in absorbers.items() if names}
    biased = {name: {"use_bias": True} for names in absorbers.values() for name in names}
    folded = observed.copy(observed.outputs, model.name, biased, skip=absorbers)
    originals = {observed.name(call.operation): call.operation for call in observed.calls}
    for norm, names in absorbers.items():
        _absorb(originals, folded, norm, names)
    return folded


class _Graph(graph.Graph):
    """A model's graph, and which of its layers can absorb which normalisation."""

    def __init__(self, model):
        super().__init__(model)
        read = [tensor for call in self.calls for tensor in call.inputs] + self.outputs
        self._readers = collections.Counter(map(id, read))
        self._producers = {id(tensor): call for call in self.calls for tensor in call.outputs}
        self._calls_of = collections.Counter(id(call.operation) for call in self.calls)

    def normalizations(self):
        """The calls of batch normalisations that run once and per channel."""
        return [
            call
            for call in self.calls
            if isinstance(call.operation, keras.layers.BatchNormalization)
            and self._calls_of[id(call.operation)] == 1
            and _is_last_axis(call.operation.axis, call.inputs[0])
        ]

    def absorbers(self, norm):
        """Names of the layers that can absorb a normalisation, in the order of its channels."""
        source = self._sole_source(norm.inputs[0])
        sources = [source]
        if source and isinstance(source.operation, keras.layers.Concatenate):
            if not _is_last_axis(source.operation.axis, norm.inputs[0]):
                return []
            sources = [self._sole_source(tensor) for tensor in source.inputs]
        if all(source and _is_linear(source.operation) for source in sources):
            return [self.name(source.operation) for source in sources]
        return []

    def _sole_source(self, tensor):
        """The call that made a tensor, if its operation runs once and for one reader."""
        call = self._producers.get(id(tensor))
        once = call and self._readers[id(tensor)] == self._calls_of[id(call.operation)] == 1
        return call if once else None


def _is_last_axis(axis, tensor):
    return axis in (-1, len(tensor.shape) - 1)


def _is_linear(layer):
    # The exact types: a subclass may compute something else, unless it is known to be only faster.
    return layers.keras_kind(layer) in _ABSORBING and layer.activation is keras.activations.linear


def _absorb(originals, folded, norm, names):
    scale, offset = _scale_and_offset(originals[norm])
    first = 0
    for name in names:
        kernel, *bias = originals[name].get_weights()
        depthwise = isinstance(originals[name], keras.layers.DepthwiseConv2D)
        # A depthwise kernel ends in [channels, outputs per channel], any other in [..., outputs].
        outputs = kernel.shape[-2:] if depthwise else kernel.shape[-1:]
        channels = slice(first, first + int(np.prod(outputs)))
        bias = bias[0] * scale[channels] if bias else 0.0
        folded.get_layer(name).set_weights(
            [kernel * scale[channels].reshape(outputs), bias + offset[channels]]
        )
        first = channels.stop


def _scale_and_offset(norm):
    """A batch normalisation as `scale * x + offset`, float64 `[channels]` each."""
    mean, variance, gamma, beta = (
        0.0 if weight is None else weight.numpy().astype(np.float64)
        for weight in (norm.moving_mean, norm.moving_variance, norm.gamma, norm.beta)
    )
    scale = (gamma if norm.scale else 1.0) / np.sqrt(variance + norm.epsilon)
    return scale, beta - mean * scale
