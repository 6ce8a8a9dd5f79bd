"""LiteRT (TensorFlow Lite) files: one named signature for each sub-model, for devices."""

import tempfile
import warnings

import tensorflow as tf

from ipkd_tf.deployment.export import saved_model


def write(models, path, calibration_images=None):
    """Writes models in float32, smallest first."""
    _convert(models, path, lambda converter: None)


def write_float16(models, path, calibration_images=None):
    """Stores weights in float16; runtimes without float16 arithmetic compute in float32."""

    def halve(converter):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    _convert(models, path, halve)


def write_int8(models, path, calibration_images):
    """Weights and activations in int8, ranges from the calibration images; still uint8 in."""

    def examples():
        for model in models:
            for index in range(len(calibration_images)):
                yield model.name, {"image": calibration_images[index : index + 1]}

    def quantize(converter):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples

    _convert(models, path, quantize)


def _convert(models, path, configure):
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        # The calibrator warns of its own use of an interpreter that is to move elsewhere.
        warnings.simplefilter("ignore")
        saved_model.write(models, directory)
        names = [model.name for model in models]
        converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=names)
        configure(converter)
        path.write_bytes(converter.convert())
