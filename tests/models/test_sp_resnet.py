"""Switchable precision: hand-worked quantisers, counts, private statistics, int8 and folding."""

import functools

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.deployment import budget
from ipkd_tf.deployment.export import fold_batch_normalization
from ipkd_tf.models import cost, stages
from ipkd_tf.models import quantized_layers as quantized
from tests.deployment.export import networks

WEIGHTS = np.array([-1.0, -0.5, 0.0, 0.5, 1.0], np.float32)  # mean absolute value 0.6
# Of ResNet-20 with 10 classes, of 272,474 parameters and 40,813,184 multiply-adds: 267,264 and
# 40,108,032 quantised. Bytes of parameters, bit operations.
COSTS = {
    "bits_1": (54_248, 40_108_032),
    "bits_2": (87_656, 160_432_128),
    "bits_4": (154_472, 641_728_512),
    "bits_8": (288_104, 2_566_914_048),
    "bits_32": (1_089_896, 41_070_624_768),
}


@functools.cache
def _small():
    """A network of 2 blocks for 8 x 8 images of 3 classes, not as initialised; do not change it."""
    keras.utils.set_random_seed(0)
    network = models.SPResNet(3, image_size=8, depth=6, channels=(8, 16), bits=(1, 4, 8, 32))
    network(_images(64).astype("float32"), training=True)
    networks.shake(network)
    return network


def _images(count=8):
    return networks.images(count, side=8)


class WeightTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        (1, [-0.6, -0.6, -0.6, 0.6, 0.6]),
        (2, [-0.6, -0.2, 0.2, 0.2, 0.6]),
        (4, [-0.6, -0.36, 0.04, 0.36, 0.6]),
        (32, WEIGHTS),
    )
    def test_dorefa_by_hand(self, bits, expected):
        self.assertAllClose(quantized.quantize_weight(WEIGHTS, bits, "dorefa"), expected)

    # tanh(0.5) / tanh(1) = 0.6068: u = 0, 0.1966, 0.5, 0.8034, 1.
    @parameterized.parameters(
        (1, [0, 0, 1, 1, 1], [-0.3, -0.3, 0.3, 0.3, 0.3]),
        (2, [0, 0, 2, 3, 3], [-0.45, -0.45, 0.15, 0.45, 0.45]),
        (4, [0, 3, 8, 12, 15], [-0.5625, -0.3375, 0.0375, 0.3375, 0.5625]),
    )
    def test_nested_by_hand(self, bits, codes, expected):
        self.assertAllEqual(quantized.weight_codes(WEIGHTS, bits, "nested").codes, codes)
        self.assertAllClose(quantized.quantize_weight(WEIGHTS, bits, "nested"), expected)

    def test_one_tensor_of_8_bits_holds_all_lower_ones(self):
        unit = np.linspace(0, 1, 4097, dtype=np.float32)
        codes = {b: quantized.encode(unit, b, "nested").numpy().astype(int) for b in range(1, 9)}
        for bits in range(1, 9):
            self.assertAllEqual(codes[8] >> (8 - bits), codes[bits])
        kernel = np.random.default_rng(0).normal(0, 0.1, (3, 3, 8, 8)).astype("float32")
        stored = quantized.weight_codes(kernel, 8, "nested")
        for bits in (1, 3, 8):
            computed = tf.function(quantized.quantize_weight)(kernel, bits, "nested")
            self.assertAllEqual(stored.at(bits).values(), computed)
        # Rounding to levels from end to end does not nest: 3 >> 2 is 0.
        self.assertAllEqual(quantized.encode(tf.constant([0.17]), 4, "dorefa"), [3])
        self.assertAllEqual(quantized.encode(tf.constant([0.17]), 2, "dorefa"), [1])
        for codes, bits in ((quantized.weight_codes(kernel, 8, "dorefa"), 4), (stored, 9)):
            with self.assertRaisesRegex(ValueError, "1 to 8 bits.*Received: bits="):
                codes.at(bits)

    def test_as_many_values_as_codes(self):
        kernel = np.random.default_rng(0).normal(0, 0.1, (3, 3, 16, 16)).astype("float32")
        for scheme in quantized.SCHEMES:
            for bits in (1, 2, 4, 8):
                values = np.unique(quantized.quantize_weight(kernel, bits, scheme))
                self.assertLessEqual(len(values), 2**bits)
                if bits <= 2:
                    self.assertLen(values, 2**bits)
                    self.assertAllClose(values, -values[::-1])

    def test_zeros_do_no_harm(self):
        zeros = tf.zeros([3, 3, 2, 2])
        for scheme in quantized.SCHEMES:
            with tf.GradientTape() as tape:
                tape.watch(zeros)
                values = quantized.quantize_weight(zeros, 2, scheme)
            self.assertAllEqual(values, zeros)
            self.assertAllEqual(tape.gradient(values, zeros), zeros)

    def test_gradient_is_that_of_the_squashed_weight(self):
        weight = tf.constant([0.3, -0.2, 0.7])
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(weight)
            coarse = quantized.quantize_weight(weight, 2, "nested")
            squashed = tf.tanh(weight) / tf.reduce_max(tf.abs(tf.tanh(weight))) * 0.4
        self.assertAllClose(tape.gradient(coarse, weight), tape.gradient(squashed, weight))
        self.assertNotAllClose(coarse, squashed, atol=0.05)


class ActivationTest(tf.test.TestCase):
    def test_levels_and_gradient(self):
        x = tf.constant([-0.2, 0.12, 0.31, 0.95, 1.7])
        expected = {1: [0, 0, 0, 1, 1], 2: [0, 0, 1 / 3, 1, 1], 32: x}
        expected[4] = [0, 2 / 15, 5 / 15, 14 / 15, 1]
        for bits, levels in expected.items():
            with tf.GradientTape() as tape:
                tape.watch(x)
                quantity = quantized.quantize_activation(x, bits)
            self.assertAllClose(quantity, levels)
            inside = [1, 1, 1, 1, 1] if bits == 32 else [0, 1, 1, 1, 0]
            self.assertAllClose(tape.gradient(quantity, x), inside)

    def test_levels_are_exact_and_computed_in_float32(self):
        x = np.random.default_rng(0).uniform(-0.1, 1.1, 100_000).astype("float32")
        for bits in range(1, 9):
            levels = np.arange(2**bits, dtype=np.float32) / np.float32(2**bits - 1)
            self.assertAllEqual(np.unique(quantized.quantize_activation(x, bits)), levels)
        half = quantized.quantize_activation(tf.constant(x, tf.float16), 8)
        wide = quantized.quantize_activation(tf.cast(tf.constant(x, tf.float16), tf.float32), 8)
        self.assertEqual(half.dtype, tf.float16)
        self.assertAllEqual(half, tf.cast(wide, tf.float16))


class NetworkTest(tf.test.TestCase, parameterized.TestCase):
    def test_costs_of_resnet_20(self):
        network = models.from_preset("sp_resnet20")
        for name, (packed_bytes, bit_operations) in COSTS.items():
            expected = {"parameters": 272_474, "multiply_adds": 40_813_184}
            expected |= {"packed_bytes": packed_bytes, "bit_operations": bit_operations}
            self.assertEqual(cost.of_submodel(network, name), expected)
        # The weights, and private normalisation for each further precision.
        self.assertEqual(cost.parameters(network), 272_474 + 4 * 1_568)
        for one in network.costs:
            asked = budget.Budget.parse(f"3M {one.name}")
            self.assertEqual((asked.quantity, asked.limit), (one.name, 3e6))

    def test_training_at_one_precision_leaves_the_norms_of_others(self):
        network = keras.models.clone_model(_small())
        before = {weight.path: weight.numpy() for weight in network.weights}
        at_4 = keras.Model(network.input, network.outputs[1])
        at_4.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(True))
        at_4.fit(_images(), np.arange(8) % 3, verbose=0)
        changed = {w.path for w in network.weights if not np.array_equal(w, before[w.path])}
        private = {path for path in before if path.startswith("bits_")}
        self.assertEqual(
            {path for path in changed if path.startswith("bits_")},
            {path for path in private if path.startswith("bits_4")},
        )
        self.assertIn("stage_2_block_1_conv_1/kernel", changed)
        norms = {"stage_1_block_1_conv_1", "stage_2_block_1_shortcut", "stem"}
        for bits in (1, 4, 8, 32):
            for norm in norms:
                self.assertIn(f"bits_{bits}_{norm}_norm/moving_mean", private)

    def test_at_32_bits_it_is_an_ordinary_residual_network(self):
        submodel = _small().submodel("bits_32")
        ordinary = models.ResNet(3, image_size=8, depth=6, channels=(8, 16))
        for layer in ordinary.layers:
            if layer.weights:
                layer.set_weights(submodel.get_layer(layer.name).get_weights())
        self.assertAllClose(ordinary(_images()), _small()(_images())[-1], 1e-5, 1e-6)

    def test_submodels_are_the_networks_to_the_bit_and_hold_few_values(self):
        for model, logits in zip(
            map(_small().submodel, range(4)), _small()(_images()), strict=True
        ):
            self.assertAllEqual(model(_images(), training=False), logits)
        kernel = _small().submodel("bits_4").get_layer("stage_1_block_1_conv_2").kernel
        self.assertLessEqual(len(np.unique(kernel)), 16)
        stem = _small().submodel("bits_1").get_layer("stem").kernel
        self.assertAllEqual(stem, _small().get_layer("stem").kernel)

    def test_stages_share_the_first_convolution(self):
        tensors, total = {stages.IMAGE: tf.constant(_images())}, 0
        for stage, logits in zip(stages.partition(_small()), _small()(_images()), strict=True):
            pieces = [piece.model for piece in (stage.body, stage.head) if piece]
            total += sum(map(cost.multiply_adds, pieces))
            result, tensors = stage.run(tensors)
            self.assertAllEqual(result, logits)
        stem = 8 * 8 * 3 * 3 * 3 * 8
        alone = cost.multiply_adds(_small().submodel(0))
        self.assertEqual(total, 4 * alone - 3 * stem)

    def test_folded_normalisation_leaves_the_quantiser_between(self):
        for bits in (4, 32):
            submodel = _small().submodel(f"bits_{bits}")
            folded = fold_batch_normalization(submodel)
            kinds = [type(layer) for layer in folded.layers]
            self.assertNotIn(keras.layers.BatchNormalization, kinds)
            # Another last bit may move an activation over a step; on most images it does not.
            images = _images(64)
            error = np.abs(folded(images) - submodel(images)).max(axis=-1)
            self.assertLess(np.median(error), 1e-5)
            self.assertLess(error.max(), 1e-5 if bits == 32 else 0.1)

    def test_half_precision_quantises_in_float32(self):
        keras.config.set_dtype_policy("mixed_float16")
        try:
            network = models.SPResNet(3, image_size=8, depth=6, channels=(8, 16), bits=(8,))
        finally:
            keras.config.set_dtype_policy("float32")
        layer = network.get_layer("stage_1_block_1_conv_1")
        ones = tf.ones([1, 8, 8, 8], tf.float16)
        kernel = quantized.quantize_weight(tf.convert_to_tensor(layer.kernel), 8, "nested")
        self.assertEqual(kernel.dtype, tf.float32)
        expected = tf.nn.conv2d(ones, tf.cast(kernel, tf.float16), 1, "SAME")
        self.assertAllEqual(layer(ones, bits=8), expected)

    @parameterized.parameters(
        ({"bits": ()}, "1 to 8 and 32.*bits="),
        ({"bits": (4, 2)}, "ascending.*bits="),
        ({"bits": (1, 16)}, "1 to 8 and 32.*bits="),
        ({"bits": (1.0, 2)}, "1 to 8 and 32.*bits="),
        ({"scheme": "pact"}, "nested, dorefa. Received: scheme='pact'"),
        ({"depth": 9}, "depth of 2 and 6.*depth=9"),
    )
    def test_bad_settings_are_named(self, arguments, message):
        with self.assertRaisesRegex(ValueError, message):
            models.SPResNet(**arguments)

    def test_precisions_that_are_not_offered_are_refused(self):
        with self.assertRaisesRegex(ValueError, "bits_1, bits_4, bits_8, bits_32.*'bits_3'"):
            _small().submodel("bits_3")
