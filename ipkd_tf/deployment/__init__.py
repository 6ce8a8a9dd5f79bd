"""What runs without this package, and what it costs."""

from ipkd_tf.deployment.anytime import Anytime

__all__ = ["Anytime"]
