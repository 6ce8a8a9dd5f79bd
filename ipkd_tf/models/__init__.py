"""Flexible networks: the contract, the families, and what is made of their graphs."""

from ipkd_tf.models import keras_hooks
from ipkd_tf.models.cnmm import CNMM
from ipkd_tf.models.densenet import DenseNet
from ipkd_tf.models.flexible import FlexibleNetwork, Submodel
from ipkd_tf.models.hne_resnet import HNEResNet
from ipkd_tf.models.msdnet import MSDNet
from ipkd_tf.models.ofa_mobilenet_v3 import OFAMobileNetV3
from ipkd_tf.models.plain_cnn import PlainCNN
from ipkd_tf.models.presets import PRESETS, from_preset, imported, load
from ipkd_tf.models.resnet import ResNet
from ipkd_tf.models.slimmable_mobilenet_v1 import SlimmableMobileNetV1
from ipkd_tf.models.sp_resnet import SPResNet
from ipkd_tf.models.us_mobilenet_v1 import USMobileNetV1

keras_hooks.check_setup()

__all__ = [
    "CNMM",
    "PRESETS",
    "DenseNet",
    "FlexibleNetwork",
    "HNEResNet",
    "MSDNet",
    "OFAMobileNetV3",
    "PlainCNN",
    "ResNet",
    "SPResNet",
    "SlimmableMobileNetV1",
    "Submodel",
    "USMobileNetV1",
    "from_preset",
    "imported",
    "load",
]
