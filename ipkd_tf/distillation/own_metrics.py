"""Metrics of a user's own, one of each for every sub-model."""

import keras


def copies(metrics, names, taken):
    """A dict of name to (number of the sub-model, metric of its own): `exit_1_NAME`.

    Args:
        metrics: Metrics, names of Keras's metric classes, or functions of labels and logits.
        names: Of the sub-models.
        taken: Names that the distiller's own metrics have.

    Raises:
        ValueError: One is no metric, or two would have the same name.
    """
    made = {}
    for one in metrics or ():
        metric = keras.metrics.get(one)
        if not isinstance(metric, keras.metrics.Metric):
            if not callable(metric) or one in ("accuracy", "acc"):
                raise ValueError(
                    "Expected metrics of Keras, their class names, or functions of labels and "
                    f"logits; accuracies are there already. Received: metrics={one!r}"
                )
        for index, name in enumerate(names):
            copy = _copy(metric, f"{name}_{getattr(metric, 'name', None) or metric.__name__}")
            if copy.name in made or copy.name in taken:
                raise ValueError(
                    "Expected metrics whose names differ from each other's and the distiller's. "
                    f"Received: metrics={copy.name!r} twice"
                )
            made[copy.name] = index, copy
    return made


def _copy(metric, name):
    if isinstance(metric, keras.metrics.Metric):
        return type(metric).from_config({**metric.get_config(), "name": name})
    return keras.metrics.MeanMetricWrapper(metric, name=name)
