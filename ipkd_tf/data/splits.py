"""Stratified parts of a data set: a hold-out to choose models on, subsets for quick work."""

import numpy as np
from sklearn.model_selection import train_test_split

TEST_SHARE = 0.2  # of a source that comes without a test split
SPLIT_SEED = 0  # splits belong to the data set, not to a run: runs stay comparable


def hold_out(images, labels, examples, seed=SPLIT_SEED):
    """Splits examples off, every class in proportion to its size.

    Args:
      images: array `[total, ...]`.
      labels: integer array `[total]`.
      examples: how many to hold out, an integer in 1..total-1.
      seed: decides which ones; the same seed holds out the same examples.

    Returns:
      `(train_images, train_labels), (held_images, held_labels)`, disjoint, each in the original
      order.

    Raises:
      ValueError: when one of the two parts would hold fewer examples than there are classes.

    Example:
      ```python
      train, validation = ipkd_tf.data.hold_out(images, labels, examples=5000, seed=0)
      ```
    """
    rest, held = stratified_indices(labels, examples, seed)
    return (images[rest], labels[rest]), (images[held], labels[held])


def stratified_indices(labels, examples, seed=SPLIT_SEED):
    """Sorted indices `(rest, chosen)`: `examples` chosen ones, every class in proportion."""
    if not 0 < examples < len(labels):
        raise ValueError(
            f"Choose between 1 and {len(labels) - 1} of {len(labels)} examples. "
            f"Received: examples={examples}"
        )
    try:
        rest, chosen = train_test_split(
            np.arange(len(labels)), test_size=examples, stratify=labels, random_state=seed
        )
    except ValueError as error:
        raise ValueError(
            f"Cannot split {len(labels)} examples of {len(np.unique(labels))} classes in "
            f"proportion to the classes ({error}). Both parts need at least one example for each "
            f"class, and each class two examples. Received: examples={examples}"
        ) from error
    return np.sort(rest), np.sort(chosen)


def subset_indices(labels, examples, name, seed=SPLIT_SEED):
    """Sorted indices of a stratified subset of `examples`; of everything if `examples` is None.

    `name` is the setting that error messages name, as in "train_examples".
    """
    if examples is None or examples == len(labels):
        return np.arange(len(labels))
    if not 0 < examples < len(labels):
        raise ValueError(
            f"The split has {len(labels)} examples: choose a number from 1 to that, or leave the "
            f"setting out to take all. Received: {name}={examples}"
        )
    return stratified_indices(labels, examples, seed)[1]


def split_off_test(labels):
    """Sorted indices `(train, test)` of the fixed stratified split of a source without one."""
    return stratified_indices(labels, max(1, round(TEST_SHARE * len(labels))))
