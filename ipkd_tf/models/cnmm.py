"""Convolutional neural mixture model: exponentially many networks that share their links."""

import re
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf.models import blocks, flexible
from ipkd_tf.models import cnmm_links as links
from ipkd_tf.models.shared_norm import SharedNormNetwork, draw_uniform
from ipkd_tf.output.checks import check, check_positive

_ABOVE = re.compile(r"above_(\d*\.?\d+)")


@keras.saving.register_keras_serializable("ipkd_tf")
class CNMM(SharedNormNetwork):
    """A mixture of all networks that are paths through the nodes of each scale.

    Node j of a scale takes one of the nodes before it, i with probability pi_ij, through a link
    (depthwise 3x3, 1x1 convolution, each normalised) of its own; the probabilities are trained with
    the weights. A training step computes one sampled path, a plain network, in each sub-model;
    in inference every node is the mean over its links, sum_i pi_ij f_ij(h_i).

    Sub-model `nodes_d` has the links among the first node and the last d of each scale, their
    probabilities renormalised: nested, from one link to all. `submodel("above_0.2")` keeps the
    links that are used with a probability of at least 0.2, and the most probable path.

    Published are the mixture, its learned weights, the mean pass and the removal of improbable
    networks. Layers, channels, sampling, nested link sets and the regulariser are our own: no code
    and no such numbers are public.

    Args:
        num_classes: Number of classes.
        image_size: Side of the images in pixels, or (height, width).
        mean, std: Those of each channel of the images, as shares of 255; one each: grey images.
        channels: Channels of each scale; each after the first halves the sides.
        nodes: Nodes of each scale after its input, K.
        cost_weight: Weight of the expected multiply-adds, as a share of the most, in the loss.
        entropy_weight: Weight of the entropy of the probabilities, which is made large.
        sampled: Whether a step trains one path of each sub-model; else the mean passes themselves,
            all links computed, as a second run that starts from the weights of a first.

    Returns:
        Logits `[batch, num_classes]` of `nodes_1` to `nodes_K`.

    Example:
        >>> network = CNMM(num_classes=100)
        >>> network.recalibrate("nodes_2", [images_1, images_2])
        >>> network.submodel("nodes_2").save("nodes_2.keras")

    Source: Ruiz & Verbeek, Adaptive Inference Cost with Convolutional Neural Mixture Models, ICCV
    2019.
    """

    def __init__(
        self,
        num_classes: int = 10,
        image_size: int | Sequence[int] = 32,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
        channels: Sequence[int] = (32, 64, 128),
        nodes: int = 4,
        cost_weight: float = 0.0,
        entropy_weight: float = 0.01,
        sampled: bool = True,
        name: str | None = None,
    ):
        images, x = blocks.image_input(self.arguments)
        check_positive(channels=channels, nodes=nodes)
        weights = {"cost_weight": cost_weight, "entropy_weight": entropy_weight}
        check(min(weights.values()) >= 0, "weights of at least 0", **weights)
        nested = [(links.nested_links(nodes, d),) * len(channels) for d in range(1, nodes + 1)]
        shared = links.SharedLayers(num_classes, channels, nodes, cost_weight, entropy_weight)
        submodels = [flexible.Submodel(f"nodes_{d}", kept) for d, kept in enumerate(nested, 1)]
        outputs = [
            blocks.name_logits(
                _mixture(x, nodes, submodel.choice, links.MeanPass(shared, number)), submodel
            )
            for number, submodel in enumerate(submodels)
        ]
        super().__init__(inputs=images, outputs=outputs, submodels=submodels, name=name)
        self.keep(_shared=shared)

    def probabilities(self) -> np.ndarray:
        """Returns pi of each scale: list of float arrays `[nodes + 1, nodes + 1]`, from i to j."""
        nodes = self.arguments["nodes"]
        everything = links.nested_links(nodes, nodes)
        return [_probabilities(m.logits.numpy(), everything) for m in self._shared.mixers]

    def resolve(self, which):
        if isinstance(which, flexible.Submodel) and _ABOVE.fullmatch(which.name):
            return which  # its links are those of when it was resolved
        return super().resolve(which)

    def parse(self, name):
        match = _ABOVE.fullmatch(name)
        if match is None:
            return None
        kept = tuple(prune(pi, float(match[1])) for pi in self.probabilities())
        return flexible.Submodel(name, kept)

    def build_submodel(self, submodel):
        settings = self.arguments
        images, x = blocks.image_input(settings)
        shares = [
            _probabilities(mixer.logits.numpy(), kept)
            for mixer, kept in zip(self._shared.mixers, submodel.choice, strict=True)
        ]
        plain = links.PlainPass(settings["num_classes"], settings["channels"], shares)
        logits = _mixture(x, settings["nodes"], submodel.choice, plain)
        return keras.Model(images, logits, name=submodel.name)

    def draw(self, seed, step):
        """Returns the noise that makes a step's paths, `[sub-models, scales, nodes, nodes]`."""
        if not self.arguments["sampled"]:
            return None
        sides = [self.drawn, len(self.arguments["channels"])] + [self.arguments["nodes"]] * 2
        return -tf.math.log(-tf.math.log(draw_uniform(seed, step, sides, 1e-7)))

    def train_logits(self, images, drawn=None):
        """Computes the logits of one sampled path, or of the mean pass, of each sub-model."""
        if not self.arguments["sampled"]:
            return super().train_logits(images)
        x, nodes = blocks.prepare(images, self.arguments), self.arguments["nodes"]
        logits = [
            _mixture(x, nodes, submodel.choice, links.SampledPass(self._shared, drawn[number]))
            for number, submodel in enumerate(self.submodels)
        ]
        return [tf.cast(one, tf.float32) for one in logits], []


def _probabilities(logits, kept):
    """pi over the given links: each node's column sums to 1, or to 0 if it has none."""
    pi = np.zeros((len(logits) + 1, len(logits) + 1))
    for i, j in kept:
        pi[i, j] = np.exp(logits[j - 1, i] - logits[j - 1].max())
    return pi / np.maximum(pi.sum(axis=0), 1e-30)


def prune(pi, threshold):
    """Returns the links used at least that probably, and those of the best path."""
    best = {0: (1.0, ())}
    for j in range(1, len(pi)):
        best[j] = max((best[i][0] * pi[i, j], (*best[i][1], (i, j))) for i in range(j))
    used = links.link_use(pi, len(pi) - 1)
    kept = {link for link, share in used.items() if share >= threshold} | set(best[j][1])
    reached, needed = {0}, {len(pi) - 1}
    for i, j in sorted(kept, key=lambda link: link[1]):
        reached |= {j} if i in reached else set()
    for i, j in sorted(kept, reverse=True, key=lambda link: link[1]):
        needed |= {i} if j in needed else set()
    return tuple(sorted((i, j) for i, j in kept if i in reached and j in needed))


def _mixture(x, nodes, kept_links, make):
    """The graph from normalised images to logits; `make` supplies layers and mixes links."""
    x = make.conv_norm_relu(x, "stem", 0)
    for scale, kept in enumerate(kept_links):
        if scale:
            x = make.conv_norm_relu(x, f"transition_{scale}", scale)
        x = make.mix(x, scale, nodes, kept)
    return make.logits(keras.layers.GlobalAveragePooling2D()(x))
