"""The program search from its flags to its files, and an export of what it found."""

import json
import os
import pathlib
import tempfile

import keras
import pandas as pd
from absl.testing import absltest

from ipkd_tf import data, models
from ipkd_tf.tools import export, search
from tests.tools.test_programs import run_program
from tests.training.test_finished_run import write_run


class SearchTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.directory = pathlib.Path(tempfile.mkdtemp())
        cls.flag = f"--run={cls.directory}"
        keras.utils.set_random_seed(0)
        network = models.OFAMobileNetV3(
            image_size=8,
            kernels=(3, 5),
            expansions=(2,),
            depths=(1, 2),
            stages=((16, 2, False, "relu"),),
            head=(8, 8),
        )
        images = data.read("digits", image_size=8).train.images()[:100]
        for name in network.submodel_names:
            network.recalibrate(name, [images])
        write_run(cls.directory, network)

    def test_within_a_budget(self):
        status, out, err = run_program(search, self.flag, "--budget=125k", "--trials=8")
        self.assertEqual((status, err), (0, ""))
        directory = self.directory / "search"
        names = ["journal.log", "search.csv", "search.json", "search.pdf", "search.png"]
        self.assertCountEqual(os.listdir(directory), names)
        self.assertIn(f"{directory}: {', '.join(names)}", out)
        document = json.loads((directory / "search.json").read_text())
        chosen = document["chosen"]
        within = [row for row in document["rows"] if row["multiply_adds"] <= 125e3]
        self.assertLess(len(within), len(document["rows"]))
        self.assertEqual(chosen["accuracy"], max(row["accuracy"] for row in within))
        self.assertIn(f"Within 125k: {chosen['name']}, test accuracy", out)
        self.assertLen(pd.read_csv(directory / "search.csv"), len(document["rows"]))
        # The same command goes on, here with nothing left to do.
        again = run_program(search, self.flag, "--budget=125k", "--trials=8")
        self.assertEqual(
            json.loads((directory / "search.json").read_text())["rows"], document["rows"]
        )
        self.assertEqual(again[1].splitlines()[-4:], out.splitlines()[-4:])

    def test_what_was_never_named_is_exported(self):
        status, _, err = run_program(
            export, self.flag, "--submodel=k53e22", "--format=saved_model", "--images=50"
        )
        self.assertEqual((status, err), (0, ""))
        self.assertTrue((self.directory / "export" / "k53e22" / "saved_model").is_dir())

    def test_refused(self):
        for flags, message in {
            ("--budget=1k",): "the nearest is k3_e2_d1 with",
            ("--budget=some",): "Received: budget='some'",
            ("--budget=1M", "--format=paper"): "paper",
        }.items():
            status, _, err = run_program(search, self.flag, *flags, "--trials=2")
            self.assertEqual(status, 1)
            self.assertIn(message, err)


if __name__ == "__main__":
    absltest.main()
