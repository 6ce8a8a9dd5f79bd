"""A new network's weights taken from a trained one: fine-tuning on other images."""

import keras

from ipkd_tf import models
from ipkd_tf.models import graph, keras_hooks
from ipkd_tf.models.trained import locate
from ipkd_tf.output import files
from ipkd_tf.output.checks import check


def initialize_from(network, source, dataset=""):
    """Copies the weights of a trained network into a new one of the same family and arguments.

    The heads, the layers that make the logits, keep their new weights when the classes differ: when
    their number does, or when the source was trained by a run on another data set than `dataset`.
    `source` is a run's directory, a .keras file, or `preset:NAME`. Returns the names of these
    layers.
    """
    path = locate(source)
    path = path / "best.keras" if path.is_dir() else path
    expected = "a run with a best.keras, a .keras file, or preset:NAME; there is none"
    check(path.is_file(), expected, initialize_from=str(source))
    trained = models.load(path)
    heads = _heads(network) if _classes_differ(network, trained, path, dataset) else {}
    weights, values = network.weights, trained.weights
    different = [
        weight.path
        for weight, value in zip(weights, values, strict=False)
        if weight.shape != value.shape and id(weight) not in heads
    ]
    check(
        type(network) is type(trained) and len(weights) == len(values) and not different,
        f"a {type(network).__name__} with the same arguments, apart from the classes; there is a "
        f"{type(trained).__name__} with {len(values)} weights instead of {len(weights)}, of "
        f"another shape: {', '.join(different[:3]) or 'none'}",
        initialize_from=str(source),
    )
    # In order: families may leave it to Keras to name their layers, and it counts them on.
    for weight, value in zip(weights, values, strict=True):
        if id(weight) not in heads:
            weight.assign(value.numpy())
    graph.finalize(network)
    return sorted(set(heads.values()))


def _classes_differ(network, trained, path, dataset):
    if network.outputs[0].shape[-1] != trained.outputs[0].shape[-1]:
        return True
    try:
        return files.read_json(path.with_name("result.json"))["settings"]["dataset"] != dataset
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _heads(network):
    """The names of the layers that the logits come from, by the id of each of their weights."""
    heads, tensors = {}, list(network.outputs)
    while tensors:
        layer, _ = keras_hooks.producer(tensors.pop())
        weights = getattr(layer, "weights", [])
        heads |= {id(weight): layer.name for weight in weights}
        if not weights:  # such as a mean of the logits of several heads
            tensors += [x for x in keras.tree.flatten(layer.input) if x is not layer.output]
    return heads
