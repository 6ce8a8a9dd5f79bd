"""Universally slimmable MobileNet-V1: counts, draws, statistics, widths never named before."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.models import cost
from ipkd_tf.models import slimmable_mobilenet_v1 as slimmable
from ipkd_tf.models.us_mobilenet_v1 import _at_tensor

WIDTHS = (0.25, 0.35, 0.5, 0.65, 0.75, 0.9, 1.0)
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3)).astype("uint8")


def small(**arguments):
    keras.utils.set_random_seed(0)
    arguments = {"num_classes": 5, "image_size": 16, "widths": (0.25, 1.0), **arguments}
    return models.from_preset("us_mobilenet_v1_small", **arguments)


def statistics(network):
    return {w.path: w.numpy() for w in network.weights if "mean_" in w.path or "variance" in w.path}


class CountsTest(tf.test.TestCase):
    def test_parameters_and_multiply_adds_of_the_full_network(self):
        """By hand from the layout (width multiplier, rounding to multiples of 8)."""
        expected = {
            100: {
                "parameters": [238772, 438852, 869892, 1447748, 1893460, 2710868, 3309476],
                "multiply_adds": [
                    *(3354112, 6570368, 12213248, 20370560, 26577408, 38072960, 46446592),
                ],
            },
            10: {"parameters": [215642, 406362, 823722, 1387898, 1824250, 2627978, 3217226]},
        }
        for classes, columns in expected.items():
            network = models.from_preset("us_mobilenet_v1", num_classes=classes, widths=WIDTHS)
            costs = [cost.of_submodel(network, name) for name in network.submodel_names]
            for name, values in columns.items():
                self.assertEqual([row[name] for row in costs], values)
        whole = models.from_preset("us_mobilenet_v1", num_classes=100)
        self.assertEqual(cost.parameters(whole), 3309476)
        norms = [layer for layer in whole.layers if hasattr(layer, "statistics")]
        stored = [sum(m.shape[0] + v.shape[0] for m, v in n.statistics[-1:]) for n in norms]
        self.assertEqual(sum(stored), 21888)
        stored = [sum(m.shape[0] + v.shape[0] for m, v in n.statistics[:1]) for n in norms]
        self.assertEqual(sum(stored), 5472)

    def test_channels(self):
        cases = [(32, 0.25, 8), (32, 0.35, 16), (64, 0.3, 24), (128, 0.3, 40), (64, 0.9, 56)]
        for channels, width, expected in [*cases, (1024, 0.66, 672)]:
            self.assertEqual(slimmable.channels_at(channels, width), expected)
            at_tensor = _at_tensor(tf.constant(width, tf.float64))
            self.assertEqual(int(at_tensor(channels)), expected)
        for width in np.random.default_rng(0).uniform(0.05, 1, 100):
            at_tensor = _at_tensor(tf.constant(width, tf.float64))
            for channels in (32, 64, 512, 1024):
                self.assertEqual(int(at_tensor(channels)), slimmable.channels_at(channels, width))


class StepTest(tf.test.TestCase):
    def test_draws_are_functions_of_seed_and_step(self):
        network = small(widths=(0.25, 0.5, 1.0), draws=3)
        draws = {
            (seed, step): network.draw(seed, tf.constant(step)).numpy()
            for seed in (0, 1)
            for step in (0, 1)
        }
        for key, widths in draws.items():
            self.assertAllEqual(widths, network.draw(*key))
            self.assertAllEqual(widths, np.sort(widths))
            self.assertEqual((len(widths), widths[0], widths[-1]), (network.drawn, 0.25, 1.0))
        self.assertLen({tuple(widths) for widths in draws.values()}, 4)

    def test_random_widths_in_one_trace_compute_what_static_slices_do(self):
        network, traces = small(), []

        def loss_of(logits):
            return tf.add_n([tf.reduce_sum(tf.square(one)) for one in logits])

        @tf.function
        def drawn(widths):
            traces.append(widths)
            with tf.GradientTape() as tape:
                logits, auxiliary = network.train_logits(IMAGES, widths)
                self.assertEmpty(auxiliary)
                loss = loss_of(logits)
            return logits, tape.gradient(loss, network.trainable_variables)

        for inner in ([0.3, 0.55], [0.6, 0.9]):
            widths = [0.25, *inner, 1.0]
            static = small(widths=widths, draws=0)
            static.set_weights(_without_statistics(network, static))
            with tf.GradientTape() as tape:
                expected = static(IMAGES, training=True)
                loss = loss_of(expected)
            slopes = tape.gradient(loss, static.trainable_variables)
            logits, gradients = drawn(tf.constant(widths, tf.float64))
            for a, b in zip([*logits, *gradients], [*expected, *slopes], strict=True):
                self.assertAllClose(a, b, 2e-4, 2e-4)
        self.assertLen(traces, 1)


def _without_statistics(source, target):
    """The weights of `target`, those that it shares with `source` taken from there."""
    shared = {w.path: w.numpy() for w in source.weights}
    own = {w.path: w.numpy() for w in target.weights}
    return [own[p] if "mean_" in p or "variance_" in p else shared[p] for p in own]


class RecalibrationTest(tf.test.TestCase, parameterized.TestCase):
    def test_one_width_leaves_weights_and_other_widths_alone(self):
        network = small()
        network.recalibrate("width_1.0", [IMAGES])
        before = {w.path: w.numpy() for w in network.weights}
        network.recalibrate(0, [IMAGES[:6], IMAGES[6:]])
        changed = {w.path for w in network.weights if not np.array_equal(w, before[w.path])}
        of_narrowest = {path for path in before if path.endswith(("mean_0", "variance_0"))}
        self.assertEqual(changed, of_narrowest)

    def test_a_submodel_normalises_as_its_batch_did(self):
        """After one batch, inference differs from training by the biased variance alone."""
        network = small()
        widths = tf.constant([0.25, 0.6, 0.8, 1.0], tf.float64)
        trained, _ = network.train_logits(IMAGES, widths)
        sizes = []
        for width, logits in zip(widths.numpy(), trained, strict=True):
            network.recalibrate(f"width_{width}", [IMAGES])
            plain = network.submodel(str(width))
            self.assertAllClose(plain(IMAGES), logits, 0.05, 0.02)
            sizes.append(plain.count_params())
        self.assertEqual(sizes, sorted(set(sizes)))

    @parameterized.parameters(
        ("width_0.2", "from 0.25 to 1.0.*submodel='width_0.2'"),
        ("width_0.6", r"recalibrate\('width_0.6'.*submodel='width_0.6'"),
        (0, r"recalibrate\('width_0.25'"),
        ("exit_1", "these: width_0.25, width_1.0. Received: submodel='exit_1'"),
    )
    def test_refused(self, which, message):
        with self.assertRaisesRegex(ValueError, message):
            small().submodel(which)


if __name__ == "__main__":
    tf.test.main()
