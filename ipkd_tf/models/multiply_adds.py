"""Multiply-adds of a model, counted in the graph that TensorFlow traces of it."""

import math
import re

import tensorflow as tf

from ipkd_tf.output.checks import check


def multiply_adds(model):
    """Returns how many multiply-adds the model's convolutions and products do for one example.

    It counts the operations of the traced model rather than its layers, so custom layers, sliced
    kernels and layers used several times count for what they compute. One multiply-add is one, not
    two; biases, normalisation, activations and pooling do not count. ValueError where a side of an
    input is not fixed, or the multiply-adds of an operation are not known.
    """
    function = _inference(model)
    results = [tensor.op.name for tensor in function.outputs]
    return _Counter(function.graph.as_graph_def(add_shapes=True), results).total


def _inference(model):
    """Returns the model's inference as a concrete function of one example."""
    inputs = getattr(model, "inputs", None)
    expected = "a model whose inputs are known, such as a functional one; build it first"
    check(inputs, expected, model=model)
    expected = "sides that are all fixed; build the model for one image size"
    for tensor in inputs:
        check(None not in tensor.shape[1:], expected, shape=tuple(tensor.shape))
    specs = [tf.TensorSpec((1, *one.shape[1:]), one.dtype) for one in inputs]

    def infer(*inputs):
        return model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)

    return tf.function(infer).get_concrete_function(*specs)


class _Counter:
    """Counts the multiply-adds of a graph and of the functions that it calls."""

    def __init__(self, graph, results):
        self._functions = {f.signature.name: f for f in graph.library.function}
        self.total = self._count(graph.node, results, {})

    def _count(self, nodes, results, arguments):
        """The sum over nodes that results need, the shapes of a function's arguments by name."""
        by_name = {node.name: node for node in nodes}
        shapes = {**arguments, **{name: _output_shapes(node) for name, node in by_name.items()}}
        needed, left = set(), [name for name in results if name in by_name]
        while left:
            name = left.pop()
            if name not in needed:
                needed.add(name)
                inputs = (_split(value)[0] for value in by_name[name].input)
                left += [value for value in inputs if value in by_name]
        return sum(self._count_node(by_name[name], shapes, by_name) for name in needed)

    def _count_node(self, node, shapes, by_name):
        inputs = [_split(name) for name in node.input if not name.startswith("^")]
        inputs = [shapes[name][index] for name, index in inputs]
        if node.op in ("PartitionedCall", "StatefulPartitionedCall"):
            return self._count_function(node.attr["f"].func.name, inputs)
        if node.op in ("While", "StatelessWhile"):
            once = self._count_function(node.attr["body"].func.name, inputs)
            return once and once * _trips(node, by_name)
        if node.op in ("If", "StatelessIf", "Case", "StatelessCase"):
            branches = [f.name for f in node.attr["branches"].list.func] or [
                node.attr[key].func.name for key in ("then_branch", "else_branch")
            ]
            counts = {self._count_function(name, inputs[1:]) for name in branches}
            return counts.pop() if len(counts) == 1 else _refuse(node)
        if node.op in _PRODUCTS:
            count = _PRODUCTS[node.op](node, inputs, shapes[node.name][0])
            return _refuse(node) if count is None else count
        return _refuse(node) if _UNKNOWN.search(node.op) else 0

    def _count_function(self, name, shapes):
        function = self._functions[name]
        results = [_split(name)[0] for name in (*function.ret.values(), *function.control_ret)]
        arguments = zip(function.signature.input_arg, shapes, strict=True)
        arguments = {argument.name: [shape] for argument, shape in arguments}
        return self._count(function.node_def, results, arguments)


def _output_shapes(node):
    """Shapes of a node's outputs; None for one of unknown rank, and for an unknown side."""
    return [
        None if s.unknown_rank else [None if side.size < 0 else side.size for side in s.dim]
        for s in node.attr["_output_shapes"].list.shape
    ]


def _split(name):
    """`name`, `^name`, `name:1`, or inside functions `name:output:1`: a name and a number."""
    name, *rest = name.removeprefix("^").split(":")
    return name, int(rest[-1]) if rest else 0


def _trips(node, by_name):
    """How often a loop runs: the limit, a constant, that TensorFlow holds beside its counter."""
    limit = by_name.get(_split(node.input[1])[0])
    while limit is not None and limit.op == "Max":  # Keras takes the largest of one length
        limit = by_name.get(_split(limit.input[0])[0])
    if limit is None or limit.op != "Const":
        _refuse(node)
    trips = tf.make_ndarray(limit.attr["value"].tensor)
    return int(trips) if trips.size == 1 and trips >= 0 else _refuse(node)


def _refuse(node):
    raise ValueError(
        "Expected operations whose multiply-adds are known (convolutions, products, loops of a "
        f"fixed length). Received: {node.op} {node.name!r}"
    )


def _product(*sides):
    return None if None in sides else math.prod(sides)


def _matrix_product(node, shapes, output):
    transposed = node.attr["transpose_a" if node.op == "MatMul" else "adj_x"].b
    return _product(*output, shapes[0][-2 if transposed else -1])


def _einsum(node, shapes, output):
    """A sum over the labels that the output lacks, of products of two tensors."""
    terms, result = node.attr["equation"].s.decode().split("->")
    sides = {}
    for labels, shape in zip(terms.split(","), shapes, strict=True):
        before, _, after = labels.partition("...")
        sides.update(zip(before, shape, strict=False))
        sides.update(zip(reversed(after), reversed(shape), strict=False))
    if len(shapes) < 2:
        return 0
    if len(shapes) > 2 or ("..." in terms and "..." not in result):
        return None
    return _product(*output, *(sides[label] for label in sides if label not in result))


def _convolution(node, shapes, output):
    """A kernel is [sides, channels in per group, channels out]."""
    return _product(*output, *shapes[1][:-1])


def _transposed_convolution(node, shapes, output):
    """Each input pixel is multiplied with a kernel [sides, channels out, channels in]."""
    return _product(*shapes[2], *shapes[1][:-1])


_PRODUCTS = {
    "Conv2D": _convolution,
    "Conv3D": _convolution,
    # A kernel is [height, width, channels in, outputs per channel].
    "DepthwiseConv2dNative": lambda node, shapes, output: _product(*output, *shapes[1][:2]),
    "Conv2DBackpropInput": _transposed_convolution,
    "Conv3DBackpropInputV2": _transposed_convolution,
    "MatMul": _matrix_product,
    "BatchMatMulV2": _matrix_product,
    "BatchMatMulV3": _matrix_product,
    "Einsum": _einsum,
}
_UNKNOWN = re.compile(
    "Conv|MatMul|Einsum|XlaDot|RNN|LSTM|GRU|FFT|Cholesky|Matrix(Inverse|Solve|Triangular|Square|"
    "Exp|Log)|Svd|Qr$|Eig|PyFunc"
)
