r"""Measures training, inference and the input pipeline on this machine.

  python -m benchmarks.command --output=benchmark.json
  python -m benchmarks.command --cases=training --baseline=benchmark.json
  python -m benchmarks.command --cases=growth --growth_png=growth.png
  python -m benchmarks.command --cases=peer --methods=none,ipkd_ta_m \
      --peer="python torch_step.py --model={model} --batch_size={batch_size} --method={method} \
--steps={steps}"
"""

import sys

from absl import app, flags

import benchmarks
from benchmarks import growth, tables
from ipkd_tf.output import files
from ipkd_tf.tools import command

FLAGS = flags.FLAGS
_DEFAULTS = benchmarks.Settings()
_FIRST_CASES = ["start", "training", "forward", "export", "pipeline"]


def define_flags():
    flags.DEFINE_list(
        "cases", _FIRST_CASES, f"What to measure, from {', '.join(benchmarks.CASES)}."
    )
    flags.DEFINE_list("models", list(_DEFAULTS.models), "Networks, as --model of train_main.py.")
    flags.DEFINE_list(
        "batch_sizes", [], "One for each model; by default 128 for slimmable networks, else 64."
    )
    flags.DEFINE_list("methods", list(_DEFAULTS.methods), "Ratios are against none.")
    flags.DEFINE_integer("num_classes", _DEFAULTS.num_classes, "Classes of the networks.")
    flags.DEFINE_integer("image_size", _DEFAULTS.image_size, "Height and width, pixels.")
    flags.DEFINE_integer("repeats", _DEFAULTS.repeats, "Rounds over the cases; medians are shown.")
    flags.DEFINE_integer("steps", _DEFAULTS.steps, "Steps in one sample.")
    flags.DEFINE_enum(
        "precision",
        _DEFAULTS.precision,
        ["float32", "mixed_bfloat16", "mixed_float16"],
        "Arithmetic of the networks.",
    )
    flags.DEFINE_enum(
        "jit_compile",
        _DEFAULTS.jit_compile,
        ["auto", "true", "false"],
        "Whether XLA compiles the step. Slow on a CPU; auto is Keras's choice.",
    )
    flags.DEFINE_integer("steps_per_execution", 1, "Steps per call from Python.")
    flags.DEFINE_integer("intra_op_threads", 0, "Within an operation; 0: TensorFlow's choice.")
    flags.DEFINE_integer("inter_op_threads", 0, "Operations at a time; 0: TensorFlow's choice.")
    flags.DEFINE_integer(
        "process_repeats",
        1,
        "Rounds where each sample is a process of its own: start, growth, peer.",
    )
    flags.DEFINE_boolean("quick", False, "Two values of each quantity in the growth curves.")
    flags.DEFINE_string(
        "peer",
        "",
        "For the case peer: a command that prints one JSON line with images_per_s and params, with "
        "placeholders {model}, {batch_size}, {method}, {steps}, {num_classes}, {image_size}. "
        "Threads are its own business.",
    )
    flags.DEFINE_list(
        "peer_models",
        ["slimmable_mobilenet_v1=slimmable"],
        "What {model} becomes, as OURS=THEIRS; other models keep their name.",
    )
    flags.DEFINE_string("output", "", "File for the result, JSON.")
    flags.DEFINE_string("baseline", "", "Earlier --output file to compare with, by ratio.")
    flags.DEFINE_string("growth_png", "", "File for the figure of the growth curves.")


def settings_from_flags():
    """The benchmark's Settings."""
    same = ("num_classes", "image_size", "repeats", "steps", "precision", "jit_compile", "peer")
    same += ("steps_per_execution", "intra_op_threads", "inter_op_threads", "process_repeats")
    return benchmarks.Settings(
        models=tuple(FLAGS.models),
        batch_sizes=_whole_numbers(FLAGS.batch_sizes) or tuple(map(_batch_size, FLAGS.models)),
        methods=tuple(FLAGS.methods),
        quick=FLAGS.quick,
        peer_models=_pairs(FLAGS.peer_models),
        **{name: FLAGS[name].value for name in same},
    )


def _whole_numbers(texts):
    try:
        return tuple(int(text) for text in texts)
    except ValueError as error:
        raise ValueError(f"Expected whole numbers. Received: batch_sizes={texts}") from error


def _batch_size(model):
    return 128 if model.startswith("slimmable") else 64


def _pairs(texts):
    pairs = [text.split("=") for text in texts]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"Expected OURS=THEIRS, ... Received: peer_models={texts}")
    return dict(pairs)


def benchmark():
    """Measures what the flags ask for, prints it and writes the files."""
    settings = settings_from_flags()
    baseline = tables.read(FLAGS.baseline) if FLAGS.baseline else None
    result = benchmarks.run(
        settings, FLAGS.cases, begins=lambda case: print(f"measuring {case}", file=sys.stderr)
    )
    differences = tables.add_baseline(result, baseline) if baseline else []
    print(tables.table(result))
    for difference in differences:
        print(f"Not as in {FLAGS.baseline}: {difference}")
    if FLAGS.output:
        files.write_json(FLAGS.output, result)
    if FLAGS.growth_png and "growth" in result["rows"]:
        growth.draw(result["rows"]["growth"], FLAGS.growth_png)


def main(argv):
    return command.run(benchmark, argv)


if __name__ == "__main__":
    define_flags()
    app.run(main)
