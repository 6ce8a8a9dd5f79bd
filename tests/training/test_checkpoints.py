"""Checkpoint files: newest two kept, damage found, never unpickled."""

import pathlib
import pickle
import random
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from ipkd_tf.training import checkpoints


class CheckpointFilesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.create_tempdir().full_path) / "checkpoints"
        self.files = checkpoints.CheckpointFiles(self.directory)

    def write(self, *steps):
        for step in steps:
            self.files.write(step, {"weights": np.full([3, 2], step), "step": np.int64(step)})

    def names(self):
        return sorted(path.name for path in self.directory.iterdir())

    def read_step(self):
        return int(checkpoints.CheckpointFiles(self.directory).read()["step"])

    def test_nothing_written_yet(self):
        self.assertIsNone(self.files.read())
        self.assertIsNone(self.files.newest)

    def test_the_newest_two_are_kept_and_the_newest_is_read(self):
        self.write(5, 10, 100)
        self.assertEqual(self.names(), ["step-0000000010.npz", "step-0000000100.npz"])
        arrays = self.files.read()
        np.testing.assert_array_equal(arrays["weights"], np.full([3, 2], 100))

    @parameterized.parameters(0, 10, -30)
    def test_a_truncated_newest_falls_back_with_a_warning(self, length):
        self.write(5, 10)
        newest = self.files.newest
        newest.write_bytes(newest.read_bytes()[:length])
        with self.assertLogs(level="WARNING") as logs:
            self.assertEqual(self.read_step(), 5)
        self.assertIn("step-0000000010.npz is damaged", logs.output[0])

    def test_a_flipped_bit_is_found_or_without_effect(self):
        self.write(5, 10)
        newest = self.files.newest
        whole, chance = newest.read_bytes(), random.Random(0)
        steps = []
        for _ in range(200):
            damaged = bytearray(whole)
            damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            newest.write_bytes(damaged)
            arrays = checkpoints.CheckpointFiles(self.directory).read()
            steps.append(int(arrays["step"]))
            np.testing.assert_array_equal(arrays["weights"], np.full([3, 2], steps[-1]))
        self.assertGreater(steps.count(5), 100)

    def test_a_damaged_file_does_not_count_as_kept(self):
        self.write(5, 10)
        self.files.newest.write_bytes(b"")
        files = checkpoints.CheckpointFiles(self.directory)
        files.read()
        files.write(12, {"step": np.int64(12)})
        self.assertEqual(self.names(), ["step-0000000005.npz", "step-0000000012.npz"])

    def test_all_damaged(self):
        self.write(5)
        self.files.newest.write_bytes(b"")
        with self.assertRaisesRegex(ValueError, "every checkpoint is damaged.*Received: .*5.npz"):
            self.files.read()

    def test_a_full_disk_leaves_the_earlier_checkpoints(self):
        self.write(5)
        full = OSError(28, "No space left on device")
        with mock.patch.object(np, "savez", side_effect=full):
            with self.assertRaisesRegex(OSError, "No space left"):
                self.write(10)
        self.assertEqual(self.names(), ["step-0000000005.npz"])
        self.assertEqual(self.read_step(), 5)

    def test_a_pickle_is_refused_not_opened(self):
        self.write(5, 10)
        np.savez(self.files.newest, step=np.array([_Trap()], dtype=object))
        self.assertEqual(self.read_step(), 5)
        self.files.newest.write_bytes(pickle.dumps(_Trap()))
        self.assertEqual(self.read_step(), 5)
        self.assertFalse(_Trap.sprung)


class _Trap:
    """Says when it is unpickled."""

    sprung = False

    def __reduce__(self):
        return setattr, (_Trap, "sprung", True)


if __name__ == "__main__":
    absltest.main()
