"""Files and directories appear whole or not at all."""

import hashlib
import os
import pathlib

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
        self._write_directory(self.directory / ".partial-folder", "half")
        with self.assertRaises(ZeroDivisionError), files.replacing(self.directory / "folder"):
            raise ZeroDivisionError
        self.assertEqual((self.directory / "folder" / "part").read_text(), "old")
        self.assertEqual(os.listdir(self.directory), ["folder"])

    def test_sizes_and_digests(self):
        folder = self.directory / "folder"
        self._write_directory(folder, "abc")
        digest = hashlib.sha256(b"abc").hexdigest()
        expected = {"bytes": 3, "sha256": digest}
        self.assertEqual(files.sizes_and_digests(folder), {"folder/part": expected})
        self.assertEqual(files.sizes_and_digests(folder / "part"), {"part": expected})
