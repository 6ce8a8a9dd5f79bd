"""Evaluates every sub-model of a finished run again, on its test or its validation images.

python -m ipkd_tf.tools.evaluate --run=runs/quickstart/seed0
python -m ipkd_tf.tools.evaluate --run=runs/quickstart/seed0 --epoch=last --images=validation
"""

from absl import flags

from ipkd_tf.tools import command

FLAGS = flags.FLAGS


def define_flags(values=flags.FLAGS):
    command.define_opening_flags(values)
    flags.DEFINE_enum(
        "images", "test", ["test", "validation"], "On which images.", flag_values=values
    )
    flags.DEFINE_integer("batch_size", 250, "Images in a forward pass.", flag_values=values)


def main():
    """Prints the table of the sub-models."""
    run = command.open_run(FLAGS)
    from ipkd_tf import data
    from ipkd_tf.training import evaluation, summary

    examples = getattr(run.splits, FLAGS.images)
    dataset = data.evaluation(examples, batch_size=FLAGS.batch_size)
    where = f"{len(examples)} {FLAGS.images} images"
    title = f"{run.result['name']}, {FLAGS.epoch} epoch: scores on {where}"
    print(summary.score_table(title, evaluation.evaluate(run.network, dataset)))


if __name__ == "__main__":
    command.start(define_flags, main)
