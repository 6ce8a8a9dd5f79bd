"""All numbers a run's next step depends on: from variables to arrays and back."""

import numpy as np

from ipkd_tf.training import workers


def variables(distiller):
    """The variables of network (random states too) and optimizer, by number: names count on."""
    groups = {"network": distiller.network.variables, "optimizer": distiller.optimizer.variables}
    return {
        f"{group}/{number}": variable
        for group, members in groups.items()
        for number, variable in enumerate(members)
    }


def metrics(distiller):
    """Each replica's own sums of the metrics, by name: their total may round differently."""
    local = distiller.distribute_strategy.experimental_local_results
    return {
        f"metrics/{number}/{replica}": part
        for number, variable in enumerate(distiller.metrics_variables)
        for replica, part in enumerate(local(variable.value))
    }


def read(parts):
    return {name: part.numpy() for name, part in parts.items()}


def read_metrics(distiller):
    """The arrays of `metrics`; what other workers hold is added to the first replica's."""
    arrays, strategy = read(metrics(distiller)), distiller.distribute_strategy
    if workers.count(strategy) > 1:
        first = [name for name in arrays if name.endswith("/0")]
        local = np.stack(
            [sum(a for name, a in arrays.items() if name.startswith(one[:-1])) for one in first]
        )
        others = workers.total(strategy, local) - local
        arrays |= {name: arrays[name] + more for name, more in zip(first, others, strict=True)}
    return arrays


def assign(parts, arrays):
    """Gives variables the arrays of the same names, and there must be no others."""
    if different := sorted(parts.keys() ^ arrays.keys()):
        raise ValueError(
            "the checkpoint belongs to another network or number of devices; choose another "
            f"--workdir, or remove it. Received: {different[0]}"
        )
    for name, part in parts.items():
        part.assign(arrays[name])
