"""One sub-model trained alone, through every room that a run goes through."""

import json
import pathlib

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf.training import assembly, evaluation, finished_run, loop
from ipkd_tf.training.experiment import Experiment
from ipkd_tf.training.splits import read_splits
from tests.models import two_exits

TINY = {
    "model": f"{two_exits.__name__}:TwoExits",
    "image_size": 8,
    "train_examples": 200,
    "test_examples": 60,
    "validation": "holdout:40",
    "flip": False,
    "crop_padding": 1,
    "epochs": 1,
    "batch_size": 20,
}


class AloneTest(tf.test.TestCase, parameterized.TestCase):
    def build(self, **settings):
        experiment = Experiment(**{**TINY, **settings})
        return assembly.build(experiment, read_splits(experiment)).network

    def test_initial_weights_are_those_inside_the_network(self):
        whole, alone = self.build(), self.build(submodel="early")
        self.assertLess(len(alone.weights), len(whole.weights))
        for layer in alone.layers:
            for one, inside in zip(layer.weights, whole.get_layer(layer.name).weights, strict=True):
                np.testing.assert_array_equal(one, inside)
        other = self.build(submodel="early", seed=1)
        self.assertNotAllClose(alone.get_layer("conv_1").kernel, other.get_layer("conv_1").kernel)

    @parameterized.parameters(
        ("slimmable_mobilenet_v1_small", "width_0.5"), ("us_mobilenet_v1_small", "width_0.3")
    )
    def test_of_families_that_build_their_sub_models(self, model, name):
        alone = self.build(model=model, image_size=32, submodel=name, train_examples=100)
        self.assertIs(type(alone), keras.src.models.Functional)
        self.assertEqual(alone.name, name)

    def test_an_unknown_one(self):
        with self.assertRaisesRegex(ValueError, "of these: early, late. Received: submodel='e'"):
            self.build(submodel="e")

    def test_a_run_has_its_name_everywhere(self):
        root = pathlib.Path(self.create_tempdir().full_path)
        experiment = Experiment(**TINY, submodel="early", name="tiny", workdir=str(root / "run"))
        self.assertEqual(experiment.run_name, "tiny_early")
        result = loop.run(experiment)
        history = (root / "run" / "history.csv").read_text()
        self.assertIn("val_early_accuracy", history)
        (row,) = result["best"]
        self.assertEqual((row["name"], row["parameters"]), ("early", 224 + 16 + 90))
        self.assertEqual(result["name"], "tiny_early")
        # The flags that it leaves behind are the same run, not one of a longer name.
        flags = (root / "run" / "flags.txt").read_text()
        self.assertIn("--name=tiny_early\n", flags)
        again = Experiment(**{**TINY, "submodel": "early", "name": "tiny_early"})
        self.assertEqual(again.run_name, "tiny_early")

        run = finished_run.open_run(root / "run")
        (opened,) = evaluation.evaluate(
            run.network, (run.splits.test.images(), run.splits.test.labels)
        )
        self.assertEqual(opened["name"], "early")
        self.assertAllClose(opened["accuracy"], row["accuracy"])
        self.assertEqual(json.loads((root / "run" / "result.json").read_text()), result)


if __name__ == "__main__":
    tf.test.main()
