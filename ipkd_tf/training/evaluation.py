"""Accuracy and cost of every sub-model of a flexible network, as rows for a table."""

from collections.abc import Iterable

import keras
import tensorflow as tf

from ipkd_tf import data
from ipkd_tf.models import cost, naming
from ipkd_tf.models.flexible import names
from ipkd_tf.output import counter
from ipkd_tf.output.checks import check

_RECALIBRATION_IMAGES, _RECALIBRATION_BATCH = 2000, 200  # as once-for-all takes
_BATCH = 250
_BINS = 15


def evaluate(
    network: keras.Model, dataset: tf.data.Dataset | tuple, submodels: Iterable[int] | None = None
) -> list[dict]:
    """Measures the sub-models of a network on a data set, all in one pass over it.

    Args:
        network: A flexible network, or any functional model with one logits output
            `[batch, classes]` per sub-model.
        dataset: Finite tf.data of (images, integer labels `[batch]`), whose batches may differ in
            size; or two arrays, `(images, labels)`.
        submodels: Indices of the sub-models to measure; None for all.

    Returns:
        One dict per sub-model: name, accuracy, top_5_accuracy (shares in 0..1), loss (mean
        cross-entropy, nats), calibration_error (in 0..1, see `CalibrationError`), and the
        parameters and multiply_adds (for one image) of the sub-model alone, cut out of the network.

    Raises:
        ValueError: The data set is empty.

    Example:
        >>> for row in evaluate(network, test):
        ...     print(row["name"], row["accuracy"])
    """
    indices = range(len(network.outputs)) if submodels is None else list(submodels)
    all_names = names(network)
    scores = _scores(keras.Model(network.inputs, [network.outputs[i] for i in indices]), dataset)
    costs = [cost.of_submodel(network, i) for i in indices]
    return [
        {"name": all_names[i], **score, **costs_of_one}
        for i, score, costs_of_one in zip(indices, scores, costs, strict=True)
    ]


def _scores(model, dataset):
    metrics = [_metrics() for _ in model.outputs]

    @tf.function(reduce_retracing=True)
    def update(images, labels):
        outputs = keras.tree.flatten(model(images, training=False))
        for logits, of_submodel in zip(outputs, metrics, strict=True):
            logits = tf.cast(logits, tf.float32)  # top-5 is not defined for half precision
            for metric in of_submodel.values():
                metric.update_state(labels, logits)

    images = None
    if isinstance(dataset, tuple):
        dataset = _batches(*dataset)
    for images, labels in counter.track(dataset, "evaluating", "batches"):
        naming.check_images(model, images)
        update(images, labels)
    check(images is not None, "at least one batch", dataset=dataset)
    return [
        {name: float(metric.result()) for name, metric in of_submodel.items()}
        for of_submodel in metrics
    ]


def _batches(images, labels):
    labels = tf.reshape(labels, [-1])  # a column of them in keras.datasets
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        yield tf.convert_to_tensor(images[part]), labels[part]


def _metrics():
    return {
        "accuracy": keras.metrics.SparseCategoricalAccuracy(),
        "top_5_accuracy": keras.metrics.SparseTopKCategoricalAccuracy(k=5),
        "loss": keras.metrics.SparseCategoricalCrossentropy(from_logits=True),
        "calibration_error": CalibrationError(),
    }


class CalibrationError(keras.metrics.Metric):
    """Expected calibration error of logits `[batch, classes]` with integer labels, in 0..1.

    The images fall into bins of equal width by their confidence, the highest probability: over all
    of them, the mean of |accuracy - mean confidence| of an image's bin.

    Source: Guo et al., On calibration of modern neural networks, ICML 2017, Equation 3; 15 bins.
    """

    def __init__(self, bins: int = _BINS, name: str = "calibration_error"):
        super().__init__(name=name)
        self._bins = bins
        self._gaps = self.add_variable([bins], "zeros", name="gaps")  # sums of right - confidence
        self._count = self.add_variable([], "zeros", name="count")

    def update_state(self, labels, logits, sample_weight=None):
        confidence = tf.reduce_max(tf.nn.softmax(logits), axis=-1)
        right = tf.equal(tf.argmax(logits, axis=-1), tf.cast(labels, tf.int64))
        # A bin holds its upper end, not its lower one.
        bins = tf.cast(tf.math.ceil(confidence * self._bins), tf.int32) - 1
        bins = tf.clip_by_value(bins, 0, self._bins - 1)  # Rounding may take one over 1.
        gaps = tf.cast(right, confidence.dtype) - confidence
        self._gaps.assign_add(tf.math.unsorted_segment_sum(gaps, bins, self._bins))
        self._count.assign_add(tf.cast(tf.size(gaps), tf.float32))

    def result(self):
        return tf.math.divide_no_nan(tf.reduce_sum(tf.abs(self._gaps)), self._count)


def batches_to_recalibrate(train: data.Examples) -> tf.data.Dataset:
    """Batches of the same images of `Examples` each time, as validation would have them."""
    indices = data.draw(train.labels, _RECALIBRATION_IMAGES)
    batches = data.evaluation(train.subset(indices), batch_size=_RECALIBRATION_BATCH)
    return batches.map(lambda images, labels: images)


class Recalibration(keras.callbacks.Callback):
    """Re-estimates, before each validation, the statistics of every named sub-model that needs it.

    After the validation the network keeps them: what is saved and tested is what was validated.
    """

    def __init__(self, train: data.Examples):
        super().__init__()
        self._train = train

    def on_test_begin(self, logs=None):
        network = self.model.network
        if getattr(network, "needs_recalibration", False):
            batches = batches_to_recalibrate(self._train)
            with counter.shown(False):  # in the middle of the epoch's own bar
                for name in network.submodel_names:
                    network.recalibrate(name, batches)
