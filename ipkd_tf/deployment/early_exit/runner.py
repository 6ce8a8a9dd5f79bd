"""Runs early exit from one file per stage, with LiteRT or ONNX Runtime and numpy alone.

A copy of this file lies beside the stages it runs; it needs no other file of the package.

    >>> from runner import StageRunner
    >>> classify = StageRunner("adapt/litert")
    >>> classify(images)["class_id"]
"""

import json
import os
import pathlib
from collections.abc import Sequence

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
        ValueError: In a call: images or thresholds are not as described.
    """

    def __init__(self, directory: str | os.PathLike, threads: int | None = None):
        directory = pathlib.Path(directory)
        self.manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
        self._stages = self.manifest["stages"]
        paths = [directory / stage["file"] for stage in self._stages]
        self._run = [_RUNTIMES[path.suffix](path, threads) for path in paths]

    def __call__(
        self, images: np.ndarray, thresholds: Sequence[float] | None = None
    ) -> dict[str, np.ndarray]:
        """Classifies a batch of any size, also of none.

        Args:
            images: uint8 `[batch, height, width, channels]`.
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
        images, shape = np.asarray(images), self.manifest["image_shape"]
        if images.dtype != np.uint8 or [*images.shape[1:]] != shape:
            raise ValueError(
                f"Expected images uint8 {['batch', *shape]}. "
                f"Received: images {images.dtype} {[*images.shape]}"
            )
        probabilities = np.zeros((len(images), self.manifest["classes"]), np.float32)
        exits = np.zeros(len(images), np.int32)
        rows, tensors = np.arange(len(images)), {"image": images}
        steps = zip(self._stages, self._run, [*thresholds, 0], strict=True)
        try:
            for stage, run, threshold in steps:
                if not len(rows):
                    break
                tensors |= run(tensors)
                probabilities[rows], exits[rows] = tensors["probabilities"], stage["exit"]
                # What is not a number is never sure.
                staying = ~(tensors["confidence"] >= np.float32(threshold))
                rows = rows[staying]
                tensors = {name: tensors[name] for name in stage["keeps"]}
                if 0 < len(rows) < len(staying):
                    tensors = {name: tensor[staying] for name, tensor in tensors.items()}
        finally:
            tensors.clear()  # also where a traceback outlives the call, see `_LiteRT`
        class_id = probabilities.argmax(axis=-1).astype(np.int32)
        return {"class_id": class_id, "probabilities": probabilities, "exit": exits}


class _LiteRT:
    """One file: a function from a dict of arrays, from which it takes its own, to a dict of arrays.

    What it returns lies in the interpreter's memory: handing on copies would take as long as a
    stage. It holds until the next call, which LiteRT refuses while anything still refers to it.
    """

    def __init__(self, path, threads):
        from ai_edge_litert import interpreter

        self._interpreter = interpreter.Interpreter(str(path), num_threads=threads)
        # Not kept: it would refer to the interpreter's memory, too.
        signature = self._interpreter.get_signature_runner()
        inputs, outputs = signature.get_input_details(), signature.get_output_details()
        self._inputs = {name: one["index"] for name, one in inputs.items()}
        self._outputs = {name: self._interpreter.tensor(o["index"]) for name, o in outputs.items()}
        self._shapes = None

    def __call__(self, tensors):
        shapes = {name: tensors[name].shape for name in self._inputs}
        if shapes != self._shapes:
            for name, index in self._inputs.items():
                self._interpreter.resize_tensor_input(index, shapes[name])
            self._interpreter.allocate_tensors()
            self._shapes = shapes
        for name, index in self._inputs.items():
            self._interpreter.set_tensor(index, tensors[name])
        self._interpreter.invoke()
        return {name: view() for name, view in self._outputs.items()}


class _ONNX:
    """The same with ONNX Runtime, whose results are arrays of their own."""

    def __init__(self, path, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        self._inputs = [one.name for one in self._session.get_inputs()]
        self._outputs = [one.name for one in self._session.get_outputs()]

    def __call__(self, tensors):
        results = self._session.run(None, {name: tensors[name] for name in self._inputs})
        return dict(zip(self._outputs, results, strict=True))


_RUNTIMES = {".tflite": _LiteRT, ".onnx": _ONNX}
