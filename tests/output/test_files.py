"""Files and directories appear whole or not at all."""

import hashlib
import os
import pathlib
import sys
import threading
import unittest
from unittest import mock

from absl.testing import absltest

from ipkd_tf.output import files


class FilesTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.create_tempdir().full_path)

    def _write_directory(self, path, content):
        path.mkdir()
        (path / "part").write_text(content)

    def test_a_file_and_a_directory_replace_what_was_there(self):
        file, folder = self.directory / "a.bin", self.directory / "folder"
        for content in ("old", "new"):
            with files.replacing(file) as aside:
                aside.write_text(content)
            with files.replacing(folder) as aside:
                self._write_directory(aside, content)
        self.assertEqual(file.read_text(), "new")
        self.assertEqual((folder / "part").read_text(), "new")
        self.assertCountEqual(os.listdir(self.directory), ["a.bin", "folder"])

    def test_an_error_leaves_what_was_there(self):
        folder = self.directory / "folder"
        self._write_directory(folder, "old")
        with self.assertRaises(ZeroDivisionError), files.replacing(folder) as aside:
            self._write_directory(aside, "half")
            raise ZeroDivisionError
        self.assertEqual((folder / "part").read_text(), "old")
        self.assertEqual(os.listdir(self.directory), ["folder"])

    def test_an_interrupted_write_leaves_the_old_file_alone(self):
        file = self.directory / "file.txt"
        file.write_text("old")
        with self.assertRaises(KeyboardInterrupt), files.replacing(file) as aside:
            aside.write_text("half of the n")
            raise KeyboardInterrupt
        self.assertEqual(file.read_text(), "old")
        self.assertEqual(os.listdir(self.directory), ["file.txt"])

    def test_new_content_appears_at_the_end_of_the_block(self):
        file = self.directory / "file.txt"
        with files.replacing(file) as aside:
            aside.write_text("new")
            self.assertFalse(file.exists())
        self.assertEqual(file.read_text(), "new")

    def test_an_error_leaves_nothing_where_nothing_was(self):
        with self.assertRaises(ZeroDivisionError), files.replacing(self.directory / "a") as aside:
            aside.write_text("half")
            raise ZeroDivisionError
        self.assertEmpty(os.listdir(self.directory))

    def test_what_a_killed_process_put_aside_comes_back(self):
        self._write_directory(self.directory / ".replaced-folder", "old")
        self._write_directory(self.directory / ".partial-k3y_", "half")
        (self.directory / ".partial-file").write_text("half")
        self._write_directory(self.directory / "other", "new")
        self._write_directory(self.directory / ".replaced-other", "old")
        files.remove_leftovers(self.directory)
        self.assertEqual((self.directory / "folder" / "part").read_text(), "old")
        self.assertEqual((self.directory / "other" / "part").read_text(), "new")
        self.assertCountEqual(os.listdir(self.directory), ["folder", "other"])
        files.remove_leftovers(self.directory / "missing")

    def test_two_writers_of_one_path_do_not_meet(self):
        path = self.directory / "a.txt"
        with files.replacing(path) as first, files.replacing(path) as second:
            first.write_text("first")
            second.write_text("second")
            self.assertEqual((first.name, second.name), ("a.txt", "a.txt"))
        self.assertEqual(path.read_text(), "first")  # It ended last.
        self.assertEqual(os.listdir(self.directory), ["a.txt"])

    def test_a_link_stays_a_link_and_a_mode_stays(self):
        target, link = self.directory / "target", self.directory / "link.txt"
        target.write_text("old")
        target.chmod(0o600)
        link.symlink_to(target)
        files.write_text(link, "new")
        self.assertTrue(link.is_symlink())
        self.assertEqual(target.read_text(), "new")
        self.assertEqual(target.stat().st_mode & 0o777, 0o600)

    @unittest.skipUnless(sys.platform == "linux", "exchanging is Linux's")
    def test_a_directory_is_never_missing(self):
        folder, seen = self.directory / "folder", []
        self._write_directory(folder, "old")
        real = os.replace

        def replace(source, target):
            seen.append(folder.exists())
            real(source, target)

        with mock.patch.object(os, "replace", replace), files.replacing(folder) as aside:
            self._write_directory(aside, "new")
        self.assertEqual((folder / "part").read_text(), "new")
        self.assertEmpty(seen)  # Exchanged in one step, without any rename.

    def test_a_directory_is_replaced_where_two_cannot_be_exchanged(self):
        folder = self.directory / "folder"
        self._write_directory(folder, "old")
        with (
            mock.patch.object(files.ctypes, "CDLL", return_value=None),
            files.replacing(folder) as aside,
        ):
            self._write_directory(aside, "new")
        self.assertEqual((folder / "part").read_text(), "new")
        self.assertEqual(os.listdir(self.directory), ["folder"])

    def test_a_lock_is_waited_for(self):
        ended = []

        def second():
            with files.locked(self.directory):
                ended.append("second")

        with files.locked(self.directory):
            thread = threading.Thread(target=second)
            thread.start()
            thread.join(0.2)
            ended.append("first")
        thread.join()
        self.assertEqual(ended, ["first", "second"])

    def test_floats_are_rounded_at_any_depth(self):
        value = {"accuracy": 0.9833333492279053, "rows": [{"bytes": 123456789, "ms": 12345.678}]}
        expected = {"accuracy": 0.983333, "rows": [{"bytes": 123456789, "ms": 12345.7}]}
        self.assertEqual(files.rounded(value), expected)

    def test_sizes_and_digests(self):
        folder = self.directory / "folder"
        self._write_directory(folder, "abc")
        digest = hashlib.sha256(b"abc").hexdigest()
        expected = {"bytes": 3, "sha256": digest}
        self.assertEqual(files.sizes_and_digests(folder), {"folder/part": expected})
        self.assertEqual(files.sizes_and_digests(folder / "part"), {"part": expected})
