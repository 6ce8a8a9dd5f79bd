"""What can be said on a CPU about training on a GPU: XLA, half precision, no waiting for the host.

On a machine with GPUs, `python -m benchmarks.training --precision=mixed_bfloat16` measures it.
"""

import dataclasses
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from benchmarks.workload import Workload
from ipkd_tf.models import precision as policies

# Tiny, because XLA for the CPU is slow. Enough images for well-conditioned batch normalisation.
TINY = {"batch_size": 16, "image_size": 16, "num_classes": 3}
FAMILIES = {
    "msdnet": Workload("msdnet_small", arguments={"blocks": 2, "base": 1, "step": 1}, **TINY),
    "slimmable": Workload(
        "slimmable_mobilenet_v1",
        arguments={"widths": (0.5, 1.0), "stem": 16, "blocks": ((16, 1), (32, 2))},
        **TINY,
    ),
}
HALF = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}
# Operations that run on the host, or whose result the host must read before it can go on: Python
# code, printing and checks; outputs of data-dependent shape; branches and loops on a value.
HOST = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "Print", "PrintV2", "StringFormat", "Assert"}
HOST |= {"CheckNumerics", "CheckNumericsV2", "Where", "Unique", "UniqueV2", "DynamicPartition"}
HOST |= {"If", "StatelessIf", "While", "StatelessWhile", "Switch", "Merge", "Case", "Send", "Recv"}


def step_operations(one):
    """Every operation of a traced train step, those of functions it calls included."""
    distiller = one.distiller()
    specs = [tf.TensorSpec(array.shape, array.dtype) for array in one.images_and_labels()]
    graph = tf.function(distiller.train_step).get_concrete_function(tuple(specs)).graph
    definition = graph.as_graph_def()
    inner = [node for function in definition.library.function for node in function.node_def]
    return [*definition.node, *inner]


def dtypes(operations, *types):
    """The names of the dtypes in which operations of these types compute."""
    found = [operation for operation in operations if operation.op.startswith(types)]
    return {tf.as_dtype(operation.attr["T"].type).name for operation in found}


class XlaTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*FAMILIES)
    def test_compiled_step_equals_the_plain_one(self, family):
        keras.utils.set_random_seed(0)
        plain = FAMILIES[family]
        compiled = dataclasses.replace(plain, jit="on")
        distillers = [plain.distiller(), compiled.distiller()]
        self.assertEqual([one.jit_compile for one in distillers], [False, True])
        before = distillers[0].get_weights()
        distillers[1].set_weights(before)

        losses = [
            one.step(distiller)()
            for one, distiller in zip((plain, compiled), distillers, strict=True)
        ]

        self.assertAllClose(*losses, rtol=1e-5)
        after = [distiller.get_weights() for distiller in distillers]
        for variable, old, a, b in zip(distillers[0].weights, before, *after, strict=True):
            change = np.linalg.norm(a - old)
            rounding = np.finfo(np.float32).eps * np.linalg.norm(a)
            error = np.linalg.norm(a - b)
            self.assertLessEqual(error, 1e-4 * change + rounding, variable.path)


class _AsOnGpu(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        has_one = mock.patch.object(policies, "_has_accelerator", return_value=True)
        self.enter_context(has_one)


class HalfPrecisionTest(_AsOnGpu):
    @parameterized.product(family=[*FAMILIES], precision=[*HALF])
    def test_convolutions_and_normalisation_are_half_and_the_loss_is_not(self, family, precision):
        operations = step_operations(dataclasses.replace(FAMILIES[family], precision=precision))
        kinds = ["Conv2D", "Conv2DBackprop", "FusedBatchNormV3", "FusedBatchNormGradV3"]
        if family == "slimmable":
            kinds += ["DepthwiseConv2dNative", "DepthwiseConv2dNativeBackprop"]
        for kind in kinds:
            self.assertEqual(dtypes(operations, kind), {HALF[precision]}, kind)
        pointwise = [
            operation
            for operation in operations
            if "bottleneck" in operation.name or "pointwise" in operation.name
        ]
        self.assertEqual(dtypes(pointwise, "MatMul"), {HALF[precision]})
        self.assertEqual(dtypes(operations, "SparseSoftmaxCrossEntropy"), {"float32"})
        self.assertEqual(dtypes(operations, "Expm1", "Log1p"), {"float32"})  # the soft loss


class HostTest(_AsOnGpu):
    # Not in float16: there Keras scales the loss, and branches on whether gradients are finite.
    @parameterized.product(family=[*FAMILIES], precision=("float32", "mixed_bfloat16"))
    def test_a_step_never_waits_for_the_host(self, family, precision):
        operations = step_operations(dataclasses.replace(FAMILIES[family], precision=precision))
        self.assertEmpty(HOST & {operation.op for operation in operations})

    def test_the_list_finds_what_it_looks_for(self):
        one = dataclasses.replace(FAMILIES["slimmable"], precision="mixed_float16")
        self.assertEqual(HOST & {operation.op for operation in step_operations(one)}, {"If"})
