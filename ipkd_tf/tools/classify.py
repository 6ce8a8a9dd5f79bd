"""Classifies image files with an exported model.

  python -m ipkd_tf classify --model=runs/NAME/seed0/export/exit_3/model.tflite a.png

Class names come from the manifest.json beside the model. Images of another size are scaled.
"""

import pathlib
import sys

import numpy as np
from absl import flags

from ipkd_tf.deployment.export import manifest
from ipkd_tf.tools import command

FLAGS = flags.FLAGS


def define_flags(values=flags.FLAGS):
    define = command.definer(values)
    define("model", str, "Exported file, or the directory of an export.", required=True)
    define("signature", "", "Sub-model of a file that holds several; empty: largest.")
    define("top", 3, "Classes to print.", lower_bound=1)


def main(images):
    """Prints the classes of each image; returns 1 if one could not be read."""
    if not images:
        raise ValueError("Expected image files after the flags. Received: images=[]")
    path = pathlib.Path(FLAGS.model)
    if not path.exists():
        raise ValueError(f"Expected an exported model that exists. Received: model={FLAGS.model!r}")
    document = (path.is_dir() and manifest.read(path)) or manifest.read(path.parent)
    command.start_tensorflow()
    from ipkd_tf.deployment.export import readers

    model = readers.open_model(path)
    signature = FLAGS.signature or model.largest
    if signature not in (*model.signatures, model.largest):
        raise ValueError(
            f"Expected a sub-model from {', '.join(model.signatures)}. "
            f"Received: signature={signature!r}"
        )
    status = 0
    for image in images:
        try:
            pixels, note = _read_image(image, model.image_shape)
        except ValueError as error:
            print(f"classify: {error}", file=sys.stderr)
            status = 1
            continue
        (probabilities,) = model(pixels, signature)["probabilities"]
        print(f"{image}: {_describe(probabilities, document and document['class_names'])}{note}")
    return status


def _read_image(path, shape):
    """One image file as uint8 `[1, height, width, channels]`, and a note on what was changed."""
    from PIL import Image

    from ipkd_tf.data import image_file

    height, width, channels = shape
    if not pathlib.Path(path).is_file():
        raise ValueError(f"Expected an image file. Received: image={str(path)!r}")
    image, note = image_file.open_rgb(path), ""
    if image.size != (width, height):
        note = f" (scaled from {image.width}x{image.height} to {width}x{height})"
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image.convert("L"))[..., None] if channels == 1 else np.asarray(image)
    return pixels[None], note


def _describe(probabilities, names):
    """The most probable classes of one image as text, such as `cat 91.2 %, dog 6.0 %`."""
    best = np.argsort(-probabilities, kind="stable")[: FLAGS.top]
    return ", ".join(f"{names[i] if names else i} {100 * probabilities[i]:.1f} %" for i in best)


if __name__ == "__main__":
    command.start(define_flags, main)
