"""Serving models written as files: SavedModel, Keras, LiteRT, ONNX.

Each function takes models of named inputs, smallest first, a path, and images for int8's ranges.
"""

import pathlib
import tempfile
import warnings

import keras
import tensorflow as tf

from ipkd_tf.deployment.export import serving
from ipkd_tf.deployment.export.formats import DEFAULT_SIGNATURE
from ipkd_tf.deployment.export.packed import write as write_packed  # noqa: F401  one of them
from ipkd_tf.output import counter


def write_saved_model(models, path, images=None):
    """One named signature for each model, over shared weights; the largest is the default."""
    module, weights = tf.Module(), serving.SharedWeights(models)
    module.weights = weights.variables
    functions = {model.name: _function(model, weights) for model in models}
    signatures = {DEFAULT_SIGNATURE: functions[models[-1].name], **functions}
    tf.saved_model.save(module, str(path), signatures=signatures)


def _function(model, weights):
    specs = {t.name: tf.TensorSpec(t.shape, t.dtype, t.name) for t in model.inputs}

    def infer(**tensors):
        trainable = [weights.read(weight) for weight in model.trainable_variables]
        others = [weights.read(weight) for weight in model.non_trainable_variables]
        inputs = [tensors[name] for name in specs]
        inputs = inputs if len(inputs) > 1 else inputs[0]
        return model.stateless_call(trainable, others, inputs, training=False)[0]

    return tf.function(infer).get_concrete_function(**specs)


def write_keras(models, path, images=None):
    """One model of plain Keras layers."""
    (model,) = models
    model.save(path)


def write_litert(models, path, images=None, types=(), examples=None):
    """One named signature for each model; in float32 without other `types` or `examples`."""
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        # The calibrator warns of its own use of an interpreter that is to move elsewhere.
        warnings.simplefilter("ignore")
        write_saved_model(models, directory)
        names = [model.name for model in models]
        converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=names)
        if types or examples:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = types
            converter.representative_dataset = examples
        path.write_bytes(converter.convert())


def write_litert_float16(models, path, images=None):
    """Weights in float16; runtimes without float16 arithmetic compute in float32."""
    write_litert(models, path, types=[tf.float16])


def write_litert_int8(models, path, images):
    """Weights and activations in int8; images still come in as uint8."""

    def examples():
        for model in models:
            for index in counter.track(range(len(images)), f"calibrating {model.name}"):
                yield model.name, {"image": images[index : index + 1]}

    write_litert(models, path, examples=examples)


def write_onnx(models, path, images=None):
    """One model in float32; the first dimension of its inputs and outputs is called batch."""
    import onnx

    (model,) = models
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


def write_onnx_int8(models, path, images):
    """One model with weights per channel and activations in int8."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Examples(quantization.CalibrationDataReader):
        _batches = counter.track(images[:, None], f"calibrating {models[0].name}")

        def get_next(self):
            batch = next(self._batches, None)
            return None if batch is None else {"image": batch}

    with tempfile.TemporaryDirectory() as directory:
        floats, prepared = pathlib.Path(directory, "floats.onnx"), pathlib.Path(directory, "p.onnx")
        write_onnx(models, floats)
        # Symbolic shapes fail where a reshape is computed (attention), and change nothing else.
        quant_pre_process(floats, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(prepared, path, Examples(), per_channel=True)
