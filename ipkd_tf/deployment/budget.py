"""A budget as a user writes it, and the most accurate sub-model that stays within it."""

import dataclasses
import math
import re

_UNITS = {
    "multiply_adds": {"": 1, "k": 1e3, "M": 1e6, "G": 1e9},
    "bytes": {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "milliseconds": {"us": 1e-3, "ms": 1, "s": 1e3},
}
_SCALES = {unit: (quantity, n) for quantity, units in _UNITS.items() for unit, n in units.items()}


@dataclasses.dataclass(frozen=True)
class Budget:
    """A limit on one cost of a sub-model.

    Attributes:
        quantity: `multiply_adds` (per image), `bytes` (of the exported file) or `milliseconds`
            (median for one image).
        limit: In units of the quantity.
        text: As the user wrote it.
    """

    quantity: str
    limit: float
    text: str

    @classmethod
    def parse(cls, text):
        """Reads a budget such as `20M` (multiply-adds), `500kB` or `5ms`.

        Raises:
            ValueError: Not a positive number followed by a unit.
        """
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)\s*", text)
        if not match or match[2] not in _SCALES or not float(match[1]):
            raise ValueError(
                "Expected a budget such as 20M (multiply-adds; k, M, G), 500kB (B, kB, MB, GB, "
                f"KiB, MiB, GiB) or 5ms (us, ms, s). Received: budget={text!r}"
            )
        quantity, scale = _SCALES[match[2]]
        return cls(quantity, float(match[1]) * scale, text.strip())


def choose(rows, budget):
    """Returns the row of the most accurate sub-model within the budget; of equals, the cheapest.

    Args:
        rows: One dict per sub-model: name, accuracy, and the cost under the budget's quantity.
        budget: `Budget`.

    Raises:
        ValueError: None is within it; names the nearest.

    Example:
        >>> choose(result["best"], Budget.parse("20M"))["name"]
    """
    fitting = [row for row in rows if row[budget.quantity] <= budget.limit]
    if fitting:
        return max(fitting, key=lambda row: (row["accuracy"], -row[budget.quantity]))
    nearest = min(rows, key=lambda row: row[budget.quantity])
    raise ValueError(
        f"No sub-model is within the budget; the nearest is {nearest['name']} with "
        f"{amount(nearest[budget.quantity], budget.quantity)}. Received: budget={budget.text!r}"
    )


def amount(value, quantity):
    """A cost as text in the unit that suits it, such as `13.2M multiply-adds` or `1.68 MB`."""
    if quantity == "milliseconds":
        return f"{value:.3g} ms"
    thousands = min(3, int(math.log10(max(value, 1)) / 3))
    number, prefix = f"{value / 1e3**thousands:.4g}", ("", "k", "M", "G")[thousands]
    return f"{number} {prefix}B" if quantity == "bytes" else f"{number}{prefix} multiply-adds"
