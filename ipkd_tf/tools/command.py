"""What the programs have in common: start, one line for an error, TensorFlow, shared flags."""

import contextlib
import inspect
import os
import sys

from absl import app, flags, logging

flags.disclaim_key_flags()  # What is defined here is listed by the --help of each program.
HELP = {"--help", "-help", "-h", "-?"}


def start(define_flags, main):
    """Runs a program; it imports what is slow only in `main`, so that --help comes at once.

    Args:
        define_flags: Defines its flags in `flags.FLAGS`.
        main: Its work, without arguments or with the list of what stands beside the flags.
    """
    define_flags()
    if HELP & {*sys.argv[1:]}:
        app.usage(shorthelp=True, writeto_stdout=True, exitcode=0)
    app.run(lambda argv: run(main, argv))


def run(main, argv):
    """Runs a program's work; an error in what the user gave is one line and exit status 1."""
    logging.set_verbosity(logging.ERROR)
    takes_arguments = inspect.signature(main).parameters
    try:
        if argv[1:] and not takes_arguments:
            raise ValueError(f"settings are given as --name=value. Received: {argv[1]}")
        return main(argv[1:]) if takes_arguments else main()
    except (ValueError, OSError) as error:
        print(f"{argv[0].rpartition('/')[-1].removesuffix('.py')}: {error}", file=sys.stderr)
        return 1


def start_tensorflow(threads=0):
    """Imports TensorFlow without its chatter; `threads` within an operation, 0: its choice."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet():  # It greets before it reads that level.
        import tensorflow as tf
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)


@contextlib.contextmanager
def quiet():
    """Keeps off the terminal what is written to stderr meanwhile, also below Python."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


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
    flags.DEFINE_string(
        "model", "", "Family of your own that the run trained: package.module:Class.", values
    )


def define_run_flags(values):
    """The flags of every program that opens a finished run and measures files."""
    define_opening_flags(values)
    flags.DEFINE_integer(
        "threads", 1, "Of the timed calls; 0: the runtime's choice.", flag_values=values
    )
    flags.DEFINE_integer("batch_size", 1, "Images in a timed call.", flag_values=values)


def define_held_out_flag(values):
    """The flag of every program that fits something on held-out images."""
    flags.DEFINE_integer(
        "from_training",
        0,
        "If the run held no images out: take so many of its training images. It was trained on "
        "them, so its sub-models look more accurate, surer and more alike than they are.",
        lower_bound=0,
        flag_values=values,
    )


def read_held_out(run, from_training, what):
    """The `Examples` of a run that were held out from training and from the test split.

    `what` says what is done on them, such as "thresholds are fitted".

    Raises:
        ValueError: It held none out, and `from_training` does not replace them.
    """
    if run.experiment.held_out is not None:
        return run.splits.validation
    if not from_training:
        raise ValueError(
            "The run held no images out of training, and nothing may be fitted on test images; "
            "train with --validation=holdout:5000, or give --from_training=5000 to take images it "
            f"was trained on. Received: validation={run.experiment.validation!r}"
        )
    from ipkd_tf import data

    print(f"Warning: {what} on images that the network was trained on")
    train = run.splits.train
    return train.subset(data.draw(train.labels, from_training))


def open_run(values, threads=0):
    """Opens the run that `define_opening_flags` names."""
    start_tensorflow(threads)
    from ipkd_tf.training import finished_run

    return finished_run.open_run(values.run, values.epoch, values.data_dir, values.model)
