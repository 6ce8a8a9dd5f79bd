"""The contract of a flexible network, kept by every family and by two made here."""

import tensorflow as tf

from tests.models.family_contract import FamilyContract


class MSDNetTest(FamilyContract, tf.test.TestCase):
    preset = "msdnet_small"


class MSDNetMinTest(FamilyContract, tf.test.TestCase):
    preset = "msdnet_small"
    arguments = {"prune": "min", "step_mode": "lin_grow"}


class SlimmableMobileNetV1Test(FamilyContract, tf.test.TestCase):
    preset = "slimmable_mobilenet_v1_small"


class HNEResNetTest(FamilyContract, tf.test.TestCase):
    preset = "hne_resnet_small"
    arguments = {"levels": ((16, 1), (24, 2), (24, 1))}
    unlisted = "leaves_3"


class HNEResNetOfProbabilitiesTest(FamilyContract, tf.test.TestCase):
    preset = "hne_resnet_small"
    arguments = {"levels": ((16, 1), (24, 2)), "average": "probabilities"}


class PlainCNNWithExitsTest(FamilyContract, tf.test.TestCase):
    preset = "plain_cnn_exits"
    arguments = {"layout": "16 M 16 16 M 16 FC16", "exits": (1, 2)}


class PlainCNNTest(FamilyContract, tf.test.TestCase):
    preset = "plain_cnn_2"


class ResNetTest(FamilyContract, tf.test.TestCase):
    preset = "resnet_8"


class DenseNetTest(FamilyContract, tf.test.TestCase):
    preset = "densenet_bc_40_12"
    arguments = {"depth": 10}


class USMobileNetV1Test(FamilyContract, tf.test.TestCase):
    preset = "us_mobilenet_v1_small"
    arguments = {"widths": (0.25, 1.0)}
    unlisted = "width_0.6"


class SPResNetTest(FamilyContract, tf.test.TestCase):
    preset = "sp_resnet20_small"


class SPResNetOfOtherCodesTest(FamilyContract, tf.test.TestCase):
    preset = "sp_resnet20_small"
    arguments = {"bits": (3, 8), "scheme": "dorefa"}


class CNMMTest(FamilyContract, tf.test.TestCase):
    preset = "cnmm_small"
    arguments = {"channels": (8, 16)}
    unlisted = "above_0.3"


class OFAMobileNetV3Test(FamilyContract, tf.test.TestCase):
    preset = "ofa_mobilenet_v3_small"
    arguments = {
        "named": ("k3_e2_d1", "k5_e4_d2"),
        "depths": (1, 2),
        "stages": ((24, 2, False, "relu"), (24, 1, True, "hard_silu")),
        "head": (32, 40),
    }
    unlisted = "k5e3_k35e24"


class OwnFamilyTest(FamilyContract, tf.test.TestCase):
    preset = "tests.models.two_exits:TwoExits"


class SampledFamilyTest(FamilyContract, tf.test.TestCase):
    preset = "tests.models.any_width:AnyWidth"
    unlisted = "0.5"
