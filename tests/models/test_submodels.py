"""Names and cuts of networks that are no family of ours."""

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf.models import flexible


def _two_heads():
    x = keras.Input((3,))
    hidden = keras.layers.Dense(4, name="hidden")(x)
    early = keras.layers.Dense(2, name="early")(x)
    return keras.Model(x, [early, keras.layers.Dense(2, name="late")(hidden)])


class SubmodelsTest(tf.test.TestCase):
    def test_names_are_those_of_the_outputs(self):
        self.assertEqual(flexible.names(_two_heads()), ("early", "late"))

    def test_outputs_of_one_layer_are_numbered(self):
        head = keras.layers.Dense(2, name="head")
        inputs = keras.Input((3,))
        network = keras.Model(inputs, [head(inputs), head(keras.layers.ReLU()(inputs))])
        self.assertEqual(flexible.names(network), ("output_1", "output_2"))

    def test_a_cut_holds_only_what_leads_to_its_output(self):
        network, x = _two_heads(), np.ones((1, 3), "float32")
        early = flexible.cut(network, 0)
        self.assertEqual([w.path for w in early.weights], ["early/kernel", "early/bias"])
        self.assertAllEqual(early(x), network(x)[0])

    def test_what_is_no_network_of_logits_is_named(self):
        x = keras.Input((4, 4, 3))
        for wrong in (keras.Model(x, x), "best.keras"):
            with self.assertRaisesRegex(ValueError, "output \\[batch, classes\\].*Received: net"):
                flexible.names(wrong)
