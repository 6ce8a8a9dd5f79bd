import keras
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.models import cost

layers = keras.layers


def image_model(*parts, shape=(8, 8, 3), dtype="float32"):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *parts])


class SlicedDense(layers.Layer):
    """Uses the first 3 of 5 outputs of its kernel."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=[shape[-1], 5])

    def call(self, inputs):
        return tf.matmul(inputs, self.kernel[:, :3])


class MultiplyAddsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("same", layers.Conv2D(16, 3, padding="same"), 8 * 8 * 16 * 27),
        ("valid", layers.Conv2D(16, 3), 6 * 6 * 16 * 27),
        ("stride", layers.Conv2D(16, 3, strides=2, padding="same"), 4 * 4 * 16 * 27),
        ("oblong", layers.Conv2D(16, (1, 3), use_bias=False), 8 * 6 * 16 * 9),
        ("dilated", layers.Conv2D(16, 3, dilation_rate=2), 4 * 4 * 16 * 27),
        ("groups", layers.Conv2D(6, 3, padding="same", groups=3), 8 * 8 * 6 * 9),
        ("depthwise", layers.DepthwiseConv2D(3, padding="same"), 8 * 8 * 3 * 9),
        ("depthwise_stride", layers.DepthwiseConv2D(3, strides=2, padding="same"), 4 * 4 * 3 * 9),
        ("depthwise_twice", layers.DepthwiseConv2D(3, depth_multiplier=2), 6 * 6 * 6 * 9),
        ("dense_per_pixel", layers.Dense(5), 8 * 8 * 3 * 5),
    )
    def test_one_layer(self, layer, expected):
        self.assertEqual(cost.multiply_adds(image_model(layer)), expected)

    @parameterized.parameters("float32", "uint8")
    def test_small_network(self, dtype):
        """Everything that is neither a convolution nor a dense layer is free."""
        model = image_model(
            layers.Rescaling(1 / 255),
            layers.ZeroPadding2D(1),
            layers.Conv2D(4, 3, strides=2),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
            dtype=dtype,
        )
        self.assertEqual(cost.multiply_adds(model), 4 * 4 * 4 * 27 + 4 * 10)

    def test_shared_layer_counts_each_time(self):
        image = keras.Input([8, 8, 3])
        shared = layers.Conv2D(3, 3, padding="same")
        model = keras.Model(image, shared(shared(image)))
        self.assertEqual(cost.multiply_adds(model), 2 * 8 * 8 * 3 * 27)

    def test_shared_part_counts_once(self):
        image = keras.Input([8, 8, 3])
        stem = layers.Flatten()(layers.Conv2D(4, 3, padding="same")(image))
        model = keras.Model(image, [layers.Dense(10)(stem), layers.Dense(20)(stem)])
        self.assertEqual(cost.multiply_adds(model), 8 * 8 * 4 * 27 + 256 * 30)

    @parameterized.named_parameters(
        ("transposed", layers.Conv2DTranspose(16, 3, strides=2), (8, 8, 8), 64 * 8 * 16 * 9),
        ("volume", layers.Conv3D(16, 3, padding="same"), (4, 4, 4, 8), 64 * 16 * 8 * 27),
        ("volume_up", layers.Conv3DTranspose(2, 3), (4, 4, 4, 8), 64 * 2 * 8 * 27),
        ("signal", layers.Conv1D(5, 3, padding="same"), (7, 2), 7 * 5 * 2 * 3),
        ("separable", layers.SeparableConv2D(5, 3), (8, 8, 3), 36 * 3 * 9 + 36 * 3 * 5),
        ("einsum_dense", layers.EinsumDense("abc,cd->abd", (None, 5)), (4, 3), 4 * 3 * 5),
        # 16 steps of 4 gates, each of 8 units that read 8 inputs and 8 states
        ("recurrent", layers.LSTM(8), (16, 8), 16 * 4 * 8 * (8 + 8)),
        ("recurrent_unrolled", layers.GRU(8, unroll=True), (16, 8), 16 * 3 * 8 * (8 + 8)),
    )
    def test_other_layers(self, layer, shape, expected):
        self.assertEqual(cost.multiply_adds(image_model(layer, shape=shape)), expected)

    @parameterized.parameters(
        ("btd,bsd->bts", 16 * 16 * 8),
        ("b...d,bsd->b...s", 16 * 16 * 8),
        ("btd,btd->b", 16 * 8),
        ("btd,bse->bde", 16 * 16 * 8 * 8),
        ("btd->bdt", 0),
    )
    def test_einsum(self, equation, expected):
        tokens = keras.Input((16, 8))
        terms = [tokens] * (1 + equation.count(","))
        infer = layers.Lambda(lambda x: tf.einsum(equation, *x), output_shape=(1,))
        self.assertEqual(cost.multiply_adds(keras.Model(tokens, infer(terms))), expected)

    def test_attention(self):
        tokens = keras.Input((16, 8))
        attention = layers.MultiHeadAttention(2, 4)(tokens, tokens)
        # Three projections and one back, products of 16 queries with 16 keys, and with the values.
        expected = 4 * 16 * 8 * 8 + 2 * 2 * 16 * 16 * 4
        self.assertEqual(cost.multiply_adds(keras.Model(tokens, attention)), expected)

    def test_an_operation_that_is_not_known_is_named(self):
        def unlimited(x):
            return tf.while_loop(lambda y: tf.reduce_sum(y) < 1, lambda y: (y @ tf.eye(3),), (x,))[
                0
            ]

        def one_of_two(x):
            return tf.cond(tf.reduce_sum(x) > 0, lambda: x @ tf.eye(3), lambda: x)

        unknown = {
            "While": unlimited,
            "If": one_of_two,
            "MatrixInverse": lambda x: x @ tf.linalg.inv(tf.eye(3)),
            "PyFunc": lambda x: tf.ensure_shape(
                tf.py_function(lambda y: y, [x], tf.float32), [1, 3]
            ),
        }
        for name, compute in unknown.items():
            model = image_model(layers.Lambda(compute, output_shape=(3,)), shape=[3])
            with self.assertRaisesRegex(ValueError, f"multiply-adds are known.*Received: .*{name}"):
                cost.multiply_adds(model)

    def test_a_loop_and_a_choice_without_products_are_free(self):
        def halve(x):
            x = tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: 2 * x)
            return tf.while_loop(lambda y: tf.reduce_sum(y) > 1, lambda y: (y / 2,), (x,))[0]

        model = image_model(layers.Lambda(halve, output_shape=(3,)), shape=[3])
        self.assertEqual(cost.multiply_adds(model), 0)

    def test_custom_layer_with_a_sliced_kernel(self):
        model = keras.Sequential([keras.Input([7]), SlicedDense()])
        self.assertEqual(cost.multiply_adds(model), 7 * 3)

    def test_transposed_products(self):
        first, second = keras.Input([4, 2]), keras.Input([5, 4])

        def products(tensors):
            a, b = tensors
            product = tf.matmul(a, b, transpose_a=True, transpose_b=True)  # [1, 2, 5]
            return tf.matmul(product[0], product[0], transpose_a=True)  # [5, 5]

        model = keras.Model(
            [first, second], layers.Lambda(products, output_shape=(5,))([first, second])
        )
        self.assertEqual(cost.multiply_adds(model), 2 * 5 * 4 + 5 * 5 * 2)

    def test_nested_model_and_nested_function(self):
        inner = image_model(layers.Conv2D(4, 1))
        scale = tf.function(lambda x: tf.nn.conv2d(x, tf.ones([1, 1, 4, 2]), 1, "SAME"))
        model = image_model(inner, layers.Lambda(scale, output_shape=(8, 8, 2)))
        self.assertEqual(cost.multiply_adds(model), 64 * 3 * 4 + 64 * 4 * 2)

    def test_half_of_tensorflow_s_own_profile(self):
        model = image_model(
            layers.Conv2D(8, 3, padding="same", use_bias=False),
            layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False),
            layers.Conv2D(12, 1, use_bias=False),
            layers.Flatten(),
            layers.Dense(10, use_bias=False),
        )
        infer = tf.function(lambda images: model(images, training=False))
        graph = infer.get_concrete_function(tf.TensorSpec([1, 8, 8, 3])).graph
        options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
        profile = tf.compat.v1.profiler.profile(graph, options={**options, "output": "none"})
        self.assertEqual(2 * cost.multiply_adds(model), profile.total_float_ops)

    def test_counting_changes_nothing(self):
        model = image_model(layers.BatchNormalization())
        before = [weight.numpy() for weight in model.weights]
        cost.multiply_adds(model)
        self.assertAllEqual(before, [weight.numpy() for weight in model.weights])


class SizeTest(tf.test.TestCase):
    def test_convolution_and_batch_normalization(self):
        model = image_model(layers.Conv2D(4, 3), layers.BatchNormalization())
        self.assertEqual(cost.parameters(model), 27 * 4 + 4 + 2 * 4)

    def test_frozen_weights_do_not_count(self):
        model = image_model(layers.Conv2D(4, 3, trainable=False), layers.Conv2D(1, 1))
        self.assertEqual(cost.parameters(model), 4 + 1)


class ErrorsTest(tf.test.TestCase, parameterized.TestCase):
    def test_open_image_size(self):
        model = image_model(layers.Conv2D(1, 1), shape=[None, None, 3])
        with self.assertRaisesRegex(ValueError, r"fixed.*Received: shape=\(None, None, None, 3\)"):
            cost.multiply_adds(model)

    def test_unbuilt_model(self):
        with self.assertRaisesRegex(ValueError, "build it first. Received: model="):
            cost.multiply_adds(keras.Sequential([layers.Dense(1)]))


class TableTest(tf.test.TestCase):
    def test_costs_by_name_of_any_network(self):
        x = keras.Input((3,))
        network = keras.Model(x, [layers.Dense(2, name="small")(x), layers.Dense(2)(x * 2)])
        self.assertEqual(cost.of_submodel(network, "small"), {"parameters": 8, "multiply_adds": 6})

    def test_a_family_may_have_costs_of_its_own(self):
        x = keras.Input((3,))
        network = keras.Model(x, [layers.Dense(2, name="small")(x), layers.Dense(2)(x)])
        bits = cost.Cost("bits", "bits", "k", 1e3, lambda model, submodel: len(submodel.name) * 32)
        network.costs = (*cost.COSTS, bits)
        self.assertEqual(cost.of_submodel(network, 0)["bits"], 5 * 32)
