"""Trains a flexible network with in-place knowledge distillation.

  python -m ipkd_tf train --flagfile=runs/quickstart.flags
  python -m ipkd_tf train --flagfile=runs/quickstart.flags --method=none --seed=1

Outputs go to runs/NAME/seedSEED, where NAME is the flag file's. The same command goes on where
an interrupted run stopped. Settings by section:
"""

import argparse
import pathlib
import sys
import warnings

from absl import flags, logging

from ipkd_tf.tools import command
from ipkd_tf.training import settings
from ipkd_tf.training.experiment import Experiment

FLAGS = flags.FLAGS


def define_flags(values=flags.FLAGS):
    """One flag for each setting of an Experiment."""
    define = command.definer(values)
    for section, fields in settings.sections(Experiment).items():
        for one in fields:
            facts = one.metadata
            define(one.name, one.default, facts["help"], facts["choices"], module_name=section)


def help_text():
    """What --help shows: every setting, section by section."""
    values = flags.FlagValues()
    define_flags(values)
    return __doc__ + "\n".join(map(values.module_help, settings.sections(Experiment)))


def experiment_from_flags(arguments, values=flags.FLAGS):
    """The Experiment the flags describe; a run without --name is called like its flag file."""
    names = settings.as_text(Experiment())
    given = {name: values[name].value for name in names}
    return Experiment(**{**given, "name": given["name"] or _flagfile_stem(arguments)})


def parse(arguments):
    """The Experiment that arguments describe, apart from this process's flags."""
    values = flags.FlagValues()
    define_flags(values)
    command.check_only_flags(values(["", *arguments]))
    return experiment_from_flags(arguments, values)


def _flagfile_stem(arguments):
    """Name of the last flag file given, without directory and ending."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--flagfile", "-flagfile", default="")
    return pathlib.Path(parser.parse_known_args(arguments)[0].flagfile).stem


def main():
    """Trains; returns the exit status. What is slow to import comes after the settings."""
    experiment = experiment_from_flags(sys.argv[1:])
    if FLAGS.verbosity <= 0:
        logging.set_verbosity(logging.WARNING)
    command.start_tensorflow()
    from ipkd_tf.training import loop, sigterm

    try:
        if result := loop.run(experiment):
            print(_what_next(experiment, result))
    except sigterm.Terminated:
        print(sigterm.MESSAGE)
    except KeyboardInterrupt:
        print(
            "\nInterrupted: the same command goes on from the last checkpoint, "
            "or begins again if there is none yet.",
            file=sys.stderr,
        )
        return 130


def _what_next(experiment, result):
    directory, smallest = experiment.output_dir, result["best"][0]["name"]
    own = f" --model={experiment.model}" if ":" in experiment.model else ""
    return (
        f"Next: python -m ipkd_tf export --run={directory} --submodel={smallest}{own}, "
        f"or python -m ipkd_tf report {directory}"
    )


def start():
    """Runs the program, here and for `train_main.py`; a warning is one line."""
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    command.start(define_flags, main, help_text)


if __name__ == "__main__":
    start()
