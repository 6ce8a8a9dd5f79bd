"""Early exit: easy images answered by small sub-models, the others by larger ones."""

from ipkd_tf.deployment.early_exit.classifier import EarlyExitClassifier
from ipkd_tf.deployment.early_exit.runner import StageRunner
from ipkd_tf.deployment.early_exit.study import fit
from ipkd_tf.deployment.early_exit.writing import export

__all__ = ["EarlyExitClassifier", "StageRunner", "export", "fit"]
