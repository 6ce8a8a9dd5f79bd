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


class OwnFamilyTest(FamilyContract, tf.test.TestCase):
    preset = "tests.models.two_exits:TwoExits"


class SampledFamilyTest(FamilyContract, tf.test.TestCase):
    preset = "tests.models.any_width:AnyWidth"
    unlisted = "0.5"
