import functools
import itertools

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.distillation import losses, teachers

CUSTOM = np.array([[0, 0, 0.25, 0.75], [0, 0, 0, 0], [0, 0, 0, 1.0], [0, 0, 0, 0]])
MATRICES = {
    "none": np.zeros([4, 4]),
    "ipkd": [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]],
    "ipkd_ta_1": [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]],
    "ipkd_ta_m": [[0, 1 / 3, 1 / 3, 1 / 3], [0, 0, 1 / 2, 1 / 2], [0, 0, 0, 1], [0, 0, 0, 0]],
    "custom": CUSTOM,
}
TEMPERATURES = (0.1, 1.0, 5.0, 100.0)


def log_softmax(logits):
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def divergence_of_pair(teacher, student, divergence):
    """D of two sets of log-probabilities, as textbooks write it, and its gradient in the student.

    The gradient is the one with respect to the student's logits over the temperature.
    """
    p, q = np.exp(teacher), np.exp(student)
    if divergence == "kl":
        return np.sum(p * (teacher - student), -1), q - p
    if divergence == "ce":
        return -np.sum(p * student, -1), q - p
    value = np.sum(q * (student - teacher), -1)
    return value, q * (student - teacher - value[:, None])


def slow_objective(labels, logits, matrix, weight, temperature, divergence, outside=()):
    """The objective pair by pair in float64: hard and soft part `[batch]`, and gradients.

    The gradients are those of the sum over the batch of hard + soft, `[n, batch, classes]`.
    """
    logits = np.asarray(logits, np.float64)
    n, batch, classes = logits.shape
    teachers_logits = [*logits, *np.asarray(outside, np.float64)]
    targets = np.eye(classes)[labels] if np.ndim(labels) == 1 else np.asarray(labels, np.float64)
    hard, soft = np.zeros(batch), np.zeros(batch)
    gradients = np.zeros_like(logits)
    for i in range(n):
        own_share = 1 - weight * sum(matrix[i])
        log_probabilities = log_softmax(logits[i])
        hard -= own_share * np.sum(targets * log_probabilities, -1)
        gradients[i] += own_share * (np.exp(log_probabilities) - targets)
        for j, teacher in enumerate(teachers_logits):
            value, gradient = divergence_of_pair(
                log_softmax(teacher / temperature),
                log_softmax(logits[i] / temperature),
                divergence,
            )
            soft += weight * temperature**2 * matrix[i][j] * value
            gradients[i] += weight * temperature * matrix[i][j] * gradient
    return hard, soft, gradients


def value_and_gradients(labels, logits, *arguments, **keywords):
    logits = [tf.convert_to_tensor(one) for one in logits]
    with tf.GradientTape() as tape:
        tape.watch(logits)
        hard, soft = losses.per_example_losses(labels, logits, *arguments, **keywords)
        total = tf.reduce_sum(hard + soft)
    gradients = tape.gradient(total, logits, unconnected_gradients="zero")
    return hard.numpy(), soft.numpy(), np.stack(gradients)


def random_problem(seed=0, n=4, batch=5, classes=7, scale=3.0, dtype=np.float32):
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, scale, [n, batch, classes]).astype(dtype)
    return generator.integers(0, classes, batch), logits


class SlowFormulaTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*itertools.product(MATRICES, losses.DIVERGENCES))
    def test_value_and_gradient(self, method, divergence):
        labels, logits = random_problem()
        matrix = np.asarray(MATRICES[method])
        teacher_weights = matrix if method == "custom" else teachers.from_spec(method, 4)
        for temperature, weight in itertools.product(TEMPERATURES, (0.0, 0.8, 1.0)):
            with self.subTest(temperature=temperature, weight=weight):
                settings = weight, temperature, divergence
                expected = slow_objective(labels, logits, matrix, *settings)
                actual = value_and_gradients(labels, list(logits), teacher_weights, *settings)
                self.assertAllClose(actual[0], expected[0], rtol=1e-5, atol=1e-5)
                self.assertAllClose(actual[1], expected[1], rtol=2e-5, atol=2e-5)
                self.assertAllClose(actual[2], expected[2], rtol=1e-4, atol=2e-5)

    def test_full_labels_and_a_risen_part_of_the_weight(self):
        labels, logits = random_problem()
        matrix, settings = MATRICES["custom"], (0.8, 5.0, "kl")
        part = slow_objective(labels, logits, matrix, 0.25 * 0.8, *settings[1:])
        alone = slow_objective(labels, logits, MATRICES["none"], *settings)
        for ramp in (0.25, tf.constant(0.25)):
            actual = value_and_gradients(labels, list(logits), CUSTOM, *settings, ramp=ramp)
            for one, other in zip(actual, part, strict=True):
                self.assertAllClose(one, other, rtol=1e-4, atol=1e-5)
            keywords = {"ramp": ramp, "label_weight": "full"}
            hard, soft, _ = value_and_gradients(labels, list(logits), CUSTOM, *settings, **keywords)
            self.assertAllClose(hard, alone[0], rtol=1e-5, atol=1e-5)
            self.assertAllClose(soft, part[1], rtol=1e-5, atol=1e-5)
        total = losses.inplace_distillation_loss(
            labels, list(logits), CUSTOM, *settings, label_weight="full"
        )
        expected = alone[0] + slow_objective(labels, logits, matrix, *settings)[1]
        self.assertAllClose(total, expected.mean(), rtol=1e-5)

    @parameterized.parameters(*losses.DIVERGENCES)
    def test_float64_stays_float64(self, divergence):
        labels, logits = random_problem(dtype=np.float64)
        for temperature in TEMPERATURES:
            settings = 0.8, temperature, divergence
            expected = slow_objective(labels, logits, MATRICES["ipkd_ta_m"], *settings)
            actual = value_and_gradients(labels, list(logits), "ipkd_ta_m", *settings)
            self.assertEqual(actual[1].dtype, np.float64)
            for one, other in zip(actual, expected, strict=True):
                self.assertAllClose(one, other, rtol=1e-9, atol=1e-9)

    @parameterized.parameters(*losses.DIVERGENCES)
    def test_slow_gradient_is_the_slope_of_the_slow_value(self, divergence):
        """With one teacher held constant; guards the formula the other tests rely on."""
        _, (student, teacher) = random_problem(n=2, batch=1, dtype=np.float64)
        teacher = log_softmax(teacher)
        _, gradient = divergence_of_pair(teacher, log_softmax(student), divergence)
        for c, step in enumerate(1e-6 * np.eye(7)):
            above, _ = divergence_of_pair(teacher, log_softmax(student + step), divergence)
            below, _ = divergence_of_pair(teacher, log_softmax(student - step), divergence)
            self.assertAllClose((above - below)[0] / 2e-6, gradient[0, c], rtol=1e-5, atol=1e-8)

    @parameterized.parameters(*losses.DIVERGENCES)
    def test_soft_labels(self, divergence):
        _, logits = random_problem()
        labels = np.random.default_rng(1).dirichlet(np.ones(7), 5)
        settings = 0.8, 5.0, divergence
        expected = slow_objective(labels, logits, MATRICES["ipkd_ta_m"], *settings)
        actual = value_and_gradients(labels, list(logits), "ipkd_ta_m", *settings)
        for one, other in zip(actual, expected, strict=True):
            self.assertAllClose(one, other, rtol=1e-4, atol=1e-5)

    def test_labels_of_another_sum_keep_the_derivative_of_the_value(self):
        # Half an example: d/da of -0.5 log p[c] is 0.5 p - y; TensorFlow's op has p - y.
        _, (logits,) = random_problem(n=1, batch=3)
        labels = np.eye(7, dtype=np.float32)[[1, 2, 3]] * np.float32([[0.5], [2.0], [0.0]])
        hard, _, (gradient,) = value_and_gradients(labels, [logits], "none", 0.0, 1.0)
        log_p = log_softmax(np.float64(logits))
        self.assertAllClose(hard, -np.sum(labels * log_p, -1), rtol=1e-5)
        expected = labels.sum(-1, keepdims=True) * np.exp(log_p) - labels
        self.assertAllClose(gradient, expected, rtol=1e-5, atol=1e-6)

    def test_by_hand(self):
        """Student (1/2, 1/2), teacher (4/5, 1/5) at temperature 2; teacher (16/17, 1/17) at 1."""
        logits = [[[0.0, 0.0]], [[np.log(16.0), 0.0]]]
        hard, soft = losses.per_example_losses([1], logits, [[0, 1], [0, 0]], 0.75, 2.0)
        self.assertAllClose(hard, [0.25 * np.log(2) + np.log(17)])
        kl = 0.8 * np.log(0.8 / 0.5) + 0.2 * np.log(0.2 / 0.5)
        self.assertAllClose(soft, [0.75 * 4 * kl])


class OutsideTest(tf.test.TestCase, parameterized.TestCase):
    """Columns of W after the sub-models': teachers that are no students."""

    MATRIX = [[0, 0, 0.25, 0.5, 0.25], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0]]

    def problem(self):
        labels, logits = random_problem(n=5)
        return labels, list(logits[:3]), list(logits[3:])

    @parameterized.parameters(*losses.DIVERGENCES)
    def test_value_and_gradient(self, divergence):
        labels, logits, outside = self.problem()
        for settings in ((0.8, 5.0, divergence), (1.0, 1.0, divergence)):
            expected = slow_objective(labels, logits, self.MATRIX, *settings, outside)
            actual = value_and_gradients(labels, logits, self.MATRIX, *settings, outside=outside)
            for one, other in zip(actual, expected, strict=True):
                self.assertAllClose(one, other, rtol=2e-5, atol=2e-5)

    def test_no_gradient_reaches_an_outside_teacher(self):
        labels, logits, outside = self.problem()
        outside = [tf.Variable(one) for one in outside]
        with tf.GradientTape() as tape:
            loss = losses.inplace_distillation_loss(
                labels, logits, self.MATRIX, 0.8, 5.0, outside=outside
            )
        self.assertAllEqual(np.stack(tape.gradient(loss, outside)), np.zeros((2, 5, 7)))

    def test_a_teacher_that_teaches_nobody_changes_nothing(self):
        labels, logits, outside = self.problem()
        settings = "ipkd_ta_m", 0.8, 5.0
        alone = value_and_gradients(labels, logits, *settings)
        for one, other in zip(
            alone, value_and_gradients(labels, logits, *settings, outside=outside), strict=True
        ):
            self.assertAllEqual(one, other)

    def test_hinton_by_hand(self):
        """Student (1/2, 1/2); teacher softmax(2, 0) at T = 1, softmax(1/2, 0) at T = 4."""
        student, teacher, labels = [[[0.0, 0.0]]], [[[2.0, 0.0]]], [0]
        for temperature, expected in ((1.0, 0.327813), (4.0, 0.484798)):
            _, soft, gradients = value_and_gradients(
                labels, student, "kd", 1.0, temperature, outside=teacher
            )
            self.assertAllClose(soft, [expected], rtol=0, atol=1e-6)
        self.assertAllClose(gradients, [[[-0.489837, 0.489837]]], rtol=0, atol=1e-6)
        loss = losses.inplace_distillation_loss(labels, student, "kd", 0.5, 4.0, outside=teacher)
        self.assertAllClose(loss, 0.588972, rtol=0, atol=1e-6)

    def test_refused(self):
        labels, logits, outside = self.problem()
        with self.assertRaisesRegex(ValueError, "a teacher from outside for kd"):
            losses.inplace_distillation_loss(labels, logits, "kd", 0.8, 5.0)
        with self.assertRaisesRegex(ValueError, "outside teacher.*same shape.*Received: shapes="):
            losses.inplace_distillation_loss(
                labels, logits, "kd", 0.8, 5.0, outside=[outside[0][:, :-1]]
            )


class PropertiesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*losses.DIVERGENCES)
    def test_no_gradient_reaches_a_teacher_through_its_teaching(self, divergence):
        labels, logits = random_problem()
        own = np.asarray(MATRICES["ipkd_ta_m"])
        *_, together = value_and_gradients(labels, list(logits), own, 1.0, 5.0, divergence)
        for i in range(3):
            alone = np.zeros([4, 4])
            alone[i] = own[i]
            *_, gradients = value_and_gradients(labels, list(logits), alone, 1.0, 5.0, divergence)
            self.assertAllClose(gradients[i], together[i], rtol=1e-5, atol=1e-6)
        *_, untaught = value_and_gradients(labels, list(logits), "none", 1.0, 5.0, divergence)
        self.assertAllEqual(together[3], untaught[3])

    def test_kl_and_cross_entropy_have_the_same_gradient(self):
        labels, logits = random_problem()
        for temperature in TEMPERATURES:
            *_, kl = value_and_gradients(labels, list(logits), "ipkd_ta_m", 0.8, temperature, "kl")
            *_, ce = value_and_gradients(labels, list(logits), "ipkd_ta_m", 0.8, temperature, "ce")
            self.assertAllClose(kl, ce, rtol=1e-5, atol=1e-6)

    def test_cross_entropy_exceeds_kl_by_the_entropies_of_the_teachers(self):
        labels, logits = random_problem()
        soft = functools.partial(losses.per_example_losses, labels, list(logits), CUSTOM, 1.0, 2.0)
        log_p = log_softmax(np.float64(logits) / 2.0)
        entropies = -np.sum(np.exp(log_p) * log_p, -1)
        expected = 2.0**2 * (0.25 * entropies[2] + 1.75 * entropies[3])
        self.assertAllClose(soft("ce")[1] - soft("kl")[1], expected, rtol=1e-5)

    @parameterized.parameters("kl", "reverse_kl")
    def test_equal_logits_leave_nothing_to_learn(self, divergence):
        labels, logits = random_problem(n=1)
        for temperature in TEMPERATURES:
            _, soft, _ = value_and_gradients(
                labels, [logits[0]] * 4, "ipkd_ta_m", 1.0, temperature, divergence
            )
            # Rounding of three students: 3 eps T |a|. Plain entropies would leave 3 eps T^2 log C.
            self.assertAllClose(soft, np.zeros(5), atol=1e-6 * max(temperature, 1.0))

    @parameterized.parameters(*losses.DIVERGENCES)
    def test_shift_of_a_sub_model_changes_nothing(self, divergence):
        labels, logits = random_problem()
        shifted = logits + np.float32([[[-64.0]], [[0.0]], [[8.0]], [[128.0]]])
        # What the shift itself rounds away is not the objective's fault.
        logits = shifted - np.float32([[[-64.0]], [[0.0]], [[8.0]], [[128.0]]])
        plain = value_and_gradients(labels, list(logits), "ipkd_ta_m", 0.8, 5.0, divergence)
        moved = value_and_gradients(labels, list(shifted), "ipkd_ta_m", 0.8, 5.0, divergence)
        for one, other in zip(plain, moved, strict=True):
            self.assertAllClose(one, other, rtol=1e-5, atol=1e-5)

    def test_weight_zero_is_joint_training(self):
        labels, logits = random_problem()
        taught = value_and_gradients(labels, list(logits), "ipkd_ta_m", 0.0, 5.0)
        joint = value_and_gradients(labels, list(logits), "none", 0.8, 5.0)
        for one, other in zip(taught, joint, strict=True):
            self.assertAllEqual(one, other)
        self.assertAllEqual(taught[1], np.zeros(5))

    def test_names_texts_and_arrays_are_the_same(self):
        labels, logits = random_problem()
        by_name, by_text, by_array = (
            losses.inplace_distillation_loss(labels, list(logits), spec, 0.8, 5.0)
            for spec in ("ipkd", "0:3,1:3,2:3", MATRICES["ipkd"])
        )
        self.assertAllEqual(by_name, by_text)
        self.assertAllEqual(by_name, by_array)

    def test_softmaxes_do_not_multiply_with_the_pairs(self):
        """Nine sub-models have 36 pairs, three have 3."""

        @tf.function
        def loss(logits, n):
            return losses.inplace_distillation_loss([0], [logits] * n, "ipkd_ta_m", 0.8, 5.0)

        def exponentials(n):
            graph = loss.get_concrete_function(tf.zeros([1, 3]), n).graph
            return sum(operation.type in ("Exp", "Expm1") for operation in graph.get_operations())

        self.assertEqual(exponentials(3), exponentials(9))


class ExtremesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*itertools.product(losses.DIVERGENCES, TEMPERATURES))
    def test_enormous_logits(self, divergence, temperature):
        confident = np.float32([[1e4, -1e4, 0.0], [-1e4, 1e4, -1e4]])
        mistaken = np.float32([[-1e4, 1e4, 0.0], [-1e4, 1e4, -1e4]])
        logits = [mistaken, np.zeros([2, 3], np.float32), confident]
        matrix = [[0, 0.5, 0.5], [0, 0, 1], [0, 0, 0]]
        settings = 0.8, temperature, divergence
        expected = slow_objective([0, 1], logits, matrix, *settings)
        hard, soft, gradients = value_and_gradients([0, 1], logits, matrix, *settings)
        self.assertAllClose(hard, expected[0], rtol=1e-6)
        self.assertAllClose(soft, expected[1], rtol=1e-6)
        # The gradient of reverse KL is a difference of numbers as large as the divergence.
        cancelled = expected[1].max() / temperature if divergence == "reverse_kl" else 0.0
        self.assertAllClose(gradients, expected[2], rtol=1e-5, atol=1e-6 + 1e-7 * cancelled)

    @parameterized.parameters(*losses.DIVERGENCES)
    def test_one_class(self, divergence):
        logits = np.float32([[[3.0], [-1e4]], [[0.0], [7.0]]])
        actual = value_and_gradients([0, 0], list(logits), "ipkd", 0.8, 100.0, divergence)
        for one in actual:
            self.assertAllEqual(one, np.zeros_like(one))

    @parameterized.parameters(*itertools.product(("kl", "reverse_kl"), (0.1, 1.0, 100.0)))
    def test_ten_thousand_classes(self, divergence, temperature):
        labels, logits = random_problem(n=3, batch=2, classes=10_000)
        matrix = [[0, 0.5, 0.5], [0, 0, 1], [0, 0, 0]]
        settings = 0.8, temperature, divergence
        expected = slow_objective(labels, logits, matrix, *settings)
        actual = value_and_gradients(labels, list(logits), "ipkd_ta_m", *settings)
        self.assertAllClose(actual[1], expected[1], rtol=2e-5)
        scale = np.abs(expected[2]).max()
        self.assertAllClose(actual[2] / scale, expected[2] / scale, rtol=0, atol=2e-6)

    def test_high_temperature_is_half_the_squared_distance_of_centred_logits(self):
        """Hinton et al. (2015), section 2.1, which plain float32 entropies miss by far."""
        labels, logits = random_problem(n=2, scale=0.1)
        _, soft, _ = value_and_gradients(labels, list(logits), "ipkd", 1.0, 100.0)
        centred = np.float64(logits - logits.mean(-1, keepdims=True))
        expected = np.sum((centred[0] - centred[1]) ** 2, -1) / (2 * 7)
        self.assertAllClose(soft, expected, rtol=5e-3)

    @parameterized.parameters("float16", "bfloat16")
    def test_half_precision_is_computed_in_float32(self, dtype):
        labels, logits = random_problem()
        halves = [tf.cast(one, dtype) for one in logits]
        loss = losses.inplace_distillation_loss(labels, halves, "ipkd_ta_m", 0.8, 5.0)
        self.assertEqual(loss.dtype, tf.float32)
        rounded = [tf.cast(one, tf.float32).numpy() for one in halves]
        hard, soft, _ = slow_objective(labels, rounded, MATRICES["ipkd_ta_m"], 0.8, 5.0, "kl")
        self.assertAllClose(loss, np.mean(hard + soft), rtol=1e-5)


class TeachersOfAStepTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*losses.DIVERGENCES)
    def test_dropped_teachers_leave_their_shares_to_the_others(self, divergence):
        labels, logits = random_problem()
        outside = list(random_problem(seed=5)[1][:2])
        whole = np.zeros([4, 6])
        whole[0, [1, 2, 4]], whole[1, 3], whole[2, [4, 5]] = 1 / 3, 1, 1 / 2
        # Without 2, 3 and 4: 1 alone teaches 0, nobody teaches 1, t2 alone teaches 2.
        left = np.zeros([4, 6])
        left[0, 1] = left[2, 5] = 1
        keep = tf.constant([1.0, 1.0, 0.0, 0.0, 0.0, 1.0])
        settings = (0.8, 2.0, divergence)
        dropped = losses.per_example_losses(
            labels, list(logits), whole, *settings, outside=outside, keep=keep
        )
        hard, soft, _ = slow_objective(labels, logits, left, *settings, outside=outside)
        self.assertAllClose(dropped[0], hard, 1e-5)
        self.assertAllClose(dropped[1], soft, 1e-4, 1e-5)

    def test_the_mean_is_that_of_the_probabilities(self):
        _, logits = random_problem()
        mean = np.mean([np.exp(log_softmax(a)) for a in np.float64(logits)], axis=0)
        found = losses.mean_logits(list(logits))
        self.assertAllClose(log_softmax(np.float64(found)), np.log(mean), 1e-5)


class BatchTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.labels, self.logits = random_problem()
        hard, soft, _ = slow_objective(
            self.labels, self.logits, MATRICES["ipkd_ta_m"], 0.8, 5.0, "kl"
        )
        self.expected = hard + soft

    def loss(self, sample_weight=None):
        return losses.inplace_distillation_loss(
            self.labels, list(self.logits), "ipkd_ta_m", 0.8, 5.0, sample_weight=sample_weight
        )

    def test_mean(self):
        self.assertEqual(self.loss().shape, ())
        self.assertAllClose(self.loss(), np.mean(self.expected), rtol=1e-5)

    def test_fractional_weights(self):
        expected = (0.5 * self.expected[0] + 2 * self.expected[1] + 0.25 * self.expected[4]) / 2.75
        self.assertAllClose(self.loss([0.5, 2.0, 0.0, 0.0, 0.25]), expected, rtol=1e-5)

    def test_integer_weights_remove_examples(self):
        self.assertAllClose(self.loss([0, 1, 1, 0, 0]), np.mean(self.expected[1:3]), rtol=1e-5)

    @parameterized.parameters(*losses.DIVERGENCES)
    def test_weight_zero_removes_what_is_not_a_number(self, divergence):
        logits, labels = self.logits.copy(), np.eye(7, dtype=np.float32)[self.labels]
        logits[:, 1], logits[:, 2] = np.nan, np.inf
        labels[1], labels[3] = np.nan, np.nan
        variables = [tf.Variable(one) for one in logits[:3]]
        with tf.GradientTape() as tape:
            loss = losses.inplace_distillation_loss(
                labels, variables, "0:1+2,1:t1,2:t1", 0.8, 5.0, divergence, [1, 0, 0, 0, 1],
                outside=[logits[3]],
            )  # fmt: skip
        keep = [0, 4]
        settings = [[0, 0.5, 0.5, 0], [0, 0, 0, 1], [0, 0, 0, 1]], 0.8, 5.0, divergence
        hard, soft, gradients = slow_objective(
            self.labels[keep], self.logits[:3, keep], *settings, self.logits[3:, keep]
        )
        self.assertAllClose(loss, np.mean(hard + soft), rtol=1e-5)
        actual = np.stack(tape.gradient(loss, variables))
        self.assertAllClose(actual[:, keep], gradients / 2, rtol=1e-4, atol=1e-5)
        self.assertAllEqual(actual[:, 1:4], np.zeros((3, 3, 7)))

    def test_all_weights_zero(self):
        self.assertAllEqual(self.loss(np.zeros(5)), 0.0)

    def test_inside_a_function_of_unknown_batch_size(self):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.uint8),
                tf.TensorSpec([4, None, None]),
                tf.TensorSpec([None]),
            ]
        )
        def loss(labels, logits, sample_weight):
            return losses.inplace_distillation_loss(
                labels, tf.unstack(logits), "ipkd_ta_m", 0.8, 5.0, "kl", sample_weight
            )

        actual = loss(tf.constant(self.labels, tf.uint8), self.logits, tf.ones(5))
        self.assertAllClose(actual, np.mean(self.expected), rtol=1e-5)

    def test_compiled_with_xla(self):
        compiled = tf.function(self.loss, jit_compile=True)
        self.assertAllClose(compiled(tf.ones(5)), np.mean(self.expected), rtol=1e-5)


class ErrorsTest(tf.test.TestCase, parameterized.TestCase):
    def loss(self, labels=(0, 1), logits=None, teachers="ipkd", weight=0.8, temperature=5.0, **kw):
        logits = [tf.zeros([2, 3])] * 3 if logits is None else logits
        return losses.inplace_distillation_loss(labels, logits, teachers, weight, temperature, **kw)

    @parameterized.parameters(-0.1, 1.1, np.nan)
    def test_distillation_weight(self, value):
        with self.assertRaisesRegex(ValueError, r"in \[0, 1\]. Received: distillation_weight="):
            self.loss(weight=value)

    @parameterized.parameters(0.0, -1.0, np.nan, np.inf)
    def test_temperature(self, value):
        with self.assertRaisesRegex(ValueError, "finite number > 0. Received: temperature="):
            self.loss(temperature=value)

    def test_divergence(self):
        with self.assertRaisesRegex(ValueError, "one of kl, ce, reverse_kl. Received: div.*'js'"):
            self.loss(divergence="js")

    def test_settings_are_checked_without_logits(self):
        losses.check_settings(0, 1, "ce")
        with self.assertRaisesRegex(ValueError, "Received: temperature=-1"):
            losses.check_settings(0.8, -1, "kl")

    def test_teachers_of_another_network(self):
        with self.assertRaisesRegex(ValueError, r"shape \[3, 3\].*Received: weights.shape="):
            self.loss(teachers=np.zeros([4, 4]))

    @parameterized.named_parameters(
        ("none", []),
        ("different_shapes", [tf.zeros([2, 3]), tf.zeros([2, 4])]),
        ("one_tensor", tf.zeros([2, 3])),
        ("images", [tf.zeros([2, 3, 4])]),
    )
    def test_logits(self, logits):
        with self.assertRaisesRegex(ValueError, "list with one tensor.*Received: shapes="):
            self.loss(logits=logits, teachers="none")

    @parameterized.named_parameters(
        ("column", [[0], [1]]),
        ("too_few", [0]),
        ("one_hot_integers", [[0, 1, 0], [1, 0, 0]]),
        ("floating_classes", [0.0, 1.0]),
        ("other_classes", [[0.5, 0.5], [0.5, 0.5]]),
        ("booleans", [[True, False, False], [False, True, False]]),
    )
    def test_labels(self, labels):
        with self.assertRaisesRegex(
            ValueError, "labels that are integers.*Received: labels.dtype="
        ):
            self.loss(labels=labels)

    @parameterized.parameters(1.0, [[[1.0, 1.0]]], [[1.0, 1.0, 1.0]])
    def test_sample_weight(self, value):
        with self.assertRaisesRegex(ValueError, "one number per example.*Received: sample_weight"):
            self.loss(sample_weight=value)
