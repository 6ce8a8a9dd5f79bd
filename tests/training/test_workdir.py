"""Files written whole or not at all; foreign directories refused."""

import csv
import pathlib
import shutil
from unittest import mock

from absl.testing import absltest, parameterized

from ipkd_tf.training import settings, workdir
from ipkd_tf.training.experiment import Experiment


class LockedTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.path = pathlib.Path(self.create_tempdir().full_path) / "run"

    def test_one_at_a_time(self):
        with workdir.locked(self.path):
            with self.assertRaisesRegex(ValueError, "another run.* Received: workdir='.*run'$"):
                with workdir.locked(self.path):
                    self.fail("two have the lock")
        with workdir.locked(self.path):
            pass

    def test_where_the_file_system_has_no_locks_nobody_is_refused(self):
        with mock.patch("fcntl.flock", side_effect=OSError(37, "No locks available")):
            with workdir.locked(self.path), workdir.locked(self.path) as path:
                self.assertEqual(path, self.path)


class HistoryTest(absltest.TestCase):
    def test_floats_keep_every_digit(self):
        path = pathlib.Path(self.create_tempdir().full_path) / "history.csv"
        rows = [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": 1e-300}]
        workdir.write_history(path, rows)
        self.assertEqual(path.read_text().splitlines()[0], "epoch,loss")
        with open(path, newline="") as file:
            read = [{key: float(text) for key, text in row.items()} for row in csv.DictReader(file)]
        self.assertEqual(read, rows)


class PrepareTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.path = pathlib.Path(self.create_tempdir().full_path) / "run"

    def experiment(self, **settings):
        return Experiment(**{"workdir": str(self.path), "epochs": 5, **settings})

    def prepare_with_results(self, **settings):
        workdir.prepare(self.experiment(**settings))
        (self.path / "history.csv").write_text("results")

    def test_flags_txt_holds_every_setting(self):
        workdir.prepare(self.experiment(flip=False, temperature=2.5, name="mine"))
        lines = (self.path / "flags.txt").read_text().splitlines()
        self.assertLen(lines, len(settings.as_text(Experiment())))
        self.assertContainsSubset(
            ["--flip=false", "--temperature=2.5", "--name=mine", "--epochs=5"], lines
        )

    def test_the_same_run_and_more_epochs_are_welcome(self):
        self.prepare_with_results()
        workdir.prepare(self.experiment())
        more = self.experiment(epochs=9, data_dir="/moved", name="other", temperature=5)
        workdir.prepare(more)
        self.assertIn("--epochs=9", (self.path / "flags.txt").read_text())

    @parameterized.parameters(
        ({"seed": 1}, "--seed=0 there, 1 asked for"),
        ({"method": "none"}, "--method=ipkd_ta_m there, none asked for"),
        ({"epochs": 4}, "--epochs=5 there, 4 asked for"),
    )
    def test_another_run_is_refused_and_nothing_is_overwritten(self, settings, difference):
        self.prepare_with_results()
        before = {path: path.read_bytes() for path in self.path.iterdir()}
        with self.assertRaises(ValueError) as caught:
            workdir.prepare(self.experiment(**settings))
        self.assertIn(f"({difference})", str(caught.exception))
        self.assertEndsWith(str(caught.exception), f"Received: workdir='{self.path}'")
        self.assertEqual({path: path.read_bytes() for path in self.path.iterdir()}, before)

    def test_what_a_killed_process_left_half_written_goes_away_only_in_the_own_run(self):
        partial = self.path / "checkpoints" / ".partial-step-0000000005.npz"
        partial.parent.mkdir(parents=True)
        partial.write_text("half")
        with self.assertRaises(ValueError):
            workdir.prepare(self.experiment())
        self.assertTrue(partial.exists())
        shutil.rmtree(self.path)
        self.prepare_with_results()
        partial.parent.mkdir()
        partial.write_text("half")
        workdir.prepare(self.experiment())
        self.assertFalse(partial.exists())

    def test_a_start_that_failed_before_any_result_does_not_block_the_next(self):
        workdir.prepare(self.experiment(model="mispelt"))
        workdir.prepare(self.experiment())
        self.assertIn("--model=msdnet\n", (self.path / "flags.txt").read_text())

    def test_a_setting_younger_than_the_run_had_its_default(self):
        self.prepare_with_results()
        flags = self.path / "flags.txt"
        kept = [line for line in flags.read_text().splitlines() if "nesterov" not in line]
        flags.write_text("\n".join(kept))
        workdir.prepare(self.experiment())
        flags.write_text("\n".join(kept))
        with self.assertRaisesRegex(ValueError, "--nesterov=false there, true asked for"):
            workdir.prepare(self.experiment(nesterov=True))

    def test_results_of_unknown_origin_are_refused(self):
        self.path.mkdir()
        (self.path / "best.keras").write_text("precious")
        with self.assertRaisesRegex(ValueError, "best.keras but no flags.txt"):
            workdir.prepare(self.experiment())
        self.assertEqual([path.name for path in self.path.iterdir()], ["best.keras"])

    def test_a_place_that_cannot_be_written(self):
        self.path.write_text("a file, not a directory")
        with self.assertRaisesRegex(OSError, "choose another --workdir. Received: workdir="):
            workdir.prepare(self.experiment(workdir=str(self.path / "below")))


if __name__ == "__main__":
    absltest.main()
