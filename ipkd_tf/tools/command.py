"""What the programs have in common: one line for an error, TensorFlow's threads and chatter."""

import contextlib
import os
import sys

import tensorflow as tf
from absl import flags, logging


def run(act, argv, silent=False):
    """Runs a program's work; an error in what the user gave is one line and exit status 1.

    `silent` keeps off the terminal what the libraries below Python write there.
    """
    logging.set_verbosity(logging.ERROR)
    try:
        if unexpected := argv[1:]:
            raise ValueError(f"settings are given as --name=value. Received: {unexpected[0]}")
        with quiet() if silent else contextlib.nullcontext():
            return act()
    except (ValueError, OSError) as error:
        print(f"{argv[0].rpartition('/')[-1].removesuffix('.py')}: {error}", file=sys.stderr)
        return 1


@contextlib.contextmanager
def quiet():
    """Sends everything that goes to stderr meanwhile nowhere."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def limit_threads(threads):
    """Lets TensorFlow use so many threads within an operation; 0 leaves the choice to it."""
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)


def define_opening_flags(values):
    """The flags of every program that opens a finished run."""
    flags.DEFINE_string(
        "run", None, "Directory of a finished run.", required=True, flag_values=values
    )
    flags.DEFINE_enum(
        "epoch", "best", ["best", "last"], "Which network of the run.", flag_values=values
    )
    flags.DEFINE_string(
        "data_dir",
        "",
        "Where the data set is now; empty: where the run read it.",
        flag_values=values,
    )


def define_run_flags(values):
    """The flags of every program that opens a finished run and measures files."""
    define_opening_flags(values)
    flags.DEFINE_integer(
        "threads", 1, "Of the timed calls; 0: the runtime's choice.", flag_values=values
    )
    flags.DEFINE_integer("batch_size", 1, "Images in a timed call.", flag_values=values)
