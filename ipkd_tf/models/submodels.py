"""The sub-models of any functional multi-output network: their names, and one of them cut out."""

import keras


def names(network):
    """Returns one name for each sub-model, smallest first: the network's own, or of its outputs.

    Args:
        network: A functional `keras.Model` with one output `[batch, classes]` of logits for each
            sub-model; an attribute `submodel_names` takes precedence over the outputs' names.

    Raises:
        ValueError: The outputs are not as described.

    Example:
        >>> names(ipkd_tf.models.MSDNet(blocks=2))
        ('exit_1', 'exit_2')
    """
    shapes = [tuple(output.shape) for output in getattr(network, "outputs", None) or []]
    if not shapes or any(len(shape) != 2 or shape[-1] != shapes[0][-1] for shape in shapes):
        raise ValueError(
            "Expected a functional keras.Model with one output [batch, classes] of logits for each "
            f"sub-model, smallest first. Received: network={network!r} with output shapes {shapes}"
        )
    found = tuple(getattr(network, "submodel_names", None) or network.output_names)
    # Two outputs of one layer share that layer's name.
    unique = len(set(found)) == len(shapes)
    return found if unique else tuple(f"output_{k}" for k in range(1, len(shapes) + 1))


def cut(network, index):
    """Returns sub-model `index` as a `keras.Model` without what only the others use.

    A network with a method `submodel` decides itself; of any other, what leads to that output
    remains, sharing its weights with the network.

    Args:
        network: As for `names`.
        index: 0 for the smallest.
    """
    if hasattr(network, "submodel"):
        return network.submodel(index)
    return keras.Model(network.input, network.outputs[index], name=names(network)[index])
