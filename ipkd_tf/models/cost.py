"""What a sub-model costs: a table of named quantities."""

import collections.abc
import dataclasses
import math

from ipkd_tf.models import flexible
from ipkd_tf.models.multiply_adds import multiply_adds


@dataclasses.dataclass(frozen=True)
class Cost:
    """One named quantity of a sub-model, the same on every machine."""

    name: str  # key in rows and files, such as multiply_adds
    label: str  # what tables and figures call it
    unit: str  # letter of the unit in which these give it, such as M
    scale: float  # how many of the quantity are one unit
    measure: collections.abc.Callable  # the plain model of a sub-model and its Submodel to a number


def parameters(model):
    """Returns the number of trainable parameters, int."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


COSTS = (
    Cost("parameters", "parameters", "M", 1e6, lambda model, submodel: parameters(model)),
    Cost("multiply_adds", "multiply-adds", "M", 1e6, lambda model, submodel: multiply_adds(model)),
)


def table(network):
    """Returns the costs that a network has: tuple of `Cost`, its family's own or `COSTS`."""
    return getattr(network, "costs", COSTS)


def of_submodel(network, which):
    """Returns the costs of one sub-model, cut out of the network: a dict by name.

    Args:
        network: A flexible network, or any functional multi-output model.
        which: Number, name or `Submodel`.

    Example:
        >>> of_submodel(ipkd_tf.models.MSDNet(), "exit_1")
        {'parameters': 419146, 'multiply_adds': 13244672}
    """
    if isinstance(network, flexible.FlexibleNetwork):
        submodel = network.resolve(which)
        # Its weights do not matter, and may not be complete before it is recalibrated.
        model = network.build_submodel(submodel) or flexible.cut(network, submodel)
    else:
        model = flexible.cut(network, which)
        submodel = flexible.Submodel(flexible.names(network)[flexible.find(network, which)])
    return {cost.name: cost.measure(model, submodel) for cost in table(network)}
