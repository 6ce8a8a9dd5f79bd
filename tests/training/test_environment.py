"""Facts of the host, also where git or a checkout is missing."""

import json
import pathlib
import platform
import re
import shutil
import subprocess
from unittest import mock

import numpy as np
import tensorflow as tf

from ipkd_tf.training import environment


class EnvironmentTest(tf.test.TestCase):
    def test_describe(self):
        facts = environment.describe()
        self.assertEqual(facts["tensorflow"], tf.__version__)
        self.assertEqual(facts["numpy"], np.__version__)
        self.assertEqual(facts["python"], platform.python_version())
        self.assertTrue(any(device.startswith("CPU") for device in facts["devices"]))
        self.assertEqual(json.loads(json.dumps(facts)), facts)

    def test_commit_is_a_full_hash_or_unknown(self):
        commit = environment.git_commit()
        self.assertTrue(commit is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", commit), commit)

    def test_a_package_installed_inside_another_project(self):
        project = pathlib.Path(self.create_tempdir().full_path)
        module = project / ".venv" / "environment.py"
        module.parent.mkdir()
        shutil.copy(environment.__file__, module)
        git = ["git", "-C", str(project), "-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run([*git, "init", "-q"], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "somebody's"], check=True)
        with mock.patch.object(environment, "__file__", str(module)):
            self.assertIsNone(environment.git_commit())
            subprocess.run([*git, "add", "-f", str(module)], check=True)
            subprocess.run([*git, "commit", "-q", "-m", "the package's own"], check=True)
            self.assertRegex(environment.git_commit(), r"^[0-9a-f]{40}$")

    def test_a_host_without_git(self):
        with mock.patch.dict("os.environ", {"PATH": "/nowhere"}):
            self.assertIsNone(environment.git_commit())


if __name__ == "__main__":
    tf.test.main()
