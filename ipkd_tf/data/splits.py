"""Stratified parts of a data set: every class keeps its share, a seed decides which examples."""

import typing
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import resample

from ipkd_tf.output.checks import check

if typing.TYPE_CHECKING:
    from ipkd_tf.data.examples import Examples

TEST_SHARE = 0.2  # of a source that comes without a test split
SPLIT_SEED = 0  # splits belong to the data set, not to a run: runs stay comparable


def draw(labels: np.ndarray, count: int | None, seed: int = SPLIT_SEED) -> np.ndarray:
    """Sorted indices of `count` examples, every class in proportion: how "N images" are taken.

    Args:
        labels: Integer array `[total]`.
        count: How many, from 1 on; None, or more than there are, for all.
        seed: Decides which ones.

    Example:
        >>> labels = np.repeat([0, 1], [90, 10])
        >>> np.bincount(labels[ipkd_tf.data.draw(labels, 20)])
        array([18,  2])
    """
    if count is None or count >= len(labels):
        return np.arange(len(labels))
    check(count >= 1, "a whole number of examples from 1 on", count=count)
    sizes = np.unique(labels, return_counts=True)[1]
    if min(count, len(labels) - count) >= len(sizes) and sizes.min() > 1:
        return split(labels, count, seed)[1]
    # Too few to have each class on either side, which a split insists on.
    settings = {"replace": False, "random_state": seed, "stratify": labels}
    return np.sort(resample(np.arange(len(labels)), n_samples=count, **settings))


def hold_out(
    examples: "Examples",
    count: int,
    seed: int = SPLIT_SEED,
    class_names: Sequence[str] | None = None,
) -> tuple["Examples", "Examples"]:
    """Splits examples off, every class in proportion to its size.

    Args:
        examples: `Examples`.
        count: How many to hold out, an integer in 1..total-1.
        seed: Decides which ones; the same seed holds out the same examples.
        class_names: For error messages.

    Returns:
        `(rest, held)`, two `Examples`, disjoint, each in the original order.

    Raises:
        ValueError: One of the two would hold fewer examples than there are classes, or a class
            has a single example.

    Example:
        >>> digits = ipkd_tf.data.read("digits")
        >>> train, validation = ipkd_tf.data.hold_out(digits.train, 200)
        >>> len(train), len(validation)
        (1237, 200)
    """
    rest, held = split(examples.labels, count, seed, class_names)
    return examples.subset(rest), examples.subset(held)


def split(labels, count, seed=SPLIT_SEED, class_names=None):
    """Sorted indices `(rest, chosen)`, `count` chosen; every class must be in both parts."""
    classes, sizes = np.unique(labels, return_counts=True)
    single = [class_names[c] if class_names else str(c) for c in classes[sizes < 2]]
    expected = "two examples of each class, one for each part of a split, but there is one image "
    expected += f"only of {', '.join(single)}. Add images or remove it"
    check(not single, expected, examples=count)
    expected = f"between 1 and {len(labels) - 1} of {len(labels)} examples"
    check(0 < count < len(labels), expected, examples=count)
    expected = "at least one example of each class in both parts of a split, between "
    expected += f"{len(classes)} and {len(labels) - len(classes)}"
    check(min(count, len(labels) - count) >= len(classes), expected, examples=count)
    rest, chosen = train_test_split(
        np.arange(len(labels)), test_size=count, stratify=labels, random_state=seed
    )
    return np.sort(rest), np.sort(chosen)


def subset(labels, count, setting, seed=SPLIT_SEED):
    """As `draw`, for the setting of this name, which may neither ask too much nor miss a class."""
    classes = len(np.unique(labels))
    expected = f"a number from {classes} (classes) to {len(labels)} (examples), or none for all"
    check(count is None or classes <= count <= len(labels), expected, **{setting: count})
    return draw(labels, count, seed)


def split_off_test(labels, class_names=None):
    """Sorted indices `(train, test)` of the fixed stratified split of a source without one."""
    return split(labels, max(1, round(TEST_SHARE * len(labels))), class_names=class_names)
