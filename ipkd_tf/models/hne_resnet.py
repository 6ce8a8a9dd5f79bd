"""Hierarchical neural ensemble: residual networks that share a tree of blocks."""

import math
import re
from collections.abc import Sequence

import keras

from ipkd_tf.models import blocks, flexible, graph
from ipkd_tf.output.checks import check, check_choice, check_positive


@keras.saving.register_keras_serializable("ipkd_tf")
class HNEResNet(flexible.FlexibleNetwork):
    """An ensemble whose members are the paths of a binary tree from the root to the leaves.

    Level b of the tree has 2^b nodes, blocks of layers; a node reads its parent, and each leaf has
    a classifier of its own. A sub-model is the average over the first m leaves: one path, then
    paths that share ever less with it. Every node has its own normalisation, whose statistics do
    not depend on m.

    Published are the tree, its anytime use leaf by leaf, the average, the loss of each single
    member, and the distillation from the whole ensemble to smaller ones (method `ipkd`). The units
    (1x1 convolution, depthwise 3x3, 1x1, shortcut), their numbers and channels, which average, and
    the weights of the losses are our own: no code and no such numbers are public.

    Args:
        num_classes: Number of classes.
        image_size: Side of the images in pixels, or (height, width).
        mean, std: Those of each channel of the images, as shares of 255; one each: grey images.
        stem: Channels of the first convolution, a part of the root.
        levels: (channels, stride) of the nodes of each level, root first; one level more doubles
            the leaves.
        units: Residual units of a node; the first has the level's stride.
        average: What is averaged over the leaves: `logits` or `probabilities`.
        leaf_weight: Weight in training of the loss of each single leaf but the first, which is a
            sub-model; 0 for the losses of the sub-models alone.

    Returns:
        Logits `[batch, num_classes]` of the first 1, 2, 4, ... and all leaves. The sub-models are
        named by their leaves, `leaves_1`, `leaves_2`, ...; `submodel("leaves_3")` is there too.

    Example:
        >>> network = HNEResNet(num_classes=100)
        >>> three_members = network.submodel("leaves_3")

    Source: Ruiz & Verbeek, Anytime Inference with Distilled Hierarchical Neural Ensembles, AAAI
    2021.
    """

    def __init__(
        self,
        num_classes: int = 10,
        image_size: int | Sequence[int] = 32,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
        stem: int = 32,
        levels: Sequence[tuple[int, int]] = ((64, 1), (64, 2), (64, 2), (64, 1), (64, 1)),
        units: int = 2,
        average: str = "logits",
        leaf_weight: float = 1.0,
        name: str | None = None,
    ):
        images, x = blocks.image_input(self.arguments)
        check_positive(stem=stem, units=units)
        for level in levels:
            check_positive(levels=level)
        pairs = levels and all(len(level) == 2 for level in levels)
        check(pairs, "(channels, stride) of each level, root first", levels=levels)
        check_choice(("logits", "probabilities"), average=average)
        check(leaf_weight >= 0, "a weight of 0 or more", leaf_weight=leaf_weight)
        leaves = _tree(blocks.conv_norm_relu(x, "stem", stem), levels, units, num_classes)
        sizes = [2**level for level in range(len(levels))]
        outputs = _averages(leaves, sizes, average)
        submodels = [flexible.Submodel(f"leaves_{size}", (size,)) for size in sizes]
        super().__init__(inputs=images, outputs=outputs, submodels=submodels, name=name)
        self.auxiliary_weight = leaf_weight

    def parse(self, name):
        number = re.fullmatch(r"leaves_([1-9]\d*)", name)
        if number and int(number[1]) <= len(self._leaves()):
            return flexible.Submodel(name, (int(number[1]),))
        return None

    def build_submodel(self, submodel):
        (size,) = submodel.choice
        logits = _averages(self._leaves(), [size], self.arguments["average"])
        whole = graph.Graph(keras.Model(self.input, logits))
        return whole.copy(whole.outputs, name=submodel.name)

    def train_logits(self, images, drawn=None):
        # The first leaf is a sub-model, and learns from the labels as such.
        model = keras.Model(self.input, [*self.outputs, *self._leaves()[1:]])
        logits = model(images, training=True)
        return logits[: len(self.outputs)], logits[len(self.outputs) :]

    def _leaves(self):
        """Symbolic logits of each leaf."""
        count = 2 ** (len(self.arguments["levels"]) - 1)
        return [self.get_layer(f"leaf_{leaf}_logits").output for leaf in range(1, count + 1)]


def _tree(x, levels, units, num_classes):
    """The logits of all leaves, those of each node's first child first."""
    nodes = [x]
    for level, (channels, strides) in enumerate(levels):
        nodes = [nodes[j // 2] for j in range(2**level)]
        for j in range(len(nodes)):
            for unit in range(1, units + 1):
                name = f"level_{level + 1}_node_{j + 1}_unit_{unit}"
                nodes[j] = _unit(nodes[j], name, channels, strides if unit == 1 else 1)
    pooled = [keras.layers.GlobalAveragePooling2D()(node) for node in nodes]
    return [blocks.logits(x, f"leaf_{j}_logits", num_classes) for j, x in enumerate(pooled, 1)]


def _unit(x, name, channels, strides):
    shortcut = x
    if strides != 1 or x.shape[-1] != channels:
        shortcut = blocks.project(x, f"{name}_shortcut", channels, strides)
    x = blocks.conv_norm_relu(x, f"{name}_expand", channels, 1)
    depthwise = f"{name}_depthwise"
    x = blocks.norm_relu(blocks.depthwise(x, depthwise, strides), depthwise)
    x = blocks.norm(blocks.conv(x, f"{name}_project", channels, 1), f"{name}_project")
    return blocks.relu(keras.layers.Add()([x, shortcut]))


def _averages(leaves, sizes, average):
    """Logits of the averages over the first leaves, for each number of them."""
    if average == "probabilities":
        leaves = [keras.ops.log_softmax(leaf) for leaf in leaves]
    return [_average(leaves[:size], average) for size in sizes]


def _average(votes, average):
    if len(votes) == 1:
        return votes[0]
    if average == "logits":
        return keras.layers.Average(dtype="float32")(votes)
    stacked = keras.ops.stack(votes, axis=0)
    return keras.ops.logsumexp(stacked, axis=0) - math.log(len(votes))
