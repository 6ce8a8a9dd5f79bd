"""Test accuracy of sub-models of a finished run, before and after their statistics are estimated.

python -m benchmarks.recalibration --run=runs/us/seed0 --submodels=width_0.25,width_0.33,width_0.6
python -m benchmarks.recalibration --run=runs/ofa/seed0 --random=6

Before: with the statistics of the largest sub-model, as a network has that keeps only one set.
"""

import random

from absl import flags

from ipkd_tf.output import tables
from ipkd_tf.tools import command

_COLUMNS = (
    ("sub-model", "name", "{}"),
    ("multiply-adds", "multiply_adds", "{:,}"),
    ("before %", "before", tables.percent),
    ("after %", "after", tables.percent),
)


def define_flags():
    command.define_run_flags(flags.FLAGS)
    flags.DEFINE_list("submodels", [], "Names; those that the network names come first.")
    flags.DEFINE_integer("random", 0, "Further ones, drawn from the network's space.")
    flags.DEFINE_integer("seed", 0, "Of that draw.")


def main():
    """Prints a row for each sub-model, cheapest first."""
    run = command.open_run(flags.FLAGS)
    from ipkd_tf.deployment import search

    network, test = run.network, run.splits.test
    generator = random.Random(flags.FLAGS.seed)
    drawn = [draw_submodel(network, generator).name for _ in range(flags.FLAGS.random)]
    images = test.images()
    rows = []
    for name in dict.fromkeys([*run.names, *flags.FLAGS.submodels, *drawn]):
        run.recalibrate(name)
        before, after = borrow_statistics(network, name), network.submodel(name)
        accuracies = [search.accuracy(model, images, test.labels) for model in (before, after)]
        rows.append(_row(network, name, *accuracies))
    rows.sort(key=lambda row: row["multiply_adds"])
    print(tables.text(rows, _COLUMNS, "pipe"))


def draw_submodel(network, generator):
    """A sub-model with each of its choices drawn evenly."""
    space = network.space()
    return network.compose({gene: generator.choice(choices) for gene, choices in space.items()})


def borrow_statistics(network, name):
    """A sub-model that normalises by the leading statistics of the largest one."""
    import keras

    model, largest = network.submodel(name), network.submodel(-1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            source, size = largest.get_layer(layer.name), layer.moving_mean.shape[0]
            layer.moving_mean.assign(source.moving_mean[:size])
            layer.moving_variance.assign(source.moving_variance[:size])
    return model


def _row(network, name, before, after):
    from ipkd_tf.models import cost

    return {"name": name, "before": before, "after": after, **cost.of_submodel(network, name)}


if __name__ == "__main__":
    command.start(define_flags, main)
