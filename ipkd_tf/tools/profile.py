"""Prints and draws what every sub-model of a run reaches and costs in each format.

  python -m ipkd_tf.tools.profile --run=runs/quickstart/seed0 --format=litert,litert_int8,onnx

Files are written aside, compared with the network, timed with their own runtime and removed.
The table goes to RUN/trade_off.json as well, the figure to RUN/trade_off.png.
"""

import pathlib

from absl import flags

from ipkd_tf.tools import command

FLAGS = flags.FLAGS


def define_flags(values=flags.FLAGS):
    command.define_run_flags(values)
    flags.DEFINE_list(
        "format", ["litert"], f"From {', '.join(command.FORMATS)}.", flag_values=values
    )
    flags.DEFINE_string("output", "", "Directory; empty: that of the run.", flag_values=values)
    flags.DEFINE_integer("images", 1000, "Test images for accuracy; 0: all.", flag_values=values)
    flags.DEFINE_integer("repeats", 100, "Timed calls, after 10 untimed.", flag_values=values)


def main():
    """Measures, prints the table and writes trade_off.json and trade_off.png."""
    run = command.open_run(FLAGS, FLAGS.threads)
    from ipkd_tf.deployment import trade_off
    from ipkd_tf.output import files
    from ipkd_tf.training import environment

    conditions = trade_off.Conditions(FLAGS.images, FLAGS.batch_size, FLAGS.threads, FLAGS.repeats)
    rows = trade_off.measure(run, FLAGS.format, conditions)
    print(trade_off.table(rows))
    title = f"{run.result['name']}: {trade_off.describe(run, conditions)}"
    print(title)
    directory = pathlib.Path(FLAGS.output or FLAGS.run)
    measured = {"conditions": title, "environment": environment.describe(), "rows": rows}
    files.write_json(directory / "trade_off.json", measured)
    trade_off.draw(rows, title, directory / "trade_off.png")


if __name__ == "__main__":
    command.start(define_flags, main)
