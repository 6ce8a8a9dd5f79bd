"""How long an exported file takes, measured with its own runtime on this machine."""

from ipkd_tf.deployment import latency


def measure(model, images, signature, warmup=10, repeats=100):
    """Times calls of an opened file, one at a time, after warm-up.

    Args:
        model: What `open_model` returns.
        images: uint8 `[batch, height, width, 3]`, the batch of each call.
        signature: One of `model.signatures`.
        warmup: Calls before the clock starts.
        repeats: Timed calls, at least 1.

    Returns:
        Dict of `median_ms` and `p95_ms`, milliseconds per call, and `batch_size`.
    """
    figures = latency.latency(lambda: model(images, signature), warmup, repeats)
    return {**figures, "batch_size": len(images)}
