"""Exports a sub-model of a finished run to files that run without this package.

  python -m ipkd_tf export --run=runs/quickstart/seed0 --submodel=exit_3 --format=litert,onnx
  python -m ipkd_tf export --run=runs/quickstart/seed0 --budget=2M --format=litert_int8
  python -m ipkd_tf export --run=runs/quickstart/seed0 --submodel=all --format=saved_model

Each file is loaded by its own runtime and compared with the network on test images before it
counts. Files and manifest.json go to RUN/export/SUBMODEL; three lines say how to run each.
"""

from absl import flags

from ipkd_tf.deployment import budget as budgets
from ipkd_tf.deployment.export import formats
from ipkd_tf.tools import command

FLAGS = flags.FLAGS
_CHOICE_IMAGES = 1000  # A choice measures every sub-model: a part of the test images is enough.


def define_flags(values=flags.FLAGS):
    command.define_run_flags(values, timed=True)
    define = command.definer(values)
    define("submodel", "", "Its name, such as exit_3 or width_0.5; or all.")
    define(
        "budget",
        "",
        "Instead of --submodel: the most accurate one within 20M (multiply-adds), 500k parameters "
        "(or another cost of the network by its name), 500kB (of the file) or 5ms (median per "
        "call on this machine). Files are those of the first format.",
    )
    define("format", ["saved_model"], f"From {', '.join(formats.FORMATS)}.")
    define("output", "", "Directory; empty: RUN/export/SUBMODEL.")
    define("images", 0, "Test images to compare on, of all classes; 0: all.", lower_bound=0)
    define(
        "difference",
        float,
        "Largest difference of a logit that is tolerated, as a share of the largest logit; "
        "default: by format.",
    )
    define("agreement", float, "Least share of images with equal decisions; default: by format.")
    define("overwrite", False, "Replace the export of another network in the directory.")


def main():
    """Opens the run, chooses the sub-model, exports it and says how the files are run."""
    if bool(FLAGS.submodel) == bool(FLAGS.budget):
        raise ValueError(
            f"Expected either a submodel or a budget. Received: submodel={FLAGS.submodel!r}, "
            f"budget={FLAGS.budget!r}"
        )
    budget = budgets.Budget.parse(FLAGS.budget) if FLAGS.budget else None
    tolerance = formats.Tolerance(FLAGS.difference, FLAGS.agreement)
    formats.check_formats(FLAGS.format, several=FLAGS.submodel == "all")
    timed = budget and budget.quantity == "milliseconds"
    run = command.open_run(FLAGS, FLAGS.threads if timed else 0)
    from ipkd_tf.deployment.export import writing
    from ipkd_tf.models import flexible

    name = _choose(run, budget) if budget else FLAGS.submodel
    directory = command.output_directory(FLAGS, "export", name)
    if name != "all":
        run.recalibrate(name)
        flexible.cut(run.network, name)  # An unknown one is refused before data is read.
    document = writing.export_submodel(
        run.network,
        name,
        directory,
        FLAGS.format,
        **command.test_data(run, FLAGS.images),
        class_names=run.splits.dataset.class_names,
        rows=run.rows,
        run={"epoch": run.epoch, "result": run.result},
        tolerance=tolerance,
        overwrite=FLAGS.overwrite,
    )
    print(writing.describe(document, directory, FLAGS.format))


def _choose(run, budget):
    """The name of the most accurate sub-model within a budget, which is printed with its cost."""
    from ipkd_tf.deployment import trade_off

    rows, conditions = run.rows, ""
    if budget.quantity not in rows[0]:
        conditions = trade_off.Conditions(FLAGS.batch_size, FLAGS.threads)
        settings = command.test_data(run, FLAGS.images or _CHOICE_IMAGES)
        rows = trade_off.measure(
            run.network, formats=FLAGS.format[:1], conditions=conditions, rows=rows, **settings
        )
    row = budgets.choose(rows, budget)
    cost = budgets.amount(row[budget.quantity], budget.quantity)
    print(f"The most accurate sub-model within {budget.text}: {row['name']} with {cost}")
    if budget.quantity == "milliseconds":
        print(
            f"  (median of the {row['format']} file; 95th percentile {row['p95_ms']:.3g} ms; "
            f"{conditions})"
        )
    return row["name"]


if __name__ == "__main__":
    command.start(define_flags, main)
