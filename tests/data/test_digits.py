import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits

from ipkd_tf.data import read


class DigitsTest(tf.test.TestCase):
    def test_facts(self):
        data = read("digits")
        self.assertEqual(data.train.images().shape, (1437, 32, 32, 3))
        self.assertEqual(data.test.images().shape, (360, 32, 32, 3))
        self.assertEqual(data.class_names, tuple("0123456789"))
        self.assertEqual((data.train.images().min(), data.train.images().max()), (0, 255))
        # 1,797 digits: 174 to 183 of each, a fifth of which is 35 or 36 or 37.
        self.assertAllInRange(np.bincount(data.test.labels), 35, 37)
        self.assertAllEqual(
            np.bincount(data.train.labels) + np.bincount(data.test.labels),
            [178, 182, 177, 183, 181, 182, 181, 179, 174, 180],
        )

    def test_native_size_holds_the_source_values(self):
        data, source = read("digits", image_size=8), load_digits()
        by_label = {}
        for image, label in zip(source.images, source.target, strict=True):
            by_label.setdefault(label, set()).add(tuple(np.rint(image * 15.9375).ravel()))
        for image, label in zip(data.test.images(), data.test.labels, strict=True):
            self.assertAllEqual(image[..., 0], image[..., 2])
            self.assertIn(tuple(image[..., 1].ravel().astype(float)), by_label[label])

    def test_scaling_is_pillows_bicubic(self):
        source = read("digits", image_size=8, test_examples=20).test.images()
        scaled = read("digits", image_size=32, test_examples=20).test.images()
        for small, large in zip(source, scaled, strict=True):
            image = Image.fromarray(small[..., 0].astype(np.float32))
            expected = np.clip(image.resize((32, 32), Image.Resampling.BICUBIC), 0, 255)
            # The source rounds to whole levels before it is scaled here, but not in the package.
            self.assertAllClose(large[..., 0].astype(float), expected, atol=1.5, rtol=0)

    def test_subsets(self):
        data = read("digits", train_examples=100, test_examples=50)
        self.assertAllEqual(np.bincount(data.train.labels), [10] * 10)
        self.assertAllEqual(np.bincount(data.test.labels), [5] * 10)
