"""What a distiller logs: its losses, and accuracies and a user's own metrics by sub-model."""

import keras
import tensorflow as tf

from ipkd_tf.models import keras_hooks
from ipkd_tf.output.checks import check

_LOSSES = ("loss", "hard_loss", "soft_loss")


class SubmodelMetrics(keras_hooks.Trainer):
    """A model with `submodel_names` and `top_5` that logs the losses and scores of each."""

    def _make_metrics(self):
        names = [*_LOSSES, "avg_accuracy"]
        names += [f"{name}_accuracy" for name in self.submodel_names]
        names += [f"{name}_top_5_accuracy" for name in self.submodel_names if self.top_5]
        check(
            len(set(names)) == len(names),
            "sub-models whose metrics differ in name, also from avg_accuracy; rename an output",
            submodel_names=self.submodel_names,
        )
        self._means = {name: keras.metrics.Mean(name=name) for name in names}
        self._own_metrics, self._given_metrics = {}, []

    def _add_metrics(self, given):
        """Takes a user's own, of which each sub-model gets a copy, such as `exit_1_NAME`."""
        self._own_metrics, self._given_metrics = {}, given  # name: (number of the sub-model, copy)
        for one in given:
            metric = keras.metrics.get(one)
            is_metric = isinstance(metric, keras.metrics.Metric)
            check(
                is_metric or callable(metric) and one not in ("accuracy", "acc"),
                "metrics of Keras, their class names, or functions of labels and logits; "
                "accuracies are there already",
                metrics=one,
            )
            for index, name in enumerate(self.submodel_names):
                name = f"{name}_{metric.name if is_metric else metric.__name__}"
                expected = f"metrics whose names differ; {name} is there twice"
                check(name not in {**self._own_metrics, **self._means}, expected, metrics=one)
                copy = (
                    type(metric).from_config({**metric.get_config(), "name": name})
                    if is_metric
                    else keras.metrics.MeanMetricWrapper(metric, name=name)
                )
                self._own_metrics[name] = index, copy

    @property
    def metrics(self):
        means = [
            keras_hooks.MonitoredMetric(mean, "down" if name in _LOSSES else "up")
            for name, mean in self._means.items()
        ]
        return means + [metric for _, metric in self._own_metrics.values()]

    def get_metrics_result(self):
        """Returns the metrics by name; while a network draws, those of what it trains."""
        counts = [self._means[name].count for name in ("loss", "avg_accuracy")]
        losses_alone = tf.executing_eagerly() and counts[0].numpy() and not counts[1].numpy()
        return self._results(losses_alone)

    def _results(self, losses_alone):
        metrics = {**self._means, **{name: one for name, (_, one) in self._own_metrics.items()}}
        names = _LOSSES if losses_alone else metrics
        return {name: metrics[name].result() for name in names}

    def _update_metrics(self, labels, logits, hard, soft, weights):
        """Takes the losses; the other metrics if the logits are those of the named sub-models."""
        values = {"loss": hard + soft + sum(self.losses), "hard_loss": hard, "soft_loss": soft}
        if logits is not None:
            values |= self._accuracies(labels, logits)
            for index, metric in self._own_metrics.values():
                metric.update_state(labels, logits[index], sample_weight=weights)
        for name, value in values.items():
            self._means[name].update_state(value, sample_weight=weights)
        return self._results(logits is None)

    def _accuracies(self, labels, logits):
        classes = labels if labels.dtype.is_integer else tf.argmax(labels, axis=-1)
        matches = [keras.metrics.sparse_categorical_accuracy(classes, a) for a in logits]
        values = {"avg_accuracy": tf.reduce_mean(tf.stack(matches), axis=0)}
        for name, match, a in zip(self.submodel_names, matches, logits, strict=True):
            values[f"{name}_accuracy"] = match
            if self.top_5:
                top_5 = keras.metrics.sparse_top_k_categorical_accuracy
                values[f"{name}_top_5_accuracy"] = top_5(classes, tf.cast(a, tf.float32), k=5)
        return values
