"""Classifies image files with an exported model.

  python -m ipkd_tf.tools.classify --model=runs/NAME/seed0/export/exit_3/model.tflite a.png

Class names come from the manifest.json beside the model. Images of another size are scaled.
"""

import sys

from absl import flags

from ipkd_tf.tools import command

FLAGS = flags.FLAGS


def define_flags(values=flags.FLAGS):
    flags.DEFINE_string(
        "model", None, "Exported file or directory.", required=True, flag_values=values
    )
    flags.DEFINE_string(
        "signature",
        "",
        "Sub-model of a file that holds several; empty: largest.",
        flag_values=values,
    )
    flags.DEFINE_integer("top", 3, "Classes to print.", lower_bound=1, flag_values=values)


def main(images):
    """Prints the classes of each image; returns 1 if one could not be read."""
    if not images:
        raise ValueError("Expected image files after the flags. Received: images=[]")
    command.start_tensorflow()
    from ipkd_tf.deployment import export
    from ipkd_tf.tools import classification

    model = export.open_model(FLAGS.model)
    signature = FLAGS.signature or classification.default_signature(FLAGS.model, model)
    if signature not in model.signatures:
        raise ValueError(
            f"Expected a sub-model from {', '.join(model.signatures)}. "
            f"Received: signature={signature!r}"
        )
    names = classification.class_names(FLAGS.model)
    status = 0
    for path in images:
        try:
            image, note = classification.read_image(path, model.image_shape)
        except ValueError as error:
            print(f"classify: {error}", file=sys.stderr)
            status = 1
            continue
        (probabilities,) = model(image, signature)["probabilities"]
        text = classification.describe(probabilities, names, FLAGS.top)
        print(f"{path}: {text}" + (f" ({note})" if note else ""))
    return status


if __name__ == "__main__":
    command.start(define_flags, main)
