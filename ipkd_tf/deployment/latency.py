"""Times calls; takes cases in turn, so that a machine that drifts treats all alike."""

import statistics
import time

import numpy as np


def interleaved(samples, repeats, warmup=1):
    """Takes one sample of each case, then the next of each, and so on: A B C A B C ...

    Args:
        samples: Dict from a case's name to a function that takes one measurement, a number.
        repeats: Measurements of each case, at least 1.
        warmup: Rounds before these, whose numbers are dropped.

    Returns:
        Dict from name to the list of its `repeats` numbers, in the order taken.

    Example:
        >>> interleaved({"a": time_a, "b": time_b}, repeats=2)
        {'a': [1.0, 1.1], 'b': [2.0, 2.2]}
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(
            "Expected at least 1 repeat and no negative warm-up. "
            f"Received: repeats={repeats}, warmup={warmup}"
        )
    rounds = [{name: take() for name, take in samples.items()} for _ in range(warmup + repeats)]
    return {name: [one[name] for one in rounds[warmup:]] for name in samples}


def median_ratio(numbers, others):
    """The median over the rounds of number / other: the two of a round met the same machine."""
    return statistics.median(a / b for a, b in zip(numbers, others, strict=True))


def seconds_per_call(call, calls, wait=lambda result: None):
    """Mean seconds of `calls` calls in a row; `wait(result)` ends the last one, as in training."""
    start = time.perf_counter()
    for _ in range(calls):
        result = call()
    wait(result)
    return (time.perf_counter() - start) / calls


def measure(call, warmup=10, repeats=100, wait=lambda result: None):
    """Times single calls after some that do not count.

    Returns:
        Dict of `median_ms` and `p95_ms`, milliseconds per call.

    Example:
        >>> measure(lambda: model(images, model.largest))["median_ms"]
    """
    seconds = interleaved({"": lambda: seconds_per_call(call, 1, wait)}, repeats, warmup)[""]
    return {
        "median_ms": 1e3 * float(np.median(seconds)),
        "p95_ms": 1e3 * float(np.percentile(seconds, 95)),
    }
