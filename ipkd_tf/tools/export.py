"""Exports a sub-model of a finished run to files that run without this package.

  python -m ipkd_tf.tools.export --run=runs/quickstart/seed0 --submodel=exit_3 --format=litert,onnx
  python -m ipkd_tf.tools.export --run=runs/quickstart/seed0 --budget=2M --format=litert_int8
  python -m ipkd_tf.tools.export --run=runs/quickstart/seed0 --submodel=all --format=saved_model

Each file is loaded by its own runtime and compared with the network on test images before it
counts. Files and manifest.json go to RUN/export/SUBMODEL.
"""

import dataclasses
import pathlib

from absl import flags

from ipkd_tf.tools import command

FLAGS = flags.FLAGS


def define_flags(values=flags.FLAGS):
    command.define_run_flags(values)
    flags.DEFINE_string(
        "submodel", "", "Its name, such as exit_3 or width_0.5; or all.", flag_values=values
    )
    flags.DEFINE_string(
        "budget",
        "",
        "Instead of --submodel: the most accurate one within 20M (multiply-adds), 500kB (of the "
        "file) or 5ms (median per call on this machine). Files are those of the first format.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "format", ["saved_model"], f"From {', '.join(command.FORMATS)}.", flag_values=values
    )
    flags.DEFINE_string("output", "", "Directory; empty: RUN/export/SUBMODEL.", flag_values=values)
    flags.DEFINE_integer("images", 0, "Test images to compare on; 0: all.", flag_values=values)
    flags.DEFINE_float(
        "difference",
        None,
        "Largest difference of a logit that is tolerated, as a share of the largest logit; "
        "default: by format.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "agreement",
        None,
        "Least share of images with equal decisions; default: by format.",
        flag_values=values,
    )


def main():
    """Opens the run, chooses the sub-model and exports it."""
    if bool(FLAGS.submodel) == bool(FLAGS.budget):
        raise ValueError(
            f"Expected either a submodel or a budget. Received: submodel={FLAGS.submodel!r}, "
            f"budget={FLAGS.budget!r}"
        )
    command.start_tensorflow(FLAGS.threads if FLAGS.budget.endswith("s") else 0)
    from ipkd_tf.deployment import export, trade_off

    export.check_formats(FLAGS.format, several=FLAGS.submodel == "all")
    run = command.open_run(FLAGS)
    name = FLAGS.submodel or _within_budget(run)
    settings = trade_off.export_settings(run, FLAGS.images) | {"tolerance": _tolerance()}
    directory = FLAGS.output or pathlib.Path(FLAGS.run, "export", name)
    if name == "all":
        export.export_all(run.network, directory, FLAGS.format, **settings)
    else:
        export.export_submodel(run.network, run.index(name), directory, FLAGS.format, **settings)


def _within_budget(run):
    from ipkd_tf.deployment import trade_off

    # Choosing takes every sub-model: a part of the test images is enough unless said otherwise.
    images = FLAGS.images or trade_off.Conditions.images
    conditions = trade_off.Conditions(images, FLAGS.batch_size, FLAGS.threads)
    row, text = trade_off.choose(run, FLAGS.budget, FLAGS.format[0], conditions)
    print(text)
    return row["name"]


def _tolerance():
    from ipkd_tf.deployment import export

    asked = {name: FLAGS[name].value for name in ("difference", "agreement")}
    asked = {name: value for name, value in asked.items() if value is not None}
    return (
        dataclasses.replace(export.FORMATS[FLAGS.format[0]].tolerance, **asked) if asked else None
    )


if __name__ == "__main__":
    command.start(define_flags, main)
