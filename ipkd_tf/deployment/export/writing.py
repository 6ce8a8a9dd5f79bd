"""A network's sub-models written to files, each compared with the network before it counts."""

import dataclasses
import pathlib

import keras
import numpy as np

from ipkd_tf.deployment.export import manifest, serving, verification
from ipkd_tf.deployment.export.formats import FORMATS, check_formats, open_model
from ipkd_tf.models import cost, flexible
from ipkd_tf.output import files


def export_submodel(network, index, directory, formats=("saved_model",), **settings):
    """Writes one sub-model to files of one or more formats, and manifest.json beside them.

    Args:
        network: A flexible network, or any functional model with one logits output per sub-model.
        index: 0 for the smallest; negative indices count from the largest.
        directory: Where the files go; made if missing. Formats of the same sub-model may be added
            later.
        formats: Names from `FORMATS`: saved_model, keras, litert, litert_float16, litert_int8,
            onnx, onnx_int8.
        images: uint8 `[images, height, width, 3]` on which each file is compared with the network;
            None for 64 images of noise.
        labels: Integers `[images]` for the accuracy before and after, or None.
        calibration_images: Training images of all classes, uint8, for int8's ranges; hundreds.
        class_names: Recorded in the manifest, in the order of `class_id`.
        rows: Facts of each sub-model to record, such as `evaluation.evaluate`'s rows of the
            network; None for parameters and multiply-adds.
        run: JSON value recorded in the manifest, such as a run's result.
        tolerance: `Tolerance` for all formats; None for each format's own.

    Returns:
        The manifest, as a dict.

    Raises:
        ValueError: An unknown format, missing packages or calibration images, a directory that
            holds another export, or a file outside its tolerance, which is not kept.
        IndexError: There is no such sub-model.

    Example:
        >>> export_submodel(network, 0, "exit_1", ["litert", "onnx"], images=test_images)
    """
    index = flexible.find(network, index)
    name = flexible.names(network)[index]
    return _export(network, [index], name, directory, formats, **settings)


def export_all(network, directory, formats=("saved_model",), **settings):
    """Writes all sub-models to one file of each format: a named signature for each.

    A SavedModel stores shared weights once. LiteRT stores equal weights once, but a slice of a
    kernel as a kernel of its own: exits share, widths do not. Arguments as
    `export_submodel`; formats saved_model, litert, litert_float16, litert_int8.

    Example:
        >>> export_all(network, "all", ["saved_model"])
    """
    indices = range(len(flexible.names(network)))
    return _export(network, indices, "all", directory, formats, **settings)


def _export(
    network,
    indices,
    name,
    directory,
    formats,
    images=None,
    labels=None,
    calibration_images=None,
    class_names=None,
    rows=None,
    run=None,
    tolerance=None,
):
    check_formats(formats, several=name == "all")
    _check_calibration(formats, calibration_images)
    models = serving.serving_models([flexible.cut(network, index) for index in indices])
    rows = [rows[index] if rows else _row(network, index) for index in indices]
    directory = pathlib.Path(directory)
    document = manifest.merge(
        manifest.begin(network, name, models, rows, class_names, run), directory
    )
    directory.mkdir(parents=True, exist_ok=True)
    reference = _Reference.of(network, indices, images, labels)
    for format in formats:
        limits = tolerance or FORMATS[format].tolerance
        path = directory / FORMATS[format].file
        with files.replacing(path) as aside:
            FORMATS[format].write(models, aside, calibration_images)
            checks = reference.verify(open_model(aside), format, models, limits)
        document["formats"][format] = manifest.describe(path, limits, checks)
        manifest.write(document, directory)
        print(_lines(path, document["formats"][format]), flush=True)
    return document


def _check_calibration(formats, calibration_images):
    for format in formats:
        if FORMATS[format].calibrated and calibration_images is None:
            raise ValueError(
                f"Training images are needed for the ranges of int8 activations; give "
                f"calibration_images. Received: format={format!r}, calibration_images=None"
            )


def _row(network, index):
    return {
        "name": flexible.names(network)[index],
        **cost.of_submodel(network, index),
    }


@dataclasses.dataclass(frozen=True)
class _Reference:
    """Images, their labels or None, and what the network computes for them at each sub-model."""

    images: np.ndarray
    labels: np.ndarray | None
    logits: list

    @classmethod
    def of(cls, network, indices, images, labels):
        if images is None:
            shape = (64, *network.inputs[0].shape[1:])
            images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        asked = keras.Model(network.inputs, [network.outputs[index] for index in indices])
        logits = keras.tree.flatten(asked.predict(images, batch_size=64, verbose=0))
        return cls(images, labels, logits)

    def verify(self, opened, format, models, tolerance):
        """The scores of an opened file for each model; ValueError outside the tolerance."""
        # A format that holds a single sub-model need not know its name.
        signatures = [m.name for m in models] if len(models) > 1 else opened.signatures
        checks = []
        for model, signature, logits in zip(models, signatures, self.logits, strict=True):
            outputs = verification.predict(opened, self.images, signature)
            scores = verification.compare(outputs, logits, self.labels)
            verification.check(scores, tolerance, f"{format} of {model.name}")
            checks.append({"submodel": model.name, **scores})
        return checks


def _lines(path, entry):
    lines = [f"{path}: {entry['bytes']:,} bytes", *map(_line, entry["checks"])]
    return "\n".join(lines)


def _line(check):
    line = (
        f"  {check['submodel']}: largest difference {check['largest_difference']:.2g} of logits "
        f"up to {check['largest_logit']:.3g}, equal decisions {check['equal_decisions']:.2%} of "
        f"{check['images']} images"
    )
    if "accuracy" in check:
        line += f", accuracy {check['accuracy']:.2%} (network: {check['network_accuracy']:.2%})"
    return line
