"""The page docs/adaptive.md against the code it shows."""

import pathlib
import re

import tensorflow as tf
from absl import flags

from ipkd_tf.deployment.early_exit import AdaptiveClassifier
from ipkd_tf.tools import adapt
from tests.deployment.early_exit import small

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "adaptive.md"


class DocumentationTest(tf.test.TestCase):
    def test_commands_parse(self):
        commands = re.findall(r"^python -m ipkd_tf.tools.adapt (.*)$", PAGE.read_text(), re.M)
        self.assertLen(commands, 3)
        for command in commands:
            values = flags.FlagValues()
            adapt.define_flags(values)
            self.assertEqual(values(["adapt", *command.split()]), ["adapt"])

    def test_python_runs(self):
        _, signatures, _, anytime = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
        network, images = small.network("msdnet_small"), small.IMAGES
        classify = AdaptiveClassifier(network, thresholds=[0.8, 0.8])
        path = self.create_tempdir().full_path + "/adaptive"
        classify.export(path)
        names = {"tf": tf, "network": network, "images": images, "time_is_up": lambda: True}
        # The page's network has four exits.
        code = signatures.replace('"adaptive"', repr(path)).replace("0.8, 0.8]", "0.8]")
        exec(code, names)
        exec(anytime, names)
        self.assertIn(names["submodel"], network.submodel_names)
