"""Runs experiments one after another or some at a time, each in its own process."""

import contextlib
import dataclasses
import datetime
import itertools
import os
import pathlib
import signal
import statistics
import subprocess
import threading
import time

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
    """One run of a sweep: its settings, and the program with arguments that trains it.

    `recorded` says that its scores are known from elsewhere: it is made only if it must teach.
    """

    experiment: Experiment
    command: list
    recorded: bool = False

    @property
    def directory(self):
        return pathlib.Path(self.experiment.output_dir)

    @property
    def teachers(self):
        """Directories of the runs that teach this one, absolute."""
        return [pathlib.Path(path).resolve() for path, _ in self.experiment.teachers]

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


def sweep(runs, jobs=1):
    """Runs what is not finished or recorded, in the order given, but teachers before students.

    A failed run does not stop the others. SIGINT, SIGTERM and SIGHUP are passed on to the runs that
    are going on, which save and end; the sweep then ends too.

    Args:
        runs: The `Run`s.
        jobs: How many at a time, each on its share of the cores and of the GPUs that
            CUDA_VISIBLE_DEVICES lists.

    Returns:
        (failed, signal): exit statuses of the runs that did not reach their last epoch, by
        directory, and the number of the signal that stopped the sweep, or None.

    Raises:
        ValueError: Two runs would write to the same directory, runs are each other's teachers, one
            data set was not the same for all, or one that is still needed is not there.
    """
    _check_directories(runs)
    runs = _without_recorded(_teachers_first(runs))
    _check_data(runs)
    _check_data_is_there(runs)
    failed = {}
    waiting, processes = list(runs), _Processes(jobs)
    names = {run.directory: f"[{n}/{len(runs)}] {run.directory}" for n, run in enumerate(runs, 1)}
    with handle(_STOP, processes.stop):
        while processes.running or (waiting and not processes.received):
            run = None if processes.full else _startable(waiting, processes.running)
            if run is None and not processes.running:  # a signal came just now
                break
            if run is None:
                run, status = processes.wait()
                if not run.result and not processes.received:
                    failed[run.directory] = status
                    name = names[run.directory]
                    print(f"{name} did not reach its last epoch, status {status}", flush=True)
                continue
            waiting.remove(run)
            if run.result:
                print(f"{names[run.directory]} is finished", flush=True)
            else:
                left = _time_left([run, *processes.running, *waiting], runs, jobs)
                print(f"{names[run.directory]}; {left}", flush=True)
                processes.start(run)
    _check_data(runs)
    return failed, processes.received


def _startable(waiting, running):
    """The first run that waits for no teacher; None where all wait for one that is running."""
    unfinished = {run.directory.resolve() for run in [*waiting, *running]}
    for run in waiting:
        if unfinished.isdisjoint(run.teachers):
            return run
    return None


def _teachers_first(runs):
    """The runs in their order, but for teachers that stand behind their students."""
    by_directory = {run.directory.resolve(): run for run in runs}
    ordered = {}

    def add(run, students):
        directory = run.directory.resolve()
        if directory in students:
            around = " <- ".join(map(str, [*students, directory]))
            raise ValueError(f"Expected no run that teaches itself. Received: {around}")
        for teacher in run.teachers:
            if teacher in by_directory:
                add(by_directory[teacher], [*students, directory])
        ordered[directory] = run

    for run in runs:
        add(run, [])
    return list(ordered.values())


def _without_recorded(runs):
    """Those that are finished here or must be trained here, if only to teach one that must."""
    kept, wanted = [], set()
    for run in reversed(runs):  # a teacher comes after those it teaches
        if run.result or not run.recorded or run.directory.resolve() in wanted:
            kept.insert(0, run)
            if not run.result:
                wanted.update(run.teachers)
    return kept


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
    sources = [(e.dataset, e.data_dir or None, e.size) for e in left]
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


def _time_left(remaining, runs, jobs=1):
    """What the finished runs took, of the same name where there is one, is what others will."""
    took = {}
    for run in runs:
        if result := run.result:
            took.setdefault(run.experiment.run_name, []).append(result["seconds"]["training"])
    if not took:
        return "time left unknown"
    typical = list(itertools.chain(*took.values()))
    names = [run.experiment.run_name for run in remaining if not run.result]
    left = sum(statistics.mean(took.get(name, typical)) for name in names) / jobs
    return f"about {datetime.timedelta(seconds=round(left))} left"


class _Processes:
    """At most `jobs` runs at a time; passes signals that ask for an end on to all of them.

    `received` is the number of the first such signal, or None.
    """

    def __init__(self, jobs):
        self.received = None
        self._slots = [None] * jobs

    @property
    def full(self):
        return self.received or None not in self._slots

    @property
    def running(self):
        return [run for run, _, _ in filter(None, self._slots)]

    def start(self, run):
        """Starts a run, on its share of the machine where there are several."""
        slot, jobs = self._slots.index(None), len(self._slots)
        options, relay = {}, None
        if jobs > 1:
            options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            options["env"] = {**os.environ, "PYTHONUNBUFFERED": "1", **_gpus(slot, jobs)}
        # In a group of its own, Ctrl-C reaches it once, from here, and not from the terminal too.
        process = subprocess.Popen(
            run.command, stdin=subprocess.DEVNULL, process_group=0, **options
        )
        if jobs > 1:
            _keep_to_cores(process, slot, jobs)
            relay = threading.Thread(target=_relay, args=(process.stdout, run))
            relay.start()
        self._slots[slot] = run, process, relay
        if self.received:  # between two runs
            process.send_signal(_STOP[self.received])

    def wait(self):
        """The next run that ends, and its status, whatever signals come."""
        while True:
            for slot, entry in enumerate(self._slots):
                if entry and entry[1].poll() is not None:
                    run, process, relay = entry
                    if relay:
                        relay.join()
                    self._slots[slot] = None
                    return run, process.returncode
            time.sleep(0.1)

    def stop(self, number, frame):
        self.received = self.received or number
        for _, process, _ in filter(None, self._slots):
            process.send_signal(_STOP[number])


def _gpus(slot, jobs):
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    share = devices[slot::jobs] or [devices[slot % len(devices)]]
    return {"CUDA_VISIBLE_DEVICES": ",".join(share)} if any(devices) else {}


def _keep_to_cores(process, slot, jobs):
    """TensorFlow starts as many threads as the cores that its process may use."""
    if hasattr(os, "sched_setaffinity"):  # Linux
        cores = sorted(os.sched_getaffinity(0))
        with contextlib.suppress(ProcessLookupError):  # already at its end
            os.sched_setaffinity(process.pid, cores[slot::jobs] or cores)


def _relay(lines, run):
    for line in lines:
        print(f"{run.directory}: {line}", end="", flush=True)
