"""ONNX files of one sub-model, run by ONNX Runtime."""

import pathlib
import tempfile
import warnings

import keras


def write(models, path, calibration_images=None):
    """Writes the one serving model given, in float32."""
    (model,) = models
    write_model(model, path)


def write_model(model, path):
    """Writes a functional Keras model of named inputs; their first dimension is called batch.

    Raises:
        ValueError: ONNX has no equal of some of its operations.
    """
    import onnx

    specs = [keras.InputSpec(shape=t.shape, dtype=t.dtype, name=t.name) for t in model.inputs]
    with warnings.catch_warnings():
        # Keras probes numpy for names that tf2onnx still expects there.
        warnings.simplefilter("ignore", FutureWarning)
        signature = [specs] if len(specs) > 1 else specs
        model.export(str(path), format="onnx", input_signature=signature, verbose=False)
    written = onnx.load(path)
    operations = {node.op_type for node in written.graph.node if not node.domain}
    if unknown := sorted(name for name in operations if not onnx.defs.has(name)):
        raise ValueError(
            f"tf2onnx cannot convert {', '.join(unknown)} (grouped convolutions are "
            "StatefulPartitionedCall, gelu is Erfc); choose a SavedModel or LiteRT, or other "
            f"layers. Received: model={model.name!r}"
        )
    for value in [*written.graph.input, *written.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(written, path)


def write_int8(models, path, calibration_images):
    """Weights per channel and activations in int8, ranges from the calibration images."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Examples(quantization.CalibrationDataReader):
        _batches = iter(calibration_images[:, None])

        def get_next(self):
            batch = next(self._batches, None)
            return None if batch is None else {"image": batch}

    with tempfile.TemporaryDirectory() as directory:
        floats, prepared = pathlib.Path(directory, "floats.onnx"), pathlib.Path(directory, "p.onnx")
        write(models, floats)
        # Symbolic shapes fail where a reshape is computed (attention), and change nothing else.
        quant_pre_process(floats, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(prepared, path, Examples(), per_channel=True)
