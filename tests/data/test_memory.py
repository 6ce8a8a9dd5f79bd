import numpy as np
import tensorflow as tf

from ipkd_tf.data import memory


class MemoryTest(tf.test.TestCase):
    def test_cifar_fits_and_imagenet_does_not(self):
        memory.check_fits("cifar10", 60_000, 32, 32)
        # 1,331,167 * 224 * 224 * 3 bytes = 186.6 GiB
        with self.assertRaisesRegex(ValueError, "186.6 GiB.*--image_size.*--train_examples"):
            memory.check_fits("imagenet2012", 1_331_167, 224, 224)

    def test_collects_batches_of_any_length(self):
        images = np.random.RandomState(0).randint(0, 256, (10, 2, 2, 3)).astype(np.uint8)
        batches = (images[:4], images[4:5], images[5:])
        self.assertAllEqual(memory.collect(batches, 10, 2, 2), images)

    def test_returns_what_came(self):
        batches = [np.ones((3, 2, 2, 3), np.uint8)]
        self.assertLen(memory.collect(batches, 10, 2, 2), 3)
