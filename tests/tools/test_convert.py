"""The program convert: files of PyTorch's to .keras files and back."""

import json
import os
import pathlib
import tempfile
from unittest import mock

import numpy as np
import pytest
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.tools import convert
from tests.models import torch_networks
from tests.tools.test_programs import run_program

SMALL = {
    "msdnet_small": '{"num_classes": 3, "blocks": 2, "base": 4}',
    "us_mobilenet_v1": '{"num_classes": 3, "blocks": [[64, 2]], "widths": [0.25, 1.0]}',
}


class RunsCode:
    """A pickled one makes a directory when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


class ConvertTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(tempfile.mkdtemp())

    def convert(self, source, target, *more):
        paths = f"--input={self.directory / source}", f"--output={self.directory / target}"
        return run_program(convert, *paths, *more)

    @parameterized.parameters(("msdnet_small", "state_dict"), ("us_mobilenet_v1", "model"))
    def test_a_checkpoint_becomes_a_network_and_a_checkpoint_again(self, model, key):
        torch = pytest.importorskip("torch")
        compute = torch_networks.msdnet if key == "state_dict" else torch_networks.us
        arguments = models.from_preset(model, **json.loads(SMALL[model])).arguments
        images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
        state = {}
        compute(arguments, images, torch_networks.Weights(torch, state, create=True))
        expected = compute(arguments, images, torch_networks.Weights(torch, state))
        # As the programs write it, from a parallel model and with a count at each normalisation.
        counts = {n.replace("running_mean", "num_batches_tracked") for n in state if "_mean" in n}
        saved = {
            f"module.{n}": t for n, t in {**state, **dict.fromkeys(counts, torch.tensor(5))}.items()
        }
        torch.save({"epoch": 3, key: saved}, self.directory / "best.pth.tar")

        more = [f"--model={model}", f"--model_arguments={SMALL[model]}"]
        status, out, err = self.convert("best.pth.tar", "ours.keras", *more)
        self.assertEqual((status, err), (0, ""))
        self.assertIn(f"ours.keras: {len(saved)} tensors", out)
        logits = models.load(self.directory / "ours.keras")(images)
        for ours, theirs in zip(logits, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)

        self.assertEqual(self.convert("ours.keras", "back.pth")[0], 0)
        back = torch.load(self.directory / "back.pth", weights_only=True)[key]
        self.assertEqual(back.keys(), saved.keys())
        for name, tensor in state.items():
            torch.testing.assert_close(back[f"module.{name}"], tensor, rtol=0, atol=0)

    def test_a_file_that_would_run_code_is_refused(self):
        torch = pytest.importorskip("torch")
        trap = self.directory / "trap"
        torch.save({"state_dict": RunsCode(str(trap))}, self.directory / "bad.pth")
        (self.directory / "text.pth").write_text("weights")
        torch.save([1, 2], self.directory / "list.pth")
        for name in ("bad.pth", "text.pth", "list.pth"):
            status, _, err = self.convert(name, "ours.keras", "--model=msdnet_small")
            self.assertEqual((status, err.count("\n")), (1, 1), err)
            self.assertIn("named tensors, and nothing that would have to run", err)
        self.assertFalse(trap.exists())
        self.assertFalse((self.directory / "ours.keras").exists())

    def test_flags_that_do_not_fit(self):
        with mock.patch.object(convert, "require"):
            cases = (
                ("a.keras", "b.keras", (), "one .keras file"),
                ("a.pth", "b.pth", (), "one .keras file"),
                ("a.pth", "b.keras", (), "model=NAME"),
                ("a.keras", "b.pth", ("--model=msdnet",), "model=NAME"),
                ("a.pth", "b.keras", ("--model=msdnet", "--model_arguments=[1]"), "JSON object"),
            )
            for source, target, more, message in cases:
                status, _, err = self.convert(source, target, *more)
                self.assertEqual(status, 1)
                self.assertIn(message, err)
        with mock.patch("importlib.util.find_spec", return_value=None):
            self.assertIn("ipkd_tf[convert]", self.convert("a.pth", "b.keras")[2])
