"""Once-for-all MobileNet-V3: counts, elastic layers, names, draws, sorted channels."""

import functools
import os

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.deployment import export
from ipkd_tf.models import cost
from ipkd_tf.models.ofa_layers import ElasticDepthwiseConv2D
from ipkd_tf.models.ofa_space import Block

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3)).astype("uint8")
STAGES = ((16, 1, False, "relu"), (24, 2, True, "hard_silu"))
TINY = {
    "num_classes": 3,
    "image_size": 16,
    "named": ("k3_e2_d1", "k5_e4_d2"),
    "kernels": (3, 5),
    "expansions": (2, 3, 4),
    "depths": (1, 2),
    "stages": STAGES,
    "head": (32, 40),
}
# Parameters and multiply-adds at 100 classes, worked out by hand from the layout.
COUNTS = {
    "ofa_mobilenet_v3_small": {
        "k3_e2_d2": (306_012, 7_501_184),
        "k5_e2_d2": (313_180, 8_205_696),
        "k3_e4_d2": (419_932, 12_347_776),
        "k3_e2_d3": (361_292, 10_404_480),
        "k5_e4_d3": (584_468, 20_478_848),
    },
    "ofa_mobilenet_v3": {
        "k3_e3_d2": (739_892, 29_388_416),
        "k5_e4_d3": (1_217_852, 65_130_496),
        "k7_e6_d4": (2_518_908, 154_143_488),
    },
}


def tiny(seed=0, **arguments):
    """A network whose matrices, scales and offsets are not the initial ones."""
    keras.utils.set_random_seed(seed)
    network = models.OFAMobileNetV3(**{**TINY, **arguments})
    for number, weight in enumerate(network.trainable_weights):
        if any(part in weight.path for part in ("gamma", "beta", "transform", "bias")):
            noise = np.random.default_rng(number).uniform(-0.2, 0.2, weight.shape)
            weight.assign(weight.numpy() + noise.astype("float32"))
    return network


@functools.cache
def shared():
    """One for tests that do not change it."""
    network = tiny()
    for name in (*network.submodel_names, "k35e24_k3e3"):
        network.recalibrate(name, [IMAGES])
    return network


def straightforward(model, stages, network):
    """Logits by the weights of the whole network, cropped here, and a sub-model's statistics."""
    weights = {w.path: w.numpy() for w in (*model.weights, *network.trainable_weights)}

    def hard_sigmoid(x):
        return np.clip(x + 3, 0, 6) / 6

    def activate(x, kind):
        return {"relu": np.maximum(x, 0), "hard_silu": x * hard_sigmoid(x), None: x}[kind]

    def norm(x, name, kind):
        mean, variance = (weights[f"{name}_norm/moving_{n}"] for n in ("mean", "variance"))
        gamma, beta = (weights[f"{name}_norm/{n}"][: x.shape[-1]] for n in ("gamma", "beta"))
        return activate(gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta, kind)

    def conv(x, name, filters, kind=None, normalize=True, strides=1):
        kernel = weights[f"{name}/kernel"][:, :, : x.shape[-1], :filters]
        x = tf.nn.conv2d(x, kernel, strides, "SAME").numpy()
        return norm(x, name, kind) if normalize else activate(x, kind)

    def depthwise(x, name, side, strides, kind):
        kernel = weights[f"{name}/depthwise_kernel"]
        margin = (kernel.shape[0] - side) // 2
        kernel = kernel[margin : margin + side, margin : margin + side, : x.shape[-1]]
        if margin:
            matrix = np.eye(side * side) + weights[f"{name}/transform_{side}"]
            kernel = np.einsum("ij,jc->ic", matrix, kernel.reshape(side * side, -1))
            kernel = kernel.reshape(side, side, -1, 1).astype("float32")
        steps = [1, strides, strides, 1]
        return norm(tf.nn.depthwise_conv2d(x, kernel, steps, "SAME").numpy(), name, kind)

    x = ((IMAGES / 255 - 0.5) / 0.25).astype("float32")[:, ::-1, ::-1]
    x = conv(x, "stem", 16, "hard_silu", strides=network.arguments["stem_strides"])
    x = x + conv(depthwise(x, "first_depthwise", 3, 1, "relu"), "first_project", 16)
    for stage, (blocks, (filters, strides, squeeze, kind)) in enumerate(
        zip(stages, STAGES, strict=True), 1
    ):
        for number, (side, expansion) in enumerate(blocks, 1):
            name, middle = f"block_{stage}_{number}", x.shape[-1] * expansion
            y = conv(x, f"{name}_expand", middle, kind)
            y = depthwise(y, f"{name}_depthwise", side, strides if number == 1 else 1, kind)
            if squeeze:
                squeezed = {32: 8, 48: 16, 64: 16, 72: 24, 96: 24}[middle]
                scale = y.mean(axis=(1, 2)) @ weights[f"{name}_squeeze/kernel"][:middle, :squeezed]
                scale = np.maximum(scale + weights[f"{name}_squeeze/bias"][:squeezed], 0)
                scale = scale @ weights[f"{name}_excite/kernel"][:squeezed, :middle]
                scale = hard_sigmoid(scale + weights[f"{name}_excite/bias"][:middle])
                y = y * scale[:, None, None]
            y = conv(y, f"{name}_project", filters)
            x = x + y if x.shape == y.shape else y
    x = conv(x, "final", 32, "hard_silu").mean(axis=(1, 2), keepdims=True)
    x = conv(x, "mix", 40, "hard_silu", normalize=False)
    return x[:, 0, 0] @ weights["logits/kernel"] + weights["logits/bias"]


def counts_on_photographs(kernel, expansion, depth):
    """Parameters and multiply-adds at 224 pixels, layer by layer, all blocks alike."""
    parameters = adds = 0

    def conv(side, ins, outs, kernel=1, norm=True, bias=0):
        nonlocal parameters, adds
        parameters += kernel**2 * ins * outs + 2 * outs * norm + bias
        adds += side**2 * kernel**2 * ins * outs

    def eighths(size):  # never more than a tenth less
        nearest = max(8, (int(size) + 4) // 8 * 8)
        return nearest if nearest >= 0.9 * size else nearest + 8

    conv(112, 3, 16, 3)
    conv(112, 1, 16, 3)
    conv(112, 16, 16)
    channels = 16
    for filters, before, after, squeeze in (
        (24, 112, 56, False),
        (40, 56, 28, True),
        (80, 28, 14, False),
        (112, 14, 14, True),
        (160, 14, 7, True),
    ):
        for number in range(depth):
            middle = eighths(channels * expansion)
            conv(after if number else before, channels, middle)
            conv(after, 1, middle, kernel)
            if squeeze:
                squeezed = eighths(middle // 4)
                conv(1, middle, squeezed, norm=False, bias=squeezed)
                conv(1, squeezed, middle, norm=False, bias=middle)
            conv(after, middle, filters)
            channels = filters
    conv(7, 160, 960)
    conv(1, 960, 1280, norm=False)
    conv(1, 1280, 1000, norm=False, bias=1000)
    return parameters, adds


class CountsTest(tf.test.TestCase):
    def test_for_photographs(self):
        network = models.from_preset("ofa_mobilenet_v3_imagenet")
        choices = {"k3_e3_d2": (3, 3, 2), "k5_e4_d3": (5, 4, 3), "k7_e6_d4": (7, 6, 4)}
        choices["k3_e3_d4"] = (3, 3, 4)
        rows = [network._space.row(network.resolve(name)) for name in choices]
        counted = network._space.multiply_adds(rows).numpy()
        for (name, choice), adds in zip(choices.items(), counted, strict=True):
            expected = counts_on_photographs(*choice)
            self.assertEqual(tuple(cost.of_submodel(network, name).values()), expected)
            self.assertEqual(adds, expected[1])
        # Published: 226 M multiply-adds (k3_e3_d4), 7.7 M shared weights, matrices among them.
        self.assertEqual(round(counted[-1] / 1e6), 226)
        shared_weights = counts_on_photographs(7, 6, 4)[0] + 20 * (25 * 25 + 9 * 9)
        self.assertEqual(cost.parameters(network), shared_weights)
        self.assertEqual(round(shared_weights / 1e6, 1), 7.7)

    def test_parameters_and_multiply_adds(self):
        for preset, expected in COUNTS.items():
            network = models.from_preset(preset, num_classes=100)
            rows = [network._space.row(network.resolve(name)) for name in expected]
            self.assertAllEqual(
                network._space.multiply_adds(rows), [adds for _, adds in expected.values()]
            )
            for name, counts in expected.items():
                self.assertEqual(tuple(cost.of_submodel(network, name).values()), counts)

    def test_widths_of_a_block(self):
        block = Block(1, 1, 24, 24, 1, True, "relu")
        self.assertEqual((block.middle(6), block.squeezed(6)), (144, 40))

    def test_multiply_adds_in_the_graph_are_those_of_the_models(self):
        network = tiny(sides=(8, 12, 16))
        for name in ("k3e4_k53e24", "k35e24_k3e3_r12", "k3_e3_d2_r8"):
            submodel = network.resolve(name)
            (counted,) = network._space.multiply_adds([network._space.row(submodel)])
            self.assertEqual(int(counted), cost.of_submodel(network, name)["multiply_adds"])


class ElasticDepthwiseTest(tf.test.TestCase):
    def layer(self):
        layer = ElasticDepthwiseConv2D(4, (3, 5, 7))
        layer(np.zeros((1, 8, 8, 4), "float32"), size=2)
        return layer, layer.kernel.numpy()

    def test_at_the_start_kernels_are_centres(self):
        layer, kernel = self.layer()
        self.assertAllEqual(layer.active_kernel(2, 4), kernel)
        self.assertAllEqual(layer.active_kernel(1, 3), kernel[1:6, 1:6, :3])
        self.assertAllEqual(layer.active_kernel(0, 2), kernel[2:5, 2:5, :2])

    def test_matrices_act_on_kernels_row_by_row(self):
        layer, kernel = self.layer()
        self.assertEqual([w.shape for w in layer.transforms], [(9, 9), (25, 25)])
        difference = np.zeros((25, 25), "float32")
        difference[12, 12] = -1  # row 12 of the matrix is 0
        layer.transforms[1].assign(difference)
        expected = kernel[1:6, 1:6].copy()
        expected[2, 2] = 0
        self.assertAllEqual(layer.active_kernel(1, 4), expected)
        self.assertAllEqual(layer.active_kernel(0, 4), expected[1:4, 1:4])
        difference[:] = 0
        difference[1, 5] = 2  # row 0, column 1 gets row 1, column 0
        layer.transforms[1].assign(difference)
        expected = kernel[1:6, 1:6].copy()
        expected[0, 1] += 2 * expected[1, 0]
        self.assertAllClose(layer.active_kernel(1, 4), expected)
        self.assertAllEqual(layer.active_kernel(2, 4), kernel)


class SubmodelsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("k5_e4_d2", (((5, 4), (5, 4)), ((5, 4), (5, 4)))),
        ("k3_e2_d1", (((3, 2),), ((3, 2),))),
        ("k35e24_k3e3", (((3, 2), (5, 4)), ((3, 3),))),
    )
    def test_it_computes_what_a_plain_network_does(self, name, stages):
        model = shared().submodel(name)
        self.assertEqual(shared().resolve(name).choice, (stages, 16))
        self.assertAllClose(model(IMAGES), straightforward(model, stages, shared()), 1e-4, 1e-4)

    def test_a_stem_with_a_stride(self):
        network = tiny(stem_strides=2)
        network.recalibrate("k5_e4_d2", [IMAGES])
        model, stages = network.submodel("k5_e4_d2"), (((5, 4), (5, 4)), ((5, 4), (5, 4)))
        expected = straightforward(model, stages, network)
        self.assertAllClose(model(IMAGES), expected, 1e-4, 1e-4)
        self.assertAllClose(network(IMAGES)[-1], expected, 1e-4, 1e-4)
        (counted,) = network._space.multiply_adds([network._space.row(network.submodels[-1])])
        self.assertEqual(int(counted), cost.multiply_adds(model))

    def test_matrices_do_nothing_at_the_largest_kernels(self):
        network = tiny()
        network.recalibrate(-1, [IMAGES])
        before = network(IMAGES)[-1]
        for weight in network.trainable_weights:
            if "transform" in weight.path:
                weight.assign(keras.ops.zeros_like(weight))
        self.assertAllEqual(network(IMAGES)[-1], before)

    def test_a_smaller_image_side(self):
        network = tiny(sides=(8, 16), named=("k3_e2_d1_r8", "k5_e4_d2"))
        network.recalibrate(0, [IMAGES])
        model = network.submodel(0)
        self.assertAllClose(network(IMAGES)[0], model(IMAGES), 1e-4, 1e-4)
        at_8 = tiny(image_size=8)
        at_8.recalibrate(0, [IMAGES[:, :8, :8]])
        expected = at_8.submodel(0)
        expected.set_weights(model.get_weights())
        images = tf.image.resize(tf.cast(IMAGES, tf.float32), [8, 8])
        self.assertAllClose(model(IMAGES), expected(images), 1e-4, 1e-4)

    def test_the_only_side_may_be_smaller_than_the_images(self):
        network = tiny(sides=(8,))
        network.recalibrate(0, [IMAGES])
        self.assertAllClose(network(IMAGES)[0], network.submodel(0)(IMAGES), 1e-4, 1e-4)

    def test_a_name_is_one_choice(self):
        network = shared()
        for name, canonical in {
            "k33e22_k33e22": "k3_e2_d2",
            "k3_e4_d1_r16": "k3_e4_d1",
            "k53e34_k3e2": "k53e34_k3e2",
        }.items():
            self.assertEqual(network.resolve(name).name, canonical)
            self.assertEqual(network.resolve(network.resolve(name)), network.resolve(canonical))

    def test_genes_make_a_submodel(self):
        network = shared()
        space = network.space()
        self.assertLen(space, 2 * (1 + 2 * 2) + 1)
        smallest = network.compose({gene: choices[0] for gene, choices in space.items()})
        largest = network.compose({gene: choices[-1] for gene, choices in space.items()})
        self.assertEqual((smallest, largest), network.submodels)
        genes = {gene: choices[0] for gene, choices in space.items()}
        # A block that is left out has no say.
        self.assertEqual(network.compose({**genes, "kernel_1_2": 5}), smallest)
        self.assertEqual(network.compose({**genes, "depth_2": 2}).name, "k3e2_k33e22")
        for wrong in ({"kernel_1_1": 7}, {"colour": 1}):
            with self.assertRaisesRegex(ValueError, f"Received: .*{[*wrong][0]}"):
                network.compose({**genes, **wrong})

    @parameterized.parameters(
        "k7_e4_d2", "k3_e5_d2", "k3_e4_d3", "k3_e4_d2_r8", "k33e2_k3e3", "k3e2", "k3e2_k3e2_k3e2"
    )
    def test_refused(self, name):
        with self.assertRaisesRegex(ValueError, rf"k3_e2_d1.*Received: submodel='{name}'"):
            shared().submodel(name)

    @parameterized.parameters(
        ({"kernels": (3, 4)}, "odd kernels"),
        ({"kernels": (5, 3)}, "ascending choices. Received: kernels"),
        ({"expansions": (2, 12)}, "below 10"),
        ({"draws": -1}, "draws"),
        ({"draw_from": "k9_e2_d1"}, "Received: submodel='k9_e2_d1'"),
        ({"named": ("k5_e4_d2", "k3_e2_d1")}, "ascending in multiply-adds, k5_e4_d2 the last"),
        ({"named": ("k3_e2_d1",)}, "ascending in multiply-adds, k5_e4_d2 the last"),
    )
    def test_settings_refused(self, arguments, message):
        with self.assertRaisesRegex(ValueError, message):
            tiny(**arguments)


class StepTest(tf.test.TestCase):
    def test_draws(self):
        network = tiny(draws=5)
        draws = {(s, t): network.draw(s, tf.constant(t)).numpy() for s in (0, 1) for t in range(9)}
        for rows in draws.values():
            self.assertEqual(rows.shape, (7, 11))
            self.assertAllEqual(rows[0], np.zeros(11))
            self.assertAllEqual(rows[-1], [len(c) - 1 for c in network.space().values()])
            adds = network._space.multiply_adds(rows).numpy()
            self.assertAllEqual(adds, np.sort(adds))
        between = np.concatenate([rows[1:-1] for rows in draws.values()])
        for column, choices in zip(between.T, network.space().values(), strict=True):
            self.assertEqual({*column}, {*range(len(choices))})

    def test_draws_of_a_phase(self):
        network = tiny(draw_from="k5_e3_d1", draws=3)
        rows = np.concatenate([network.draw(0, step) for step in range(20)])
        for gene, column in zip(network.space(), rows.T, strict=True):
            lowest = {"kernel": 1, "expansion": 1}.get(gene.partition("_")[0], 0)
            self.assertEqual(column.min(), lowest, gene)
        whole = tiny(draw_from="k5_e4_d2")
        self.assertEqual((whole.drawn, whole.draw(0, 1).shape), (1, (1, 11)))
        (logits,), _ = whole.train_logits(IMAGES, whole.draw(0, 1))
        self.assertAllClose(logits, whole(IMAGES, training=True)[-1], 1e-4, 1e-5)

    def test_any_draw_in_one_trace_computes_what_static_slices_do(self):
        network, traces = tiny(sides=(8, 16)), []
        names = ("k3_e3_d1_r8", "k53e34_k35e24")

        def gradients_of(logits):
            return tf.add_n([tf.reduce_sum(tf.square(one)) for one in logits])

        @tf.function
        def drawn(rows):
            traces.append(rows)
            with tf.GradientTape() as tape:
                logits, auxiliary = network.train_logits(IMAGES, rows)
                self.assertEmpty(auxiliary)
                loss = gradients_of(logits)
            return logits, tape.gradient(loss, network.trainable_variables)

        for inner in (names, ("k3e2_k35e43", "k35e34_k5e3")):
            named = ("k3_e2_d1_r8", *inner, "k5_e4_d2")
            static = tiny(sides=(8, 16), named=named)
            with tf.GradientTape() as tape:
                expected = static(IMAGES, training=True)
                loss = gradients_of(expected)
            slopes = tape.gradient(loss, static.trainable_variables)
            slopes = {w.path: g for w, g in zip(static.trainable_variables, slopes, strict=True)}
            rows = [network._space.row(network.resolve(name)) for name in named]
            logits, gradients = drawn(tf.constant(rows))
            for a, b in zip(logits, expected, strict=True):
                self.assertAllClose(a, b, 2e-4, 2e-4)
            for weight, gradient in zip(network.trainable_variables, gradients, strict=True):
                slope = slopes[weight.path]
                slope = tf.zeros_like(weight) if slope is None else slope
                self.assertAllClose(gradient, slope, 1e-3, 1e-3, msg=weight.path)
        self.assertLen(traces, 1)


class ExportTest(tf.test.TestCase):
    def test_a_submodel_beyond_the_named_ones_runs_without_this_package(self):
        directory = os.path.join(self.get_temp_dir(), "exported")
        document = export.export_submodel(
            shared(), "k35e24_k3e3", directory, ["saved_model", "litert"], images=IMAGES
        )
        self.assertEqual([*document["formats"]], ["saved_model", "litert"])
        logits = shared().submodel("k35e24_k3e3")(IMAGES)
        for entry in document["formats"].values():
            opened = export.open_model(os.path.join(directory, entry["path"]))
            self.assertAllClose(opened(IMAGES, "k35e24_k3e3")["logits"], logits, 1e-3, 1e-3)


class SortChannelsTest(tf.test.TestCase):
    def importance(self, network, block):
        return np.abs(network.get_layer(f"{block}_project").kernel).sum(axis=(0, 1, 3))

    def test_the_largest_submodel_stays(self):
        network = tiny(draw_from="k3_e4_d1")
        for name in network.submodel_names:
            network.recalibrate(name, [IMAGES])
        before = network(IMAGES)[-1]
        network.sort_channels()
        self.assertAllClose(network(IMAGES)[-1], before, 1e-5, 1e-5)
        self.assertAllClose(network.submodel(-1)(IMAGES), before, 1e-4, 1e-5)
        for block in ("block_1_1", "block_2_2"):
            importance = self.importance(network, block)
            self.assertAllEqual(importance, np.sort(importance)[::-1])
        squeezed = np.abs(network.get_layer("block_2_1_excite").kernel).sum(axis=1)
        self.assertAllEqual(squeezed, np.sort(squeezed)[::-1])
        with self.assertRaisesRegex(ValueError, "recalibrate"):
            network.submodel(0)

    def test_channels_of_expansions_drawn_before_stay_in_front(self):
        network = tiny(draw_from="k3_e3_d1")
        before = self.importance(network, "block_2_2")
        network.sort_channels()
        after = self.importance(network, "block_2_2")
        for part in (slice(0, 72), slice(72, 96)):
            self.assertAllEqual(after[part], np.sort(before[part])[::-1])


if __name__ == "__main__":
    tf.test.main()
