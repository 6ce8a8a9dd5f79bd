"""Names, cuts and checks of networks that are no family of ours."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.models import cost, flexible, stages
from ipkd_tf.models.folding import fold_batch_normalization

LAYERS = keras.layers


def _two_heads():
    x = keras.Input((3,))
    hidden = LAYERS.Dense(4, name="hidden")(x)
    early = LAYERS.Dense(2, name="early")(x)
    return keras.Model(x, [early, LAYERS.Dense(2, name="late")(hidden)])


def _backbone(image):
    """Features of two depths, a sequential model among the layers."""
    first = LAYERS.Conv2D(4, 3, strides=2, name="conv_1")(image)
    block = keras.Sequential(
        [LAYERS.Conv2D(8, 3, strides=2, name="conv"), LAYERS.BatchNormalization(name="norm")],
        name="block",
    )
    return [first, LAYERS.ReLU()(block(first))]


def _with_heads(image, features):
    pool = [LAYERS.GlobalAveragePooling2D()(x) for x in features]
    return keras.Model(
        image, [LAYERS.Dense(2, name=f"head_{len(x.name)}{i}")(x) for i, x in enumerate(pool)]
    )


class SubmodelsTest(tf.test.TestCase):
    def test_names_are_those_of_the_outputs(self):
        self.assertEqual(flexible.names(_two_heads()), ("early", "late"))

    def test_outputs_of_one_layer_are_numbered(self):
        head = LAYERS.Dense(2, name="head")
        inputs = keras.Input((3,))
        network = keras.Model(inputs, [head(inputs), head(LAYERS.ReLU()(inputs))])
        self.assertEqual(flexible.names(network), ("output_1", "output_2"))

    def test_one_is_found_by_number_name_and_value(self):
        network = _two_heads()
        for which in (1, -1, np.int64(1), "late", flexible.Submodel("late")):
            self.assertEqual(flexible.find(network, which), 1)
            self.assertEqual(flexible.cut(network, which).name, "late")
        for which, error in (
            (2, IndexError),
            (-3, IndexError),
            ("l", ValueError),
            (0.5, ValueError),
        ):
            with self.assertRaisesRegex(error, "Expected a sub-model.*Received: submodel="):
                flexible.find(network, which)

    def test_a_cut_holds_only_what_leads_to_its_output(self):
        network, x = _two_heads(), np.ones((1, 3), "float32")
        early = flexible.cut(network, 0)
        self.assertEqual([w.path for w in early.weights], ["early/kernel", "early/bias"])
        self.assertAllEqual(early(x), network(x)[0])
        early.set_weights([np.zeros_like(w) for w in early.get_weights()])
        self.assertNotAllClose(early(x), network(x)[0])


class NestedTest(tf.test.TestCase):
    """A backbone called as a layer is no other network than its layers in a row."""

    def setUp(self):
        super().setUp()
        image = keras.Input((16, 16, 3), name="image")
        self.flat = _with_heads(image, _backbone(image))
        inner = keras.Input((16, 16, 3))
        backbone = keras.Model(inner, _backbone(inner), name="backbone")
        self.nested = _with_heads(image, backbone(image))
        self.nested.set_weights(self.flat.get_weights())
        self.images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")

    def test_sub_models_hold_and_cost_what_they_use(self):
        for index in range(2):
            flat, nested = (flexible.cut(n, index) for n in (self.flat, self.nested))
            self.assertEqual(cost.parameters(nested), cost.parameters(flat))
            self.assertEqual(
                cost.of_submodel(self.nested, index), cost.of_submodel(self.flat, index)
            )
            self.assertAllClose(nested(self.images), self.nested(self.images)[index], 1e-5, 1e-6)
        names = [layer.name for layer in flexible.cut(self.nested, 1).layers if layer.weights]
        self.assertEqual(
            names[:3], ["backbone_conv_1", "backbone_block_conv", "backbone_block_norm"]
        )

    def test_stages_compute_nothing_twice(self):
        parts, tensors = stages.partition(self.nested), {stages.IMAGE: self.images}
        for stage, logits in zip(parts, self.nested(self.images), strict=True):
            found, tensors = stage.run(tensors)
            self.assertAllClose(found, logits, 1e-5, 1e-6)
        pieces = [piece for stage in parts for piece in (stage.body, stage.head) if piece]
        self.assertEqual(
            sum(cost.multiply_adds(piece.model) for piece in pieces), cost.multiply_adds(self.flat)
        )

    def test_normalisation_inside_is_folded(self):
        folded = fold_batch_normalization(self.nested)
        layers = [type(layer) for layer in folded.layers]
        self.assertNotIn(LAYERS.BatchNormalization, layers)
        for a, b in zip(folded(self.images), self.nested(self.images), strict=True):
            self.assertAllClose(a, b, 1e-5, 1e-6)


class AdaptedNormalizationTest(tf.test.TestCase):
    """`Normalization` derives what it computes with from its weights, and so must every copy."""

    def test_copies_normalise_alike(self):
        vectors = np.random.default_rng(0).normal(5.0, 3.0, (64, 3)).astype("float32")
        normalization = LAYERS.Normalization()
        normalization.adapt(vectors)
        x = keras.Input((3,))
        hidden = normalization(x)
        outputs = [LAYERS.Dense(2, name="early")(hidden), LAYERS.Dense(2, name="late")(hidden)]
        plain = keras.Model(x, outputs)
        ours = flexible.FlexibleNetwork(inputs=x, outputs=outputs, submodels=("early", "late"))
        expected = plain(vectors)[1]
        copies = flexible.cut(plain, 1), ours.submodel("late"), fold_batch_normalization(plain)
        for copy in copies:
            self.assertAllClose(keras.tree.flatten(copy(vectors))[-1], expected, 1e-5, 1e-6)


class RefusalTest(tf.test.TestCase, parameterized.TestCase):
    def _refused(self, outputs, message):
        x = keras.Input((3,))
        with self.assertRaisesRegex(ValueError, message):
            flexible.names(keras.Model(x, outputs(x)))

    def test_what_is_no_network_of_logits(self):
        x = keras.Input((4, 4, 3))
        for wrong in (keras.Model(x, x), "best.keras"):
            with self.assertRaisesRegex(ValueError, "output \\[batch, classes\\].*Received: net"):
                flexible.names(wrong)

    def test_outputs_in_a_dict(self):
        outputs = lambda x: {"small": LAYERS.Dense(2)(x), "large": LAYERS.Dense(2)(x)}  # noqa: E731
        self._refused(outputs, "list of outputs, smallest first.*'large'")

    def test_one_logit(self):
        self._refused(LAYERS.Dense(1), "two classes or more.*network=")

    @parameterized.named_parameters(
        ("dense", lambda x: LAYERS.Dense(2, activation="softmax")(x)),
        ("sigmoid", lambda x: LAYERS.Dense(2, activation="sigmoid")(x)),
        ("activation", lambda x: LAYERS.Activation("softmax")(LAYERS.Dense(2)(x))),
        ("softmax_layer", lambda x: LAYERS.Softmax()(LAYERS.Dense(2)(x))),
        ("operation", lambda x: keras.ops.sigmoid(LAYERS.Dense(2)(x))),
        (
            "inside",
            lambda x: keras.Sequential([keras.Input((3,)), LAYERS.Dense(2, activation="softmax")])(
                x
            ),
        ),
    )
    def test_probabilities(self, head):
        self._refused(lambda x: [LAYERS.Dense(2)(x), head(x)], "activation=None.*(softmax|sigmoid)")
