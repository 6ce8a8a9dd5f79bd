"""Prints and draws what every sub-model of a run reaches and costs in each format.

  python -m ipkd_tf profile --run=runs/quickstart/seed0 --format=litert,litert_int8,onnx

Files are written aside, compared with the network, timed with their own runtime and removed.
The table goes to RUN/trade_off.json as well, the figure to RUN/trade_off.png.
"""

from absl import flags

from ipkd_tf.deployment.export import formats
from ipkd_tf.output import files
from ipkd_tf.tools import command

FLAGS = flags.FLAGS


def define_flags(values=flags.FLAGS):
    command.define_run_flags(values, timed=True)
    define = command.definer(values)
    define("format", ["litert"], f"From {', '.join(formats.FORMATS)}.")
    define("output", "", "Directory; empty: that of the run.")
    define("images", 1000, "Test images for accuracy, of all classes; 0: all.", lower_bound=0)
    define("repeats", 100, "Timed calls, after 10 untimed.", lower_bound=1)


def main():
    """Measures, prints the table and writes trade_off.json and trade_off.png."""
    formats.check_formats(FLAGS.format)
    run = command.open_run(FLAGS, FLAGS.threads)
    from ipkd_tf.deployment import trade_off
    from ipkd_tf.training import environment

    conditions = trade_off.Conditions(FLAGS.batch_size, FLAGS.threads, FLAGS.repeats)
    settings = command.test_data(run, FLAGS.images)
    rows = trade_off.measure(
        run.network, formats=FLAGS.format, conditions=conditions, rows=run.rows, **settings
    )
    print(trade_off.table(rows))
    title = (
        f"{run.result['name']}: accuracy on {len(settings['labels'])} test images, latency of "
        f"{conditions}"
    )
    print(title)
    directory = command.output_directory(FLAGS)
    measured = {"conditions": title, "environment": environment.describe(), "rows": rows}
    files.write_json(directory / "trade_off.json", files.rounded(measured))
    trade_off.draw(rows, title, directory / "trade_off.png")


if __name__ == "__main__":
    command.start(define_flags, main)
