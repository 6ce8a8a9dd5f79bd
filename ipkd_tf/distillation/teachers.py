"""Who teaches whom: every training method is one matrix of teacher weights.

`W[i, j]` is the share of teacher j in the soft target of sub-model i. Sub-models count from 0,
smallest first; their columns come first, those of outside teachers t1, t2, ... after them. Of the
sub-models only larger ones teach, so there W is zero on and below its diagonal; outside teachers
may teach anybody. A row sums to 1 (taught) or to 0 (not taught).
"""

import operator
import re
import typing
from collections.abc import Sequence

import numpy as np

from ipkd_tf.output import checks

# The columns that teach sub-model i of n, in equal shares (paper, Equations 4 to 7, and 3).
METHODS = {
    "none": lambda i, n: [],
    "ipkd": lambda i, n: range(max(i + 1, n - 1), n),
    "ipkd_ta_1": lambda i, n: range(i + 1, min(i + 2, n)),
    "ipkd_ta_m": lambda i, n: range(i + 1, n),
    "kd": lambda i, n: [n],
}
_ROW_SUM_TOLERANCE = 1e-5
# Made of the network that is trained itself; their columns come last, if a text names them.
VIRTUAL = ("mean", "ema")
_TEACHER = rf"(?:t?\d{{1,9}}|{'|'.join(VIRTUAL)})"
_ITEM = re.compile(rf"\s*(\d{{1,9}})\s*:\s*({_TEACHER}(?:\s*\+\s*{_TEACHER})*)\s*", re.ASCII)


def from_spec(spec: str | np.ndarray | Sequence, n: int, outside: int = 0) -> np.ndarray:
    """Returns the teacher weights that a specification describes.

    Args:
        spec: name of a method (a key of `METHODS`); or a text such as `"0:6,1:2+6,2:t1"`, which
            reads "6 teaches 0; 2 and 6 teach 1 in equal shares; the first outside teacher teaches
            2" (paper, footnote 4), nobody else is taught; or an array-like `[n, n]` or
            `[n, n + outside]`. In a text `mean` is the mean of the probabilities of all
            sub-models, `ema` the largest one with the moving averages of its weights.
        n: number of sub-models, at least 1.
        outside: number of outside teachers.

    Returns:
        float32 array `[n, n + outside]` that passes `check`; where a text names `mean` or `ema`,
        with a column more for each, in this order.

    Raises:
        ValueError: the text is no method and does not follow the syntax, or the weights are
            not valid (see `check`), or `kd` has no outside teacher.

    Example:
        >>> from_spec("0:1+2,2:t1", 3, outside=1)
        array([[0. , 0.5, 0.5, 0. ],
               [0. , 0. , 0. , 0. ],
               [0. , 0. , 0. , 1. ]], dtype=float32)
    """
    if not isinstance(spec, str):
        return check(spec, n, outside)
    n, outside = _check_count("n", n, 1), _check_count("outside", outside, 0)
    expected = "a teacher from outside for kd: pass a trained model as outside=[model]"
    checks.check(spec != "kd" or outside, expected, outside=outside)
    names = [f"t{number}" for number in range(1, outside + 1)] + list(find_virtual(spec))
    method = METHODS.get(spec)
    taught = {i: method(i, n) for i in range(n)} if method else _read(spec, n, names)
    weights = np.zeros((n, n + len(names)))
    for student, teachers in taught.items():
        weights[student, teachers] = 1.0 / max(1, len(teachers))
    return check(weights, n, len(names))


def is_text(spec: typing.Any) -> bool:
    """Whether a specification is written as student:teacher+teacher items."""
    return isinstance(spec, str) and all(_ITEM.fullmatch(item) for item in spec.split(","))


def find_virtual(spec: str | np.ndarray | Sequence) -> tuple[str, ...]:
    """Returns the virtual teachers that a text names, in the order of their columns."""
    return tuple(name for name in VIRTUAL if is_text(spec) and name in spec)


def check(weights: np.ndarray | Sequence, n: int | None = None, outside: int = 0) -> np.ndarray:
    """Returns weights as float32 `[n, n + outside]`, not rescaled; any n if None.

    Raises:
        ValueError: the weights are not numbers, of another shape, not finite, negative, let a
            sub-model be taught by itself or by a smaller one, or a row sums neither to 0 nor,
            within 1e-5, to 1.
    """
    weights = _check_shape(weights, n, outside)
    not_larger = "Only larger sub-models teach, but sub-model {} is taught by {}; set that to 0"
    for wrong, message in (
        (~np.isfinite(weights), "Teacher weights must be finite"),
        (weights < 0, "Teacher weights must not be negative"),
        (np.tri(*weights.shape, dtype=bool) & (weights != 0), not_larger),
    ):
        for i, j in np.argwhere(wrong)[:1]:
            raise ValueError(
                f"{message.format(i, j)}. Received: weights[{i}, {j}]={weights[i, j]:g}"
            )
    for student, total in enumerate(weights.sum(axis=1)):
        checks.check(
            total == 0 or abs(total - 1) <= _ROW_SUM_TOLERANCE,
            f"rows that sum to 1 (taught) or 0 (not taught), but row {student} sums to {total:g}; "
            "divide it by its sum",
            **{f"weights[{student}]": weights[student].tolist()},
        )
    return weights.astype(np.float32)


def _check_count(name, value, least):
    try:
        count = operator.index(value)
    except TypeError:
        count = -1
    checks.check(count >= least, f"an integer >= {least}", **{name: value})
    return count


def _check_shape(weights, n, outside):
    """Returns float64 `[n, n + outside]`; columns for outside teachers may be left out."""
    expected = "teacher weights as a square array of numbers"
    with checks.explained((TypeError, ValueError), expected, weights=weights):
        array = np.asarray(weights, np.float64)
    rows = (len(array) if array.ndim else 0) if n is None else _check_count("n", n, 1)
    columns = rows + _check_count("outside", outside, 0)
    side = "n" if n is None else rows
    wider = f" or [{side}, {side} + {outside}]" if outside else ""
    checks.check(
        rows and array.shape in ((rows, rows), (rows, columns)),
        f"teacher weights of the shape [{side}, {side}]{wider}, a row for each sub-model, a column "
        "for each teacher",
        **{"weights.shape": array.shape},
    )
    return np.pad(array, ((0, 0), (0, columns - array.shape[1])))


def _read(text, n, names):
    """Returns the columns that teach each sub-model that a text names; `names`: those after n."""
    columns = {str(number): number for number in range(n)}
    columns |= {name: n + number for number, name in enumerate(names)}
    taught, outside = {}, len({*names} - {*VIRTUAL})
    further = f", outside teachers t1 to t{outside}" if outside else ""
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        checks.check(
            match,
            f"one of {', '.join(METHODS)}, or student:teacher+teacher items, counted from 0 and "
            "separated by commas, such as '0:2,1:2+3', '0:t1' (the first outside teacher), "
            "'0:mean+ema'",
            teachers=text,
        )
        teachers = [one.strip() for one in match[2].split("+")]
        checks.check(
            {match[1], *teachers} <= {*columns},
            f"sub-models numbered 0 to {n - 1}, smallest first{further}",
            teachers=text,
        )
        student = columns[match[1]]
        checks.check(
            student not in taught and len({*teachers}) == len(teachers),
            "each student, and each of its teachers, named once; join teachers with '+': '0:1+2'",
            teachers=text,
        )
        taught[student] = [columns[teacher] for teacher in teachers]
    return taught
