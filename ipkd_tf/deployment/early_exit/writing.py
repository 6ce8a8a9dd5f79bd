"""Early exit as files that run without this package, checked on images before they count."""

import os
import pathlib
import shutil
import typing

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf.deployment import export as exporting
from ipkd_tf.deployment.early_exit import confidence, runner
from ipkd_tf.deployment.early_exit.classifier import EarlyExitClassifier
from ipkd_tf.deployment.export import manifest
from ipkd_tf.deployment.export.verification import predict
from ipkd_tf.models import stages
from ipkd_tf.output import files
from ipkd_tf.output.checks import check_choice

FORMATS = ("saved_model", "litert", "onnx")
# Runtimes round differently: an image may be on the other side of a threshold.
_LEAST_AGREEMENT = 0.995
_BATCH = 250  # images in a call of the comparison, which bounds its memory


def export(
    classifier: EarlyExitClassifier,
    path: str | os.PathLike,
    format: str = "saved_model",
    images: typing.Any = None,
    exits: np.ndarray | None = None,
    facts: dict | None = None,
) -> float | None:
    """Writes a directory that classifies as a classifier does, and compares where images leave.

    A SavedModel is one file for every budget: its signatures take uint8 `image` `[batch, height,
    width, channels]` and return what a call does, `serving_default` with the default thresholds,
    `with_thresholds` with `thresholds` `[n - 1]` of the caller's. LiteRT and ONNX have no such
    control flow: one file per stage, and `runner.py`, which chains them with numpy. An exit that
    the thresholds skip gets no stage, so its head is in no file.

    Args:
        classifier: `EarlyExitClassifier`.
        path: Directory; an earlier export is replaced when the new one is complete.
        format: `saved_model`, `litert` or `onnx`.
        images: uint8 `[images, height, width, channels]`, or `Examples`, to compare on; None does
            not compare.
        exits: Integers `[images]`, where each of them should leave.
        facts: JSON values to record in its manifest.json, such as accuracy and cost.

    Returns:
        Share of the images that leave where they should; None without images.

    Raises:
        ValueError: An unknown format or missing packages, a directory that holds anything else, or
            files that do not decide as they should, which are not kept.

    Example:
        >>> export(classify, "early_exit/onnx", "onnx", images, classify(images)["exit"])
        1.0
    """
    check_formats([format])
    path = pathlib.Path(path)
    earlier = (manifest.read(path) or {}) if path.is_dir() else {}
    if "formats" in earlier:
        # A manifest cannot list itself.
        earlier["formats"]["manifest"] = {"files": [f"{path.name}/{manifest.NAME}"]}
    manifest.check_own(path, earlier if "formats" in earlier else None)
    with files.replacing(path) as aside:
        write = _write_saved_model if format == "saved_model" else _write_stages
        rows = write(classifier, aside, format)
        settings = classifier.names, [*classifier.thresholds, None], classifier.temperatures
        document = {
            "submodels": [
                {"name": name, "threshold": threshold, "temperature": temperature}
                for name, threshold, temperature in zip(*settings, strict=True)
            ],
            "confidence": classifier.confidence,
            "stages": rows,
            "image_shape": list(classifier.image_shape),
            "classes": classifier.network.outputs[0].shape[-1],
            **(facts or {}),
            "formats": {format: manifest.describe(aside)},
        }
        files.write_json(aside / manifest.NAME, document)
        return None if images is None else _agreement(aside, format, images, exits)


def check_formats(formats):
    """Raises ValueError unless all formats exist and can be written here."""
    for format in formats:
        check_choice(FORMATS, format=format)
    exporting.check_formats(formats)


def _agreement(path, format, images, exits):
    if format == "saved_model":
        loaded = tf.saved_model.load(str(path))
        serve = loaded.signatures["serving_default"]
        leaving = predict(lambda batch: serve(image=tf.constant(batch))["exit"], images, _BATCH)
    else:
        leaving = predict(runner.StageRunner(path), images, _BATCH)["exit"]
    share = float(np.mean(leaving == np.asarray(exits)))
    if not share >= _LEAST_AGREEMENT:
        raise ValueError(
            f"Only {share:.2%} of the images leave where they should (needed: "
            f"{_LEAST_AGREEMENT:.2%}); nothing was written. Received: format={format!r}"
        )
    return share


def _write_saved_model(classifier, path, format):
    image = tf.TensorSpec([None, *classifier.image_shape], tf.uint8, name="image")
    thresholds = tf.TensorSpec([len(classifier.thresholds)], tf.float32, name="thresholds")

    @tf.function(input_signature=[image, thresholds])
    def with_thresholds(image, thresholds):
        return classifier.classify(tf.cast(image, tf.float32), thresholds)

    # TensorFlow's own loader knows no default values of a signature's inputs.
    @tf.function(input_signature=[image])
    def serving_default(image):
        return with_thresholds(image, tf.constant(classifier.thresholds))

    module = tf.Module()
    module.weights = classifier.variables
    signatures = {"serving_default": serving_default, "with_thresholds": with_thresholds}
    tf.saved_model.save(module, str(path), signatures=signatures)
    return []


def _write_stages(classifier, path, format):
    """Writes a file per stage and the runner; returns the manifest's row of each stage."""
    thresholds, network = [*classifier.thresholds, None], classifier.network
    visited = [exit for exit, limit in enumerate(thresholds) if limit is None or limit <= 1]
    parts = stages.partition(keras.Model(network.inputs, [network.outputs[k] for k in visited]))
    ending, rows = pathlib.Path(exporting.FORMATS[format].file).suffix, []
    path.mkdir()
    shutil.copy(runner.__file__, path / "runner.py")
    for stage, exit in zip(parts, visited, strict=True):
        file = f"{classifier.names[exit]}{ending}"
        model = _stage_model(stage, classifier.temperatures[exit], classifier.confidence)
        exporting.FORMATS[format].write([model], path / file, None)
        reads = [tensor.name for tensor in model.inputs]
        row = {"exit": exit, "file": file, "reads": reads, "keeps": list(stage.keeps)}
        rows.append({**row, "threshold": thresholds[exit]})
    return rows


def _stage_model(stage, temperature, measure):
    """A stage that also says how sure it is, from uint8 images or features by name."""
    inputs = {
        name: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=name)
        for name, tensor in stage.inputs.items()
    }
    tensors = dict(inputs)
    if stages.IMAGE in inputs:
        shape = inputs[stages.IMAGE].shape[1:]
        inputs[stages.IMAGE] = keras.Input(shape, dtype="uint8", name=stages.IMAGE)
        tensors[stages.IMAGE] = keras.ops.cast(inputs[stages.IMAGE], "float32")
    tensors = stage.advance(tensors)
    logits = keras.ops.cast(stage.answer(tensors), "float32")
    probabilities = keras.ops.softmax(logits / temperature)
    results = {
        "probabilities": probabilities,
        "confidence": confidence.measure(measure)(probabilities),
        # What came in and is still needed stays with the runner.
        **{name: tensors[name] for name in stage.keeps if name not in inputs},
    }
    inputs = list(inputs.values())
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], results, name=stage.name)
