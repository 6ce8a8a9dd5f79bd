"""Batches for training and evaluation.

Pixels stay uint8 until they are inside the network: four times less to move than float32. A
training batch is a pure function of (seed, step), so a run repeats exactly and starts anywhere.
"""

import itertools

import numpy as np
import tensorflow as tf

from ipkd_tf.data.augmentation import Augmentation
from ipkd_tf.data.examples import Examples
from ipkd_tf.output.checks import check

_DEFAULT_AUGMENTATION = Augmentation()


def training(
    images: np.ndarray | Examples,
    labels: np.ndarray | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    start_step: int = 0,
    augmentation: Augmentation = _DEFAULT_AUGMENTATION,
    part: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Infinite, shuffled, augmented batches; element k is a function of (seed, start_step + k).

    An epoch is `len(images) // batch_size` steps; it visits every image at most once, in an order
    of its own. (Images beyond the last whole batch are left out, other ones in each epoch.)

    Args:
        images: uint8 `[examples, height, width, 1 or 3]`; or `Examples`, which bring their labels.
        labels: int32 `[examples]`; None with `Examples`.
        batch_size: Examples per step over all replicas, at most `examples`.
        seed: Integer from 0 on, for order and augmentation.
        start_step: The step of the first element; give the steps done so far to resume a run.
        augmentation: An `Augmentation`.
        part: (number, parts): only this part of each batch, such as one worker's; only what it
            needs is read. `batch_size` is that of all parts together, divisible by their number.

    Returns:
        `tf.data.Dataset` of (uint8 `[batch_size, height, width, channels]`, int32 `[batch_size]`),
        for `fit(..., steps_per_epoch=len(images) // batch_size)`.

    Raises:
        ValueError: Arrays of another kind, a batch larger than the data set, or a negative seed or
            step.

    Example:
        >>> digits = ipkd_tf.data.read("digits")
        >>> images, labels = next(iter(ipkd_tf.data.training(digits.train, batch_size=64)))
    """
    check(start_step >= 0, "a step from 0 on", start_step=start_step)
    examples = _examples(images, labels, batch_size)
    batch_at = _batch_function(examples, batch_size, seed, augmentation, part)
    return _batches(tf.data.Dataset.range(start_step, tf.int64.max), batch_at)


def training_epochs(
    images: np.ndarray | Examples,
    labels: np.ndarray | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    augmentation: Augmentation = _DEFAULT_AUGMENTATION,
) -> tf.data.Dataset:
    """Like `training`, but finite: each iteration yields the next epoch.

    For `fit(dataset, epochs=...)` without `steps_per_epoch`. The position is kept in this process
    only; `training` is the one that resumes. (Keras builds an unbuilt model from a first batch,
    which uses up the first epoch.)
    """
    examples = _examples(images, labels, batch_size)
    batch_at = _batch_function(examples, batch_size, seed, augmentation)
    epoch, steps = itertools.count(), len(examples) // batch_size
    # The generator's body runs when its first element is asked for: Keras also creates iterators
    # that it never reads, and those must not use up an epoch.
    epochs = tf.data.Dataset.from_generator(
        lambda: iter([next(epoch)]), output_signature=tf.TensorSpec((), tf.int64)
    )
    epoch_steps = epochs.flat_map(lambda e: tf.data.Dataset.range(e * steps, (e + 1) * steps))
    counted = epoch_steps.apply(tf.data.experimental.assert_cardinality(steps))
    return _batches(counted, batch_at)


def evaluation(
    images: np.ndarray | Examples, labels: np.ndarray | None = None, batch_size: int | None = None
) -> tf.data.Dataset:
    """Every example exactly once, in order, never augmented.

    The examples are spread evenly over the smallest number of batches that suffices. A small last
    batch could leave a replica of a distribution strategy without any example, and convolutions
    fail on empty batches.

    Args:
        images: uint8 `[examples, height, width, 1 or 3]`; or `Examples`, which bring their labels.
        labels: int32 `[examples]`; None with `Examples`.
        batch_size: The largest number of examples in a batch.

    Returns:
        Finite `tf.data.Dataset` of (uint8 `[batch, height, width, channels]`, int32 `[batch]`).

    Raises:
        ValueError: Arrays of another kind or a batch size below 1.
    """
    examples = _examples(images, labels, batch_size)
    number = -(-len(examples) // batch_size)
    bounds = tf.constant(np.arange(number + 1) * len(examples) // number)
    return _batches(
        tf.data.Dataset.range(number),
        lambda index: examples.gather(tf.range(bounds[index], bounds[index + 1])),
    )


def _examples(images, labels, batch_size):
    check(batch_size and batch_size > 0, "at least one example in a batch", batch_size=batch_size)
    if not isinstance(images, Examples):
        return Examples(images, labels)
    check(labels is None, "no labels: Examples bring theirs", labels=labels)
    return images


def _batch_function(examples, batch_size, seed, augmentation, part=(0, 1)):
    """Returns the function from a step (int64 scalar) to its (images, labels)."""
    number, parts = part
    expected = "a part of a batch that divides evenly"
    fits = batch_size % parts == 0 and 0 <= number < parts
    check(fits, expected, part=part, batch_size=batch_size)
    expected = f"a batch no larger than the {len(examples)} training images"
    check(batch_size <= len(examples), expected, batch_size=batch_size)
    check(seed >= 0, "an integer from 0 on", seed=seed)
    steps_per_epoch = len(examples) // batch_size

    def batch_at(step):
        epoch, position = step // steps_per_epoch, step % steps_per_epoch
        places = position * batch_size + tf.range(batch_size, dtype=tf.int64)
        order_seed = tf.stack([tf.constant(seed, tf.int64), epoch])
        indices = _shuffle(places, len(examples), order_seed)
        batch_seed = tf.stack([tf.constant(seed, tf.int64), step])
        windows = augmentation.draw_windows(batch_size, batch_seed)
        if parts == 1:
            return augmentation(*examples.gather(indices, windows), seed=batch_seed)
        # The whole batch is changed, so that what is random is the same for any number of parts;
        # images that this part does not need are not read, but black.
        own = slice(number * batch_size // parts, (number + 1) * batch_size // parts)
        read = slice(0, batch_size) if augmentation.mixup else own
        images, labels = examples.gather(indices[read], None if windows is None else windows[read])
        around = [[read.start, batch_size - read.stop]]
        batch = tf.pad(images, around + [[0, 0]] * 3), tf.pad(labels, around)
        images, labels = augmentation(*batch, seed=batch_seed)
        return images[own], labels[own]

    return batch_at


def _shuffle(places, total, seed):
    """The indices at these places of a random order of `total`, each order by its seed `[2]`.

    TensorFlow's operation heeds 8 bits of each of three words: 2 words would repeat an order after
    256 epochs. So it gets words that depend on the whole seed, and 48 bits of them by going twice.
    """
    words = tf.random.stateless_uniform((2, 3), seed, None, None, tf.int64)
    for key in tf.unstack(words):
        places = tf.raw_ops.RandomIndexShuffle(
            index=places, seed=key, max_index=tf.constant(total - 1, tf.int64), rounds=4
        )
    return places


def _batches(steps, batch_at):
    options = tf.data.Options()
    options.deterministic = True
    batches = steps.map(batch_at, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)
