"""Trains a flexible network with in-place knowledge distillation.

  python train_main.py --flagfile=runs/quickstart.flags
  python train_main.py --flagfile=runs/quickstart.flags --method=none --seed=1

Outputs go to runs/NAME/seedSEED, where NAME is the flag file's. The same command goes on where
an interrupted run stopped.
"""

import argparse
import dataclasses
import os
import pathlib
import sys

from absl import app, flags, logging

from ipkd_tf.training.experiment import Experiment

FLAGS = flags.FLAGS
_DEFINE = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


def define_flags():
    """One flag for each setting of an Experiment."""
    for field in dataclasses.fields(Experiment):
        if choices := field.metadata["choices"]:
            flags.DEFINE_enum(field.name, field.default, choices, field.metadata["help"])
        else:
            _DEFINE[field.type](field.name, field.default, field.metadata["help"])


def flagfile_stem(argv):
    """Name of the last flag file given on the command line, without directory and ending."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--flagfile", "-flagfile", default="")
    return pathlib.Path(parser.parse_known_args(argv)[0].flagfile).stem


def experiment_from_flags(argv):
    """The Experiment the flags describe; a run without --name is called like its flag file."""
    settings = {field.name: FLAGS[field.name].value for field in dataclasses.fields(Experiment)}
    return Experiment(**{**settings, "name": settings["name"] or flagfile_stem(argv)})


def train(experiment):
    """Imports what trains, and TensorFlow with it, only now; both without their chatter."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if FLAGS.verbosity <= 0:
        logging.set_verbosity(logging.WARNING)
    from ipkd_tf.training import loop, sigterm

    try:
        loop.run(experiment)
    except sigterm.Terminated:
        print(sigterm.MESSAGE)


def main(argv):
    try:
        if unexpected := argv[1:]:
            raise ValueError(f"settings are given as --name=value. Received: {unexpected[0]}")
        train(experiment_from_flags(sys.argv[1:]))
    except KeyboardInterrupt:
        print(
            "\nInterrupted: the last checkpoint is kept, the same command goes on from there.",
            file=sys.stderr,
        )
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        if FLAGS.verbosity > 0:
            raise
        print(f"train_main.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    define_flags()
    app.run(main)
