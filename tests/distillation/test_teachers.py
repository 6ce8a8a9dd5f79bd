import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.distillation import teachers


class MethodsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("joint", "none", [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]),
        ("largest", "ipkd", [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]),
        ("next_larger", "ipkd_ta_1", [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]),
        (
            "all_larger",
            "ipkd_ta_m",
            [[0, 1 / 3, 1 / 3, 1 / 3], [0, 0, 1 / 2, 1 / 2], [0, 0, 0, 1], [0, 0, 0, 0]],
        ),
    )
    def test_four_sub_models(self, method, expected):
        weights = teachers.from_spec(method, 4)
        self.assertEqual(weights.dtype, np.float32)
        self.assertAllClose(weights, expected, rtol=1e-7)
        beside_outsiders = teachers.from_spec(method, 4, outside=2)
        self.assertAllEqual(beside_outsiders, np.pad(weights, ((0, 0), (0, 2))))

    @parameterized.parameters("none", "ipkd", "ipkd_ta_1", "ipkd_ta_m")
    def test_one_sub_model_has_no_teacher(self, method):
        self.assertAllEqual(teachers.from_spec(method, 1), [[0]])

    @parameterized.parameters("ipkd", "ipkd_ta_1", "ipkd_ta_m")
    def test_two_sub_models_leave_no_choice(self, method):
        self.assertAllEqual(teachers.from_spec(method, 2), [[0, 1], [0, 0]])

    @parameterized.parameters("none", "ipkd", "ipkd_ta_1", "ipkd_ta_m")
    def test_every_size_is_valid(self, method):
        for n in range(1, 31):
            teachers.check(teachers.from_spec(method, n), n)

    def test_the_first_outside_teacher_teaches_all(self):
        self.assertAllEqual(teachers.from_spec("kd", 1, outside=1), [[0, 1]])
        weights = teachers.from_spec("kd", 3, outside=2)
        self.assertEqual(weights.dtype, np.float32)
        self.assertAllEqual(weights, [[0, 0, 0, 1, 0]] * 3)

    def test_kd_without_an_outside_teacher(self):
        with self.assertRaisesRegex(ValueError, r"pass a trained model as outside=.*Received: out"):
            teachers.from_spec("kd", 3)

    @parameterized.parameters(-1, 1.5, "1", None)
    def test_impossible_number_of_outside_teachers(self, outside):
        for spec in ("none", "kd", "0:1", np.zeros((2, 2))):
            with self.assertRaisesRegex(ValueError, r"integer >= 0\. Received: outside="):
                teachers.from_spec(spec, 2, outside)

    @parameterized.parameters(0, -1, 2.5, "3", None)
    def test_impossible_number_of_sub_models(self, n):
        for method in ("none", "ipkd", "ipkd_ta_1", "ipkd_ta_m", "kd", "0:1"):
            with self.assertRaisesRegex(ValueError, r"integer >= 1\. Received: n="):
                teachers.from_spec(method, n)


class TextTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters("0:3,1:2+3", " 0 : 3 , 1 : 2 + 3 ", "1:3+2,0:3")
    def test_equal_shares(self, text):
        expected = [[0, 0, 0, 1], [0, 0, 0.5, 0.5], [0, 0, 0, 0], [0, 0, 0, 0]]
        self.assertAllEqual(teachers.from_spec(text, 4), expected)

    def test_outside_teachers_beside_sub_models(self):
        weights = teachers.from_spec("0:2,1:2+t2, 2 : t1 ", 3, outside=2)
        self.assertAllEqual(weights, [[0, 0, 1, 0, 0], [0, 0, 0.5, 0, 0.5], [0, 0, 0, 1, 0]])

    @parameterized.parameters(("0:t0", 2), ("0:t3", 2), ("0:1+t3", 2), ("0:t1", 0), ("2:t1", 1))
    def test_unknown_outside_teacher(self, text, outside):
        named = "outside teachers t1 to t" if outside else "numbered 0 to 1"
        with self.assertRaisesRegex(ValueError, f"{named}.*Received: teachers="):
            teachers.from_spec(text, 2, outside)

    def test_virtual_teachers_have_the_last_columns(self):
        self.assertAllEqual(
            teachers.from_spec("0:ema+1,1:mean", 2), [[0, 0.5, 0, 0.5], [0, 0, 1, 0]]
        )
        self.assertAllEqual(
            teachers.from_spec("0:ema,1:t1", 2, outside=2), [[0, 0, 0, 0, 1], [0, 0, 1, 0, 0]]
        )
        self.assertEqual(teachers.find_virtual("0:ema+1,1:mean"), ("mean", "ema"))
        for other in ("ipkd_ta_m", "none", np.zeros((2, 2)), "0:1"):
            self.assertEqual(teachers.find_virtual(other), ())

    def test_two_digits(self):
        weights = teachers.from_spec("9:10+11", 12)
        self.assertAllEqual(np.argwhere(weights), [[9, 10], [9, 11]])

    @parameterized.parameters(
        "",
        "ipdk",
        "0",
        "0:",
        ":1",
        "0:1,",
        "0-1",
        "0:1+",
        "0:1.0",
        "-1:2",
        "0:1;1:2",
        "0:1:2",
        "a:b",
        "0:t",
        "t1:0",
        "0:tt1",
        "0:1t",
        "0:t1+",
        "0:T1",
        "0:means",
        "mean:0",
        "0:" + "9" * 5000,
    )
    def test_unreadable(self, text):
        with self.assertRaisesRegex(
            ValueError, r"one of none, ipkd, ipkd_ta_1, ipkd_ta_m, kd, or student:teacher\+teacher"
        ) as caught:
            teachers.from_spec(text, 4)
        self.assertEndsWith(str(caught.exception), f"Received: teachers={text!r}")

    @parameterized.parameters("0:1,0:2", "0:2+2", "0:2,1:2,0:2")
    def test_named_twice(self, text):
        with self.assertRaisesRegex(ValueError, "named once.*Received: teachers="):
            teachers.from_spec(text, 4)

    @parameterized.parameters("0:4", "4:5", "0:1+7")
    def test_unknown_sub_model(self, text):
        with self.assertRaisesRegex(ValueError, "numbered 0 to 3.*Received: teachers="):
            teachers.from_spec(text, 4)

    @parameterized.named_parameters(
        ("loop", "0:1,1:0", "sub-model 1 is taught by 0"),
        ("itself", "1:1", "sub-model 1 is taught by 1"),
        ("largest", "3:2", "sub-model 3 is taught by 2"),
        ("mixed", "0:2,2:1+3", "sub-model 2 is taught by 1"),
    )
    def test_teacher_that_is_not_larger(self, text, message):
        with self.assertRaisesRegex(ValueError, f"Only larger sub-models teach, but {message}"):
            teachers.from_spec(text, 4)


class CheckTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("list", [[0, 0.25, 0.75], [0, 0, 1], [0, 0, 0]]),
        ("float64", np.array([[0, 0.25, 0.75], [0, 0, 1], [0, 0, 0]])),
        ("untaught_row", [[0, 0, 1], [0, 0, 0], [0, 0, 0]]),
        ("rounded", [[0, 0.333333, 0.666666], [0, 0, 1], [0, 0, 0]]),
    )
    def test_valid_weights_come_back_unchanged(self, weights):
        for checked in (
            teachers.check(weights),
            teachers.check(weights, 3),
            teachers.from_spec(weights, 3),
        ):
            self.assertEqual(checked.dtype, np.float32)
            self.assertAllEqual(checked, np.float32(weights))

    def test_outside_columns_are_free_of_order_and_may_be_left_out(self):
        weights = [[0, 0.5, 0.5], [0, 0, 1]]
        self.assertAllEqual(teachers.from_spec(weights, 2, outside=1), weights)
        self.assertAllEqual(teachers.check(weights, outside=1), weights)
        self.assertAllEqual(
            teachers.from_spec([[0, 1], [0, 0]], 2, outside=2), [[0, 1, 0, 0], [0, 0, 0, 0]]
        )
        with self.assertRaisesRegex(ValueError, r"shape \[2, 2\], .*weights\.shape=\(2, 3\)"):
            teachers.from_spec(weights, 2)
        with self.assertRaisesRegex(ValueError, r"\[2, 2\] or \[2, 2 \+ 2\].*weights\.shape="):
            teachers.from_spec(weights, 2, outside=2)
        with self.assertRaisesRegex(ValueError, "sub-model 1 is taught by 0"):
            teachers.from_spec([[0, 0, 1], [0.5, 0, 0.5]], 2, outside=1)

    def test_tensor(self):
        self.assertAllEqual(teachers.check(tf.constant([[0.0, 1.0], [0.0, 0.0]])), [[0, 1], [0, 0]])

    def test_argument_is_not_modified(self):
        weights = np.float32([[0, 1], [0, 0]])
        teachers.check(weights)[0, 1] = 7
        self.assertEqual(weights[0, 1], 1)

    @parameterized.named_parameters(
        ("scalar", 1.0, None),
        ("vector", [0, 1], None),
        ("not_square", [[0, 1, 0], [0, 0, 1]], None),
        ("cube", np.zeros([2, 2, 2]), None),
        ("empty", np.zeros([0, 0]), None),
        ("too_small", [[0, 1], [0, 0]], 3),
        ("too_large", np.zeros([4, 4]), 3),
    )
    def test_wrong_shape(self, weights, n):
        side = "n" if n is None else n
        with self.assertRaisesRegex(
            ValueError, rf"shape \[{side}, {side}\].*Received: weights\.shape="
        ):
            teachers.check(weights, n)

    @parameterized.named_parameters(
        ("ragged", [[0, 1], [0]]),
        ("words", [["a", "b"], ["c", "d"]]),
        ("objects", [[None, {}], [0, 0]]),
    )
    def test_not_numbers(self, weights):
        with self.assertRaisesRegex(ValueError, "square array of numbers .*Received: weights="):
            teachers.check(weights)

    @parameterized.named_parameters(
        ("nan", [[0, np.nan], [0, 0]], r"finite. Received: weights\[0, 1\]=nan"),
        ("nan_below", [[0, 1], [np.nan, 0]], r"finite. Received: weights\[1, 0\]=nan"),
        ("infinite", [[0, np.inf], [0, 0]], r"finite. Received: weights\[0, 1\]=inf"),
        ("negative", [[0, -1], [0, 0]], r"not be negative. Received: weights\[0, 1\]=-1"),
        ("loop", [[0, 1], [1, 0]], r"sub-model 1 is taught by 0.*Received: weights\[1, 0\]=1"),
        ("itself", [[1, 0], [0, 0]], r"sub-model 0 is taught by 0.*Received: weights\[0, 0\]=1"),
        ("identity", [[0, 1], [0, 1]], r"sub-model 1 is taught by 1.*Received: weights\[1, 1\]=1"),
    )
    def test_wrong_entry(self, weights, message):
        with self.assertRaisesRegex(ValueError, message):
            teachers.check(weights)

    def test_negative_entry_in_a_row_that_sums_to_one(self):
        with self.assertRaisesRegex(ValueError, r"negative. Received: weights\[0, 2\]=-0.5"):
            teachers.check([[0, 1.5, -0.5], [0, 0, 1], [0, 0, 0]])

    @parameterized.parameters(0.7, 0.9999, 1.0001, 2.0, 1e-6)
    def test_row_sum(self, total):
        with self.assertRaisesRegex(
            ValueError, rf"row 1 sums to {total:g};.*Received: weights\[1\]="
        ):
            teachers.check([[0, 0.5, 0.5], [0, 0, total], [0, 0, 0]])
