"""Exported files opened by the runtime of their format."""

import pathlib

import numpy as np

from ipkd_tf.deployment.export import manifest, optional
from ipkd_tf.deployment.export.formats import FORMATS, first_line

OUTPUTS = {"logits", "probabilities", "class_id"}
DEFAULT_SIGNATURE = "serving_default"


def open_model(path, threads=None):
    """Opens an exported file with the runtime of its format; nothing that it names is imported.

    Args:
        path: A .keras, .tflite, .onnx or .npz (packed) file, the directory of a SavedModel, or that
            of an export with its manifest.json, whose first format that can be run here is taken.
        threads: Threads of LiteRT and ONNX Runtime; None for their own choice.
            TensorFlow's are set for the whole process.

    Returns:
        A callable `(uint8 images [batch, height, width, channels], signature) -> dict` of numpy
        arrays `logits`, `probabilities`, `class_id`, with `signatures` (names), `largest` (the
        signature of the largest sub-model) and `image_shape`.

    Raises:
        ValueError: The file is missing, damaged, or no exported model.

    Example:
        >>> model = open_model("export/exit_3/model.tflite")
        >>> model(images, model.largest)["class_id"]
    """
    path = pathlib.Path(path)
    if document := path.is_dir() and manifest.read(path):
        path = _choose_file(path, document)
    reader, needs = (_SavedModel, "") if path.is_dir() else _reader(path)
    if not path.exists() or not reader:
        raise ValueError(
            f"Expected a .keras, .tflite, .onnx or .npz file, or the directory of a SavedModel, "
            f"that exists. Received: path={str(path)!r}"
        )
    optional.require(needs)
    try:
        model = reader(path, threads)
        if set(model.outputs) != OUTPUTS:
            raise ValueError(f"its outputs are {', '.join(model.outputs)}")
        return model
    # The runtimes report damage with whatever their parsers happen to raise.
    except Exception as error:
        raise ValueError(
            f"The file is damaged or was not exported by ipkd_tf ({first_line(error)}). A network "
            "such as best.keras has to be exported first, python -m ipkd_tf export does it. "
            f"Received: path={str(path)!r}"
        ) from error


def _reader(path):
    return _READERS.get(path.suffix, (None, ""))


def _choose_file(directory, document):
    paths = [directory / FORMATS[name].file for name in document["formats"] if name in FORMATS]
    runnable = [path for path in paths if optional.is_there(_reader(path)[1])]
    return next(iter(runnable or paths), directory)


class _SavedModel:
    """Runs a SavedModel with TensorFlow, whose threads are the whole process's."""

    def __init__(self, path, threads):
        import tensorflow as tf

        self._model, self._constant = tf.saved_model.load(str(path)), tf.constant
        named = [name for name in self._model.signatures if name != DEFAULT_SIGNATURE]
        self.signatures = tuple(named or self._model.signatures)
        self.largest = DEFAULT_SIGNATURE
        function = self._model.signatures[self.signatures[0]]
        self.image_shape = tuple(function.structured_input_signature[1]["image"].shape[1:])
        self.outputs = tuple(function.structured_outputs)

    def __call__(self, images, signature):
        outputs = self._model.signatures[signature](image=self._constant(images))
        return {name: output.numpy() for name, output in outputs.items()}


class _Keras:
    """Runs a .keras file as a `tf.function`, whose threads are the whole process's."""

    def __init__(self, path, threads):
        import keras
        import tensorflow as tf

        model = keras.models.load_model(path, compile=False)  # in Keras's safe mode
        self.signatures, self.largest = (model.name,), model.name
        self.image_shape = tuple(model.inputs[0].shape[1:])
        image = tf.TensorSpec(model.inputs[0].shape, tf.uint8)
        infer = tf.function(lambda image: model(image, training=False))
        self._infer, self._constant = infer.get_concrete_function(image), tf.constant
        named = isinstance(self._infer.structured_outputs, dict)
        self.outputs = tuple(self._infer.structured_outputs if named else model.output_names)

    def __call__(self, images, signature):
        outputs = self._infer(self._constant(images))
        return {name: output.numpy() for name, output in outputs.items()}


class _Litert:
    """Runs a LiteRT file with `ai-edge-litert`, on `threads` threads (all if None)."""

    def __init__(self, path, threads):
        from ai_edge_litert import interpreter

        self._interpreter = interpreter.Interpreter(str(path), num_threads=threads)
        self.signatures = tuple(self._interpreter.get_signature_list())
        self._runners = {
            name: self._interpreter.get_signature_runner(name) for name in self.signatures
        }
        # The file lists them by the alphabet.
        self.largest = max(self.signatures, key=self._elements)
        runner = self._runners[self.largest]
        self.image_shape = tuple(map(int, runner.get_input_details()["image"]["shape"][1:]))
        self.outputs = tuple(runner.get_output_details())

    def _elements(self, signature):
        """How many numbers the weights and activations of a signature are."""
        subgraph = self._runners[signature]._subgraph_index  # litert has no public name for it
        details = self._interpreter.get_tensor_details(subgraph)
        return sum(int(np.prod(tensor["shape"])) for tensor in details)

    def __call__(self, images, signature):
        return self._runners[signature](image=images)


class _Onnx:
    """Runs an ONNX file with ONNX Runtime on the CPU, on `threads` threads (all if None)."""

    def __init__(self, path, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.largest = pathlib.Path(path).stem
        self.signatures = (self.largest,)
        self.image_shape = tuple(self._session.get_inputs()[0].shape[1:])
        self.outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, images, signature):
        return dict(zip(self.outputs, self._session.run(None, {"image": images}), strict=True))


class _Packed:
    """Runs the models of a packed file with TensorFlow, whose threads are the whole process's."""

    def __init__(self, path, threads):
        import tensorflow as tf

        from ipkd_tf.deployment.export import packed, serving

        models = [serving.serving_model(model, False) for model in packed.read(path).values()]
        self.signatures = tuple(model.name for model in models)
        self.largest = self.signatures[-1]
        self.image_shape = tuple(models[-1].inputs[0].shape[1:])
        image = tf.TensorSpec(models[-1].inputs[0].shape, tf.uint8)
        self._infer = {
            model.name: tf.function(model.call).get_concrete_function(image) for model in models
        }
        self._constant = tf.constant
        self.outputs = tuple(self._infer[self.largest].structured_outputs)

    def __call__(self, images, signature):
        outputs = self._infer[signature](self._constant(images))
        return {name: output.numpy() for name, output in outputs.items()}


_READERS = {  # by suffix: the reader, and the packages it needs
    ".keras": (_Keras, ""),
    ".tflite": (_Litert, "litert"),
    ".onnx": (_Onnx, "onnxruntime"),
    ".npz": (_Packed, ""),
}
