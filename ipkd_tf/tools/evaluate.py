"""Evaluates every sub-model of a finished run again, on one of its splits.

  python -m ipkd_tf evaluate --run=runs/quickstart/seed0
  python -m ipkd_tf evaluate --run=runs/quickstart/seed0 --epoch=last --split=validation

Prints a row for each sub-model: accuracy, loss, calibration error, cost.
"""

from absl import flags

from ipkd_tf.tools import command

FLAGS = flags.FLAGS


def define_flags(values=flags.FLAGS):
    command.define_run_flags(values)
    define = command.definer(values)
    define("split", "test", "On which images.", ["test", "validation", "train"])
    define("batch_size", 250, "Images in a forward pass.", lower_bound=1)


def main():
    """Prints the table of the sub-models."""
    run = command.open_run(FLAGS)
    from ipkd_tf import data
    from ipkd_tf.models.precision import is_available
    from ipkd_tf.training import evaluation, summary

    examples = getattr(run.splits, FLAGS.split)
    precision = run.experiment.precision
    precision = precision if is_available(precision) else "float32"
    dataset = data.evaluation(examples, batch_size=FLAGS.batch_size)
    title = (
        f"{run.result['name']}, {FLAGS.epoch} epoch: scores on {len(examples)} {FLAGS.split} images"
        + (f" in {precision}" if precision != "float32" else "")
    )
    with data.explain_failure(examples):
        rows = evaluation.evaluate(run.load(precision), dataset)
    print(summary.score_table(title, rows))


if __name__ == "__main__":
    command.start(define_flags, main)
