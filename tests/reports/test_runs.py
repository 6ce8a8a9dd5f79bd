"""Runs gathered from directories and CSV files."""

import json
import pathlib

import pandas as pd
from absl.testing import absltest

from ipkd_tf.reports import runs
from tests.reports.results import write_result


class RunsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)

    def test_a_row_per_run_epoch_and_submodel(self):
        write_result(self.root, "ipkd", seed=3, accuracies=(0.25, 0.5), temperature=2.0)
        rows, _ = runs.gather([self.root])
        self.assertEqual(rows["which"].tolist(), ["best", "best", "last", "last"])
        self.assertEqual(rows["epoch"].tolist(), [3, 3, 4, 4])
        first = rows.iloc[0].to_dict()
        expected = {
            "model": "toy",
            "dataset": "digits",
            "method": "ipkd",
            "seed": 3,
            "name": "ipkd",
            "submodel": "exit_1",
            "accuracy": 0.25,
            "top_5_accuracy": 0.9999999,
            "multiply_adds": 1_000_000,
            "test_images": 10_000,
            "date": "2026-01-31",
            "git_commit": "",
            "devices": "CPU; GPU A",
            "temperature": 2.0,
            "epochs": 4,
            "calibration_error": 0.125,
            "validation_accuracy": 0.625,
        }
        self.assertEqual({key: first[key] for key in expected}, expected)

    def test_a_csv_file_holds_what_the_directories_hold(self):
        write_result(self.root, "none", deterministic=True, workdir="/a/place", data_dir="/data")
        write_result(self.root, "ipkd", learning_rate_drops="1,2")
        rows, _ = runs.gather([self.root])
        runs.write_csv(rows, self.root / "results.csv")
        again = runs.read_csv(self.root / "results.csv")
        order = list(runs.COLUMNS)
        self.assertEqual(
            sorted(again[order].to_records(index=False).tolist()),
            sorted(rows[order].to_records(index=False).tolist()),
        )
        self.assertNotIn("/a/place", (self.root / "results.csv").read_text())
        self.assertLen(runs.gather([self.root, self.root / "results.csv"])[0], len(rows))

    def test_a_csv_file_of_before_a_setting_has_its_default(self):
        write_result(self.root, "none")
        path = self.root / "results.csv"
        runs.write_csv(runs.gather([self.root])[0], path)
        lines = [line.rpartition(",")[0] for line in path.read_text().splitlines()]
        self.assertEqual(path.read_text().splitlines()[0].rpartition(",")[2], "deterministic")
        path.write_text("\n".join(lines))
        self.assertEqual(set(runs.read_csv(path)["deterministic"]), {False})

    def test_a_csv_file_and_a_run_of_before_the_calibration_error(self):
        directory = write_result(self.root, "none")
        result = json.loads((directory / "result.json").read_text())
        for row in (*result["best"], *result["last"]):
            del row["calibration_error"]
        del result["validation"]
        (directory / "result.json").write_text(json.dumps(result))
        rows, _ = runs.gather([self.root])
        path = self.root / "results.csv"
        for new in ("calibration_error", "validation_accuracy"):
            self.assertTrue(rows[new].isna().all())
            runs.write_csv(rows, path)
            frame = pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns=new)
            frame.to_csv(path, index=False)
            self.assertTrue(runs.read_csv(path)[new].isna().all())
            self.assertLen(runs.gather([self.root, path])[0], len(rows))

    def test_overlapping_paths_count_once(self):
        directory = write_result(self.root, "none")
        self.assertLen(runs.gather([directory, self.root, directory.parent])[0], 4)

    def test_unfinished_and_damaged_runs_are_named(self):
        write_result(self.root, "none")
        running = write_result(self.root, "ipkd", changes={"state": "running", "last_epoch": 2})
        (self.root / "begun").mkdir()
        (self.root / "begun" / "flags.txt").write_text("--epochs=4\n")
        cut = write_result(self.root, "none", seed=1)
        (cut / "result.json").write_text((cut / "result.json").read_text()[:100])
        without = write_result(self.root, "none", seed=2)
        result = json.loads((without / "result.json").read_text())
        del result["best"][0]["accuracy"]
        (without / "result.json").write_text(json.dumps(result))
        rows, left_out = runs.gather([self.root])
        self.assertEqual(set(rows["seed"]), {0})
        self.assertEqual(left_out[str(running)], "unfinished: 2 of 4 epochs are done")
        self.assertEqual(left_out[str(self.root / "begun")], "unfinished: no epoch is done")
        self.assertRegex(left_out[str(cut)], "damaged: JSONDecodeError")
        self.assertRegex(left_out[str(without)], "damaged: KeyError.'accuracy'")

    def test_errors(self):
        with self.assertRaisesRegex(ValueError, "directory of a run.*Received: path='.*/nowhere'"):
            runs.gather([self.root / "nowhere"])
        path = self.root / "other.csv"
        path.write_text("a,b\n1,2\n")
        with self.assertRaisesRegex(ValueError, "file of results.* model, .*other.csv'"):
            runs.gather([path])
        with self.assertRaisesRegex(ValueError, "Received: path='.*absent.csv'"):
            runs.gather([self.root / "absent.csv"])


class LabelVariantsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)

    def label(self, **options):
        rows, _ = runs.gather([self.root])
        return runs.label_variants(rows[rows["which"] == "best"], **options)

    def test_method_seed_and_places_may_differ(self):
        write_result(self.root, "none", seed=0, data_dir="here", tensorboard=True)
        write_result(self.root, "ipkd", seed=1, workdir="there", checkpoint_minutes=1.0)
        write_result(self.root, "none", name="other_data", dataset="cifar10", epochs=7)
        self.assertEqual(set(self.label()["variant"]), {""})

    def test_another_setting_is_refused_and_named_with_both_runs(self):
        write_result(self.root, "none", temperature=5.0)
        write_result(self.root, "ipkd", temperature=2.0, epochs=8)
        expected = (
            r"toy on digits .*seed \(epochs differ too\).*"
            "Received: temperature=2.0 in .*ipkd/seed0, temperature=5.0 in .*none/seed0"
        )
        with self.assertRaisesRegex(ValueError, expected):
            self.label()

    def test_mixed_runs_become_variants(self):
        write_result(self.root, "ipkd", temperature=5.0)
        write_result(self.root, "ipkd", name="cold", temperature=1.0, epochs=8)
        rows = self.label(mix=True)
        self.assertEqual(
            dict(zip(rows["name"], rows["variant"], strict=True)),
            {"ipkd": "temperature=5.0, epochs=4", "cold": "temperature=1.0, epochs=8"},
        )

    def test_the_same_run_twice_is_refused(self):
        write_result(self.root, "ipkd", seed=2)
        write_result(self.root, "ipkd", seed=2, name="again")
        for mix in (False, True):
            with self.assertRaisesRegex(ValueError, "again/seed2', '.*ipkd/seed2"):
                self.label(mix=mix)


if __name__ == "__main__":
    absltest.main()
