"""Exported files opened by the runtime of their format."""

import dataclasses
import functools
import os
import pathlib
import typing

import numpy as np

from ipkd_tf.deployment.export import manifest
from ipkd_tf.deployment.export.formats import DEFAULT_SIGNATURE, FORMATS, PACKAGES
from ipkd_tf.output.checks import check, explained, missing, require

OUTPUTS = {"logits", "probabilities", "class_id"}


def open_model(path: str | os.PathLike, threads: int | None = None) -> "_Opened":
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
    read, needs = (_read_saved_model, "") if path.is_dir() else _reader(path)
    expected = "a .keras, .tflite, .onnx or .npz file, or the directory of a SavedModel"
    check(path.exists() and read, expected, path=str(path))
    require(*PACKAGES[needs], extra="export")
    expected = "another file: it is damaged or was not exported by ipkd_tf; a network such as "
    expected += "best.keras has to be exported first, by python -m ipkd_tf export"
    # The runtimes report damage with whatever their parsers happen to raise.
    with explained(Exception, expected, path=str(path)):
        model = read(path, threads)
        check({*model.outputs} == OUTPUTS, f"outputs {OUTPUTS}", outputs=model.outputs)
        return model


def _reader(path):
    return _READERS.get(path.suffix, (None, ""))


def _choose_file(directory, document):
    paths = [directory / FORMATS[name].file for name in document["formats"] if name in FORMATS]
    runnable = [path for path in paths if not missing(PACKAGES[_reader(path)[1]])]
    return next(iter(runnable or paths), directory)


@dataclasses.dataclass(frozen=True)
class _Opened:
    """What `open_model` returns; `run(images, signature)` gives a dict of the runtime's arrays."""

    signatures: tuple
    largest: str
    image_shape: tuple
    outputs: tuple
    run: typing.Callable

    def __call__(self, images, signature):
        outputs = self.run(images, signature)
        return {name: np.asarray(output) for name, output in outputs.items()}


def _read_saved_model(path, threads):
    import tensorflow as tf

    model = tf.saved_model.load(str(path))  # `run` holds it: its signatures alone would lose it
    named = [name for name in model.signatures if name != DEFAULT_SIGNATURE]
    signatures = tuple(named or model.signatures)
    function = model.signatures[signatures[0]]
    return _Opened(
        signatures,
        DEFAULT_SIGNATURE,
        tuple(function.structured_input_signature[1]["image"].shape[1:]),
        tuple(function.structured_outputs),
        lambda images, signature: model.signatures[signature](image=tf.constant(images)),
    )


def _read_keras(path, threads):
    import keras

    return _run_models([keras.models.load_model(path, compile=False)])  # in Keras's safe mode


def _read_packed(path, threads):
    from ipkd_tf.deployment.export import packed, serving

    models = packed.read(path).values()
    return _run_models([serving.serving_model(model, False) for model in models])


def _run_models(models):
    """Keras models, smallest first, each as a `tf.function`."""
    import tensorflow as tf

    image = tf.TensorSpec(models[-1].inputs[0].shape, tf.uint8)
    functions = {
        model.name: tf.function(functools.partial(model, training=False)) for model in models
    }
    functions = {name: one.get_concrete_function(image) for name, one in functions.items()}
    names, outputs = tuple(functions), functions[models[-1].name].structured_outputs
    return _Opened(
        names,
        names[-1],
        tuple(image.shape[1:]),
        tuple(outputs if isinstance(outputs, dict) else models[-1].output_names),
        lambda images, signature: functions[signature](tf.constant(images)),
    )


def _read_litert(path, threads):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads)
    names = tuple(interpreter.get_signature_list())
    runners = {name: interpreter.get_signature_runner(name) for name in names}

    def elements(name):
        """How many numbers the weights and activations of a signature are."""
        subgraph = runners[name]._subgraph_index  # litert has no public name for it
        details = interpreter.get_tensor_details(subgraph)
        return sum(int(np.prod(tensor["shape"])) for tensor in details)

    largest = max(names, key=elements)  # The file lists them by the alphabet.
    return _Opened(
        names,
        largest,
        tuple(map(int, runners[largest].get_input_details()["image"]["shape"][1:])),
        tuple(runners[largest].get_output_details()),
        lambda images, signature, keep=interpreter: runners[signature](image=images),
    )


def _read_onnx(path, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    outputs = tuple(output.name for output in session.get_outputs())
    return _Opened(
        (path.stem,),
        path.stem,
        tuple(session.get_inputs()[0].shape[1:]),
        outputs,
        lambda images, _: dict(zip(outputs, session.run(None, {"image": images}), strict=True)),
    )


_READERS = {  # by suffix: the reader, and the packages it needs
    ".keras": (_read_keras, ""),
    ".tflite": (_read_litert, "litert"),
    ".onnx": (_read_onnx, "onnxruntime"),
    ".npz": (_read_packed, ""),
}
