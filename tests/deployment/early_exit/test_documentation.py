"""The page docs/early_exit.md against the code it shows."""

import pathlib
import re

import tensorflow as tf
from absl import flags

from ipkd_tf.tools import adapt
from tests.deployment.early_exit import small

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "early_exit.md"


class DocumentationTest(tf.test.TestCase):
    def test_commands_parse(self):
        commands = re.findall(r"^python -m ipkd_tf adapt (.*)$", PAGE.read_text(), re.M)
        self.assertLen(commands, 3)
        for command in commands:
            values = flags.FlagValues()
            adapt.define_flags(values)
            self.assertEqual(values(["adapt", *command.split()]), ["adapt"])

    def test_python_runs(self):
        first, signatures, _, anytime = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
        network, images = small.network("msdnet_small"), small.IMAGES
        path = self.create_tempdir().full_path + "/saved_model"
        names = {"tf": tf, "network": network, "images": images, "time_is_up": lambda: True}
        for code in (first, signatures):
            code = code.replace('"early_exit/saved_model"', repr(path))
            # The page's network has four exits.
            exec(re.sub(r"\[(0.\d+, 0.\d+), 0.\d+\]", r"[\1]", code), names)
        exec(anytime, names)
        self.assertIn(names["submodel"], network.submodel_names)
