"""Sub-models of any functional multi-output network, by number and by name."""

import dataclasses
import operator
import re

from ipkd_tf.models import checks


@dataclasses.dataclass(frozen=True)
class Submodel:
    """Names one sub-model of a network.

    Attributes:
        name: As in metrics, files and signatures, such as `exit_1` or `width_0.25`.
        choice: What its family needs to know of it, hashable; () for exits.
    """

    name: str
    choice: tuple = ()


def names(network):
    """Returns one name for each sub-model, smallest first: the network's own, or of its outputs.

    A plain model of one output goes by the name that it was given, so that a sub-model is called
    the same inside its network and cut out of it.

    Args:
        network: A functional `keras.Model` with one output `[batch, classes]` of logits for each
            sub-model; an attribute `submodel_names` takes precedence over the outputs' names.

    Raises:
        ValueError: The outputs are not as described.

    Example:
        >>> names(ipkd_tf.models.MSDNet(blocks=2))
        ('exit_1', 'exit_2')
    """
    checks.check_outputs(network)
    own = tuple(getattr(network, "submodel_names", None) or ())
    if not own:
        alone = len(network.outputs) == 1 and not _is_automatic(network.name, type(network))
        own = (network.name,) if alone else tuple(network.output_names)
    # Two outputs of one layer share that layer's name.
    unique = len(set(own)) == len(network.outputs)
    return own if unique else tuple(f"output_{k}" for k in range(1, len(network.outputs) + 1))


def _is_automatic(name, kind):
    """Whether Keras made up the name of an object, such as `functional_3`, which counts on."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.__name__).lower()
    return re.fullmatch(rf"{words}(_\d+)?", name) is not None


def find(network, which):
    """Returns the number of a named sub-model, 0 for the smallest.

    Args:
        network: As for `names`.
        which: Its number (negative ones count from the largest), its name, or a `Submodel`.

    Raises:
        IndexError: There is none of that number.
        ValueError: There is none of that name.

    Example:
        >>> find(network, "exit_1"), find(network, -1)
        (0, 6)
    """
    known, name = names(network), getattr(which, "name", which)
    if isinstance(name, str):
        checks.check(name in known, f"a sub-model of these: {', '.join(known)}", submodel=name)
        return known.index(name)
    try:
        index = operator.index(name)
    except TypeError as error:
        raise ValueError(
            f"Expected a sub-model's number or name, or a Submodel. Received: submodel={name!r}"
        ) from error
    if not -len(known) <= index < len(known):
        raise IndexError(
            f"Expected a sub-model from 0 to {len(known) - 1} ({', '.join(known)}). "
            f"Received: submodel={index}"
        )
    return index % len(known)
