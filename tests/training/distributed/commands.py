"""train_main.py as real processes, tiny enough to start many times."""

import csv
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import keras

from ipkd_tf.training import checkpoints
from tests.models import two_exits  # noqa: F401  Keras loads only classes it knows.

ROOT = pathlib.Path(__file__).parents[3]
TINY = {
    "image_size": 8,
    "train_examples": 200,
    "test_examples": 60,
    "validation": "holdout:40",
    "crop_padding": 1,
    "epochs": 3,
    "batch_size": 16,
    "learning_rate_drops": "2",
    "checkpoint_minutes": 0,
}
FAMILIES = {
    "two_exits": {"model": "tests.models.two_exits:TwoExits"},
    "msdnet": {"model": "msdnet_small", "model_arguments": '{"blocks": 2, "base": 1}'},
    "slimmable": {"model": "slimmable_mobilenet_v1_small", "widths": "0.5,1"},
}


def start(directory, family="two_exits", environment=None, **settings):
    """Starts a run in the background; its output is `process.communicate()`."""
    settings = {**TINY, **FAMILIES[family], **settings, "workdir": directory}
    return subprocess.Popen(
        [sys.executable, "train_main.py", *(f"--{k}={v}" for k, v in settings.items())],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, timeout=180):
    """Exit status, stdout and stderr of a process, which is killed if it takes too long."""
    try:
        output, errors = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return process.returncode, output, errors


def free_addresses(count):
    """Addresses of this host whose ports are free."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


def cluster(workers):
    """TF_CONFIG of each worker of a cluster on this host's free ports."""
    addresses = free_addresses(workers)
    tasks = ({"type": "worker", "index": index} for index in range(workers))
    return [
        {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task})}
        for task in tasks
    ]


def history(workdir):
    """The rows of history.csv without what depends on the clock."""
    with open(workdir / "history.csv", newline="") as file:
        rows = [{key: float(text) for key, text in row.items()} for row in csv.DictReader(file)]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def outcome(workdir):
    """Everything a run ends with, in a form that compares: scores, weights, optimizer."""
    result = json.loads((workdir / "result.json").read_text())
    del result["seconds"], result["settings"], result["validation"]["seconds"]
    networks = {
        which: keras.models.load_model(workdir / f"{which}.keras").get_weights()
        for which in ("best", "last")
    }
    state = checkpoints.CheckpointFiles(workdir / "checkpoints").read()
    del state["progress"]
    return result, history(workdir), networks, state


def wait_for(condition, process, seconds=300):
    """Returns when the condition holds; fails if the process ends or the time is over."""
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise AssertionError(f"waited in vain: {process.communicate()}")
        time.sleep(0.05)
