"""What a search found within its budget, against random sub-models that cost as much.

python -m ipkd_tf search --run=runs/ofa/seed0 --budget=12M --output=/tmp/12M
python -m benchmarks.search --run=runs/ofa/seed0 --searches=/tmp/12M,/tmp/16M

Random ones cost 90 to 100 % of the budget in multiply-adds. All are compared on the test images,
after the same estimation of their statistics.
"""

import pathlib
import random
import statistics

from absl import flags

from benchmarks import recalibration
from ipkd_tf.output import files, tables
from ipkd_tf.tools import command

_COLUMNS = (
    ("budget", "budget", "{}"),
    ("found", "name", "{}"),
    ("test accuracy %", "found", tables.percent),
    ("random: mean %", "mean", tables.percent),
    ("best %", "best", tables.percent),
    ("random ones that are better", "better", "{}"),
)


def define_flags():
    command.define_run_flags(flags.FLAGS)
    flags.DEFINE_list("searches", None, "Directories of finished searches.", required=True)
    flags.DEFINE_integer("random", 20, "Random sub-models for each.")
    flags.DEFINE_integer("seed", 0, "Of their draw.")


def main():
    """Prints a row for each search."""
    run = command.open_run(flags.FLAGS)
    images = run.splits.test.images()
    rows = []
    for directory in flags.FLAGS.searches:
        document = files.read_json(pathlib.Path(directory, "search.json"))
        generator = random.Random(flags.FLAGS.seed)
        submodels = draw_within(run.network, document["budget"], flags.FLAGS.random, generator)
        accuracies = [_accuracy(run, submodel, images) for submodel in submodels]
        found = document["chosen"]
        rows.append(
            {
                "budget": document["budget"],
                "name": found["name"],
                "found": found["test_accuracy"],
                "mean": statistics.mean(accuracies),
                "best": max(accuracies),
                "better": sum(one > found["test_accuracy"] for one in accuracies),
            }
        )
    print(tables.text(rows, _COLUMNS, "pipe"))


def draw_within(network, text, count, generator, draws=2_000):
    """Different random sub-models that cost 90 to 100 % of a budget in multiply-adds.

    Raises:
        ValueError: There are not so many.
    """
    from ipkd_tf.deployment.budget import Budget
    from ipkd_tf.models import cost

    limit, drawn = Budget.parse(text).limit, {}
    for _ in range(draws):
        submodel = recalibration.draw_submodel(network, generator)
        if submodel.name not in drawn:
            counted = cost.of_submodel(network, submodel)["multiply_adds"]
            if 0.9 * limit <= counted <= limit:
                drawn[submodel.name] = submodel
        if len(drawn) == count:
            return [*drawn.values()]
    raise ValueError(
        f"Expected {count} sub-models that cost 90 to 100 % of {text}, found {len(drawn)}; take "
        f"another budget. Received: budget={text!r}"
    )


def _accuracy(run, submodel, images):
    from ipkd_tf.deployment import search

    run.recalibrate(submodel.name)
    return search.accuracy(run.network.submodel(submodel), images, run.splits.test.labels)


if __name__ == "__main__":
    command.start(define_flags, main)
