"""Trains a list of flag files over several seeds and reports them.

  python -m ipkd_tf sweep runs/msdnet_small_cifar10_*.flags --seeds=0,1,2
  python -m ipkd_tf sweep runs/a.flags runs/b.flags --seeds=0,1 -- --data_dir=/data --epochs=3
  python -m ipkd_tf sweep runs/a.flags --vary=epochs=6,20,60 --vary=method=none,ipkd

Seed by seed, each flag file in turn; but a run that teaches another comes before that one.
Settings after -- go to every run. Each --vary crosses the runs with values of a setting; a run with
values other than its flag file's has them in its name, such as a_epochs_20_method_none, and one
that nobody teaches is the same whatever lambda or temperature. The arguments may stand in a file,
one a line: sweep --flagfile=FILE. What is finished is skipped and what was interrupted goes on, so
the same command may be given again at any time; Ctrl-C and SIGTERM let what is going on save. To
go on on another machine, take --csv along and name it with --recorded there.

One run after another uses all cores for each. Small networks train more of them an hour with
--jobs=N: N at a time, each on its share of the cores, and of the GPUs in CUDA_VISIBLE_DEVICES.
"""

import dataclasses
import itertools
import re
import sys

from absl import flags

from ipkd_tf.tools import command, report, train
from ipkd_tf.training import settings as declared
from ipkd_tf.training.experiment import Experiment

FLAGS = flags.FLAGS
_UNKNOWN = "Settings of the runs stand after --: sweep runs/a.flags -- --epochs=3"
_COMMAND = [sys.executable, "-m", "ipkd_tf.tools.train"]


def define_flags(values=flags.FLAGS):
    define = command.definer(values)
    define("seeds", ["0"], "One run of each flag file for each seed.")
    define("jobs", 1, "Runs at a time, each on its share of the machine.", lower_bound=1)
    define("submodels", [], "Each flag file for each of these, trained alone: exit_1,exit_2.")
    flags.DEFINE_multi_string(
        "vary",
        [],
        "NAME=VALUE,VALUE: each flag file with each value of this setting; semicolons between "
        "values that hold commas. Several cross.",
        flag_values=values,
    )
    define(
        "recorded",
        [],
        "CSV files that --csv wrote: a run whose scores stand in one is not made again unless it "
        "must teach, and is reported with the others. For runs of another machine.",
    )
    report.define_flags(values)
    flags.adopt_module_key_flags(report, values)  # so that --help shows them


def list_runs(arguments):
    """The runs that the flags ask for, of the flag files and settings among the arguments."""
    paths = [text for text in arguments if not text.startswith("-")]
    settings = [text for text in arguments if text.startswith("-")]
    if not paths:
        raise ValueError("Expected flag files, such as runs/*.flags. Received: none")
    varied = [_values(text) for text in FLAGS.vary]
    runs = [
        _run(path, seed, [*settings, f"--submodel={name}"] if name else settings, values)
        for seed in FLAGS.seeds
        for path in paths
        for name in FLAGS.submodels or [""]
        for values in itertools.product(*varied)
    ]
    return [run for number, run in enumerate(runs) if not varied or run not in runs[:number]]


def main(arguments):
    """Runs all, then writes the report; returns the exit status."""
    command.start_tensorflow()
    from ipkd_tf.training import sweep as sweeps

    runs = _mark_recorded(list_runs(arguments))
    failed, received = sweeps.sweep(runs, FLAGS.jobs)
    finished = [run for run in runs if run.result or run.recorded]
    print(f"{len(finished)} of {len(runs)} runs are finished.", flush=True)
    for directory, status in failed.items():
        print(f"sweep: {directory} failed, status {status}", file=sys.stderr)
    if received:
        print("Stopped: the same command goes on.", file=sys.stderr)
        return 128 + received
    if finished:
        everywhere = [str(run.directory) for run in runs]
        paths = [str(run.directory) for run in finished if run.result]
        experiments = [run.experiment for run in finished]
        report.report([*paths, *FLAGS.recorded], FLAGS, everywhere, experiments)
    return 1 if failed else 0


def _mark_recorded(runs):
    from ipkd_tf import reports

    known, _ = reports.gather(FLAGS.recorded)
    found = reports.by_experiment(known, [run.experiment for run in runs])
    if recorded := sum(not rows.empty for rows in found):
        print(f"Scores of {recorded} of {len(runs)} runs are recorded.", flush=True)
    pairs = zip(runs, found, strict=True)
    return [dataclasses.replace(run, recorded=not rows.empty) for run, rows in pairs]


def _values(text):
    """(name, value) for each value of a setting that --vary names."""
    name, equals, values = text.partition("=")
    if not equals or name in ("seed", "submodel"):
        raise ValueError(
            "Expected a setting and its values, such as epochs=6,20 (seeds and sub-models have "
            f"flags of their own). Received: vary={text!r}"
        )
    return [(name, value) for value in values.split(";" if ";" in values else ",")]


def _run(path, seed, settings, values):
    from ipkd_tf.training import sweep as sweeps

    arguments = [f"--flagfile={path}", *settings]
    try:
        if values:
            arguments += _changes(arguments, values)
        arguments.append(f"--seed={seed}")
        experiment = train.parse(arguments)
    except (ValueError, flags.Error) as error:
        raise ValueError(f"{path}: {error}") from error
    return sweeps.Run(experiment, [*_COMMAND, *arguments])


def _changes(arguments, values):
    """The flags of those values that are not a run's own already, and of its name with them."""
    own = train.parse(arguments)
    experiment = train.parse([*arguments, *(f"--{name}={value}" for name, value in values)])
    of_method = {field.name for field in declared.sections(Experiment)["method"]} - {"method"}
    changed = [
        (name, value)
        for name, value in values
        if getattr(experiment, name) != getattr(own, name)
        and not (experiment.method == "none" and name in of_method)
    ]
    name = re.sub(r"[^\w.]+", "_", "_".join([own.name, *itertools.chain(*changed)]))
    return [f"--{name}={value}" for name, value in changed] + [f"--name={name}"] * bool(changed)


if __name__ == "__main__":
    command.start(define_flags, main, unknown=_UNKNOWN)
