"""Two logical CPU devices, parsed flags and one distribution strategy for the test session."""

import os
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

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
