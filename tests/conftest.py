"""Two logical CPU devices, parsed flags, one strategy; under xdist, cores of its own."""

import os
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    # With as many threads as its share of the cores, a worker takes two thirds of the time.
    number, workers = int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[number::workers] or cores)

import pytest
import tensorflow as tf
from absl import flags


def pytest_configure(config):
    # Logical devices exist only if they are asked for before TensorFlow starts its runtime.
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    flags.FLAGS(["pytest"], known_only=True)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background of a script
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the children inherit it


@pytest.fixture(scope="session")
def mirrored():
    """The session's only MirroredStrategy: a second one in a process can break the first."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
