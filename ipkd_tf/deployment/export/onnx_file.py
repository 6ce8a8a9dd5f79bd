"""ONNX files of one sub-model, run by ONNX Runtime."""

import pathlib
import tempfile
import warnings

import keras

from ipkd_tf.deployment.export import optional


def write(models, path, calibration_images=None):
    """Writes the one serving model given, in float32."""
    optional.require("onnx")
    (model,) = models
    image = keras.InputSpec(shape=model.inputs[0].shape, dtype="uint8", name="image")
    with warnings.catch_warnings():
        # Keras probes numpy for names that tf2onnx still expects there.
        warnings.simplefilter("ignore", FutureWarning)
        model.export(str(path), format="onnx", input_signature=[image], verbose=False)


def write_int8(models, path, calibration_images):
    """Weights per channel and activations in int8, ranges from the calibration images."""
    optional.require("onnx_int8")
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as directory:
        floats, prepared = pathlib.Path(directory, "floats.onnx"), pathlib.Path(directory, "p.onnx")
        write(models, floats)
        quant_pre_process(floats, prepared)
        quantization.quantize_static(
            prepared, path, _examples(calibration_images), per_channel=True
        )


def _examples(images):
    from onnxruntime import quantization

    class Examples(quantization.CalibrationDataReader):
        def __init__(self):
            self._batches = iter(images[:, None])

        def get_next(self):
            batch = next(self._batches, None)
            return None if batch is None else {"image": batch}

    return Examples()


class Predictor:
    """Runs an ONNX file with ONNX Runtime on the CPU, on `threads` threads (all if None)."""

    def __init__(self, path, threads=None):
        optional.require("onnxruntime")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.signatures = (pathlib.Path(path).stem,)
        self.image_shape = tuple(self._session.get_inputs()[0].shape[1:])
        self.outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, images, signature):
        return dict(zip(self.outputs, self._session.run(None, {"image": images}), strict=True))
