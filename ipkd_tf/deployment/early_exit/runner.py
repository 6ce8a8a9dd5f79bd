"""Runs early exit from one file per stage, with LiteRT or ONNX Runtime and numpy alone.

A copy of this file lies beside the stages it runs; it needs no other file of the package.

    >>> from runner import StageRunner
    >>> classify = StageRunner("adapt/litert")
    >>> classify(images)["class_id"]
"""

import json
import pathlib

import numpy as np


class StageRunner:
    """The stages of a directory, run one after the other on the images that are not yet sure.

    Args:
        directory: Where manifest.json and the files of the stages are.
        threads: Of the runtime; None for its own choice.

    Attributes:
        manifest: What manifest.json holds: `submodels`, `stages` (in order: their `exit`, `file`,
            `reads`, `keeps`, `threshold`), `image_shape`, `classes` and more.

    Raises:
        OSError: A file is missing.
    """

    def __init__(self, directory, threads=None):
        directory = pathlib.Path(directory)
        self.manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
        self._stages = self.manifest["stages"]
        self._run = [_open(directory / stage["file"], threads) for stage in self._stages]

    def __call__(self, images, thresholds=None):
        """Classifies a batch of any size, also of none.

        Args:
            images: uint8 `[batch, height, width, 3]`.
            thresholds: Least confidence to leave at each stage but the last; 0 lets all leave,
                above 1 lets none. None for the manifest's.

        Returns:
            Dict of arrays: `class_id` int32 `[batch]`, `probabilities` float32
            `[batch, classes]`, and `exit` int32 `[batch]`, an index into `submodels`.
        """
        if thresholds is None:
            thresholds = [stage["threshold"] for stage in self._stages[:-1]]
        if len(thresholds) != len(self._stages) - 1:
            raise ValueError(
                f"Expected {len(self._stages) - 1} thresholds, one for each stage but the last. "
                f"Received: thresholds={thresholds}"
            )
        probabilities = np.zeros((len(images), self.manifest["classes"]), np.float32)
        exits = np.zeros(len(images), np.int32)
        rows, tensors = np.arange(len(images)), {"image": np.asarray(images)}
        for stage, run, threshold in zip(self._stages, self._run, [*thresholds, 0], strict=True):
            if not len(rows):
                break
            tensors |= run({name: tensors[name] for name in stage["reads"]})
            probabilities[rows], exits[rows] = tensors["probabilities"], stage["exit"]
            # What is not a number is never sure.
            staying = ~(tensors["confidence"] >= np.float32(threshold))
            rows = rows[staying]
            tensors = {name: tensors[name] for name in stage["keeps"]}
            if not staying.all():
                tensors = {name: tensor[staying] for name, tensor in tensors.items()}
        class_id = probabilities.argmax(axis=-1).astype(np.int32)
        return {"class_id": class_id, "probabilities": probabilities, "exit": exits}


def _open(path, threads):
    """A function from a dict of arrays to a dict of arrays, computed by a file."""
    return (_open_litert if path.suffix == ".tflite" else _open_onnx)(path, threads)


def _open_litert(path, threads):
    from ai_edge_litert import interpreter

    opened = interpreter.Interpreter(str(path), num_threads=threads)
    # The runner holds no reference to its interpreter.
    runner, kept = opened.get_signature_runner(), opened

    def run(tensors, kept=kept):
        return runner(**tensors)

    return run


def _open_onnx(path, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda tensors: dict(zip(names, session.run(None, tensors), strict=True))
