import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.data import hold_out, splits

LABELS = np.repeat(np.arange(3, dtype=np.int32), [60, 30, 10])
IMAGES = np.arange(100)  # an image is its own index here


class HoldOutTest(tf.test.TestCase):
    def test_classes_keep_their_shares(self):
        (train, train_labels), (held, held_labels) = hold_out(IMAGES, LABELS, 20, seed=0)
        self.assertAllEqual(np.bincount(train_labels), [48, 24, 8])
        self.assertAllEqual(np.bincount(held_labels), [12, 6, 2])
        self.assertAllEqual(LABELS[train], train_labels)
        self.assertAllEqual(LABELS[held], held_labels)

    def test_parts_are_disjoint_complete_and_in_order(self):
        (train, _), (held, _) = hold_out(IMAGES, LABELS, 20, seed=0)
        self.assertAllEqual(np.sort(np.concatenate([train, held])), IMAGES)
        self.assertAllEqual(train, np.sort(train))
        self.assertAllEqual(held, np.sort(held))

    def test_seed_decides(self):
        held = [hold_out(IMAGES, LABELS, 20, seed)[1][0] for seed in (0, 0, 1)]
        self.assertAllEqual(held[0], held[1])
        self.assertNotAllEqual(held[0], held[2])

    def test_refuses_all_or_nothing(self):
        for examples in (0, 100, -5):
            with self.assertRaisesRegex(ValueError, f"1 and 99.*Received: examples={examples}"):
                hold_out(IMAGES, LABELS, examples, seed=0)

    def test_refuses_fewer_examples_than_classes(self):
        with self.assertRaisesRegex(ValueError, "each class.*Received: examples=2"):
            hold_out(IMAGES, LABELS, 2, seed=0)


class SubsetTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(None, 100)
    def test_everything(self, examples):
        self.assertAllEqual(splits.subset_indices(LABELS, examples, "train_examples"), IMAGES)

    def test_classes_keep_their_shares(self):
        chosen = splits.subset_indices(LABELS, 50, "train_examples")
        self.assertAllEqual(np.bincount(LABELS[chosen]), [30, 15, 5])

    @parameterized.parameters(0, 101)
    def test_refuses(self, examples):
        with self.assertRaisesRegex(
            ValueError, f"has 100 examples.*Received: test_examples={examples}"
        ):
            splits.subset_indices(LABELS, examples, "test_examples")

    def test_a_fifth_becomes_the_test_split(self):
        train, test = splits.split_off_test(LABELS)
        self.assertAllEqual(np.bincount(LABELS[test]), [12, 6, 2])
        self.assertAllEqual(np.sort(np.concatenate([train, test])), IMAGES)
