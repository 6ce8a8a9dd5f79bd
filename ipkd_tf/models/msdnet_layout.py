"""The layout of an MSDNet: which layer stands at which scales, with how many channels."""

import dataclasses
import math
import types

from ipkd_tf.output.checks import check, check_choice, check_positive

_CHOICES = {"step_mode": ("even", "lin_grow"), "stem": ("3x3", "7x7"), "prune": ("min", "max")}


@dataclasses.dataclass(frozen=True)
class Layer:
    """Where a layer stands, and the channels that it reads and passes on at the finest scale."""

    name: str
    finest_in: int
    finest_out: int
    channels_in: int
    channels_kept: int | None


class Layout(types.SimpleNamespace):
    """The constructor arguments of MSDNet, checked, and the layout they ask for."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        whole = ("blocks", "base", "step", "channels", "growth")
        whole += ("exit_channels",) if self.exit_channels is not None else ()
        factors = {name: arguments[name] for name in ("growth_factors", "bottleneck_factors")}
        check_positive(**{name: arguments[name] for name in whole}, **factors)
        check(
            len(self.growth_factors) == len(self.bottleneck_factors),
            "one bottleneck factor for each growth factor",
            **factors,
        )
        for name, known in _CHOICES.items():
            check_choice(known, **{name: arguments[name]})
        check(0 <= self.reduction <= 1, "a share from 0 to 1", reduction=self.reduction)
        check(
            not any((self.growth * factor) % 2 for factor in self.growth_factors[1:]),
            "an even growth at every scale but the finest: half comes from each of two scales",
            growth=self.growth,
            growth_factors=self.growth_factors,
        )

    @property
    def scales(self):
        return len(self.growth_factors)

    @property
    def block_lengths(self):
        """Layers of each block."""
        later = range(1, self.blocks)
        steps = [self.step if self.step_mode == "even" else self.step * k + 1 for k in later]
        return [self.base, *steps]

    def block_layers(self):
        """The layers of each block, as lists of `Layer`."""
        depth, number, channels, blocks = sum(self.block_lengths), 0, self.channels, []
        for block, length in enumerate(self.block_lengths, 1):
            blocks.append([])
            for position in range(1, length + 1):
                number += 1
                name = f"block_{block}_layer_{position}"
                layer = self._layer(name, number, depth, channels)
                channels = layer.channels_kept or channels + self.growth
                blocks[-1].append(layer)
        return blocks

    def _layer(self, name, number, depth, channels):
        finest_in = self._finest(number - 1, depth)
        finest_out = self._finest(number, depth)
        grown = channels + self.growth
        if self.prune == "max":
            reduces = finest_out > finest_in
        else:
            reduces = number in (depth // 3, 2 * depth // 3)
        kept = math.floor(self.reduction * grown) if reduces and self.reduction else None
        return Layer(name, finest_in, finest_out, channels, kept)

    def _finest(self, number, depth):
        """Finest scale that layer `number` of `depth`, counted from 1, passes on; 0 is the stem."""
        if self.prune == "max":
            return max(0, number - 1) // math.ceil(depth / self.scales)
        return max(0, self.scales - (depth - number + 1))
