"""What runs without this package, and what it costs."""

__all__ = ["Anytime"]


def __getattr__(name):
    # Only when asked for: budgets and the names of formats need no TensorFlow.
    if name == "Anytime":
        from ipkd_tf.deployment.anytime import Anytime

        return Anytime
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
