"""Runs experiments one after another, each in its own process."""

import dataclasses
import datetime
import itertools
import pathlib
import signal
import statistics
import subprocess

from ipkd_tf import data
from ipkd_tf.training import finished_run, settings, teachers
from ipkd_tf.training.experiment import Experiment
from ipkd_tf.training.sigterm import handle

# What asks for an end, and what the run is told: a terminal that was closed is as good as SIGTERM.
_STOP = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM}
if hasattr(signal, "SIGHUP"):  # not on Windows
    _STOP[signal.SIGHUP] = signal.SIGTERM


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a sweep: its settings, and the program with arguments that trains it."""

    experiment: Experiment
    command: list

    @property
    def directory(self):
        return pathlib.Path(self.experiment.output_dir)

    @property
    def result(self):
        """What result.json holds once this run, with these settings and teachers, is finished."""
        try:
            run = finished_run.open_run(self.directory)
            teachers.check_same(run.result, self.experiment)
        except ValueError:
            return None
        same = settings.identity(run.experiment) == settings.identity(self.experiment)
        return run.result if same else None


def sweep(runs):
    """Runs what is not finished, in the order given, but teachers before those they teach.

    A failed run does not stop the others. SIGINT, SIGTERM and SIGHUP are passed on to the run that
    is going on, which saves and ends; the sweep then ends too.

    Returns:
        (failed, signal): exit statuses of the runs that did not reach their last epoch, by
        directory, and the number of the signal that stopped the sweep, or None.

    Raises:
        ValueError: Two runs would write to the same directory, runs are each other's teachers, one
            data set was not the same for all, or one that is still needed is not there.
    """
    _check_directories(runs)
    runs = _teachers_first(runs)
    _check_data(runs)
    _check_data_is_there(runs)
    failed = {}
    forwarding = _Forwarding()
    with handle(_STOP, forwarding.receive):
        for number, run in enumerate(runs, 1):
            name = f"[{number}/{len(runs)}] {run.directory}"
            if run.result:
                print(f"{name} is finished", flush=True)
                continue
            print(f"{name}; {_time_left(runs[number - 1 :], runs)}", flush=True)
            status = forwarding.wait(run.command)
            if forwarding.received:
                break
            if not run.result:
                failed[run.directory] = status
                print(f"{name} did not reach its last epoch, status {status}", flush=True)
    _check_data(runs)
    return failed, forwarding.received


def _teachers_first(runs):
    """The runs in their order, but for teachers that stand behind their students."""
    by_directory = {run.directory.resolve(): run for run in runs}
    ordered = {}

    def add(run, students):
        directory = run.directory.resolve()
        if directory in students:
            around = " <- ".join(map(str, [*students, directory]))
            raise ValueError(f"Expected no run that teaches itself. Received: {around}")
        for path, _ in run.experiment.teachers:
            if (teacher := pathlib.Path(path).resolve()) in by_directory:
                add(by_directory[teacher], [*students, directory])
        ordered[directory] = run

    for run in runs:
        add(run, [])
    return list(ordered.values())


def _check_data(runs):
    """Refuses finished runs whose settings name the same data, but that were trained on others."""
    names = [f.name for f in settings.sections(Experiment)["data"] if f.metadata["identity"]]
    seen = {}
    for run in runs:
        if result := run.result:
            name = tuple(getattr(run.experiment, name) for name in names)
            trained_on = result["examples"], result["data_digest"]
            other, there = seen.setdefault(name, (run, trained_on))
            if there != trained_on:
                raise ValueError(
                    f"the data set {run.experiment.dataset} changed between two runs of the sweep; "
                    "train one of them anew elsewhere. Received: "
                    f"{run.directory} ({trained_on}), {other.directory} ({there})"
                )


def _check_data_is_there(runs):
    """Opens the data of the runs that are left; what is missing would end one after another."""
    left = [run.experiment for run in runs if not run.result]
    sources = [(e.dataset, e.data_dir or None, e.image_size or None) for e in left]
    for source in dict.fromkeys(sources):
        data.open_source(*source)


def _check_directories(runs):
    seen = set()
    for run in runs:
        if run.directory.resolve() in seen:
            raise ValueError(
                "two runs of the sweep have the same directory; give each flag file a name or "
                f"workdir of its own, or none. Received: workdir={str(run.directory)!r}"
            )
        seen.add(run.directory.resolve())


def _time_left(remaining, runs):
    """What the finished runs took, of the same name where there is one, is what others will."""
    took = {}
    for run in runs:
        if result := run.result:
            took.setdefault(run.experiment.run_name, []).append(result["seconds"]["training"])
    if not took:
        return "time left unknown"
    typical = list(itertools.chain(*took.values()))
    names = [run.experiment.run_name for run in remaining if not run.result]
    left = sum(statistics.mean(took.get(name, typical)) for name in names)
    return f"about {datetime.timedelta(seconds=round(left))} left"


class _Forwarding:
    """Passes signals that ask for an end on to the process that is waited for.

    `received` is the number of the first such signal, or None.
    """

    def __init__(self):
        self.received = self._process = None

    def wait(self, command):
        """Runs a command to its end, whatever signals come; returns its status."""
        # In a group of its own, Ctrl-C reaches it once, from here, and not from the terminal too.
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
        if self.received:  # between two runs
            self._process.send_signal(_STOP[self.received])
        return self._process.wait()

    def receive(self, number, frame):
        self.received = self.received or number
        if self._process:
            self._process.send_signal(_STOP[number])
