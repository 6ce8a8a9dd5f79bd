"""Which sub-model teaches which: every training method is one matrix of teacher weights.

`W[i, j]` is the share of sub-model j in the soft target of sub-model i. Sub-models count from 0,
smallest first. Only larger sub-models teach, so W is zero on and below its diagonal; a row sums to
1 (taught) or to 0 (not taught, as the last row always is).
"""

import operator
import re

import numpy as np

_ROW_SUM_TOLERANCE = 1e-5
_TEXT_ITEM = re.compile(r"\s*([0-9]+)\s*:\s*([0-9]+(?:\s*\+\s*[0-9]+)*)\s*")


def none(n):
    """Returns W of joint training without distillation: float32 `[n, n]` zeros (paper, Eq. 4)."""
    n = _check_count(n)
    return np.zeros((n, n), np.float32)


def largest(n):
    """Returns W in which the largest sub-model teaches all others, float32 `[n, n]` (Eq. 5)."""
    weights = none(n)
    weights[:-1, -1] = 1.0
    return weights


def next_larger(n):
    """Returns W in which the next larger sub-model teaches, float32 `[n, n]` (Eq. 6)."""
    return np.eye(_check_count(n), k=1, dtype=np.float32)


def all_larger(n):
    """Returns W in which all larger sub-models teach in equal shares, float32 `[n, n]` (Eq. 7)."""
    weights = none(n)
    for student in range(n - 1):
        weights[student, student + 1 :] = 1.0 / (n - 1 - student)
    return weights


METHODS = {"none": none, "ipkd": largest, "ipkd_ta_1": next_larger, "ipkd_ta_m": all_larger}


def from_spec(spec, n):
    """Returns the teacher weights that a specification describes.

    Args:
        spec: name of a method (a key of `METHODS`); or a text such as `"0:6,1:2+6"`, which reads
            "6 teaches 0; 2 and 6 teach 1 in equal shares" (paper, footnote 4), sub-models that it
            does not name are not taught; or an array-like `[n, n]`, used as given.
        n: number of sub-models, at least 1.

    Returns:
        float32 array `[n, n]` that passes `check`.

    Raises:
        ValueError: the text is no method and does not follow the syntax, or the weights are
            not valid (see `check`).

    Example:
        >>> from_spec("0:1+2", 3)
        array([[0. , 0.5, 0.5],
               [0. , 0. , 0. ],
               [0. , 0. , 0. ]], dtype=float32)
    """
    if not isinstance(spec, str):
        return check(spec, n)
    if spec in METHODS:
        return METHODS[spec](n)
    return check(_from_text(spec, n), n)


def check(weights, n=None):
    """Returns teacher weights as a float32 array, or says what is wrong with them.

    Args:
        weights: array-like `[n, n]`.
        n: number of sub-models; any if None.

    Returns:
        float32 array `[n, n]`; rows are not rescaled.

    Raises:
        ValueError: the weights are not numbers, not square, not `n` x `n`, not finite, negative,
            let a sub-model be taught by itself or by a smaller one, or a row sums neither to 0
            nor, within 1e-5, to 1.

    Example:
        >>> check([[0, 1], [0, 0]])
        array([[0., 1.],
               [0., 0.]], dtype=float32)
    """
    weights = _as_square(weights, n)
    _forbid(weights, ~np.isfinite(weights), "Teacher weights must be finite")
    _forbid(weights, weights < 0, "Teacher weights must not be negative")
    not_larger = np.tri(len(weights), dtype=bool) & (weights != 0)
    for student, teacher in np.argwhere(not_larger)[:1]:
        raise ValueError(
            f"Only larger sub-models teach, but sub-model {student} is taught by {teacher} (they "
            f"count from 0, smallest first); set that weight to 0. "
            f"Received: weights[{student}, {teacher}]={weights[student, teacher]:g}"
        )
    for student, total in enumerate(weights.sum(axis=1)):
        if total != 0 and abs(total - 1) > _ROW_SUM_TOLERANCE:
            raise ValueError(
                f"Each row of the teacher weights must sum to 1 (taught) or to 0 (not taught), "
                f"but row {student} sums to {total:g}; divide it by its sum. "
                f"Received: weights[{student}]={weights[student].tolist()}"
            )
    return weights.astype(np.float32)


def _check_count(n):
    try:
        count = operator.index(n)
    except TypeError:
        count = 0
    if count < 1:
        raise ValueError(f"The number of sub-models must be an integer >= 1. Received: n={n!r}")
    return count


def _as_square(weights, n):
    try:
        array = np.asarray(weights, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Teacher weights must be a square array of numbers. Received: weights={weights!r}"
        ) from error
    size = (len(array) if array.ndim else 0) if n is None else _check_count(n)
    if array.shape != (size, size) or size == 0:
        side = "n" if n is None else size
        raise ValueError(
            f"Teacher weights must have the shape [{side}, {side}], one row and one column per "
            f"sub-model. Received: weights.shape={array.shape}"
        )
    return array


def _forbid(weights, wrong, message):
    for student, teacher in np.argwhere(wrong)[:1]:
        raise ValueError(
            f"{message}. Received: weights[{student}, {teacher}]={weights[student, teacher]:g}"
        )


def _from_text(text, n):
    weights = np.zeros((_check_count(n),) * 2)
    students = set()
    for item in text.split(","):
        student, teachers = _parse_item(item, text)
        if student in students or len(set(teachers)) < len(teachers):
            raise ValueError(
                f"Each student, and each of its teachers, is named once; join several teachers "
                f"with '+', as in '0:1+2'. Received: teachers={text!r}"
            )
        if max(student, *teachers) >= n:
            raise ValueError(
                f"Sub-models are numbered 0 to {n - 1}, smallest first; {item.strip()!r} names "
                f"another. Received: teachers={text!r}"
            )
        students.add(student)
        weights[student, teachers] = 1.0 / len(teachers)
    return weights


def _parse_item(item, text):
    match = _TEXT_ITEM.fullmatch(item)
    if match is None:
        raise ValueError(
            f"Teachers must be one of {', '.join(METHODS)}, or student:teacher+teacher items, "
            f"counted from 0 and separated by commas, such as '0:2,1:2+3'. "
            f"Received: teachers={text!r}"
        )
    return int(match[1]), [int(teacher) for teacher in match[2].split("+")]
