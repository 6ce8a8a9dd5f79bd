"""A budget as a user writes it, and the most accurate sub-model that stays within it."""

import dataclasses
import math
import re

from ipkd_tf.output.checks import check

# Costs of a network are counted in their own name, such as "500k parameters", or shorter.
COUNTS = ("multiply_adds", "parameters", "bit_operations", "packed_bytes")
_COUNTED = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}
_UNITS = {
    "multiply_adds": _COUNTED,
    "bytes": {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "milliseconds": {"us": 1e-3, "ms": 1, "s": 1e3},
}
_SCALES = {unit: (quantity, n) for quantity, units in _UNITS.items() for unit, n in units.items()}
_SCALES |= {prefix + name: (name, n) for name in COUNTS for prefix, n in _COUNTED.items()}


@dataclasses.dataclass(frozen=True)
class Budget:
    """A limit on one cost of a sub-model.

    Attributes:
        quantity: One of `COUNTS`, `bytes` (of the exported file) or `milliseconds` (per call).
        limit: In units of the quantity.
        text: As the user wrote it.
    """

    quantity: str
    limit: float
    text: str

    @classmethod
    def parse(cls, text):
        """Reads a budget such as `20M` (multiply-adds), `500k parameters`, `500kB` or `5ms`.

        Raises:
            ValueError: Not a positive number followed by a unit.
        """
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z_ ]*?)\s*", text)
        unit = match and match[2].replace(" ", "", 1)
        if unit not in _SCALES or not float(match[1]):
            raise ValueError(
                "Expected a budget such as 20M (multiply-adds; k, M, G), 500k parameters, 500kB "
                "(B, kB, MB, GB, KiB, MiB, GiB) or 5ms (us, ms, s). "
                f"Received: budget={text!r}"
            )
        quantity, scale = _SCALES[unit]
        return cls(quantity, float(match[1]) * scale, text.strip())


def choose(rows, budget):
    """Returns the row of the most accurate sub-model within the budget; of equals, the cheapest.

    Args:
        rows: One dict per sub-model: name, accuracy, and the cost under the budget's quantity.
        budget: `Budget`.

    Raises:
        ValueError: None is within it (names the nearest), or the rows lack that cost.

    Example:
        >>> choose(result["best"], Budget.parse("20M"))["name"]
    """
    expected = f"a budget of a cost that is known: {', '.join(rows[0])}"
    check(all(budget.quantity in row for row in rows), expected, budget=budget.text)
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
    if quantity == "bytes":
        return f"{number} {prefix}B"
    return f"{number}{prefix} {quantity.replace('_', '-')}"
