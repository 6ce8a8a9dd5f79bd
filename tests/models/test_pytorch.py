"""Weights of PyTorch programs: their names, their shapes and what the networks there compute."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from ipkd_tf import models
from ipkd_tf.models import pytorch
from tests.models import torch_networks

MSDNET = {"blocks": 3, "base": 3, "step": 2, "channels": 8, "growth": 4, "exit_channels": 16}
MOBILENET = {"stem": 32, "blocks": ((32, 2), (64, 2), (64, 1)), "widths": (0.25, 0.5, 1.0)}
NETWORKS = {
    "msdnet": (models.MSDNet, torch_networks.msdnet, MSDNET),
    "without_bottlenecks": (
        *(models.MSDNet, torch_networks.msdnet),
        {**MSDNET, "bottleneck": False, "prune": "min", "step_mode": "lin_grow", "step": 1},
    ),
    "for_photographs": (
        *(models.MSDNet, torch_networks.msdnet),
        {**MSDNET, "stem": "7x7", "exit_channels": None, "image_size": 64},
    ),
    "slimmable": (models.SlimmableMobileNetV1, torch_networks.slimmable, MOBILENET),
    "universally_slimmable": (models.USMobileNetV1, torch_networks.us, MOBILENET),
}
FAMILIES = [(name,) for name in NETWORKS]


def network_and_torch(name):
    family, compute, arguments = NETWORKS[name]
    statistics = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}
    return family(num_classes=5, **{"image_size": 32, **arguments, **statistics}), compute


class PyTorchTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*FAMILIES)
    def test_logits_are_those_of_the_pytorch_network_both_ways(self, name):
        torch = pytest.importorskip("torch")
        network, compute = network_and_torch(name)
        side = network.arguments["image_size"]
        images = np.random.default_rng(0).integers(0, 256, (4, side, side, 3), np.uint8)
        # The PyTorch network names, shapes and draws its weights itself.
        state = {}
        compute(network.arguments, images, torch_networks.Weights(torch, state, create=True))
        expected = compute(network.arguments, images, torch_networks.Weights(torch, state))

        pytorch.load_state_dict(network, {name: value.numpy() for name, value in state.items()})
        for ours, theirs in zip(network(images), expected, strict=True):
            self.assertAllClose(ours, theirs, rtol=1e-5, atol=1e-5)

        back = pytorch.state_dict(network)
        self.assertEqual({n for n in back if not n.endswith("_tracked")}, state.keys())
        back = {n: torch.tensor(value) for n, value in back.items()}
        for ours, theirs in zip(
            compute(network.arguments, images, torch_networks.Weights(torch, back)),
            expected,
            strict=True,
        ):
            self.assertAllClose(ours, theirs, rtol=1e-5, atol=1e-5)

    @parameterized.parameters(*FAMILIES)
    def test_every_weight_goes_and_comes_back(self, name):
        network, _ = network_and_torch(name)
        for number, weight in enumerate(network.weights):
            weight.assign(np.random.default_rng(number).normal(size=weight.shape))
        before = [weight.numpy() for weight in network.weights]
        state = pytorch.state_dict(network)
        for weight in network.weights:
            weight.assign(np.zeros(weight.shape))
        pytorch.load_state_dict(network, {f"module.{name}": v for name, v in state.items()})
        for weight, value in zip(network.weights, before, strict=True):
            self.assertAllEqual(weight, value, weight.path)

    def test_names_and_shapes_are_those_of_the_programs(self):
        state = pytorch.state_dict(models.MSDNet(num_classes=100))
        shapes = {name: value.shape for name, value in state.items()}
        self.assertContainsSubset(
            {
                "blocks.0.0.layers.2.net.0.weight": (64, 32, 3, 3),
                "blocks.0.0.layers.2.net.1.running_var": (64,),
                "blocks.0.1.layers.0.conv_normal.net.0.weight": (6, 16, 1, 1),
                "blocks.0.1.layers.1.conv_down.net.3.weight": (6, 6, 3, 3),
                "blocks.0.1.layers.1.conv_normal.net.4.num_batches_tracked": (),
                # Layer 7 is the first of two scales, with a transition behind it.
                "blocks.2.0.layers.0.conv_down.net.3.weight": (6, 6, 3, 3),
                "blocks.2.1.m.0.net.0.weight": (58, 116, 1, 1),
                "classifier.6.m.1.net.0.weight": (128, 128, 3, 3),
                "classifier.6.linear.bias": (100,),
            }.items(),
            shapes.items(),
        )
        trained = [s for n, s in shapes.items() if n.endswith(("weight", "bias"))]
        # reference: CIFAR-100 has 90 classes, 129 parameters each at 7 exits, beyond CIFAR-10's.
        self.assertEqual(sum(map(np.prod, trained)), 2_986_690 + 7 * 90 * 129)

        shapes = {
            name: value.shape
            for name, value in pytorch.state_dict(models.SlimmableMobileNetV1()).items()
        }
        self.assertContainsSubset(
            {
                "features.0.0.weight": (32, 3, 3, 3),
                "features.13.body.0.weight": (1024, 1, 3, 3),
                "features.13.body.3.weight": (1024, 1024, 1, 1),
                "features.13.body.4.bn.0.weight": (256,),
                "classifier.0.weight": (10, 1024),
            }.items(),
            shapes.items(),
        )

    def test_other_weights_are_refused(self):
        network, _ = network_and_torch("slimmable")
        state = pytorch.state_dict(network)
        kernel = state.pop("features.1.body.3.weight")
        message = r"1 are missing.*missing=\['features.1.body.3.weight'\]"
        with self.assertRaisesRegex(ValueError, message):
            pytorch.load_state_dict(network, state)
        with self.assertRaisesRegex(ValueError, "of shape \\(32, 32, 1, 1\\); .*shape=\\(31, 32"):
            pytorch.load_state_dict(network, state | {"features.1.body.3.weight": kernel[1:]})
        image = keras.Input((8, 8, 3))
        plain = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(image)))
        with self.assertRaisesRegex(ValueError, "one of MSDNet, .*network=Functional"):
            pytorch.state_dict(plain)
        with self.assertRaisesRegex(
            ValueError, "every feature some exit reads.*layers=4, scales=3"
        ):
            pytorch.state_dict(models.MSDNet(blocks=2, base=2, step=2))
