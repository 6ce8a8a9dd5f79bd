"""LiteRT (TensorFlow Lite) files: one named signature for each sub-model, for devices."""

import tempfile
import warnings

import tensorflow as tf

from ipkd_tf.deployment.export import optional, saved_model


def write(models, path, calibration_images=None):
    """Writes serving models in float32, smallest first."""
    path.write_bytes(_convert(models, lambda converter: None))


def write_float16(models, path, calibration_images=None):
    """Stores weights in float16; runtimes without float16 arithmetic compute in float32."""

    def halve(converter):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    path.write_bytes(_convert(models, halve))


def write_int8(models, path, calibration_images):
    """Weights and activations in int8, ranges from the calibration images; still uint8 in."""

    def examples():
        for model in models:
            for index in range(len(calibration_images)):
                yield model.name, {"image": calibration_images[index : index + 1]}

    def quantize(converter):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples

    path.write_bytes(_convert(models, quantize))


def _convert(models, configure):
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        # The calibrator warns of its own use of an interpreter that is to move elsewhere.
        warnings.simplefilter("ignore")
        saved_model.write(models, directory)
        names = [model.name for model in models]
        converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=names)
        configure(converter)
        return converter.convert()


class Predictor:
    """Runs a LiteRT file with `ai-edge-litert`, on `threads` threads (all if None)."""

    def __init__(self, path, threads=None):
        optional.require("litert")
        from ai_edge_litert import interpreter

        self._interpreter = interpreter.Interpreter(str(path), num_threads=threads)
        self.signatures = tuple(self._interpreter.get_signature_list())
        self._runners = {
            name: self._interpreter.get_signature_runner(name) for name in self.signatures
        }
        runner = self._runners[self.signatures[0]]
        self.image_shape = tuple(map(int, runner.get_input_details()["image"]["shape"][1:]))
        self.outputs = tuple(runner.get_output_details())

    def __call__(self, images, signature):
        return self._runners[signature](image=images)
