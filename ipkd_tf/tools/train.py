"""Trains a flexible network with in-place knowledge distillation.

  python train_main.py --flagfile=runs/quickstart.flags
  python train_main.py --flagfile=runs/quickstart.flags --method=none --seed=1

Outputs go to runs/NAME/seedSEED, where NAME is the flag file's. The same command goes on where
an interrupted run stopped. Settings by section:
"""

import argparse
import pathlib
import sys
import warnings

from absl import app, flags, logging

from ipkd_tf.tools import command
from ipkd_tf.training import settings
from ipkd_tf.training.experiment import Experiment

FLAGS = flags.FLAGS
_DEFINE = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


def define_flags(values=flags.FLAGS):
    """One flag for each setting of an Experiment."""
    for section, fields in settings.sections(Experiment).items():
        for field in fields:
            arguments = {"flag_values": values, "module_name": section}
            help, choices = field.metadata["help"], field.metadata["choices"]
            if choices:
                flags.DEFINE_enum(field.name, field.default, choices, help, **arguments)
            else:
                _DEFINE[field.type](field.name, field.default, help, **arguments)


def help_text():
    """What --help shows: every setting, section by section."""
    values = flags.FlagValues()
    define_flags(values)
    return f"{__doc__}{values.get_help()}"


def experiment_from_flags(arguments, values=flags.FLAGS):
    """The Experiment the flags describe; a run without --name is called like its flag file."""
    fields = [field for section in settings.sections(Experiment).values() for field in section]
    given = {field.name: values[field.name].value for field in fields}
    return Experiment(**{**given, "name": given["name"] or _flagfile_stem(arguments)})


def parse(arguments):
    """The Experiment that a list of arguments describes, apart from this process's flags.

    Raises:
        ValueError, flags.Error: They are not settings.
    """
    values = flags.FlagValues()
    define_flags(values)
    _check_only_settings(values(["", *arguments]))
    return experiment_from_flags(arguments, values)


def _flagfile_stem(arguments):
    """Name of the last flag file given, without directory and ending."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--flagfile", "-flagfile", default="")
    return pathlib.Path(parser.parse_known_args(arguments)[0].flagfile).stem


def _check_only_settings(argv):
    if argv[1:]:
        raise ValueError(f"settings are given as --name=value. Received: {argv[1]}")


def _train(experiment):
    """Imports what trains, and TensorFlow with it, only now; both without their chatter."""
    if FLAGS.verbosity <= 0:
        logging.set_verbosity(logging.WARNING)
    command.start_tensorflow()
    from ipkd_tf.training import loop, sigterm

    try:
        loop.run(experiment)
    except sigterm.Terminated:
        print(sigterm.MESSAGE)


def main(argv):
    """Trains; returns the exit status. An error in what the user gave is one line."""
    name = pathlib.Path(sys.argv[0]).name
    try:
        _check_only_settings(argv)
        _train(experiment_from_flags(sys.argv[1:]))
    except KeyboardInterrupt:
        print(
            "\nInterrupted: the last checkpoint is kept, the same command goes on from there.",
            file=sys.stderr,
        )
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        if FLAGS.verbosity > 0:
            raise
        print(f"{name}: {error}", file=sys.stderr)
        return 1


def start():
    """Runs the program: --help needs nothing slow, a warning is one line."""
    define_flags()
    if command.HELP & {*sys.argv[1:]}:
        print(help_text())
        sys.exit(0)
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    app.run(main)


if __name__ == "__main__":
    start()
