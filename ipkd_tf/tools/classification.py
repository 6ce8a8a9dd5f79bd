"""Image files classified by an exported model."""

import pathlib

import numpy as np
from PIL import Image

from ipkd_tf.data import image_file
from ipkd_tf.deployment.export import manifest


def class_names(path):
    """Names of the classes from the manifest.json beside a file; None if there is none."""
    document = manifest.read(pathlib.Path(path).parent)
    return document and document["class_names"]


def default_signature(path, model):
    """The signature of the largest sub-model: the manifest's last, or else the file's last."""
    document = manifest.read(pathlib.Path(path).parent)
    names = [row["name"] for row in document["submodels"]] if document else []
    return next((n for n in reversed(names) if n in model.signatures), model.signatures[-1])


def read_image(path, shape):
    """Reads one image file for a model of this image shape.

    Grey images and images with transparency become RGB; another size is scaled, not cropped.

    Returns:
        uint8 `[1, height, width, 3]`, and a note on what was changed, or "".

    Raises:
        ValueError: The file cannot be read.
    """
    height, width, _ = shape
    if not pathlib.Path(path).is_file():
        raise ValueError(f"Expected an image file. Received: image={str(path)!r}")
    image = image_file.open_rgb(path)
    note = ""
    if image.size != (width, height):
        note = f"scaled from {image.width}x{image.height} to {width}x{height}"
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image)[None], note


def describe(probabilities, names, top):
    """The most probable classes of one image as text, such as `cat 91.2 %, dog 6.0 %`.

    Args:
        probabilities: float `[classes]`.
        names: One for each class, or None for their numbers.
        top: How many classes.
    """
    best = np.argsort(-probabilities, kind="stable")[:top]
    return ", ".join(f"{names[i] if names else i} {100 * probabilities[i]:.1f} %" for i in best)
