"""Early exit for runtimes without control flow: one file per stage, a manifest, a runner."""

import shutil
import tempfile
import warnings

import keras
import tensorflow as tf

from ipkd_tf.deployment.early_exit import confidence as confidences
from ipkd_tf.deployment.early_exit import inference, runner
from ipkd_tf.deployment.export import optional
from ipkd_tf.models import stages
from ipkd_tf.output import files
from ipkd_tf.version import __version__

FORMATS = {"litert": "tflite", "onnx": "onnx"}


def write_stages(network, names, policy, directory, format, facts=None):
    """Writes a directory of stages, with manifest.json and runner.py to run them.

    Exits that the thresholds skip get no stage of their own, so their heads are in no file.

    Args:
        network: As for `AdaptiveClassifier`.
        names: Of its sub-models.
        policy: Dict of `thresholds`, `confidence` and `temperatures`, as `AdaptiveClassifier` takes
            them.
        directory: Replaced when the new one is complete.
        format: `litert` or `onnx`.
        facts: JSON values to record in the manifest, such as what is known of accuracy and cost.

    Raises:
        ValueError: An unknown format, or one whose packages are missing.
    """
    if format not in FORMATS:
        raise ValueError(f"Expected one of {', '.join(FORMATS)}. Received: format={format!r}")
    optional.require(format)
    exits = [k for k, threshold in enumerate([*policy["thresholds"], 0.0]) if threshold <= 1]
    made = inference.fastest(network)
    visited = keras.Model(made.inputs, [made.outputs[k] for k in exits])
    measure = confidences.measure(policy["confidence"])
    rows = []
    with files.replacing(directory) as aside:
        aside.mkdir(parents=True)
        for stage, exit in zip(stages.partition(visited), exits, strict=True):
            model = _model(stage, names[exit], measure, policy["temperatures"][exit])
            rows.append(_row(stage, model, exit, names, policy, f"{names[exit]}.{FORMATS[format]}"))
            _WRITERS[format](model, aside / rows[-1]["file"])
        manifest = _manifest(network, names, policy, rows, facts)
        files.write_json(aside / "manifest.json", manifest)
        shutil.copy(runner.__file__, aside / "runner.py")


def _model(stage, name, measure, temperature):
    """A stage that also says how sure it is, from uint8 images or features by name."""
    inputs = {key: _input(key, tensor) for key, tensor in stage.inputs.items()}
    tensors = dict(inputs)
    if stages.IMAGE in inputs:
        tensors[stages.IMAGE] = keras.ops.cast(inputs[stages.IMAGE], "float32")
    advanced = stage.advance(tensors)
    logits = keras.ops.cast(stage.answer(advanced), "float32")
    probabilities = keras.ops.softmax(logits / temperature)
    results = {"probabilities": probabilities, "confidence": measure(probabilities)}
    # What came in and is still needed stays with the runner.
    handed = {key: advanced[key] for key in stage.keeps if key not in inputs}
    return keras.Model(list(inputs.values()), {**results, **handed}, name=f"{name}_stage")


def _input(name, tensor):
    dtype = "uint8" if name == stages.IMAGE else tensor.dtype
    return keras.Input(tensor.shape[1:], dtype=dtype, name=name)


def _row(stage, model, exit, names, policy, file):
    thresholds = policy["thresholds"]
    return {
        "exit": exit,
        "submodel": names[exit],
        "file": file,
        "reads": [tensor.name for tensor in model.inputs],
        "shapes": {tensor.name: [None, *tensor.shape[1:]] for tensor in model.inputs},
        "keeps": list(stage.keeps),
        "threshold": thresholds[exit] if exit < len(thresholds) else None,
        "temperature": policy["temperatures"][exit],
    }


def _manifest(network, names, policy, rows, facts):
    return {
        "submodels": list(names),
        "confidence": policy["confidence"],
        "stages": rows,
        "image_shape": list(network.inputs[0].shape[1:]),
        "classes": network.outputs[0].shape[-1],
        **(facts or {}),
        "version": __version__,
    }


def _write_litert(model, path):
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]

    specs = [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in model.inputs]

    @tf.function(input_signature=specs)
    def run(*tensors):
        return model(list(tensors), training=False)

    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tf.saved_model.save(module, directory, signatures={"serving_default": run})
        converter = tf.lite.TFLiteConverter.from_saved_model(directory)
        path.write_bytes(converter.convert())


def _write_onnx(model, path):
    with warnings.catch_warnings():
        # Keras probes numpy for names that tf2onnx still expects there.
        warnings.simplefilter("ignore", FutureWarning)
        specs = [keras.InputSpec(shape=t.shape, dtype=t.dtype, name=t.name) for t in model.inputs]
        model.export(str(path), format="onnx", input_signature=[specs], verbose=False)


_WRITERS = {"litert": _write_litert, "onnx": _write_onnx}
