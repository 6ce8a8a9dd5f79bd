"""manifest.json: what an exported directory holds, and where it came from."""

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import pathlib

from ipkd_tf.output import files
from ipkd_tf.output.checks import check, explained
from ipkd_tf.version import __version__

NAME = "manifest.json"
_PACKAGES = ("tensorflow", "keras", "numpy", "ai-edge-litert", "tf2onnx", "onnx", "onnxruntime")
_CONTENT = {1: "grey in 0..255", 3: "RGB in 0..255"}


def begin(network, name, rows, class_names=None, run=None):
    """What holds for all formats of one export of a sub-model, or of "all"; see `writing`."""
    shape, classes = list(network.inputs[0].shape[1:]), network.outputs[0].shape[-1]
    content = _CONTENT.get(shape[-1], f"{shape[-1]} channels in 0..255")
    digest = hashlib.sha256()
    for weight in network.weights:
        digest.update(weight.path.encode() + weight.numpy().tobytes())
    document = {
        "submodel": name,
        "submodels": rows,
        "network": {"class": type(network).__name__, "weights_sha256": digest.hexdigest()},
        "input": {
            "name": "image",
            "dtype": "uint8",
            "shape": [None, *shape],
            "content": f"{content}, normalised by the model itself",
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
    return files.rounded(document)


def read(directory):
    """The manifest of a directory, None if it has none; ValueError if it is damaged."""
    path = pathlib.Path(directory, NAME)
    expected = "an empty directory to export into again: the manifest is damaged"
    with explained(json.JSONDecodeError, expected, path=str(path)):
        return files.read_json(path)


def merge(document, earlier, directory, overwrite=False):
    """The manifest with an earlier one's formats of the same network, and paths to be replaced."""
    if earlier is None:
        return document, []
    if all(earlier.get(key) == document[key] for key in ("submodel", "network")):
        return {**document, "formats": earlier["formats"]}, []
    if not overwrite:
        raise ValueError(
            f"The directory holds {earlier.get('submodel')} of another network, or of this one "
            f"before it was trained further; choose another directory, or overwrite it "
            f"(overwrite=True, --overwrite). Received: directory={str(directory)!r}"
        )
    paths = [pathlib.Path(directory, entry["path"]) for entry in earlier["formats"].values()]
    return document, paths


def check_own(path, document):
    """Raises ValueError if at `path` stands anything that no export wrote, by its manifest."""
    entries = document["formats"].values() if document else ()
    own = {name for entry in entries for name in entry["files"]}
    there = [path] if path.is_file() else [one for one in path.rglob("*") if not one.is_dir()]
    foreign = {one.relative_to(path.parent).as_posix() for one in there} - own
    expected = "a place that is free, or that an export wrote; choose another directory, or move "
    check(not foreign, f"{expected}away {', '.join(sorted(foreign)[:3])}", path=str(path))


def describe(path, **facts):
    """The manifest's entry of one written file or directory, facts of its own added."""
    content = files.sizes_and_digests(path)
    return {
        "path": path.name,
        "bytes": sum(file["bytes"] for file in content.values()),
        "files": content,
        **files.rounded(facts),
        "written": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": _versions(),
    }


def _versions():
    found = {"ipkd_tf": __version__}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
