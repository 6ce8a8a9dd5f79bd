"""A network's sub-models written to files, each compared with the network before it counts."""

import dataclasses
import os
import pathlib
import typing
from collections.abc import Sequence

import keras
import numpy as np

from ipkd_tf.deployment.export import manifest, serving, verification
from ipkd_tf.deployment.export.formats import FORMATS, Tolerance, check_formats
from ipkd_tf.deployment.export.readers import open_model
from ipkd_tf.models import cost, flexible
from ipkd_tf.output import files
from ipkd_tf.output.checks import check


def export_submodel(
    network: keras.Model,
    submodel: int | str | flexible.Submodel,
    directory: str | os.PathLike,
    formats: Sequence[str] = ("saved_model",),
    *,
    images: typing.Any = None,
    labels: np.ndarray | None = None,
    calibration_images: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    rows: Sequence[dict] | None = None,
    run: dict | None = None,
    tolerance: Tolerance | None = None,
    overwrite: bool = False,
) -> dict:
    """Writes one sub-model, or all, to files of one or more formats, and manifest.json beside them.

    All in one file get a named signature each. A SavedModel stores shared weights once; LiteRT
    stores equal weights once, but a slice of a kernel as a kernel of its own: exits share, widths
    do not.

    Args:
        network: A flexible network, or any functional model with one logits output per sub-model.
        submodel: Its name, `Submodel`, or index; 0 for the smallest, -1 for the largest. Or "all",
            in the formats saved_model, litert, litert_float16, litert_int8 and packed.
        directory: Where the files go; made if missing. Formats of the same sub-model may be added
            later. What no export wrote is left alone.
        formats: Names from `FORMATS`: saved_model, keras, litert, litert_float16, litert_int8,
            onnx, onnx_int8, packed.
        images: uint8 `[images, height, width, channels]`, or `Examples`, on which each file is
            compared with the network; None for the calibration images, or noise without them.
        labels: Integers `[images]` for the accuracy before and after, or None.
        calibration_images: Training images of all classes, uint8, for int8's ranges; hundreds.
        class_names: Recorded in the manifest, in the order of `class_id`.
        rows: Facts of each named sub-model to record, such as `evaluation.evaluate`'s rows of the
            network; None for its costs.
        run: JSON value recorded in the manifest, such as a run's result.
        tolerance: `Tolerance`; None for each format's own.
        overwrite: Whether the export of another network in the directory may be replaced.

    Returns:
        The manifest, as a dict.

    Raises:
        ValueError: An unknown sub-model or format, missing packages or calibration images, a
            directory that holds another export or files of other origin, or a file that cannot be
            written or is outside its tolerance; that file is not kept.

    Example:
        >>> export_submodel(network, "exit_1", "exit_1", ["litert", "onnx"], images=test_images)
    """
    check_formats(formats, several=submodel == "all")
    _check_calibration(formats, calibration_images)
    chosen = list(flexible.names(network)) if submodel == "all" else [submodel]
    if images is None:  # Better than noise, on which a trained network says one class.
        images, labels = calibration_images, None
    plain = [flexible.cut(network, which) for which in chosen]
    models = serving.serving_models(plain)
    names = [model.name for model in models]
    rows = [_row(network, *item, rows) for item in zip(names, chosen, strict=True)]
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    name = "all" if submodel == "all" else names[0]
    document = manifest.begin(network, name, rows, class_names, run)
    with files.locked(directory):
        files.remove_leftovers(directory)
        earlier = manifest.read(directory)
        document, outdated = manifest.merge(document, earlier, directory, overwrite)
        for format in formats:
            manifest.check_own(directory / FORMATS[format].file, earlier)
        reference = verification.Reference.of(_whole(network, names, plain), names, images, labels)
        for format in formats:
            path = directory / FORMATS[format].file
            limits = (tolerance or Tolerance()).of(format, network)
            with files.replacing(path) as aside:
                content = (network, chosen) if FORMATS[format].of_network else models
                FORMATS[format].write(content, aside, calibration_images)
                checks = reference.verify(open_model(aside), format, limits)
            for other in outdated:
                if other != path:
                    files.remove(other)
            outdated = []
            limits = dataclasses.asdict(limits)
            document["formats"][format] = manifest.describe(path, checks=checks, tolerance=limits)
            files.write_json(directory / manifest.NAME, document)
    return document


def describe(document, directory, formats):
    """Text about files of a manifest: their bytes, how they compare, three lines to run them."""
    lines, largest = [], document["submodels"][-1]["name"]
    for format in formats:
        entry = document["formats"][format]
        path = pathlib.Path(directory, entry["path"])
        usage = FORMATS[format].usage.format(path=path.as_posix(), signature=largest)
        lines += [f"{path}: {entry['bytes']:,} bytes", *map(verification.line, entry["checks"])]
        lines += [f"    {line}" for line in usage.splitlines()]
    return "\n".join(lines)


def _check_calibration(formats, images):
    if asked := [format for format in formats if FORMATS[format].calibrated]:
        expected = "training images as calibration_images, for the ranges of int8 activations"
        check(images is not None, expected, format=asked[0], calibration_images=None)
        expected = "calibration images that differ, some of each class"
        check(np.ptp(images, axis=0).any(), expected, equal_images=len(images))


def _row(network, name, which, rows):
    named = flexible.names(network)
    if rows and name in named:
        return rows[named.index(name)]
    return {"name": name, **cost.of_submodel(network, which)}


def _whole(network, names, plain):
    """The network at the chosen outputs; the sub-model itself where it is none of the outputs."""
    named = flexible.names(network)
    if not {*names} <= {*named}:
        return plain[0]
    return keras.Model(network.inputs, [network.outputs[named.index(name)] for name in names])
