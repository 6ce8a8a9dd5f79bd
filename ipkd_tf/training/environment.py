"""Where a run happened: versions, devices, commit."""

import datetime
import os
import platform
import subprocess

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf.data.pixels import cores
from ipkd_tf.output import files
from ipkd_tf.version import __version__


def describe():
    """Everything outside a run's settings that its numbers and timings may depend on, as a dict."""
    return {
        "start": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "ipkd_tf": __version__,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpus": cores(),
        "devices": devices(),
    }


def record(path):
    """Writes `describe()`; a run that was interrupted may have begun elsewhere: all starts stay."""
    earlier = files.read_json(path)
    starts = [*earlier.pop("earlier_starts"), earlier] if earlier else []
    files.write_json(path, {**describe(), "earlier_starts": starts})


def git_commit():
    """The commit of the running code, with -dirty if files differ; None outside its checkout."""

    def git(*command):
        command = ["git", "-C", directory, *command]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    directory, name = os.path.split(os.path.abspath(__file__))
    try:
        git("ls-files", "--error-unmatch", name)  # It may be installed inside another project's.
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def devices():
    """Type and, where known, name of each device of this host, such as "GPU NVIDIA A100"."""

    details = tf.config.experimental.get_device_details
    return [
        f"{device.device_type} {details(device).get('device_name', '')}".strip()
        for device in tf.config.list_physical_devices()
    ]
