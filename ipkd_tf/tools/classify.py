"""Classifies image files with an exported model, or with a trained network of the package.

  python -m ipkd_tf classify --model=runs/NAME/seed0/export/exit_3/model.tflite a.png
  python -m ipkd_tf classify --preset=msdnet_small_digits --signature=exit_1 a.png

Names of classes come from the manifest.json beside the model. Images of another size are scaled.
"""

import pathlib
import sys

import numpy as np
from absl import flags

from ipkd_tf.deployment.export import manifest
from ipkd_tf.output.checks import check
from ipkd_tf.tools import command

FLAGS = flags.FLAGS


def define_flags(values=flags.FLAGS):
    define = command.definer(values)
    define("model", "", "Exported file, or the directory of an export.")
    define(
        "preset", "", f"Instead of --model: a trained network of the package: {command.TRAINED}."
    )
    define("signature", "", "Which sub-model, if there are several; empty: largest.")
    define("top", 3, "Classes to print.", lower_bound=1)


def main(images):
    """Prints the classes of each image; returns 1 if one could not be read."""
    check(images, "image files after the flags", images=[])
    expected = "either an exported model or a preset"
    check(bool(FLAGS.model) != bool(FLAGS.preset), expected, model=FLAGS.model, preset=FLAGS.preset)
    model, class_names = _open_preset() if FLAGS.preset else _open_export()
    signature = FLAGS.signature or model.largest
    expected = f"a sub-model from {', '.join(model.signatures)}"
    check(signature in (*model.signatures, model.largest), expected, signature=signature)
    status = 0
    for image in images:
        try:
            pixels, note = _read_image(image, model.image_shape)
        except ValueError as error:
            print(f"classify: {error}", file=sys.stderr)
            status = 1
            continue
        (probabilities,) = model(pixels, signature)["probabilities"]
        print(f"{image}: {_describe(probabilities, class_names)}{note}")
    return status


def _open_export():
    """An exported model and the names of its classes, if it has them."""
    path = pathlib.Path(FLAGS.model)
    check(path.exists(), "an exported model that exists", model=FLAGS.model)
    document = (path.is_dir() and manifest.read(path)) or manifest.read(path.parent)
    command.start_tensorflow()
    from ipkd_tf.deployment.export import readers

    return readers.open_model(path), document and document["class_names"]


def _open_preset():
    """A trained network that is called as an exported model is, and the names of its classes."""
    command.start_tensorflow()
    import keras

    from ipkd_tf import models
    from ipkd_tf.models import trained
    from ipkd_tf.output import files

    directory = trained.find(FLAGS.preset)
    network = models.from_preset(FLAGS.preset)

    def model(images, signature):
        logits = network.submodel(signature)(images)
        return {"probabilities": keras.ops.convert_to_numpy(keras.ops.softmax(logits))}

    model.signatures, model.largest = network.submodel_names, network.submodel_names[-1]
    model.image_shape = network.inputs[0].shape[1:]
    return model, files.read_json(directory / "result.json")["class_names"]


def _read_image(path, shape):
    """One image file as uint8 `[1, height, width, channels]`, and a note on what was changed."""
    from ipkd_tf.data import image_file

    height, width, _ = shape
    check(pathlib.Path(path).is_file(), "an image file", image=str(path))
    image, note = image_file.open_rgb(path), ""
    if image.size != (width, height):
        note = f" (scaled from {image.width}x{image.height} to {width}x{height})"
    return image_file.fit(image, shape)[None], note


def _describe(probabilities, names):
    """The most probable classes of one image as text, such as `cat 91.2 %, dog 6.0 %`."""
    best = np.argsort(-probabilities, kind="stable")[: FLAGS.top]
    return ", ".join(f"{names[i] if names else i} {100 * probabilities[i]:.1f} %" for i in best)


if __name__ == "__main__":
    command.start(define_flags, main)
