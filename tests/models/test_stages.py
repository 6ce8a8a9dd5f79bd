"""Stages of networks: each chain computes what the network computes, nothing twice."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.models import cost as profiling
from ipkd_tf.models import stages
from tests.deployment.export import networks

FAMILIES = ("msdnet_small", "slimmable_mobilenet_v1_small")


def chained(parts, images):
    """The logits of all stages run in a row."""
    tensors, logits = {stages.IMAGE: tf.constant(images)}, []
    for stage in parts:
        one, tensors = stage.run(tensors)
        logits.append(one)
    return logits


def cost(parts):
    pieces = [piece for stage in parts for piece in (stage.body, stage.head) if piece]
    return sum(profiling.multiply_adds(piece.model) for piece in pieces)


class FamiliesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*FAMILIES)
    def test_a_chain_is_the_network_and_does_nothing_twice(self, family):
        network, images = networks.network(family), networks.images(4)
        parts = stages.partition(network)
        self.assertEqual([stage.name for stage in parts], list(network.submodel_names))
        for chained_logits, logits in zip(chained(parts, images), network(images), strict=True):
            self.assertAllEqual(chained_logits, logits)
        self.assertEqual(cost(parts), profiling.multiply_adds(network))

    def test_exits_reuse_features_and_widths_only_the_normalised_image(self):
        first, second = stages.partition(networks.network(FAMILIES[0]))
        self.assertLess(
            profiling.multiply_adds(second.head.model),
            profiling.multiply_adds(networks.network(FAMILIES[0]).submodel(1)),
        )
        self.assertNotIn(stages.IMAGE, first.keeps)
        self.assertEqual(second.head.reads, first.keeps)
        first, second = stages.partition(networks.network(FAMILIES[1]))
        self.assertLen(first.keeps, 1)
        self.assertEqual(profiling.multiply_adds(first.body.model), 0)
        self.assertIsNone(second.body)

    @parameterized.parameters(*FAMILIES)
    def test_without_the_first_head_the_second_answers_at_the_cost_of_its_submodel(self, family):
        network, images = networks.network(family), networks.images(2)
        first, second = stages.partition(network)
        tensors = first.keep(first.advance({stages.IMAGE: images}))
        self.assertAllEqual(second.answer(second.advance(tensors)), network(images)[1])
        paid = [first.body.model, second.head.model]
        self.assertEqual(
            sum(map(profiling.multiply_adds, paid)), profiling.multiply_adds(network.submodel(1))
        )

    def test_the_network_is_still_the_same(self):
        network = networks.network(FAMILIES[0])
        weights = [weight.path for weight in network.weights]
        stages.partition(network)
        self.assertEqual([weight.path for weight in network.weights], weights)
        path = self.create_tempdir().full_path + "/network.keras"
        network.save(path)
        images = networks.images(2)
        self.assertAllEqual(keras.models.load_model(path)(images)[1], network(images)[1])

    def test_stages_follow_the_weights_of_the_network(self):
        image = keras.Input((2,))
        first = keras.layers.Dense(2, use_bias=False)(image)
        network = keras.Model(image, [first, keras.layers.Dense(2)(first)])
        parts = stages.partition(network)
        network.layers[1].set_weights([np.array([[1.0, 0.0], [0.0, 3.0]])])
        self.assertAllEqual(chained(parts, np.ones((1, 2)))[0], [[1.0, 3.0]])


class GraphsTest(tf.test.TestCase):
    """Graphs in which the boundary is not one tensor made by one layer."""

    def check(self, network):
        parts = stages.partition(network)
        vector = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
        for a, b in zip(chained(parts, vector), network(vector), strict=True):
            self.assertAllEqual(a, b)
        self.assertEqual(cost(parts), profiling.multiply_adds(network))
        return parts

    def test_a_layer_called_in_every_stage(self):
        image = keras.Input((4,))
        step = keras.layers.Dense(4, activation="tanh")
        first = step(image)
        second = step(first)
        third = step(second + image)
        parts = self.check(keras.Model(image, [first, second, third]))
        # Each stage needs its 16 products; the third reads what the second computed, and the image.
        self.assertEqual([stage.keeps[0] for stage in parts[:2]], [stages.IMAGE] * 2)

    def test_an_operation_with_two_results_one_of_them_for_later(self):
        image = keras.Input((4,))
        now, later = keras.ops.split(image, 2, axis=-1)
        parts = self.check(
            keras.Model(image, [keras.layers.Dense(3)(now), keras.layers.Dense(3)(later)])
        )
        self.assertLen(parts[0].keeps, 1)

    def test_logits_that_later_stages_read(self):
        image = keras.Input((4,))
        first = keras.layers.Dense(3)(image)
        second = keras.layers.Dense(3)(image)
        parts = self.check(keras.Model(image, [first, (first + second) / 2]))
        self.assertEqual(profiling.multiply_adds(parts[0].head.model), 0)
        self.assertEqual(profiling.multiply_adds(parts[1].head.model), 12)

    def test_a_head_that_reads_what_only_the_body_makes(self):
        image = keras.Input((4,))
        hidden = keras.layers.Dense(5)(image)
        deeper = keras.layers.Dense(6)(hidden)
        network = keras.Model(image, [keras.layers.Dense(3)(hidden), keras.layers.Dense(3)(deeper)])
        parts = self.check(network)
        self.assertEqual(
            [profiling.multiply_adds(piece.model) for piece in (parts[0].body, parts[0].head)],
            [20, 15],
        )

    def test_an_output_that_an_earlier_stage_has_computed(self):
        image = keras.Input((4,))
        second = keras.layers.Dense(3)(image)
        self.check(keras.Model(image, [keras.layers.Dense(3)(second), second]))

    def test_layers_of_two_models_with_one_name(self):
        image = keras.Input((4,))
        part = [keras.layers.Dense(4, name="same"), keras.layers.Add(name="sum")]
        inner = keras.Input((4,))
        first = keras.Model(inner, part[1]([part[0](inner), inner]))
        second = keras.Sequential([keras.layers.Dense(3, name="same")])
        self.check(keras.Model(image, [second(first(image)), keras.layers.Dense(3)(image)]))

    def test_two_inputs_are_refused(self):
        inputs = [keras.Input((4,)), keras.Input((4,))]
        network = keras.Model(inputs, [keras.layers.Add()(inputs), inputs[0] * 2])
        with self.assertRaisesRegex(ValueError, "one input.*Received: network="):
            stages.partition(network)
