"""Order, purity and completeness of the batches."""

from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.data import Augmentation, Examples, evaluation, pipeline, training

PLAIN = Augmentation(crop_padding=0, flip=False)


def numbered(number, size=4):
    """Images whose every pixel is their label, so that pairs can be checked."""
    labels = np.arange(number, dtype=np.int32)
    return np.tile(labels.astype(np.uint8)[:, None, None, None], (1, size, size, 3)), labels


def textured(number, size=8):
    images = np.random.RandomState(0).randint(0, 256, (number, size, size, 3)).astype(np.uint8)
    return images, np.arange(number, dtype=np.int32)


def first_batches(dataset, steps):
    return [(x.numpy(), y.numpy()) for x, y in dataset.take(steps)]


def label_order(dataset, steps):
    return np.concatenate([y for _, y in first_batches(dataset, steps)])


class TrainingTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((12, 4), (12, 12), (100, 1), (2, 1), (1, 1))
    def test_an_epoch_is_a_permutation(self, examples, batch_size):
        steps = examples // batch_size
        order = label_order(training(*numbered(examples), batch_size, seed=3), 3 * steps)
        for epoch in np.split(order, 3):
            self.assertEqual(sorted(epoch), list(range(examples)))

    def test_an_epoch_that_does_not_divide_repeats_no_example(self):
        order = label_order(training(*numbered(23), 5, seed=0), 40)
        for epoch in np.split(order, 10):
            self.assertLen(set(epoch), 20)
        self.assertEqual(set(order), set(range(23)))  # the ones left out change

    def test_images_stay_with_their_labels(self):
        for images, labels in first_batches(training(*numbered(20), 6, 0, augmentation=PLAIN), 6):
            self.assertEqual(images.dtype, np.uint8)
            self.assertEqual(labels.dtype, np.int32)
            self.assertAllEqual(images[:, 0, 0, 0], labels)
            self.assertAllEqual(images, np.broadcast_to(images[:, :1, :1, :1], images.shape))

    def test_epochs_and_seeds_have_their_own_order(self):
        orders = [label_order(training(*numbered(50), 10, seed), 10) for seed in (0, 1)]
        epochs = [tuple(epoch) for order in orders for epoch in np.split(order, 2)]
        self.assertLen(set(epochs), 4)

    def test_no_order_comes_back(self):
        # TensorFlow's own shuffle of indices has the order of epoch 0 again in epoch 256.
        orders = label_order(training(*numbered(12, size=1), 12, 0, augmentation=PLAIN), 600)
        self.assertLen({tuple(epoch) for epoch in np.split(orders, 600)}, 600)
        seeds = [0, 1, 256, 512, 2**16, 2**32, 2**62]
        orders = [label_order(training(*numbered(50, size=1), 50, seed), 1) for seed in seeds]
        self.assertLen({tuple(order) for order in orders}, len(seeds))

    def test_orders_are_uniform(self):
        orders = label_order(training(*numbered(3, size=1), 3, 5, augmentation=PLAIN), 3000)
        _, counts = np.unique(orders.reshape(3000, 3), axis=0, return_counts=True)
        self.assertLen(counts, 6)
        # 500 of each expected; the standard deviation of a count is 20.
        self.assertAllInRange(counts, 400, 600)

    def test_shapes_are_static(self):
        images, labels = training(*numbered(8), 4, seed=0).element_spec
        self.assertEqual(images.shape, (4, 4, 4, 3))
        self.assertEqual(labels.shape, (4,))

    @parameterized.parameters(1, 3, 7)
    def test_start_step_equals_skipping(self, start_step):
        whole = first_batches(training(*textured(12), 4, seed=5), start_step + 3)
        resumed = first_batches(training(*textured(12), 4, seed=5, start_step=start_step), 3)
        for (images, labels), (same_images, same_labels) in zip(
            whole[start_step:], resumed, strict=True
        ):
            self.assertAllEqual(images, same_images)
            self.assertAllEqual(labels, same_labels)

    def test_augmentation_differs_between_steps_and_seeds(self):
        images, labels = textured(1)
        seen = [
            first_batches(training(images, labels, 1, seed, start_step=step), 1)[0][0].tobytes()
            for seed in range(3)
            for step in range(3)
        ]
        # 162 outcomes: nine equal draws in a row are impossible, a single coincidence is not.
        self.assertGreater(len(set(seen)), 6)

    @parameterized.parameters(0.0, 0.5)
    def test_parts_are_those_of_the_whole_and_read_no_more(self, mixup):
        augmentation = Augmentation(1, rotation=15, cutout=3, mixup=mixup, num_classes=12)
        arguments = {"batch_size": 6, "seed": 4, "augmentation": augmentation}
        whole = first_batches(training(*textured(12), **arguments), 3)
        examples = Examples(*textured(12))
        gather = mock.Mock(side_effect=examples.gather)
        with mock.patch.object(examples, "gather", gather):
            parts = [training(examples, part=(number, 3), **arguments) for number in range(3)]
        sizes = {call.args[0].shape[0] for call in gather.mock_calls}
        self.assertEqual(sizes, {6 if mixup else 2})
        parts = [first_batches(part, 3) for part in parts]
        for (images, labels), *of_step in zip(whole, *parts, strict=True):
            self.assertAllEqual(np.concatenate([part for part, _ in of_step]), images)
            self.assertAllEqual(np.concatenate([part for _, part in of_step]), labels)

    def test_large_steps_and_seeds(self):
        batches = first_batches(training(*textured(4), 2, 2**62, start_step=2**40), 2)
        self.assertEqual(sorted(np.concatenate([y for _, y in batches])), [0, 1, 2, 3])

    @parameterized.parameters(
        ({"batch_size": 9}, "the 8 training images.*Received: batch_size=9"),
        ({"batch_size": 0}, "at least one example.*Received: batch_size=0"),
        ({"seed": -1}, "Received: seed=-1"),
        ({"start_step": -1}, "Received: start_step=-1"),
        ({"part": (0, 3)}, r"Received: part=\(0, 3\), batch_size=4"),
        ({"part": (2, 2)}, r"Received: part=\(2, 2\)"),
        ({"images": np.zeros((8, 4, 4, 3))}, "uint8.*Received: images.dtype='float64'"),
        ({"labels": np.zeros(7, np.int32)}, r"its 8 images.*labels.shape=\(7,\)"),
    )
    def test_refuses(self, change, message):
        images, labels = numbered(8)
        arguments = {"images": images, "labels": labels, "batch_size": 4, "seed": 0} | change
        with self.assertRaisesRegex(ValueError, message):
            training(**arguments)


class EvaluationTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((12, 4, [4, 4, 4]), (10, 4, [3, 3, 4]), (9, 8, [4, 5]), (3, 8, [3]))
    def test_every_example_once_in_order(self, examples, batch_size, sizes):
        images, labels = textured(examples)
        batches = list(evaluation(images, labels, batch_size).as_numpy_iterator())
        self.assertEqual([len(y) for _, y in batches], sizes)
        self.assertAllEqual(np.concatenate([x for x, _ in batches]), images)
        self.assertAllEqual(np.concatenate([y for _, y in batches]), labels)

    def test_cardinality_is_known(self):
        self.assertEqual(evaluation(*numbered(10), 4).cardinality().numpy(), 3)

    def test_refuses_an_empty_batch(self):
        with self.assertRaisesRegex(ValueError, "Received: batch_size=0"):
            evaluation(*numbered(10), 0)


class Recorder(keras.Model):
    """Remembers the labels of every training batch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, images):
        return images

    def train_step(self, data):
        self.seen.append(data[1].numpy())
        return {"loss": 0.0}


class DistributedTest(tf.test.TestCase):
    @pytest.fixture(autouse=True)
    def _strategy(self, mirrored):
        self.strategy = mirrored

    def test_a_batch_is_shared_out_evenly(self):
        global_batches = first_batches(training(*textured(16), 8, seed=0), 3)
        distributed = iter(
            self.strategy.experimental_distribute_dataset(training(*textured(16), 8, seed=0))
        )
        for images, labels in global_batches:
            parts = [self.strategy.experimental_local_results(part) for part in next(distributed)]
            self.assertEqual([len(part) for part in parts[1]], [4, 4])
            self.assertAllEqual(tf.concat(parts[0], 0), images)
            self.assertAllEqual(tf.concat(parts[1], 0), labels)

    def test_no_replica_gets_an_empty_evaluation_batch(self):
        dataset = self.strategy.experimental_distribute_dataset(evaluation(*numbered(33), 8))
        sizes = [
            len(part)
            for _, labels in dataset
            for part in self.strategy.experimental_local_results(labels)
        ]
        self.assertEqual(sum(sizes), 33)
        self.assertGreater(min(sizes), 0)

    def test_each_iteration_is_the_next_epoch(self):
        images, labels = textured(12)
        dataset = self.strategy.experimental_distribute_dataset(
            pipeline.training_epochs(images, labels, 4, seed=2)
        )
        orders = [
            np.concatenate(
                [np.concatenate(self.strategy.experimental_local_results(y)) for _, y in dataset]
            )
            for _ in range(3)
        ]
        expected = label_order(training(images, labels, 4, seed=2), 9)
        self.assertAllEqual(np.concatenate(orders), expected)


class TrainingEpochsTest(tf.test.TestCase):
    def test_fit_sees_the_stream_of_training(self):
        images, labels = numbered(20)
        model = Recorder()
        model.compile(run_eagerly=True)
        history = model.fit(
            pipeline.training_epochs(images, labels, 6, seed=1), epochs=4, verbose=0
        )
        self.assertLen(history.epoch, 4)
        expected = label_order(training(images, labels, 6, seed=1), 4 * 3)
        self.assertAllEqual(np.concatenate(model.seen), expected)

    def test_unread_iterators_use_up_no_epoch(self):
        dataset = pipeline.training_epochs(*textured(8), 4, seed=0)
        iter(dataset)
        got = first_batches(dataset, 2)
        for (images, _), (expected, _) in zip(
            got, first_batches(training(*textured(8), 4, seed=0), 2), strict=True
        ):
            self.assertAllEqual(images, expected)

    def test_cardinality_is_one_epoch(self):
        dataset = pipeline.training_epochs(*numbered(20), 6, seed=0)
        self.assertEqual(dataset.cardinality().numpy(), 3)
