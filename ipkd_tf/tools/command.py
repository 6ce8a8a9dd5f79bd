"""What the programs have in common: start, one line for an error, flags, the run they open."""

import contextlib
import inspect
import os
import pathlib
import sys

from absl import app, flags, logging

from ipkd_tf.output import counter
from ipkd_tf.output.checks import check

flags.disclaim_key_flags()  # What is defined here is listed by the --help of each program.
_DEFINE = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    list: flags.DEFINE_list,
}
_CALIBRATION_IMAGES = 512
# Listed without importing what reads them, so that --help comes at once.
_PATHS = (pathlib.Path(__file__).parents[1] / "models" / "trained").glob("*/best.keras")
TRAINED = ", ".join(sorted(path.parent.name for path in _PATHS))


def start(define_flags, main, help_text=None, unknown=""):
    """Runs a program; it imports what is slow only in `main`, so that --help comes at once.

    `main` takes nothing, or the list of what stands beside the flags; `help_text()` is what --help
    shows instead of the program's docstring and flags; `unknown` is a hint for an unknown flag.
    """
    define_flags()
    if {"--help", "-help", "-h", "-?"} & {*sys.argv[1:]}:
        print((help_text or _help_text)())
        sys.exit(0)
    app.run(lambda argv: run(main, argv), flags_parser=lambda argv: parse(argv, unknown=unknown))


def parse(argv, values=flags.FLAGS, unknown=""):
    """What stands beside the flags; flags in error are one line and status 1, as in `run`."""
    try:
        return values(argv)
    except flags.Error as error:
        message, hint = str(error).removeprefix("ERROR:: "), "--help lists the settings."
        if isinstance(error, flags.CantOpenFlagFileError):
            hint = "python -m ipkd_tf init writes the package's to runs/."
        elif isinstance(error, flags.UnrecognizedFlagError) and unknown:
            hint = f"{unknown}; {hint}"
        print(f"{_name(argv)}: {message}\n{hint}", file=sys.stderr)
        sys.exit(1)


def _help_text():
    """The program's docstring and flags, without the file they stand in."""
    _, _, listed = flags.FLAGS.main_module_help().strip().partition("\n")
    text = sys.modules["__main__"].__doc__.strip()
    return f"{text}\n\nSettings:\n{listed}" if listed else text


def run(main, argv):
    """Runs a program's work; a user's error is one line and status 1, unless --verbosity=1."""
    if flags.FLAGS.verbosity <= 0:
        logging.set_verbosity(logging.ERROR)
    takes_arguments = inspect.signature(main).parameters
    try:
        if not takes_arguments:
            check_only_flags(argv)
        with counter.shown():
            return main(argv[1:]) if takes_arguments else main()
    except (ValueError, OSError, FloatingPointError) as error:
        if flags.FLAGS.verbosity > 0:
            raise
        print(f"{_name(argv)}: {error}", file=sys.stderr)
        return 1


def _name(argv):
    return argv[0].rpartition("/")[-1].removesuffix(".py")


def check_only_flags(argv):
    if argv[1:]:
        raise ValueError(f"settings are given as --name=value. Received: {argv[1]}")


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


def definer(values):
    """A function that defines a flag of its default's type; a type for a default means none."""

    def define(name, default, help, choices=None, **options):
        kind, default = (default, None) if isinstance(default, type) else (type(default), default)
        options |= {"help": help, "flag_values": values}
        if choices:
            flags.DEFINE_enum(name, default, choices, **options)
        else:
            _DEFINE[kind](name, default, **options)

    return define


def define_run_flags(values, timed=False):
    """The flags of every program that opens a finished run, and of those that time its files."""
    define = definer(values)
    define("run", "", "Directory of a finished run.")
    define("preset", "", f"Instead of --run: a trained network of the package: {TRAINED}.")
    define("epoch", "best", "Which network of the run.", ["best", "last"])
    define("data_dir", "", "Where the data set is now; empty: where the run read it.")
    define("model", "", "Family of your own that the run trained: package.module:Class.")
    if timed:
        define("threads", 1, "Of the timed calls; 0: the runtime's choice.", lower_bound=0)
        define("batch_size", 1, "Images in a timed call.", lower_bound=1)


def define_held_out_flag(values):
    """The flag of every program that fits something on held-out images."""
    definer(values)(
        "from_training",
        0,
        "If the run held no images out: take so many of its training images. It was trained on "
        "them, so its sub-models look more accurate, surer and more alike than they are.",
        lower_bound=0,
    )


def open_run(values, threads=0):
    """Opens the run, or the trained network of the package, that `define_run_flags` names."""
    received = {"run": values.run, "preset": values.preset}
    check(bool(values.run) != bool(values.preset), "either a run or a preset", **received)
    expected = "of a preset its best epoch alone; leave --epoch out, or name a run"
    check(values.run or values.epoch == "best", expected, epoch=values.epoch, preset=values.preset)
    # Before TensorFlow is imported, which takes seconds.
    there = values.preset or pathlib.Path(values.run, "result.json").is_file()
    expected = "the directory of a finished run, such as runs/quickstart/seed0"
    check(there, expected, run=values.run)
    start_tensorflow(threads)
    from ipkd_tf.models import trained
    from ipkd_tf.training import finished_run

    directory = trained.find(values.preset) if values.preset else values.run
    return finished_run.open_run(directory, values.epoch, values.data_dir, values.model)


def output_directory(values, *parts):
    """Where --output says, or else below the run's directory, or one of the preset's name here."""
    return pathlib.Path(values.output or pathlib.Path(values.run or values.preset, *parts))


def test_data(run, count):
    """Images of a run to compare on (0 for all) and to calibrate with, drawn from all classes."""
    from ipkd_tf import data

    train, test = run.splits.train, run.splits.test
    test = test.subset(data.draw(test.labels, count or None))
    return {
        "images": test,
        "labels": test.labels,
        "calibration_images": train.images(data.draw(train.labels, _CALIBRATION_IMAGES)),
    }


def read_held_out(run, from_training, what):
    """A run's held-out `Examples`, on which is done `what`, such as "thresholds are fitted"."""
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
