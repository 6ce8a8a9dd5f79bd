"""Which runs may stand side by side."""

import pathlib

from absl.testing import absltest

from ipkd_tf.reports import mixing, runs
from tests.reports.results import write_result


class MixingTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)

    def told_apart(self, **options):
        rows = runs.gather([self.root]).rows
        return mixing.told_apart(rows[rows["which"] == "best"], **options)

    def test_method_seed_and_places_may_differ(self):
        write_result(self.root, "none", seed=0, data_dir="here", tensorboard=True)
        write_result(self.root, "ipkd", seed=1, workdir="there", checkpoint_minutes=1.0)
        write_result(self.root, "none", name="other_data", dataset="cifar10", epochs=7)
        self.assertEqual(set(self.told_apart()["variant"]), {""})

    def test_another_setting_is_refused_and_named_with_both_runs(self):
        write_result(self.root, "none", temperature=5.0)
        write_result(self.root, "ipkd", temperature=2.0, epochs=8)
        expected = (
            r"toy on digits .*seed \(epochs differ too\).*"
            "Received: temperature=2.0 in .*ipkd/seed0, temperature=5.0 in .*none/seed0"
        )
        with self.assertRaisesRegex(ValueError, expected):
            self.told_apart()

    def test_mixed_runs_become_variants(self):
        write_result(self.root, "ipkd", temperature=5.0)
        write_result(self.root, "ipkd", name="cold", temperature=1.0, epochs=8)
        rows = self.told_apart(mix=True)
        self.assertEqual(
            dict(zip(rows["name"], rows["variant"], strict=True)),
            {"ipkd": "temperature=5.0, epochs=4", "cold": "temperature=1.0, epochs=8"},
        )

    def test_the_same_run_twice_is_refused(self):
        write_result(self.root, "ipkd", seed=2)
        write_result(self.root, "ipkd", seed=2, name="again")
        for mix in (False, True):
            with self.assertRaisesRegex(ValueError, "again/seed2, .*ipkd/seed2"):
                self.told_apart(mix=mix)


if __name__ == "__main__":
    absltest.main()
