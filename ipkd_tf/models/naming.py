"""Sub-models of any functional multi-output network, by number and by name."""

import dataclasses
import operator
import re

import tensorflow as tf

from ipkd_tf.models import graph, keras_hooks
from ipkd_tf.output.checks import check, explained


@dataclasses.dataclass(frozen=True)
class Submodel:
    """Names one sub-model, as `exit_1`; `choice` is what its family needs to know, hashable."""

    name: str
    choice: tuple = ()


def names(network):
    """Returns one name for each sub-model, smallest first: the network's own, or of its outputs.

    The network's `submodel_names` take precedence. A plain model of one output goes by the name
    that it was given, so that a sub-model is called the same inside its network and cut out of it.
    ValueError where outputs are no logits `[batch, classes]`.
    """
    _check_outputs(network)
    own = tuple(getattr(network, "submodel_names", None) or ())
    if not own:
        alone = len(network.outputs) == 1 and not _is_automatic(network.name, type(network))
        own = (network.name,) if alone else tuple(network.output_names)
    # Two outputs of one layer share that layer's name.
    unique = len(set(own)) == len(network.outputs)
    return own if unique else tuple(f"output_{k}" for k in range(1, len(network.outputs) + 1))


def _check_outputs(network):
    shapes = [tuple(output.shape) for output in getattr(network, "outputs", None) or []]
    check(
        shapes and all(len(shape) == 2 and shape[-1] == shapes[0][-1] for shape in shapes),
        "a functional keras.Model with one output [batch, classes] of logits for each sub-model, "
        "smallest first",
        network=network,
        shapes=shapes,
    )
    check(
        not isinstance(network.output, dict),
        "a list of outputs, smallest first; Keras sorts those of a dict by their keys",
        outputs=network.output,
    )
    expected = "logits of two classes or more; for a yes or no give the last layers two units"
    check(shapes[0][-1] > 1, expected, network=network.name, shapes=shapes)
    for output in network.outputs:
        layer, activation = last_activation(output)
        expected = f"logits, activation=None in the last layers; {layer.name} ends in {activation}"
        check(activation not in ("softmax", "sigmoid"), expected, network=network.name)


def last_activation(output):
    """Returns the last operation before an output, and the name of its activation in lower case."""
    operation, index = keras_hooks.producer(output)
    while graph.is_functional(operation):
        operation, index = keras_hooks.producer(operation.outputs[index])
    activation = getattr(operation, "activation", None) or type(operation)
    return operation, getattr(activation, "__name__", "").lower()


def check_images(network, images):
    """Raises ValueError unless images have the shape that a network takes.

    Keras lets one channel pass for three, which normalisation by channel then makes of it.
    """
    asked, given = tf.TensorShape(network.inputs[0].shape), getattr(images, "shape", None)
    received = {"images.shape": str(given)}
    check(asked.is_compatible_with(given), f"images of shape {asked}", **received)


def _is_automatic(name, kind):
    """Whether Keras made up the name of an object, such as `functional_3`, which counts on."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.__name__).lower()
    return re.fullmatch(rf"{words}(_\d+)?", name) is not None


def find(network, which):
    """Returns the number of a named sub-model, 0 for the smallest.

    `which` is its number (negative ones count from the largest), its name, or a `Submodel`; an
    IndexError or ValueError says that there is none.
    """
    known, name = names(network), getattr(which, "name", which)
    if isinstance(name, str):
        check(name in known, f"a sub-model of these: {', '.join(known)}", submodel=name)
        return known.index(name)
    with explained(TypeError, "a sub-model's number or name, or a Submodel", submodel=name):
        index = operator.index(name)
    if not -len(known) <= index < len(known):
        raise IndexError(
            f"Expected a sub-model from 0 to {len(known) - 1} ({', '.join(known)}). "
            f"Received: submodel={index}"
        )
    return index % len(known)
