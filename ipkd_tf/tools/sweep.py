"""Trains a list of flag files over several seeds, one run after another, and reports them.

  python -m ipkd_tf sweep runs/msdnet_small_cifar10_*.flags --seeds=0,1,2
  python -m ipkd_tf sweep runs/a.flags runs/b.flags --seeds=0,1 -- --data_dir=/data --epochs=3

Seed by seed, each flag file in turn; but a run that teaches another comes before that one.
Settings after -- go to every run. What is finished is skipped and what was interrupted goes on, so
the same command may be given again at any time; Ctrl-C and SIGTERM let the current run save.
"""

import sys

from absl import flags

from ipkd_tf.tools import command, report, train

FLAGS = flags.FLAGS
_COMMAND = [sys.executable, "-m", "ipkd_tf.tools.train"]


def define_flags(values=flags.FLAGS):
    define = command.definer(values)
    define("seeds", ["0"], "One run of each flag file for each seed.")
    define("submodels", [""], "Each flag file for each of these, trained alone: exit_1,exit_2.")
    report.define_flags(values)
    flags.adopt_module_key_flags(report, values)  # so that --help shows them


def main(arguments):
    """Runs all, then writes the report; returns the exit status."""
    paths = [text for text in arguments if not text.startswith("-")]
    settings = [text for text in arguments if text.startswith("-")]
    if not paths:
        raise ValueError("Expected flag files, such as runs/*.flags. Received: none")
    from ipkd_tf.training import sweep as sweeps

    runs = [
        _run(path, seed, [*settings, f"--submodel={name}"] if name else settings)
        for seed in FLAGS.seeds
        for path in paths
        for name in FLAGS.submodels or [""]
    ]
    failed, received = sweeps.sweep(runs)
    finished = [run for run in runs if run.result]
    print(f"{len(finished)} of {len(runs)} runs are finished.", flush=True)
    for directory, status in failed.items():
        print(f"sweep: {directory} failed, status {status}", file=sys.stderr)
    if received:
        print("Stopped: the same command goes on.", file=sys.stderr)
        return 128 + received
    if finished:
        everywhere = [str(run.directory) for run in runs]
        report.report([str(run.directory) for run in finished], FLAGS, beside=everywhere)
    return 1 if failed else 0


def _run(path, seed, settings):
    from ipkd_tf.training import sweep as sweeps

    arguments = [f"--flagfile={path}", *settings, f"--seed={seed}"]
    try:
        experiment = train.parse(arguments)
    except (ValueError, flags.Error) as error:
        raise ValueError(f"{path}: {error}") from error
    return sweeps.Run(experiment, [*_COMMAND, *arguments])


if __name__ == "__main__":
    command.start(define_flags, main)
