"""The most important middle channels of each block put first; the largest sub-model stays."""

import itertools

import keras
import numpy as np


def sort_channels(network, space, expansions):
    """Sorts the middle channels of all blocks by the L1 norm of what the projection does with them.

    The leading channels that make the given expansions stay the leading ones, sorted among them.
    """
    for block in itertools.chain(*space.blocks):
        widths = [block.middle(expansion) for expansion in expansions]
        _sort_middle(network, block, widths)
        if block.squeeze:
            _sort_squeezed(network, block, [block.squeezed(e) for e in expansions])


def _sort_middle(network, block, widths):
    project = network.get_layer(f"{block.name}_project").kernel
    order = _order(np.abs(project).sum(axis=(0, 1, 3)), widths)
    _permute(project, order, 2)
    for layer, axis in {"expand": 3, "depthwise": 2}.items():
        _permute(network.get_layer(f"{block.name}_{layer}").kernel, order, axis)
        norm = network.get_layer(f"{block.name}_{layer}_norm")
        for weight in (norm.gamma, norm.beta, *norm.statistics[-1]):
            _permute(weight, order, 0)
        for weights in norm.statistics[:-1]:
            for weight in weights:
                weight.assign(keras.ops.zeros_like(weight))  # they must be estimated anew
    if block.squeeze:
        _permute(network.get_layer(f"{block.name}_squeeze").kernel, order, 0)
        excite = network.get_layer(f"{block.name}_excite")
        _permute(excite.kernel, order, 1)
        _permute(excite.bias, order, 0)


def _sort_squeezed(network, block, widths):
    squeeze, excite = (network.get_layer(f"{block.name}_{n}") for n in ("squeeze", "excite"))
    order = _order(np.abs(excite.kernel).sum(axis=1), widths)
    _permute(excite.kernel, order, 0)
    _permute(squeeze.kernel, order, 1)
    _permute(squeeze.bias, order, 0)


def _order(importance, widths):
    """The channels of each bucket between two widths, in falling order of importance."""
    buckets = np.searchsorted(widths, np.arange(len(importance)), side="right")
    return np.lexsort((-importance, buckets))


def _permute(weight, order, axis):
    weight.assign(np.take(weight.numpy(), order, axis))
