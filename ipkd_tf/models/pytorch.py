"""The weights of our networks by the names of the PyTorch programs that they come from."""

import typing

import keras
import numpy as np

from ipkd_tf.models import graph
from ipkd_tf.models.msdnet import MSDNet
from ipkd_tf.models.slimmable_mobilenet_v1 import SlimmableMobileNetV1
from ipkd_tf.models.us_mobilenet_v1 import USMobileNetV1
from ipkd_tf.output.checks import check

_STEPS = "num_batches_tracked"  # Counted by PyTorch's normalisation, which makes no use of it.
_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


class Part(typing.NamedTuple):
    """What a tensor of PyTorch is of ours: a slice of the last axis of a variable.

    `shift`: it is what a convolution adds before the normalisation whose mean the variable is; ours
    adds nothing, and its mean is less by as much.
    """

    variable: keras.Variable
    channels: slice = slice(None)
    shift: bool = False

    def read(self):
        """The value as PyTorch has it."""
        value = np.array(self.variable)[..., self.channels]
        if self.shift:
            return np.zeros_like(value)
        return np.ascontiguousarray(self._turn(value).transpose(self._axes))

    def write(self, value):
        """Sets the variable to a value as PyTorch has it."""
        whole = np.array(self.variable)
        value = self._turn(value.transpose(np.argsort(self._axes)))
        whole[..., self.channels] = whole[..., self.channels] - value if self.shift else value
        self.variable.assign(whole)

    @property
    def shape(self):
        shape = np.empty(self.variable.shape)[..., self.channels].shape
        return tuple(shape[axis] for axis in self._axes)

    @property
    def _axes(self):
        """Our axis for each of PyTorch's."""
        kernel = (2, 3, 0, 1) if "depthwise" in self.variable.path else (3, 2, 0, 1)
        return {4: kernel, 2: (1, 0), 1: (0,)}[len(self.variable.shape)]

    def _turn(self, value):
        # Our networks see images turned by 180 degrees; see `layers.prepare_images`.
        return value[::-1, ::-1] if value.ndim == 4 else value


def state_dict(network):
    """Returns the weights of an MSDNet or (universally) slimmable MobileNet-V1 as PyTorch has them.

    A dict of name to numpy array, as `model.state_dict()` on one device, of kalviny/MSDNet-PyTorch
    or JiahuiYu/slimmable_networks; ValueError for what these do not build.
    """
    parts = _parts(network)
    state = {name: part.read() for name, part in parts.items()}
    means = [name for name in state if name.endswith(".running_mean")]
    return state | {name.replace("running_mean", _STEPS): np.array(0) for name in means}


def load_state_dict(network, state):
    """Sets all weights of a network to those of its PyTorch program, as `state_dict` returns them.

    `module.` before each name, as of PyTorch's parallel models, does not matter. ValueError where a
    name is missing, left over, or of another shape.
    """
    parts = _parts(network)
    state = {name.removeprefix("module."): np.asarray(value) for name, value in state.items()}
    state = {name: value for name, value in state.items() if not name.endswith(_STEPS)}
    missing, unknown = parts.keys() - state.keys(), state.keys() - parts.keys()
    expected = f"all weights of a {type(network).__name__} and no others; choose the arguments of "
    expected += f"the PyTorch network ({len(missing)} are missing, {len(unknown)} left over)"
    received = {"missing": sorted(missing)[:3], "unknown": sorted(unknown)[:3]}
    check(not missing and not unknown, expected, **received)
    for name, part in parts.items():
        expected = f"{name} of shape {part.shape}; choose the arguments of the PyTorch network"
        check(state[name].shape == part.shape, expected, shape=state[name].shape)
    for name, part in parts.items():
        part.write(state[name])
    graph.finalize(network)


def _parts(network):
    """A dict of PyTorch's name to `Part`."""
    tables = {MSDNet: _msdnet, SlimmableMobileNetV1: _slimmable, USMobileNetV1: _us}
    table = tables.get(type(network))
    if table is None:
        names = ", ".join(family.__name__ for family in tables)
        raise ValueError(f"Expected one of {names}. Received: network={type(network).__name__}")
    parts = {}
    for name, layer, channels in table(network):
        if isinstance(layer, keras.layers.BatchNormalization):
            found = {torch: getattr(layer, ours) for torch, ours in _NORM.items()}
        elif isinstance(layer, tuple):  # statistics alone
            found = dict(zip(("running_mean", "running_var"), layer, strict=True))
        elif hasattr(layer, "gamma"):
            found = {"weight": layer.gamma, "bias": layer.beta}
        else:
            found = dict(zip(("weight", "bias"), layer.weights, strict=False))
        parts |= {f"{name}.{torch}": Part(weight, channels) for torch, weight in found.items()}
    if type(network) is MSDNet and network.layout.stem == "7x7":
        mean = parts["blocks.0.0.layers.0.1.running_mean"].variable
        parts["blocks.0.0.layers.0.0.bias"] = Part(mean, shift=True)
    return parts


def _slimmable(network):
    for name, layer in _mobilenet(network):
        if not layer.endswith("_norm"):
            yield name, network.get_layer(layer), slice(None)
            continue
        for number, submodel in enumerate(network.submodel_names):
            norm = network.get_layer(f"{submodel}_{layer}")
            yield f"{name}.bn.{number}", norm, slice(None)


def _us(network):
    for name, layer in _mobilenet(network):
        layer = network.get_layer(layer)
        yield name, layer, slice(None)
        for number, statistics in enumerate(getattr(layer, "statistics", [])):
            yield f"{name}.bn.{number}", statistics, slice(None)


def _mobilenet(network):
    yield from [("features.0.0", "stem"), ("features.0.1", "stem_norm")]
    for block in range(1, len(network.arguments["blocks"]) + 1):
        for position, kind in ((0, "depthwise"), (3, "pointwise")):
            layer = f"block_{block}_{kind}"
            yield f"features.{block}.body.{position}", layer
            yield f"features.{block}.body.{position + 1}", f"{layer}_norm"
    yield "classifier.0", "logits"


def _msdnet(network):
    """PyTorch's name, our layer and its channels; a convolution is followed by its norm."""
    layout, everything = network.layout, slice(None)
    _check_every_layer_is_read(layout)

    def conv_norm(name, number, conv, norm=None, channels=everything, norm_channels=None):
        yield f"{name}.{number}", network.get_layer(conv), channels
        norm = network.get_layer(f"{norm or conv}_norm")
        yield f"{name}.{number + 1}", norm, norm_channels or channels

    for scale in range(layout.scales):
        inner = "" if scale == 0 and layout.stem == "7x7" else ".net"
        name = f"blocks.0.0.layers.{scale}{inner}"
        yield from conv_norm(name, 0, f"stem_scale_{scale + 1}")
    for block, block_layers in enumerate(layout.block_layers()):
        position = 0 if block else 1
        for layer in block_layers:
            for scale in range(layer.finest_out, layout.scales):
                name = f"blocks.{block}.{position}.layers.{scale - layer.finest_out}"
                yield from _msdnet_layer(network, layer, scale, name, conv_norm)
            position += 1
            if layer.channels_kept:
                for scale in range(layer.finest_out, layout.scales):
                    name = f"blocks.{block}.{position}.m.{scale - layer.finest_out}.net"
                    yield from conv_norm(name, 0, f"{layer.name}_scale_{scale + 1}_transition")
                position += 1
    for number in range(layout.blocks):
        for position in (0, 1):
            conv = f"exit_{number + 1}_conv_{position + 1}"
            yield from conv_norm(f"classifier.{number}.m.{position}.net", 0, conv)
        dense = network.get_layer(f"exit_{number + 1}_logits")
        yield f"classifier.{number}.linear", dense, everything


def _check_every_layer_is_read(layout):
    every = [layer for block in layout.block_layers() for layer in block]
    for after, layer in enumerate(reversed(every)):
        expected = "an MSDNet whose every feature some exit reads: ours leaves others out, the "
        expected += "PyTorch program does not; give it more layers"
        fits = layer.finest_out >= layout.scales - 1 - after
        check(fits, expected, layers=len(every), scales=layout.scales)


def _msdnet_layer(network, layer, scale, name, conv_norm):
    """One layer at one scale: what comes down from the finer scale, and what stays."""
    layout, ours = network.layout, f"{layer.name}_scale_{scale + 1}"
    two = scale > layer.finest_out or layer.finest_out > layer.finest_in
    start = 0
    for kind in ("down", "normal") if two else ("normal",):
        conv = network.get_layer(f"{ours}_{kind}")
        *_, inputs, added = conv.kernel.shape
        if layout.bottleneck:
            # At one scale ours makes the bottleneck for the coarser scale first, then its own.
            made_at = f"{layer.name}_scale_{scale + (kind == 'normal')}_bottleneck"
            whole = network.get_layer(made_at).kernel.shape[-1]
            part = slice(0, inputs) if kind == "down" else slice(whole - inputs, whole)
            yield from conv_norm(f"{name}.conv_{kind}.net", 0, made_at, channels=part)
        added_at = slice(start, start + added)
        position = 3 if layout.bottleneck else 0
        yield from conv_norm(
            *(f"{name}.conv_{kind}.net", position, f"{ours}_{kind}", ours),
            norm_channels=added_at,
        )
        start += added
