"""The distiller's step against the loss taken apart, and its life as a Keras model."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.distillation import distiller as distillation
from ipkd_tf.distillation import losses, outside
from ipkd_tf.models import keras_hooks
from ipkd_tf.training import optimizers


def _linear(outputs=3, classes=4, features=5):
    """A network in which each sub-model is one dense layer, so that gradients stand apart."""
    keras.utils.set_random_seed(0)
    x = keras.Input((features,))
    heads = [keras.layers.Dense(classes, name=f"head_{i}")(x) for i in range(outputs)]
    return keras.Model(x, heads)


def _data(batch=8, features=5, classes=4, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(batch, features)).astype("float32")
    return x, random.integers(0, classes, batch).astype("int32")


def _softmax(z):
    exponentials = np.exp(z - z.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def _compiled(network, **arguments):
    # The formulas worked out here are the paper's.
    arguments = {"label_weight": "remaining", **arguments}
    distiller = distillation.InplaceDistiller(network, **arguments)
    distiller.compile(optimizer=optimizers.SGD(0.1))
    return distiller


class TrainStepTest(tf.test.TestCase, parameterized.TestCase):
    def test_a_step_follows_the_hand_derived_gradient(self):
        # d/da of CE is p - y, of T^2 KL(q || p_T) is T (p_T - q): Equation 7, three sub-models.
        network, (x, y), weight, temperature = _linear(), _data(), 0.8, 3.0
        before = [head.get_weights() for head in network.layers[1:]]
        logits = [x @ kernel + bias for kernel, bias in before]
        soft = [_softmax(a / temperature) for a in logits]
        targets = [(soft[1] + soft[2]) / 2, soft[2], None]
        _compiled(network, teachers="ipkd_ta_m", temperature=temperature).train_on_batch(x, y)
        for head, (kernel, _), a, s, q in zip(
            network.layers[1:], before, logits, soft, targets, strict=True
        ):
            gradient = _softmax(a) - np.eye(4)[y]
            if q is not None:
                gradient = (1 - weight) * gradient + weight * temperature * (s - q)
            expected = kernel - 0.1 * x.T @ gradient / len(x)
            self.assertAllClose(head.kernel, expected, 1e-5, 1e-6)

    def test_labels_keep_their_whole_weight_by_default(self):
        losses_of = []
        for arguments in ({"teachers": "none"}, {"teachers": "ipkd", "distillation_weight": 1.0}):
            distiller = distillation.InplaceDistiller(_linear(2), **arguments)
            distiller.compile("sgd")
            losses_of.append(distiller.test_on_batch(*_data(), return_dict=True)["hard_loss"])
        self.assertAllClose(*losses_of)

    @parameterized.parameters(("remaining", None), ("full", None), ("remaining", 2))
    def test_lambda_rises_to_its_value(self, label_weight, accumulated):
        (x, y), temperature = _data(), 2.0
        distiller = distillation.InplaceDistiller(
            _linear(2),
            teachers="ipkd",
            temperature=temperature,
            label_weight=label_weight,
            distillation_ramp_steps=4,
        )
        still = keras.optimizers.SGD(1e-30, gradient_accumulation_steps=accumulated)
        distiller.compile(optimizer=still)
        heads = [head.get_weights() for head in distiller.network.layers[1:]]
        logits = [x @ kernel + bias for kernel, bias in heads]
        hard = [-np.log(_softmax(a)[range(len(y)), y]).mean() for a in logits]
        student, teacher = (_softmax(a / temperature) for a in logits)
        divergence = temperature**2 * (teacher * np.log(teacher / student)).sum(-1).mean()
        for batch in range(12):
            weight = 0.8 * min(batch // (accumulated or 1) / 4, 1)  # 0, 0.2, 0.4, 0.6, 0.8, 0.8 ...
            labels = 1 if label_weight == "full" else 1 - weight
            distiller.reset_metrics()
            logs = distiller.train_on_batch(x, y, return_dict=True)
            self.assertAllClose(logs["hard_loss"], labels * hard[0] + hard[1], 1e-5)
            self.assertAllClose(logs["soft_loss"], weight * divergence, 1e-5)
        fresh = _compiled(
            _linear(2),
            teachers="ipkd",
            temperature=temperature,
            label_weight=label_weight,
            distillation_ramp_steps=4,
        )
        scores = fresh.evaluate(x, y, verbose=0, return_dict=True)
        self.assertAllClose(scores["soft_loss"], 0.8 * divergence, 1e-5)

    def test_a_rise_counts_every_step_of_an_execution(self):
        x, y = _data(24)
        weights = []
        for steps in (1, 3):
            distiller = _compiled(_linear(), distillation_ramp_steps=5)
            distiller.compile(optimizer=optimizers.SGD(0.1), steps_per_execution=steps)
            distiller.fit(x, y, batch_size=4, shuffle=False, verbose=0)
            weights.append(distiller.network.get_weights())
        self.assertAllClose(*weights, 1e-6, 1e-7)

    def test_logs_are_the_losses_and_accuracies_of_the_batch(self):
        network, (x, y) = _linear(), _data()
        distiller = _compiled(network, teachers="ipkd", distillation_weight=0.5, temperature=2.0)
        logits = [a.numpy() for a in network(x)]
        logs = distiller.evaluate(x, y, batch_size=3, verbose=0, return_dict=True)
        accuracies = [float(np.mean(a.argmax(-1) == y)) for a in logits]
        hard, soft = losses.per_example_losses(y, logits, distiller.teachers, 0.5, 2.0)
        self.assertAllClose(
            logs,
            {
                "loss": np.mean(hard + soft),
                "hard_loss": np.mean(hard),
                "soft_loss": np.mean(soft),
                "avg_accuracy": np.mean(accuracies),
                **{f"head_{i}_accuracy": accuracy for i, accuracy in enumerate(accuracies)},
            },
            1e-5,
        )

    def test_top_5_accuracy_is_logged_on_request(self):
        network, (x, y) = _linear(classes=9), _data(classes=9)
        logs = _compiled(network, top_5=True).evaluate(x, y, verbose=0, return_dict=True)
        order = np.argsort(-network(x)[1].numpy(), -1)[:, :5]
        expected = np.mean([label in row for label, row in zip(y, order, strict=True)])
        self.assertNear(logs["head_1_top_5_accuracy"], expected, 1e-6)

    def test_an_example_of_weight_zero_does_not_exist(self):
        x, y = _data()
        y_wrong, weights = y.copy(), np.ones(8, "float32")
        y_wrong[6:], weights[6:] = 0, 0.0
        results = []
        for arrays in ((x, y_wrong, weights), (x[:6], y[:6])):
            network = _linear()
            logs = _compiled(network).train_on_batch(*arrays, return_dict=True)
            results.append((logs, network.get_weights()))
        self.assertAllClose(results[0], results[1], 1e-5)

    def test_labels_as_a_column_and_as_probabilities_mean_the_same(self):
        x, y = _data()
        results = []
        for labels in (y, y[:, None], np.eye(4, dtype="float32")[y]):
            network = _linear()
            logs = _compiled(network).train_on_batch(x, labels, return_dict=True)
            results.append((logs, network.get_weights()))
        self.assertAllClose(results[0], results[1], 1e-5)
        self.assertAllClose(results[0], results[2], 1e-5)

    def test_weights_as_a_column_mean_the_same(self):
        x, y = _data()
        weights = np.linspace(0.5, 1.5, 8, dtype="float32")
        results = []
        for shape in ([8], [8, 1]):
            network = _linear()
            distiller = _compiled(network)
            distiller.fit(x, y, sample_weight=weights.reshape(shape), batch_size=8, verbose=0)
            results.append(network.get_weights())
        for one, other in zip(*results, strict=True):
            self.assertAllEqual(one, other)

    @parameterized.parameters(
        (
            {"sample_weight": np.ones((8, 2), "float32")},
            r"sample weight per.*\[batch, 1\].*\(8, 2\)",
        ),
        ({"y": np.eye(8, dtype="int32")}, r"class number per.*floating-point.*shape=\(8, 8\)"),
        ({"y": np.ones(8, "float32")}, "labels that are integers"),
    )
    def test_labels_and_weights_of_other_shapes_are_refused(self, arguments, message):
        x, y = _data()
        with self.assertRaisesRegex(ValueError, message):
            _compiled(_linear()).fit(x, **{"y": y, **arguments}, batch_size=8, verbose=0)

    def test_one_distiller_takes_labels_and_weights_as_vectors_and_as_columns(self):
        x, y = _data()
        distiller = _compiled(_linear())
        column = np.ones([8, 1], "float32")
        for labels, weights in ((y, None), (y[:, None], None), (y, column[:, 0]), (y, column)):
            distiller.fit(x, labels, sample_weight=weights, verbose=0)
        expected = _compiled(_linear())
        expected.fit(x, y, epochs=4, shuffle=False, verbose=0)
        self.assertAllClose(distiller.get_weights(), expected.get_weights(), 1e-5, 1e-6)

    def test_a_weight_of_zero_takes_out_what_is_not_a_number(self):
        x, y = _data()
        labels = np.eye(4, dtype="float32")[y]
        x_wrong, labels_wrong, weights = x.copy(), labels.copy(), np.ones(8, "float32")
        x_wrong[6], x_wrong[7, 0], labels_wrong[7], weights[6:] = np.nan, np.inf, np.nan, 0.0
        results = []
        for arrays in ((x_wrong, labels_wrong, weights), (x[:6], labels[:6])):
            network = _linear()
            distiller = _compiled(network)
            logs = distiller.train_on_batch(*arrays, return_dict=True)
            scores = distiller.test_on_batch(*arrays, return_dict=True)
            results.append((logs, scores, network.get_weights()))
        self.assertAllClose(results[0], results[1], 1e-5)

    def test_regularisation_losses_of_the_network_take_part(self):
        x = keras.Input((5,))
        head = keras.layers.Dense(4, kernel_regularizer=keras.regularizers.L2(0.5))
        network = keras.Model(x, [head(x)])
        before = head.kernel.numpy()
        distiller = _compiled(network, teachers="none")
        images, labels = _data()
        gradient = images.T @ (_softmax(network(images).numpy()) - np.eye(4)[labels]) / 8
        distiller.train_on_batch(images, labels)
        self.assertAllClose(head.kernel, before - 0.1 * (gradient + before), 1e-5, 1e-6)


class OutsideTest(tf.test.TestCase, parameterized.TestCase):
    def teacher(self, outputs=1, classes=4):
        """With statistics, which must not move either, and in training mode other logits."""
        keras.utils.set_random_seed(7)
        x = keras.Input((5,))
        hidden = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
        heads = [keras.layers.Dense(classes, name=f"out_{k}")(hidden) for k in range(outputs)]
        return keras.Model(x, heads if outputs > 1 else heads[0], name="teacher")

    def test_a_step_follows_the_hand_derived_gradient(self):
        # Equation 3 for head_0, the largest of a teacher's outputs beside head_2 for head_1.
        network, (x, y), weight, temperature = _linear(), _data(), 0.8, 3.0
        teachers = [self.teacher(), self.teacher(outputs=2)]
        targets = [_softmax(t.predict(x, verbose=0) / temperature) for t in teachers[:1]]
        last = _softmax(teachers[1].predict(x, verbose=0)[1] / temperature)
        before = [head.get_weights() for head in network.layers[1:]]
        logits = [x @ kernel + bias for kernel, bias in before]
        soft = [_softmax(a / temperature) for a in logits]
        targets = [targets[0], (last + soft[2]) / 2, last]
        distiller = _compiled(
            network, teachers="0:t1,1:2+t2,2:t2", temperature=temperature, outside=teachers
        )
        distiller.train_on_batch(x, y)
        for head, (kernel, _), a, s, q in zip(
            network.layers[1:], before, logits, soft, targets, strict=True
        ):
            gradient = (1 - weight) * (_softmax(a) - np.eye(4)[y])
            gradient += weight * temperature * (s - q)
            expected = kernel - 0.1 * x.T @ gradient / len(x)
            self.assertAllClose(head.kernel, expected, 1e-5, 1e-6)

    def test_they_stay_as_they_are_and_are_no_part_of_the_distiller(self):
        network, (x, y), teacher = _linear(), _data(), self.teacher()
        distiller = _compiled(network, teachers="kd", outside=[teacher])
        before = teacher.get_weights()
        history = distiller.fit(x, y, validation_data=(x, y), epochs=2, verbose=0).history
        for value, earlier in zip(teacher.get_weights(), before, strict=True):
            self.assertAllEqual(value, earlier)
        self.assertTrue(teacher.trainable)
        for kind in ("weights", "trainable_weights"):
            own = [variable.path for variable in getattr(network, kind)]
            self.assertEqual([v.path for v in getattr(distiller, kind)], own)
        self.assertEqual(distiller.count_params(), network.count_params())
        # lambda T^2 (sum over students) KL of the teacher's answers, as validation saw it.
        logits, outside = network(x), [teacher(x)]
        _, soft = losses.per_example_losses(y, logits, "kd", 0.8, 5.0, outside=outside)
        self.assertAllClose(history["val_soft_loss"][-1], np.mean(soft), 1e-5)

    def test_a_loaded_distiller_asks_for_them_and_goes_on_alike(self):
        (x, y), path = _data(), os.path.join(self.get_temp_dir(), "distiller.keras")
        teacher = self.teacher()
        distiller = _compiled(_linear(), teachers="0:2,1:t1", outside=[teacher], seed=3)
        distiller.train_on_batch(x, y)
        distiller.save(path)
        loaded = keras.models.load_model(path)
        self.assertAllEqual(loaded.teachers, distiller.teachers)
        self.assertEqual(loaded.seed, 3)
        self.assertAllEqual(loaded.predict(x, verbose=0)[0], distiller.predict(x, verbose=0)[0])
        for use in (loaded.train_on_batch, loaded.test_on_batch):
            with self.assertRaisesRegex(ValueError, "without its outside teachers.*set_outside"):
                use(x, y)
        with self.assertRaisesRegex(ValueError, "Expected 1 outside teachers. Received: models=2"):
            loaded.set_outside([teacher, teacher])
        loaded.set_outside([teacher])
        for model in (distiller, loaded):
            model.train_on_batch(x, y)
        for one, other in zip(distiller.get_weights(), loaded.get_weights(), strict=True):
            self.assertAllEqual(one, other)

    def test_teachers_that_do_not_fit_are_refused(self):
        network = _linear()
        x = keras.Input((5,))
        wide = keras.Input((6,))
        for teacher, message in (
            (self.teacher(classes=3), r"same data.*t1 with .*-> \(None, 3\)"),
            (
                keras.Model(wide, keras.layers.Dense(4)(wide)),
                r"takes the network's images.*t1 with \[\(None, 6\)\]",
            ),
            (keras.Model(x, x[:, None]), "output \\[batch, classes\\]"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                distillation.InplaceDistiller(network, teachers="kd", outside=teacher)
        with self.assertRaisesRegex(ValueError, "pass a trained model as outside="):
            distillation.InplaceDistiller(network, teachers="kd")

    def test_probabilities_count_as_their_logarithms(self):
        (x, y), teacher = _data(), self.teacher()
        probabilities = keras.Sequential([teacher, keras.layers.Softmax()])
        losses_of = [
            _compiled(_linear(), teachers="kd", outside=[one]).test_on_batch(x, y)
            for one in (teacher, probabilities)
        ]
        self.assertAllClose(*losses_of, 1e-5)
        sigmoid = keras.Sequential([teacher, keras.layers.Activation("sigmoid")])
        with self.assertRaisesRegex(ValueError, "Expected logits.*ends in sigmoid"):
            _compiled(_linear(), teachers="kd", outside=[sigmoid])


class VirtualTest(tf.test.TestCase, parameterized.TestCase):
    def test_the_mean_teaches_as_a_constant(self):
        network, (x, y), weight, temperature = _linear(outputs=2), _data(), 0.8, 3.0
        before = [head.get_weights() for head in network.layers[1:]]
        logits = [x @ kernel + bias for kernel, bias in before]
        mean = np.log((_softmax(logits[0]) + _softmax(logits[1])) / 2)
        target = _softmax(mean / temperature)
        distiller = _compiled(network, teachers="0:mean,1:mean", temperature=temperature)
        distiller.train_on_batch(x, y)
        for head, (kernel, _), a in zip(network.layers[1:], before, logits, strict=True):
            gradient = (1 - weight) * (_softmax(a) - np.eye(4)[y])
            gradient += weight * temperature * (_softmax(a / temperature) - target)
            expected = kernel - 0.1 * x.T @ gradient / len(x)
            self.assertAllClose(head.kernel, expected, 1e-5, 1e-6)

    def test_the_moving_average_teaches_as_a_frozen_copy_would(self):
        (x, y), ema = _data(), 0.75
        network = _linear(outputs=2)
        distiller = distillation.InplaceDistiller(
            network, teachers="0:ema,1:ema", label_weight="remaining"
        )
        distiller.compile(optimizer=optimizers.SGD(0.1, use_ema=True, ema_momentum=ema))
        copy = keras.models.clone_model(network)
        copy.set_weights(network.get_weights())
        by_copy = _compiled(_linear(outputs=2), teachers="kd", outside=[copy])
        for _ in range(3):  # At the first step the average is the network itself.
            for model in (distiller, by_copy):
                model.train_on_batch(x, y)
            if distiller.optimizer.iterations == 1:
                average = network.get_weights()
            pairs = zip(average, network.get_weights(), strict=True)
            average = [ema * old + (1 - ema) * new for old, new in pairs]
            copy.set_weights(average)
            by_copy.set_outside([copy])
            by_copy.train_function = None
            for one, other in zip(network.get_weights(), by_copy.get_weights(), strict=True):
                self.assertAllClose(one, other, 1e-5, 1e-6)
        self.assertLen(distiller.trainable_weights, 4)

    @parameterized.parameters("msdnet_small", "slimmable_mobilenet_v1_small", "sp_resnet20_small")
    def test_the_layers_of_a_family_compute_with_the_averages(self, preset):
        network = models.from_preset(preset, image_size=16)
        optimizer = optimizers.SGD(0.1, use_ema=True)
        optimizer.build(network.trainable_variables)
        optimizer.iterations.assign(1)
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (2, 16, 16, 3)).astype("uint8")
        averages = keras_hooks.moving_averages(optimizer)
        for average, own in zip(averages, network.trainable_variables, strict=True):
            average.assign(own + random.normal(0, 0.1, own.shape))
        logits = outside.averaged_logits(network, optimizer, images)
        self.assertNotAllClose(logits, network(images)[-1])
        for average, own in zip(averages, network.trainable_variables, strict=True):
            own.assign(average)
        self.assertAllClose(logits, network(images)[-1], 1e-5, 1e-5)

    def test_a_step_without_some_teachers(self):
        (x, y), matrix = _data(), [[0, 0.5, 0.5], [0, 0, 1], [0, 0, 0]]
        kept = {
            (0, 2): [[0, 0, 1], [0, 0, 1], [0, 0, 0]],
            (0, 1): [[0, 1, 0], [0, 0, 0], [0, 0, 0]],
        }
        seen = set()
        distiller = _compiled(_linear(), teachers=matrix, teacher_dropout=1, seed=2)
        self.assertEqual(distiller.get_config()["teacher_dropout"], 1)
        for step in range(6):
            keep = outside.draw_kept(distiller.teachers, 1, 2, tf.constant(step)).numpy()
            self.assertAllEqual(outside.draw_kept(distiller.teachers, 1, 2, step), keep)
            columns = (0, *np.flatnonzero(keep[1:]) + 1)
            seen.add(columns)
            of_step = _compiled(_linear(), teachers=kept[columns])
            of_step.set_weights(distiller.get_weights())
            for model in (distiller, of_step):
                model.train_on_batch(x, y)
            for one, other in zip(distiller.get_weights(), of_step.get_weights(), strict=True):
                self.assertAllClose(one, other, 1e-5, 1e-6)
        self.assertEqual(seen, {*kept})

    def test_refusals(self):
        distiller = distillation.InplaceDistiller(_linear(), teachers="0:ema")
        with self.assertRaisesRegex(ValueError, "use_ema=True.*Received: use_ema=False"):
            distiller.compile(optimizer=optimizers.SGD(0.1))
        for count in (2, -1, 0.5):
            with self.assertRaisesRegex(ValueError, "below the 2.*Received: teacher_dropout="):
                _compiled(_linear(), teachers="ipkd_ta_m", teacher_dropout=count)
        network = _linear()
        network.needs_recalibration = True
        with self.assertRaisesRegex(ValueError, "statistics.*Received: teachers='0:ema'"):
            _compiled(network, teachers="0:ema")


class DrawnNetwork(keras.Model):
    """Trains two of three sub-models, drawn anew at each step, and a leaf that is none."""

    drawn = 2
    auxiliary_weight = 0.5

    def draw(self, seed, step):
        smaller = (seed + tf.cast(step, tf.int32)) % 2
        return tf.stack([smaller, 2])

    def train_logits(self, images, drawn):
        logits = tf.stack(self(images, training=True))
        return tf.unstack(tf.gather(logits, drawn), num=2), [3.0 * logits[0]]


def _drawn_network():
    linear = _linear()
    return DrawnNetwork(linear.input, linear.outputs)


class DrawnTest(tf.test.TestCase):
    def test_steps_are_those_of_what_was_drawn(self):
        (x, y), network = _data(), _drawn_network()
        distiller = _compiled(network, teachers="ipkd", temperature=2.0, seed=5)
        self.assertAllEqual(distiller.teachers, [[0, 1], [0, 0]])
        heads = network.layers[1:]
        for smaller in (1, 0, 1):
            before = [head.get_weights() for head in heads]
            logits = [x @ kernel + bias for kernel, bias in before]
            logs = distiller.train_on_batch(x, y, return_dict=True)
            pair = [logits[smaller], logits[2]]
            hard, soft = losses.per_example_losses(y, pair, "ipkd", 0.8, 2.0)
            leaf, _ = losses.per_example_losses(y, [3 * logits[0]], "none", 0.8, 2.0)
            hard += 0.5 * leaf
            expected = {"loss": hard + soft, "hard_loss": hard, "soft_loss": soft}
            self.assertAllClose(logs, {k: np.mean(v) for k, v in expected.items()}, 1e-5)
            distiller.reset_metrics()
            gradient = 0.5 * 3 * (_softmax(3 * logits[0]) - np.eye(4)[y])
            if smaller == 0:
                gradient += 0.2 * (_softmax(logits[0]) - np.eye(4)[y])
                gradient += 0.8 * 2 * (_softmax(logits[0] / 2) - _softmax(logits[2] / 2))
            expected = before[0][0] - 0.1 * x.T @ gradient / len(x)
            self.assertAllClose(heads[0].kernel, expected, 1e-5, 1e-6)

    def test_training_logs_losses_and_validation_the_named_submodels(self):
        (x, y), network = _data(), _drawn_network()
        distiller = _compiled(network, teachers="ipkd", distillation_weight=0.5)
        history = distiller.fit(x, y, validation_data=(x, y), epochs=2, verbose=0).history
        trained = {"loss", "hard_loss", "soft_loss"}
        named = {"avg_accuracy", *(f"head_{k}_accuracy" for k in range(3))}
        self.assertEqual({*history}, trained | {f"val_{name}" for name in trained | named})
        hard, soft = losses.per_example_losses(y, network(x), "ipkd", 0.5, 5.0)
        self.assertAllClose(history["val_hard_loss"][-1], np.mean(hard), 1e-5)
        self.assertAllClose(history["val_soft_loss"][-1], np.mean(soft), 1e-5)

    def test_a_matrix_for_the_drawn_leaves_validation_to_the_labels(self):
        (x, y), network = _data(), _drawn_network()
        for teachers in ("0:1", [[0, 1], [0, 0]]):
            distiller = _compiled(network, teachers=teachers)
            self.assertGreater(distiller.train_on_batch(x, y, return_dict=True)["soft_loss"], 0)
            scores = distiller.evaluate(x, y, verbose=0, return_dict=True)
            hard, _ = losses.per_example_losses(y, network(x), "none", 0.5, 5.0)
            self.assertAllClose(scores["loss"], np.mean(hard), 1e-5)


class ReplicaTest(tf.test.TestCase, parameterized.TestCase):
    @pytest.fixture(autouse=True)
    def _strategy(self, mirrored):
        self.strategy = mirrored

    @parameterized.parameters({}, {"distillation_ramp_steps": 3, "label_weight": "full"})
    def test_two_replicas_take_the_step_of_one(self, **settings):
        x, y = _data(15)  # batches of 4 + 4 and of 4 + 3
        dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
        single = _linear()
        expected = _compiled(single, **settings).fit(dataset, epochs=2, verbose=0).history
        with self.strategy.scope():
            network = _linear()
            distiller = _compiled(network, **settings)
        history = distiller.fit(dataset, epochs=2, verbose=0).history
        self.assertAllClose(network.get_weights(), single.get_weights(), 1e-5, 1e-6)
        self.assertAllClose(history, expected, 1e-5)

    def test_outside_teachers_are_replicated_and_draws_agree(self):
        x, y = _data()
        keras.utils.set_random_seed(7)
        inputs = keras.Input((5,))
        normalize = keras.layers.Normalization()
        normalize.adapt(3 * x + 1)
        teacher = keras.Model(inputs, keras.layers.Dense(4)(normalize(inputs)))

        def trained():
            network = _drawn_network()
            distiller = _compiled(network, teachers="kd", outside=[teacher])
            history = distiller.fit(x, y, validation_data=(x, y), batch_size=4, verbose=0).history
            return network.get_weights(), history

        expected = trained()
        with self.strategy.scope():
            self.assertAllClose(trained(), expected, 1e-5, 1e-6)


class ModelLifeTest(tf.test.TestCase, parameterized.TestCase):
    def test_fit_evaluate_predict(self):
        network = models.from_preset("msdnet_small", num_classes=3, image_size=8, blocks=2, base=1)
        images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3)).astype("uint8")
        labels = (images.mean((1, 2, 3)) > 127).astype("int32")
        distiller = _compiled(network)
        history = distiller.fit(
            images, labels, validation_data=(images, labels), epochs=8, batch_size=6, verbose=0
        ).history
        self.assertLess(history["loss"][-1], history["loss"][0])
        self.assertIn("val_exit_2_accuracy", history)
        predicted = distiller.predict(images, verbose=0)
        for a, b in zip(predicted, network(images, training=False), strict=True):
            self.assertAllClose(a, b, 1e-4, 1e-5)

    def test_a_saved_distiller_goes_on_training_alike(self):
        (x, y), path = _data(), os.path.join(self.get_temp_dir(), "distiller.keras")
        distiller = distillation.InplaceDistiller(
            _linear(),
            teachers="0:1,1:2",
            temperature=2.0,
            divergence="ce",
            distillation_weight=0.3,
            label_weight="full",
            distillation_ramp_steps=7,
        )
        distiller.compile(optimizer=optimizers.SGD(0.1, momentum=0.9))
        distiller.train_on_batch(x, y)
        distiller.save(path)
        loaded = keras.models.load_model(path)
        settings = (
            "teachers",
            "distillation_weight",
            "temperature",
            "divergence",
            "submodel_names",
            "label_weight",
            "distillation_ramp_steps",
        )
        for name in settings:
            self.assertAllEqual(getattr(loaded, name), getattr(distiller, name))
        for model in (distiller, loaded):
            model.train_on_batch(x, y)
        self.assertAllClose(distiller.get_weights(), loaded.get_weights(), 0, 0)

    def test_mixed_precision_trains_and_logs_float32_losses(self):
        keras.mixed_precision.set_global_policy("mixed_float16")
        try:
            network, (x, y) = _linear(), _data()
            distiller = _compiled(network)
            logs = distiller.train_on_batch(x, y, return_dict=True)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        self.assertIsInstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)
        reference = _compiled(_linear()).train_on_batch(x, y, return_dict=True)
        self.assertAllClose(logs["loss"], reference["loss"], 1e-2)

    @parameterized.parameters("loss", "loss_weights", "weighted_metrics")
    def test_what_compile_would_ignore_is_refused(self, name):
        distiller = distillation.InplaceDistiller(_linear())
        with self.assertRaisesRegex(ValueError, f"has its own.*{name}.*mse"):
            distiller.compile(optimizer="sgd", **{name: "mse"})

    def test_own_metrics_are_kept_for_every_submodel(self):
        def surest(labels, logits):
            return tf.reduce_max(tf.nn.softmax(logits), -1)

        (x, y), weights = _data(), np.float32([1, 0, 2, 1, 1, 0, 1, 3])
        distiller = distillation.InplaceDistiller(_linear())
        metrics = [keras.metrics.SparseTopKCategoricalAccuracy(2, name="top_2"), surest]
        distiller.compile("sgd", metrics=metrics)
        logs = distiller.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
        for index, logits in enumerate(distiller.network(x)):
            hits = [label in np.argsort(row)[-2:] for label, row in zip(y, logits, strict=True)]
            self.assertAllClose(logs[f"head_{index}_top_2"], np.average(hits, weights=weights))
            expected = np.average(_softmax(logits.numpy()).max(-1), weights=weights)
            self.assertAllClose(logs[f"head_{index}_surest"], expected)
        history = distiller.fit(x, y, validation_data=(x, y), epochs=2, verbose=0).history
        self.assertContainsSubset({"head_0_top_2", "val_head_2_surest"}, history)
        distiller.compile("sgd", metrics=["SparseCategoricalCrossentropy"])
        path = os.path.join(self.get_temp_dir(), "distiller.keras")
        distiller.fit(x, y, verbose=0)
        distiller.save(path)
        loaded = keras.models.load_model(path)
        self.assertIn(
            "head_0_sparse_categorical_crossentropy", loaded.evaluate(x, y, return_dict=True)
        )
        for wrong in ("accuracy", 3):
            with self.assertRaisesRegex(ValueError, "metric"):
                distiller.compile("sgd", metrics=[wrong])
        with self.assertRaisesRegex(ValueError, "head_0_accuracy.*twice"):
            distiller.compile("sgd", metrics=[keras.metrics.Accuracy()])

    def test_callbacks_know_which_way_is_better(self):
        (x, y), path = _data(), os.path.join(self.get_temp_dir(), "best.keras")
        callbacks = [
            keras.callbacks.EarlyStopping("val_avg_accuracy", patience=1),
            keras.callbacks.ModelCheckpoint(path, "val_head_0_accuracy", save_best_only=True),
            keras.callbacks.ReduceLROnPlateau("hard_loss"),
        ]
        distiller = _compiled(_linear())
        distiller.fit(x, y, validation_data=(x, y), epochs=1, callbacks=callbacks, verbose=0)
        ways = [callback.monitor_op for callback in callbacks]
        self.assertEqual(ways, [keras.ops.greater, keras.ops.greater, keras.ops.less])
        names = [metric.name for metric in distiller.metrics]
        self.assertEqual(names[:4], ["loss", "hard_loss", "soft_loss", "avg_accuracy"])
        self.assertLen(distiller.metrics_variables, 2 * len(names))
        values = distiller.evaluate(x, y, verbose=0)
        logs = distiller.evaluate(x, y, verbose=0, return_dict=True)
        self.assertEqual(values, [logs[name] for name in names])

    def test_submodels_whose_metrics_share_a_name_are_refused(self):
        x = keras.Input((5,))
        network = keras.Model(x, [keras.layers.Dense(3, name=n)(x) for n in ("avg", "b")])
        with self.assertRaisesRegex(ValueError, r"avg_accuracy.*Received: submodel_names=\('avg',"):
            distillation.InplaceDistiller(network)

    @parameterized.parameters(
        ({"teachers": "ipkd_ta_9"}, "ipkd_ta_9"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"distillation_weight": 1.5}, "distillation_weight=1.5"),
        ({"divergence": "js"}, "divergence='js'"),
        ({"label_weight": "half"}, "remaining, full. Received: label_weight='half'"),
        ({"distillation_ramp_steps": -1}, "distillation_ramp_steps=-1"),
        ({"distillation_ramp_steps": 0.5}, "whole number of steps.*distillation_ramp_steps=0.5"),
        ({"teachers": np.eye(3)}, "larger"),
    )
    def test_bad_settings_are_named(self, arguments, message):
        with self.assertRaisesRegex(ValueError, message):
            distillation.InplaceDistiller(_linear(), **arguments)

    def test_a_network_without_logits_per_submodel_is_refused(self):
        x = keras.Input((4, 4, 3))
        maps = keras.Model(x, [keras.layers.Conv2D(2, 1)(x)])
        with self.assertRaisesRegex(ValueError, "output \\[batch, classes\\]"):
            distillation.InplaceDistiller(maps)
