"""Searches a finished run for the most accurate sub-model within a budget, also unnamed ones.

  python -m ipkd_tf search --run=runs/quickstart_ofa/seed0 --budget=3M
  python -m ipkd_tf search --run=runs/quickstart_us/seed0 --budget=2ms --trials=40

Each candidate's statistics are estimated from training images, its accuracy on held-out ones; the
test images only say what the chosen one reaches. search.csv, search.json and the picture
go to RUN/search; a search that was interrupted goes on from its journal there.
"""

import hashlib

from absl import flags

from ipkd_tf.deployment import budget as budgets
from ipkd_tf.deployment.export import formats
from ipkd_tf.tools import command

FLAGS = flags.FLAGS
_FILE_IMAGES = 100  # on which a candidate's file is compared with the network


def define_flags(values=flags.FLAGS):
    command.define_run_flags(values, timed=True)
    command.define_held_out_flag(values)
    define = command.definer(values)
    define(
        "budget",
        str,
        "Most that the sub-model may cost, such as 3M (multiply-adds), 500kB (of its file) or 2ms.",
        required=True,
    )
    define("trials", 200, "Sub-models to try in all.", lower_bound=1)
    define("seed", 0, "Of the search.")
    names = ", ".join(formats.FORMATS)
    define("format", "litert", f"Of the file, for budgets in bytes or milliseconds: {names}.")
    define("output", "", "Directory; empty: RUN/search.")


def main():
    """Searches, prints the best sub-models and writes the files."""
    budget = budgets.Budget.parse(FLAGS.budget)
    formats.check_formats([FLAGS.format])
    timed = budget.quantity == "milliseconds"
    run = command.open_run(FLAGS, FLAGS.threads if timed else 0)
    import pandas as pd

    from ipkd_tf.deployment import search
    from ipkd_tf.output import checks, files
    from ipkd_tf.training import environment

    checks.require("optuna", extra="search")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    held_out = command.read_held_out(run, FLAGS.from_training, "sub-models are compared")
    candidates = _candidates(run, held_out, budget)
    directory = command.output_directory(FLAGS, "search")
    rows = search.search(
        candidates,
        FLAGS.trials,
        FLAGS.seed,
        directory / "journal.log",
        _describe(run, held_out),
        _tell(budget),
    )
    best = search.pareto(rows, budget.quantity)
    chosen = {**budgets.choose(rows, budget)}
    named = [candidates.measure(submodel) for submodel in run.network.submodels]
    model, test = run.network.submodel(chosen["name"]), run.splits.test
    chosen["test_accuracy"] = search.accuracy(model, test, test.labels)
    print(search.table(best, budget.quantity))
    opened = f"--run={FLAGS.run}" if FLAGS.run else f"--preset={FLAGS.preset}"
    print(
        f"Within {budget.text}: {chosen['name']}, test accuracy {chosen['test_accuracy']:.2%}, "
        f"{budgets.amount(chosen[budget.quantity], budget.quantity)}\n"
        f"  python -m ipkd_tf export {opened} --submodel={chosen['name']}"
    )
    document = {
        "search": _describe(run, held_out),
        "budget": budget.text,
        "trials": FLAGS.trials,
        "chosen": chosen,
        "best": best,
        "named": named,
        "rows": rows,
        "environment": environment.describe(),
    }
    files.write_json(directory / "search.json", files.rounded(document))
    files.write_text(directory / "search.csv", pd.DataFrame(rows).to_csv(index=False))
    title = f"{run.title}: {len(rows)} sub-models tried"
    named = [row for row in named if "accuracy" in row]
    search.draw(rows, named, budget, title, directory / "search.png")
    print(f"{directory}: {', '.join(sorted(path.name for path in directory.iterdir()))}")


def _candidates(run, held_out, budget):
    from ipkd_tf import data
    from ipkd_tf.deployment import search, trade_off
    from ipkd_tf.training import evaluation

    conditions = trade_off.Conditions(FLAGS.batch_size, FLAGS.threads)
    some = data.draw(held_out.labels, min(_FILE_IMAGES, len(held_out)))
    images = held_out.images(some)
    settings = {"labels": held_out.labels[some], "calibration_images": images}
    settings |= {"formats": [FLAGS.format], "conditions": conditions}

    def measure_file(name):
        (row,) = trade_off.measure(run.network, images, submodels=[name], **settings)
        return {key: row[key] for key in ("bytes", "milliseconds")}

    return search.Candidates(
        run.network,
        evaluation.batches_to_recalibrate(run.splits.train),
        held_out,
        held_out.labels,
        budget,
        measure_file,
    )


def _describe(run, held_out):
    """What was measured how: another network or budget is another search in the same journal."""
    file = run.directory / f"{run.epoch}.keras"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    return (
        f"{FLAGS.budget}, {FLAGS.format}, {FLAGS.threads} threads, batch {FLAGS.batch_size}, "
        f"{len(held_out)} images, seed {FLAGS.seed}, network {run.epoch} {digest}"
    )


def _tell(budget):
    """A function of the rows so far, which prints the best one when there is a better one."""
    from ipkd_tf.deployment import search
    from ipkd_tf.output import counter

    best = None

    def tell(rows):
        nonlocal best
        *_, found = [None, *search.pareto(rows, budget.quantity)]
        if found and found != best:
            best = found
            where = f"{best['name']}, held-out accuracy {best['accuracy']:.2%}"
            counter.say(f"{len(rows)} sub-models tried, the best is {where}")

    return tell


if __name__ == "__main__":
    command.start(define_flags, main)
