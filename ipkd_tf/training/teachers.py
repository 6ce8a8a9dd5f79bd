"""The outside teachers of an experiment: finished runs, their sub-models, and .keras files."""

import hashlib
import io
import pathlib
import zipfile

import h5py

from ipkd_tf import models
from ipkd_tf.models import flexible
from ipkd_tf.output.checks import explained
from ipkd_tf.training import finished_run
from ipkd_tf.training.splits import check_same_data

_WEIGHTS = "model.weights.h5"  # inside a .keras file


def load(experiment, splits):
    """The teachers as plain models that compute in the precision in effect; nothing is imported."""
    loaded = []
    for path, submodel in experiment.teachers:
        if _is_file(path):
            network = models.load(path)
        else:
            run = finished_run.open_run(path)
            there = {**run.result["examples"], "digest": run.result["data_digest"]}
            check_same_data(there, splits.identity(), path)
            network = run.load(experiment.precision)
        loaded.append(flexible.cut(network, submodel or -1))
    return loaded


def identity(experiment):
    """What tells the teachers from others, as an entry of a run's identity; {} without any."""
    digests = [_digest(path) for path, _ in experiment.teachers]
    return {"teachers": ",".join(digests)} if digests else {}


def check_same(result, experiment):
    """Raises ValueError if a finished run was taught by others than the teachers that are there."""
    try:
        here = identity(experiment)
    except ValueError:  # Gone, as may be after the training.
        return
    check_same_data(result, here, experiment.output_dir)


def _is_file(path):
    return pathlib.Path(path).suffix == ".keras"


def _digest(path):
    """16 hexadecimal digits of a network's weights; its architecture is not looked at."""
    file = pathlib.Path(path) if _is_file(path) else pathlib.Path(path, "best.keras")
    digest = hashlib.sha256()

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            digest.update(f"{name} {item.dtype} {item.shape}:".encode() + item[()].tobytes())

    expected = "a finished run or a whole .keras file as a teacher"
    with explained((OSError, KeyError, zipfile.BadZipFile), expected, teacher=str(path)):
        with zipfile.ZipFile(file) as archive:
            content = io.BytesIO(archive.read(_WEIGHTS))
        with h5py.File(content) as weights:
            weights.visititems(add)
    return digest.hexdigest()[:16]
