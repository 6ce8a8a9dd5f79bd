"""What a model costs: parameters and multiply-adds."""

import math

import tensorflow as tf

from ipkd_tf.models import submodels

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def multiply_adds(model):
    """Returns how many multiply-adds the model's convolutions and dense layers do for one example.

    It counts the operations of the traced model rather than its layers, so custom layers, sliced
    kernels and layers used several times count for what they compute. One multiply-add is one,
    not two; biases, normalisation, activations and pooling do not count.

    Args:
        model: built `keras.Model` with known input shapes, such as `network.submodel(0)`.

    Returns:
        int.

    Raises:
        ValueError: the model has no inputs yet, or a side of an input is not fixed.

    Example:
        >>> image = keras.Input([8, 8, 3])
        >>> multiply_adds(keras.Model(image, keras.layers.Conv2D(16, 3, padding="same")(image)))
        27648
    """
    return _graph_multiply_adds(_inference(model, batch_size=1).graph)


def parameters(model):
    """Returns the number of trainable parameters, int."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def of_submodel(network, index):
    """Parameters and multiply-adds of one sub-model, cut out of the network."""
    model = submodels.cut(network, index)
    return {"parameters": parameters(model), "multiply_adds": multiply_adds(model)}


def _inference(model, batch_size):
    """Returns the model's inference as a concrete function of batches of `batch_size`."""
    specs = [_input_spec(tensor, batch_size) for tensor in getattr(model, "inputs", None) or ()]
    if not specs:
        raise ValueError(
            f"Expected a model whose inputs are known, such as a functional one; build it first. "
            f"Received: model={model}"
        )

    def infer(*inputs):
        return model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)

    return tf.function(infer).get_concrete_function(*specs)


def _input_spec(tensor, batch_size):
    if None in tensor.shape[1:]:
        raise ValueError(
            f"Expected an input whose sides are all fixed; build the model for one image size. "
            f"Received: shape={tuple(tensor.shape)}"
        )
    return tf.TensorSpec((batch_size, *tensor.shape[1:]), tensor.dtype)


def _graph_multiply_adds(graph):
    total = 0
    for operation in graph.get_operations():
        if operation.type in _CALLS:
            # Keras wraps grouped convolutions in functions of their own.
            total += _graph_multiply_adds(graph._get_function(operation.get_attr("f").name).graph)
        elif operation.type in _TERMS_PER_OUTPUT:
            terms = _TERMS_PER_OUTPUT[operation.type](operation)
            total += operation.outputs[0].shape.num_elements() * terms
    return total


def _convolution_terms(operation):
    """A kernel is [height, width, channels in per group, channels out]."""
    return operation.inputs[1].shape[:-1].num_elements()


def _depthwise_terms(operation):
    """A kernel is [height, width, channels in, outputs per channel]."""
    return operation.inputs[1].shape[:2].num_elements()


def _product_terms(operation):
    transposed = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
    return operation.inputs[0].shape[-2 if transposed else -1]


# How many products are summed into one output element.
_TERMS_PER_OUTPUT = {
    "Conv2D": _convolution_terms,
    "DepthwiseConv2dNative": _depthwise_terms,
    "MatMul": _product_terms,
    "BatchMatMulV2": _product_terms,
}
