"""manifest.json: what an exported directory holds, and where it came from."""

import datetime
import hashlib
import importlib.metadata
import json
import pathlib

from ipkd_tf.output import files
from ipkd_tf.version import __version__

NAME = "manifest.json"
_PACKAGES = ("tensorflow", "keras", "numpy", "ai-edge-litert", "tf2onnx", "onnx", "onnxruntime")


def begin(network, name, models, rows, class_names, run):
    """The part of a manifest that holds for all formats of one export.

    Args:
        network: The flexible network.
        name: Of the sub-model, or "all".
        models: The serving models, smallest first.
        rows: A dict for each model: name, parameters, multiply_adds and what else is known.
        class_names: Names in the order of `class_id`, or None.
        run: JSON value that says where the network comes from, or None.
    """
    classes = models[0].output["logits"].shape[-1]
    return {
        "submodel": name,
        "submodels": rows,
        "network": {"class": type(network).__name__, "weights_sha256": _weights_digest(network)},
        "input": {
            "name": "image",
            "dtype": "uint8",
            "shape": [None, *models[0].inputs[0].shape[1:]],
            "content": "RGB in 0..255, normalised by the model itself",
        },
        "outputs": {
            "logits": {"dtype": "float32", "shape": [None, classes]},
            "probabilities": {"dtype": "float32", "shape": [None, classes]},
            "class_id": {"dtype": "int32", "shape": [None]},
        },
        "class_names": list(class_names) if class_names is not None else None,
        "run": run,
        "formats": {},
    }


def read(directory):
    """The manifest of a directory; None if it has none.

    Raises:
        ValueError: manifest.json is damaged.
    """
    path = pathlib.Path(directory, NAME)
    try:
        return files.read_json(path)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"The manifest is damaged ({error}); export again into an empty directory. "
            f"Received: path={str(path)!r}"
        ) from error


def merge(manifest, directory):
    """Takes over the formats that the directory holds already, of the same network.

    Raises:
        ValueError: The directory holds the export of another network or sub-model.
    """
    earlier = read(directory)
    if earlier is None:
        return manifest
    if any(earlier.get(key) != manifest[key] for key in ("submodel", "network")):
        raise ValueError(
            f"The directory holds {earlier.get('submodel')} of another network, or of this one "
            f"before it was trained further; choose another directory, or remove it. "
            f"Received: directory={str(directory)!r}"
        )
    return {**manifest, "formats": earlier["formats"]}


def describe(path, tolerance, checks):
    """The manifest's entry of one written file or directory."""
    content = files.sizes_and_digests(path)
    return {
        "path": path.name,
        "bytes": sum(file["bytes"] for file in content.values()),
        "files": content,
        "checks": checks,
        "tolerance": {"difference": tolerance.difference, "agreement": tolerance.agreement},
        "written": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": {"ipkd_tf": __version__, **_versions()},
    }


def write(manifest, directory):
    """Writes manifest.json."""
    files.write_json(pathlib.Path(directory, NAME), manifest)


def _versions():
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _weights_digest(network):
    digest = hashlib.sha256()
    for weight in network.weights:
        digest.update(weight.path.encode() + weight.numpy().tobytes())
    return digest.hexdigest()
