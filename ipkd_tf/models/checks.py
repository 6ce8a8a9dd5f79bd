"""What constructors ask of their arguments, and distillers of their networks."""

import tensorflow as tf

from ipkd_tf.models import graph, keras_hooks


def check(fits, expected, **received):
    """Raises ValueError, with the values that were received, unless they fit what is expected."""
    if not fits:
        values = ", ".join(f"{name}={value!r}" for name, value in received.items())
        raise ValueError(f"Expected {expected}. Received: {values}")


def check_positive(**values):
    """Raises ValueError unless each value is a positive whole number (or a sequence of them)."""
    for name, value in values.items():
        numbers = value if isinstance(value, list | tuple) else [value]
        fits = numbers and all(isinstance(n, int) and n > 0 for n in numbers)
        check(fits, "positive whole numbers", **{name: value})


def is_ascending(values):
    return list(values) == sorted(set(values))


def check_images(network, images):
    """Raises ValueError unless images have the shape that a network takes.

    Keras lets one channel pass for three, which normalisation by channel then makes of it.
    """
    asked, given = tf.TensorShape(network.inputs[0].shape), getattr(images, "shape", None)
    if not asked.is_compatible_with(given):
        raise ValueError(f"Expected images of shape {asked}. Received: images.shape={given}")


def check_outputs(network):
    """Raises ValueError unless a network has outputs of logits, as `flexible.names` says."""
    shapes = [tuple(output.shape) for output in getattr(network, "outputs", None) or []]
    alike = shapes and all(len(shape) == 2 and shape[-1] == shapes[0][-1] for shape in shapes)
    if not alike:
        raise ValueError(
            "Expected a functional keras.Model with one output [batch, classes] of logits for each "
            f"sub-model, smallest first. Received: network={network!r} with output shapes {shapes}"
        )
    if isinstance(network.output, dict):
        raise ValueError(
            "Expected a list of outputs, smallest first; Keras sorts those of a dict by their "
            f"keys. Received: network={network.name!r} with outputs {list(network.output)}"
        )
    if shapes[0][-1] == 1:
        raise ValueError(
            "Expected logits of two classes or more; for a yes or no give the last layers two "
            f"units. Received: network={network.name!r} with output shapes {shapes}"
        )
    for output in network.outputs:
        operation, activation = last_activation(output)
        if activation in ("softmax", "sigmoid"):
            raise ValueError(
                "Expected logits; build the last layers with activation=None. Received: "
                f"network={network.name!r}, whose layer {operation.name!r} ends in {activation}"
            )


def last_activation(output):
    """Returns the last operation before an output, and the name of its activation in lower case."""
    operation, index = keras_hooks.producer(output)
    while graph.is_functional(operation):
        operation, index = keras_hooks.producer(operation.outputs[index])
    activation = getattr(operation, "activation", None) or type(operation)
    return operation, getattr(activation, "__name__", "").lower()
