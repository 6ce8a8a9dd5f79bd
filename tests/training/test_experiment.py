"""Settings: defaults, parsed values, refusals."""

import dataclasses

from absl.testing import absltest, parameterized

from ipkd_tf.distillation import losses, teachers
from ipkd_tf.training import experiment
from ipkd_tf.training.experiment import Experiment


class ExperimentTest(parameterized.TestCase):
    def test_every_setting_is_explained(self):
        for field in dataclasses.fields(Experiment):
            self.assertRegex(field.metadata["help"], r"\w.*[.)]$", field.name)

    def test_choices_are_those_of_the_modules_that_implement_them(self):
        divergence = Experiment.__dataclass_fields__["divergence"]
        self.assertCountEqual([*experiment.METHODS, "kd"], teachers.METHODS)  # kd needs a teacher
        self.assertCountEqual(divergence.metadata["choices"], losses.DIVERGENCES)
        label_weight = Experiment.__dataclass_fields__["label_weight"]
        self.assertCountEqual(label_weight.metadata["choices"], losses.LABEL_WEIGHTS)

    @parameterized.parameters(
        ({"validation": "test"}, "held_out", None),
        ({"validation": "holdout:5000"}, "held_out", 5000),
        ({"validation": "holdout:0.25"}, "held_out", 0.25),
        ({"learning_rate_drops": ""}, "drop_epochs", ()),
        ({"learning_rate_drops": "60,120,160"}, "drop_epochs", (60, 120, 160)),
        ({}, "constructor_arguments", {}),
        (
            {"widths": "0.5,1", "model_arguments": '{"stem": 16}'},
            "constructor_arguments",
            {"stem": 16, "widths": (0.5, 1.0)},
        ),
        ({"seed": 3, "name": "first"}, "output_dir", "runs/first/seed3"),
        ({"seed": 3, "workdir": "/somewhere"}, "output_dir", "/somewhere"),
        (
            {"model": "my.net:Net", "dataset": "folder:/a b", "method": "0:1+2"},
            "run_name",
            "my.net_Net_folder_a_b_0_1_2",
        ),
    )
    def test_parsed_values(self, settings, name, expected):
        self.assertEqual(getattr(Experiment(**settings), name), expected)

    @parameterized.parameters(
        {"epochs": 0},
        {"epochs": 2.0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"learning_rate": float("inf")},
        {"distillation_weight": 1.5},
        {"distillation_ramp": 1.01},
        {"distillation_ramp": -0.5},
        {"label_weight": "half"},
        {"momentum": 1.0},
        {"batch_size": True},
        {"flip": 1},
        {"seed": -1},
        {"model": ""},
        {"method": "ipkd_ta_2"},
        {"method": "0:6,1:"},
        {"validation": "holdout"},
        {"validation": "holdout:0"},
        {"validation": "holdout:1.5"},
        {"schedule": "parabola"},
        {"precision": "float16"},
        {"learning_rate_drops": "225,150"},
        {"learning_rate_drops": "0"},
        {"learning_rate_drops": "150;225"},
        {"widths": "0.5,wide"},
        {"widths": "-0.5"},
        {"model_arguments": "[4]"},
        {"model_arguments": "{blocks: 4}"},
        {"model_arguments": '{"num_classes": 3}'},
        {"name": "a\n--epochs=7"},
        {"workdir": "a\x85b"},
        {"dataset": "folder:\n"},
    )
    def test_refusals_name_the_setting_and_its_value(self, **settings):
        ((name, value),) = settings.items()
        with self.assertRaises(ValueError) as caught:
            Experiment(**settings)
        message = str(caught.exception)
        self.assertStartsWith(message, f"{name} must be ")
        self.assertEndsWith(message, f"Received: {name}={value!r}")
        self.assertNotIn("\n", message)

    def test_whole_numbers_are_fine_where_any_number_is(self):
        self.assertEqual(Experiment(temperature=4).temperature, 4)


if __name__ == "__main__":
    absltest.main()
