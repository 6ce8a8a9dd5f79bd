"""Early exit: easy images answered by small sub-models, the others by larger ones."""

from ipkd_tf.adaptive.classifier import AdaptiveClassifier
from ipkd_tf.adaptive.policy import Policy, export
from ipkd_tf.adaptive.runner import StageRunner

__all__ = ["AdaptiveClassifier", "Policy", "StageRunner", "export"]
