"""The sub-models of a once-for-all network: genes, names, and multiply-adds of each."""

import dataclasses
import re

import numpy as np
import tensorflow as tf

from ipkd_tf.models.flexible import Submodel
from ipkd_tf.models.slimmable_layers import round_to_8
from ipkd_tf.output.checks import check

_ALIKE = re.compile(r"k(\d)_e(\d)_d(\d)(?:_r(\d+))?")
_STAGES = re.compile(r"(k\d+e\d+(?:_k\d+e\d+)*)(?:_r(\d+))?")


@dataclasses.dataclass(frozen=True)
class Block:
    """An inverted residual: what does not depend on the sub-model."""

    stage: int
    number: int
    in_channels: int
    filters: int
    strides: int
    squeeze: bool
    activation: str

    @property
    def name(self):
        return f"block_{self.stage}_{self.number}"

    @property
    def residual(self):
        return self.strides == 1 and self.in_channels == self.filters

    @property
    def genes(self):
        return [f"{gene}_{self.stage}_{self.number}" for gene in ("kernel", "expansion")]

    def middle(self, expansion):
        """Channels between the 1 x 1 convolutions."""
        return round_to_8(round(self.in_channels * expansion))

    def squeezed(self, expansion):
        """Channels in the middle of squeeze-and-excitation."""
        return round_to_8(self.middle(expansion) // 4)


class Space:
    """All choices of depth (per stage), kernel and expansion (per block) and image side.

    A sub-model is a row of positions, one for each gene, such as `depth_1` or `kernel_1_2`, in its
    ascending choices. `blocks` are those of the deepest by stage, `ends` the extreme `Submodel`s.
    """

    def __init__(
        self,
        kernels,
        expansions,
        depths,
        sides,
        image_shape,
        stem,
        stem_strides,
        stages,
        head,
        num_classes,
    ):
        self.kernels, self.expansions, self.depths = map(tuple, (kernels, expansions, depths))
        height, width, self.channels = image_shape
        self.sides, self.stages = tuple(sides), stages
        self.widths = tuple(round(side * width / height) for side in sides)
        self.stem, self.stem_strides = stem, stem_strides
        self.head, self.num_classes = head, num_classes
        self.genes, self.blocks, in_channels = {}, [], stem
        for stage, (filters, strides, squeeze, activation) in enumerate(stages, 1):
            self.genes[f"depth_{stage}"] = self.depths
            self.blocks.append([])
            for number in range(1, self.depths[-1] + 1):
                facts = in_channels, filters, strides if number == 1 else 1, squeeze, activation
                self.blocks[-1].append(Block(stage, number, *facts))
                choices = self.kernels, self.expansions
                self.genes.update(zip(self.blocks[-1][-1].genes, choices, strict=True))
                in_channels = filters
        self.genes["side"] = self.sides
        self.ends = tuple(
            self.submodel({gene: choices[end] for gene, choices in self.genes.items()})
            for end in (0, -1)
        )

    def submodel(self, genes):
        """The `Submodel` of a dict of genes; those of blocks that are left out do not count."""
        unknown = {
            gene: value for gene, value in genes.items() if value not in self.genes.get(gene, ())
        }
        check(
            not unknown and len(genes) == len(self.genes),
            f"a choice for each of {', '.join(self.genes)}, as space() lists them",
            genes=unknown or genes,
        )
        stages = tuple(
            tuple(
                tuple(genes[gene] for gene in block.genes)
                for block in stage[: genes[f"depth_{number}"]]
            )
            for number, stage in enumerate(self.blocks, 1)
        )
        return self._name(stages, genes["side"])

    def _name(self, stages, side):
        """The `Submodel` under its shortest name."""
        of_blocks, lengths = {block for stage in stages for block in stage}, {*map(len, stages)}
        if len(of_blocks) == len(lengths) == 1:
            ((kernel, expansion),) = of_blocks
            name = f"k{kernel}_e{expansion}_d{len(stages[0])}"
        else:
            digits = [["".join(map(str, d)) for d in zip(*stage, strict=True)] for stage in stages]
            name = "_".join(f"k{kernels}e{expansions}" for kernels, expansions in digits)
        suffix = f"_r{side}" if side != self.sides[-1] else ""
        return Submodel(name + suffix, (stages, side))

    def parse(self, name):
        """The `Submodel` of a name: `k3_e2_d2`, alike in all blocks, or `k35e24_k3e2_k33e22`."""
        stages = side = None
        if match := _ALIKE.fullmatch(name):
            kernel, expansion, depth = map(int, match.groups()[:3])
            stages, side = (((kernel, expansion),) * depth,) * len(self.stages), match[4]
        elif match := _STAGES.fullmatch(name):
            parts = [re.findall(r"\d+", stage) for stage in match[1].split("_")]
            if all(len(kernels) == len(expansions) for kernels, expansions in parts):
                stages = tuple(tuple(zip(map(int, k), map(int, e), strict=True)) for k, e in parts)
                side = match[2]
        side = int(side or self.sides[-1])
        if stages is None or not self._offers(stages, side):
            raise ValueError(
                f"Expected a sub-model such as {self.ends[0].name}, or kernels and expansions of "
                f"each block, as {'_'.join(['k35e43'] * len(self.stages))}, from kernels "
                f"{self.kernels}, expansions {self.expansions}, depths {self.depths}, image sides "
                f"{self.sides}. Received: submodel={name!r}"
            )
        return self._name(stages, side)

    def _offers(self, stages, side):
        blocks = [block for stage in stages for block in stage]
        return (
            len(stages) == len(self.stages)
            and {*map(len, stages)} <= {*self.depths}
            and {kernel for kernel, _ in blocks} <= {*self.kernels}
            and {expansion for _, expansion in blocks} <= {*self.expansions}
            and side in self.sides
        )

    def row(self, submodel):
        """The position of each gene of a `Submodel`, ints; blocks left out are as those before."""
        stages, side = submodel.choice
        row = {"side": self.sides.index(side)}
        for number, stage in enumerate(stages, 1):
            row[f"depth_{number}"] = self.depths.index(len(stage))
            for block in self.blocks[number - 1]:
                choice = stage[min(block.number, len(stage)) - 1]
                for gene, value in zip(block.genes, choice, strict=True):
                    row[gene] = self.genes[gene].index(value)
        return [row[gene] for gene in self.genes]

    def active_blocks(self, row):
        """Lists (block, position of its kernel, of its expansion, whether it is computed).

        Blocks that are certainly not are left out; of a row that is a tensor, all but blocks are
        tensors.
        """
        positions = row if isinstance(row, list) else tf.unstack(row)
        positions = dict(zip(self.genes, positions, strict=True))
        found = []
        for number, stage in enumerate(self.blocks, 1):
            depth = pick(self.depths, positions[f"depth_{number}"])
            for block in stage:
                active = block.number <= self.depths[0] or block.number <= depth
                if active is not False:
                    found.append((block, *map(positions.get, block.genes), active))
        return found

    def multiply_adds(self, rows):
        """Those of sub-models, given as rows `[n, genes]` of positions: int64 `[n]`."""
        columns = dict(zip(self.genes, tf.unstack(tf.cast(rows, tf.int32), axis=1), strict=True))
        total = tf.gather(self._multiply_adds_around(), columns["side"])
        for block in (block for stage in self.blocks for block in stage):
            where = tf.stack([*map(columns.get, block.genes), columns["side"]], axis=1)
            active = block.number <= tf.gather(self.depths, columns[f"depth_{block.stage}"])
            of_block = tf.gather_nd(self._multiply_adds_of(block), where)
            total += tf.where(active, of_block, tf.zeros_like(of_block))
        return total

    def _pixels_after(self, side, stages):
        """Those of the features of images of the side at this position."""
        height, width = self.sides[side], self.widths[side]
        for strides in (self.stem_strides, *(stage[1] for stage in self.stages[:stages])):
            height, width = -(-height // strides), -(-width // strides)
        return height * width

    def _multiply_adds_of(self, block):
        """Table `[kernels, expansions, sides]`."""
        table = np.zeros([len(self.kernels), len(self.expansions), len(self.sides)], np.int64)
        for (k, e, s), _ in np.ndenumerate(table):
            before, after = (self._pixels_after(s, block.stage - n) for n in (1, 0))
            before = before if block.number == 1 else after
            middle, squeezed = block.middle(self.expansions[e]), block.squeezed(self.expansions[e])
            table[k, e, s] = (
                before * block.in_channels * middle
                + after * middle * (self.kernels[k] ** 2 + block.filters)
                + 2 * middle * squeezed * block.squeeze
            )
        return table

    def _multiply_adds_around(self):
        """Those of the layers before and after the blocks, for each image side."""
        final, mix = self.head
        first, last = self.stem * (self.channels * 9 + 9 + self.stem), self.stages[-1][0] * final
        return np.array(
            [
                self._pixels_after(side, 0) * first
                + self._pixels_after(side, len(self.stages)) * last
                + mix * (final + self.num_classes)
                for side in range(len(self.sides))
            ],
            np.int64,
        )


def pick(values, position):
    """The value at a position, an int; or at a scalar tensor, a tensor."""
    return values[position] if isinstance(position, int) else tf.gather(values, position)
