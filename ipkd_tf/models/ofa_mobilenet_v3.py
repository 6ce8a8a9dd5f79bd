"""Once-for-all MobileNet-V3: kernels, depths, expansions and image sides in one network."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from ipkd_tf.models import blocks, ofa_layers, ofa_sorting
from ipkd_tf.models.ofa_space import Space
from ipkd_tf.models.shared_norm import SharedNormNetwork, draw_uniform
from ipkd_tf.output.checks import check, check_positive, is_ascending

STAGES = (
    *((24, 1, False, "relu"), (40, 2, True, "relu")),
    *((80, 2, False, "hard_silu"), (112, 1, True, "hard_silu")),
)


@keras.saving.register_keras_serializable("ipkd_tf")
class OFAMobileNetV3(SharedNormNetwork):
    """MobileNet-V3 whose sub-models differ in kernels, depths, expansions and image sides.

    Each block has a kernel size (the centre of the next larger kernel, through a matrix that the
    layer trains) and an expansion (the leading channels of its middle); each stage has a depth (its
    first blocks). Scale and offset of the normalisation are shared; statistics are estimated for
    one sub-model at a time, by `recalibrate`, before it is used.

    A training step draws the sandwich: the smallest, the largest, and `draws` random sub-models
    between, sorted by their multiply-adds. `draw_from` restricts it: the phases of progressive
    shrinking are runs in a row, each from the weights of the one before, from the largest
    sub-model to all (see `sort_channels`).

    Sub-models are called `k3_e2_d2` if all blocks are alike, `k35e24_k3e2_k33e22` if they are not:
    kernels and expansions of the blocks of each stage. `_r24` behind: an image side of 24.

    Published are the elastic layers, the kernel matrices, progressive shrinking, the sandwich (of
    BigNAS), and the network for photographs, the preset `ofa_mobilenet_v3_imagenet`. Channels and
    strides for 32 x 32 images are our own, as is the sandwich in its place; dropout is left out.

    Args:
        num_classes: Number of classes.
        image_size: Side of the images in pixels, or (height, width).
        mean, std: Those of each channel of the images, as shares of 255; one each: grey images.
        named: Names of the named sub-models, ascending in multiply-adds, the largest the last one;
            None: the smallest and the largest.
        kernels: Sides of the kernels, odd and ascending.
        expansions: Ratios of middle to input channels, whole and ascending.
        depths: Blocks of a stage, ascending.
        sides: Image sides (heights, the width in proportion) that sub-models see, ascending;
            None: `image_size` alone.
        draws: Random sub-models of each training step.
        draw_from: Name of the smallest sub-model that is drawn, alike in all blocks; each choice is
            drawn from its own to the largest. None: the smallest.
        stem: Channels of the first convolution and of the block after it.
        stages: (channels, stride, squeeze-and-excitation, activation) of each stage.
        head: Channels of the two layers after the stages.
        stem_strides: Stride of the first convolution: 1 for 32 x 32 images, 2 for photographs.

    Returns:
        Logits `[batch, num_classes]` of each named sub-model.

    Example:
        >>> network = OFAMobileNetV3(num_classes=100)
        >>> network.recalibrate("k5_e4_d3", [images_1, images_2])
        >>> network.submodel("k5_e4_d3").save("k5_e4_d3.keras")

    Source: Cai et al., Once-for-All, ICLR 2020 (mit-han-lab/once-for-all); Yu et al., BigNAS, ECCV
    2020.
    """

    def __init__(
        self,
        num_classes: int = 10,
        image_size: int | Sequence[int] = 32,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
        named: Sequence[str] | None = None,
        kernels: Sequence[int] = (3, 5, 7),
        expansions: Sequence[int] = (3, 4, 6),
        depths: Sequence[int] = (2, 3, 4),
        sides: Sequence[int] | None = None,
        draws: int = 2,
        draw_from: str | None = None,
        stem: int = 16,
        stages: Sequence[tuple[int, int, bool, str]] = STAGES,
        head: tuple[int, int] = (480, 640),
        stem_strides: int = 1,
        name: str | None = None,
    ):
        images, x = blocks.image_input(self.arguments)
        sides = sides or images.shape[1:2]
        check_positive(stem=stem, stem_strides=stem_strides, head=head, draws=draws + 1)
        choices = {"kernels": kernels, "expansions": expansions, "depths": depths}
        for key, values in {**choices, "sides": sides}.items():
            check_positive(**{key: values})
            check(is_ascending(values), "ascending choices", **{key: values})
        digits = max(*kernels, *expansions, *depths) < 10
        check(
            digits and all(kernel % 2 for kernel in kernels),
            "odd kernels, and kernels, expansions and depths below 10",
            **choices,
        )
        layout = images.shape[1:], stem, stem_strides, stages, head, num_classes
        space = Space(kernels, expansions, depths, sides, *layout)
        submodels = _named(space, named)
        rows = [space.row(submodel) for submodel in submodels]
        shared = ofa_layers.SharedLayers(space, rows, num_classes)
        outputs = [
            blocks.name_logits(ofa_layers.mobilenet(x, space, row, shared.of(number)), submodel)
            for number, (row, submodel) in enumerate(zip(rows, submodels, strict=True))
        ]
        super().__init__(inputs=images, outputs=outputs, submodels=submodels, name=name)
        smallest = space.parse(draw_from) if draw_from else space.ends[0]
        ends = [space.row(submodel) for submodel in (smallest, space.ends[1])]
        self.keep(_shared=shared, _space=space, _ends=ends)

    def space(self):
        return self._space.genes

    def compose(self, genes):
        return self._space.submodel(genes)

    def parse(self, name):
        return self._space.parse(name)

    def build_submodel(self, submodel):
        images, x = blocks.image_input(self.arguments)
        plain = ofa_layers.PlainLayers(self.arguments["num_classes"])
        logits = ofa_layers.mobilenet(x, self._space, self._space.row(submodel), plain)
        return keras.Model(images, logits, name=submodel.name)

    def weights_of(self, submodel, layer):
        if not isinstance(layer, keras.layers.DepthwiseConv2D):
            return super().weights_of(submodel, layer)
        shared, (side, _, channels, _) = self.get_layer(layer.name), layer.kernel.shape
        return [shared.active_kernel(shared.kernel_sizes.index(side), channels).numpy()]

    def draw(self, seed, step):
        """Returns the sub-models of a step as positions of their genes, int32 `[drawn, genes]`."""
        low, high = (tf.constant(end) for end in self._ends)
        if self.drawn == 1:
            return high[None]
        sides = [self.drawn - 2, len(self.space())]
        shares = draw_uniform(seed, step, sides, dtype=tf.float64)
        choices = tf.cast(high - low + 1, tf.float64)
        between = low + tf.cast(shares * choices, tf.int32)
        between = tf.gather(between, tf.argsort(self._space.multiply_adds(between), stable=True))
        return tf.concat([low[None], between, high[None]], axis=0)

    @property
    def drawn(self):
        smallest, largest = self._ends
        return 1 if smallest == largest else self.arguments["draws"] + 2

    def train_logits(self, images, drawn=None):
        x = blocks.prepare(images, self.arguments)
        # The ends are known when the step is traced, which makes them faster.
        smallest, largest = self._ends
        between = [drawn[k] for k in range(1, self.drawn - 1)]
        rows = [largest] if self.drawn == 1 else [smallest, *between, largest]
        shared = self._shared.of(None)
        logits = [ofa_layers.mobilenet(x, self._space, row, shared) for row in rows]
        return [tf.cast(one, tf.float32) for one in logits], []

    def sort_channels(self) -> None:
        """Puts the most important middle channels of each block first, for the smaller expansions.

        The largest sub-model computes what it did before; all others change, and need to be
        recalibrated. For progressive shrinking, between a run and the next one that draws smaller
        expansions (`draw_from`); channels that the expansions drawn so far share stay shared.

        Example:
            >>> network = ipkd_tf.models.load("runs/ofa_depth/seed0/last.keras")
            >>> network.sort_channels()
            >>> network.save("sorted.keras")  # --initialize_from=sorted.keras
        """
        smallest = dict(zip(self.space(), self._ends[0], strict=True))["expansion_1_1"]
        ofa_sorting.sort_channels(self, self._space, self._space.expansions[smallest:])
        self._statistics_of_others.clear()


def _named(space, names):
    """The `Submodel` of each name, in the order of their multiply-adds."""
    submodels = [space.parse(name) for name in names] if names else [*space.ends]
    counts = space.multiply_adds([space.row(submodel) for submodel in submodels]).numpy()
    check(
        submodels[-1] == space.ends[1] and is_ascending(counts.tolist()),
        f"sub-models ascending in multiply-adds, {space.ends[1].name} the last",
        named=names,
        multiply_adds=counts.tolist(),
    )
    return submodels
