import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.data import Examples, draw, hold_out, splits

LABELS = np.repeat(np.arange(3, dtype=np.int32), [60, 30, 10])
INDICES = np.arange(100)


def examples():
    pixels = np.broadcast_to(INDICES.astype(np.uint8)[:, None, None, None], (100, 1, 1, 3))
    return Examples(pixels, LABELS)


def indices(part):
    return part.images()[:, 0, 0, 0]  # an image's pixels are its index here


class HoldOutTest(tf.test.TestCase):
    def test_classes_keep_their_shares(self):
        train, held = hold_out(examples(), 20, seed=0)
        self.assertAllEqual(np.bincount(train.labels), [48, 24, 8])
        self.assertAllEqual(np.bincount(held.labels), [12, 6, 2])
        for part in (train, held):
            self.assertAllEqual(LABELS[indices(part)], part.labels)

    def test_parts_are_disjoint_complete_and_in_order(self):
        train, held = map(indices, hold_out(examples(), 20, seed=0))
        self.assertAllEqual(np.sort(np.concatenate([train, held])), INDICES)
        self.assertAllEqual(train, np.sort(train))
        self.assertAllEqual(held, np.sort(held))

    def test_seed_decides(self):
        held = [indices(hold_out(examples(), 20, seed)[1]) for seed in (0, 0, 1)]
        self.assertAllEqual(held[0], held[1])
        self.assertNotAllEqual(held[0], held[2])

    def test_refuses_all_or_nothing(self):
        for count in (0, 100, -5):
            with self.assertRaisesRegex(ValueError, f"1 and 99.*Received: examples={count}"):
                hold_out(examples(), count, seed=0)

    def test_refuses_fewer_examples_than_classes(self):
        with self.assertRaisesRegex(ValueError, "each class.*3 and 97.*Received: examples=2"):
            hold_out(examples(), 2, seed=0)

    def test_names_the_class_of_one_image(self):
        with self.assertRaisesRegex(ValueError, "two examples.* one image only of clock. Add"):
            part = examples().subset([0, 1, 70, 71, 95])
            hold_out(part, 2, class_names=("bee", "cat", "clock"))


class DrawTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(None, 100, 1000)
    def test_everything(self, count):
        self.assertAllEqual(draw(LABELS, count), INDICES)

    def test_classes_keep_their_shares_and_a_seed_decides(self):
        first, same, other = (draw(LABELS, 50, seed) for seed in (0, 0, 1))
        self.assertAllEqual(np.bincount(LABELS[first]), [30, 15, 5])
        self.assertAllEqual(first, np.unique(first))
        self.assertAllEqual(first, same)
        self.assertNotAllEqual(first, other)

    def test_is_the_part_that_a_split_chooses(self):
        self.assertAllEqual(draw(LABELS, 20, 3), splits.split(LABELS, 20, 3)[1])

    @parameterized.parameters((2, 2), (99, 3), (98, 3))
    def test_too_few_to_split_properly(self, count, classes):
        chosen = draw(LABELS, count)
        self.assertLen(set(chosen), count)
        self.assertLen(set(LABELS[chosen]), classes)
        self.assertAllEqual(chosen, draw(LABELS, count))

    def test_a_class_of_one(self):
        labels = np.append(np.zeros(9, np.int32), 1)
        self.assertLen(set(draw(labels, 5)), 5)

    @parameterized.parameters(0, -3)
    def test_refuses(self, count):
        with self.assertRaisesRegex(ValueError, f"from 1 on. Received: count={count}"):
            draw(LABELS, count)


class SubsetTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(None, 100)
    def test_everything(self, examples):
        self.assertAllEqual(splits.subset(LABELS, examples, "train_examples"), INDICES)

    def test_classes_keep_their_shares(self):
        chosen = splits.subset(LABELS, 50, "train_examples")
        self.assertAllEqual(np.bincount(LABELS[chosen]), [30, 15, 5])

    @parameterized.parameters(0, 2, 101)
    def test_refuses(self, examples):
        with self.assertRaisesRegex(
            ValueError, f"100 .examples.*Received: test_examples={examples}"
        ):
            splits.subset(LABELS, examples, "test_examples")

    def test_a_fifth_becomes_the_test_split(self):
        train, test = splits.split_off_test(LABELS)
        self.assertAllEqual(np.bincount(LABELS[test]), [12, 6, 2])
        self.assertAllEqual(np.sort(np.concatenate([train, test])), INDICES)
