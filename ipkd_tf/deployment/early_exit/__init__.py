"""Early exit: easy images answered by small sub-models, the others by larger ones."""

from ipkd_tf.deployment.early_exit.classifier import AdaptiveClassifier
from ipkd_tf.deployment.early_exit.policy import Policy, export
from ipkd_tf.deployment.early_exit.runner import StageRunner

__all__ = ["AdaptiveClassifier", "Policy", "StageRunner", "export"]
