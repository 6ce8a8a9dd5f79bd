"""Times calls; takes cases in turn, so that a machine that drifts treats all alike."""

import time

import numpy as np

from ipkd_tf.output.checks import check


def interleaved(samples, repeats, warmup=1):
    """Takes one sample of each case, then the next of each: A B C A B C ...; lists, by name."""
    expected = "at least 1 repeat and no negative warm-up"
    check(repeats >= 1 and warmup >= 0, expected, repeats=repeats, warmup=warmup)
    rounds = [{name: take() for name, take in samples.items()} for _ in range(warmup + repeats)]
    return {name: [one[name] for one in rounds[warmup:]] for name in samples}


def seconds_per_call(call, calls, wait=lambda result: None):
    """Mean seconds of `calls` calls in a row; `wait(result)` ends the last one, as in training."""
    start = time.perf_counter()
    for _ in range(calls):
        result = call()
    wait(result)
    return (time.perf_counter() - start) / calls


def measure(call, warmup=10, repeats=100, wait=lambda result: None):
    """Times single calls after some that do not count: `median_ms` and `p95_ms`, a dict."""
    seconds = interleaved({"": lambda: seconds_per_call(call, 1, wait)}, repeats, warmup)[""]
    return {
        "median_ms": 1e3 * float(np.median(seconds)),
        "p95_ms": 1e3 * float(np.percentile(seconds, 95)),
    }
