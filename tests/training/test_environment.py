"""Facts of the host, also where git or a checkout is missing."""

import json
import platform
import re
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

    def test_a_host_without_git(self):
        with mock.patch.dict("os.environ", {"PATH": "/nowhere"}):
            self.assertIsNone(environment.git_commit())


if __name__ == "__main__":
    tf.test.main()
