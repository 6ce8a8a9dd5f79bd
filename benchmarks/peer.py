"""Another program that trains the same networks, timed in turn with ours."""

import functools
import shlex
import statistics

from benchmarks import fresh
from ipkd_tf.deployment import latency


def measure(settings, ours=fresh.run):
    """Images per second of our step and the peer's: ours, theirs, ours, theirs, ...

    Each sample is a fresh process that starts, warms up and reports the median of its steps.

    The contract of a peer: a command template, in which {model}, {batch_size}, {method}, {steps},
    {num_classes} and {image_size} are replaced (`peer_models` says what it calls our models). It
    runs without a shell, warms up by itself, times `steps` optimizer steps, waiting for each, and
    prints a JSON object as the last line, with `images_per_s`, from the median step, and `params`,
    the number of trainable parameters, which tells whether it trains the same network.

    Args:
        settings: `Settings` with `peer`.
        ours: takes the place of `fresh.run` in tests.

    Raises:
        ValueError: the template is empty or names something else; the peer reports no rate.
        ChildProcessError: one of the programs failed.
    """
    return [_row(settings, workload, ours) for workload in settings.workloads()]


def _row(settings, workload, run):
    words = command(settings, workload)
    samples = {
        "ours": functools.partial(run, workload, settings.steps, threads=settings.threads),
        "peer": functools.partial(_theirs, words),
    }
    results = latency.interleaved(samples, settings.process_repeats, warmup=0)
    ours, theirs = ([one["images_per_s"] for one in results[side]] for side in samples)
    return {
        "model": workload.model,
        "method": workload.method,
        "batch_size": workload.batch_size,
        "images_per_s": statistics.median(ours),
        "peer_images_per_s": statistics.median(theirs),
        "ratio_to_peer": latency.median_ratio(ours, theirs),
        "parameters": results["ours"][0]["parameters"],
        "peer_parameters": results["peer"][0].get("params"),
    }


def command(settings, workload):
    """The peer's command for a workload, as a list of words."""
    fields = {
        "model": settings.peer_models.get(workload.model, workload.model),
        "method": workload.method,
        "batch_size": workload.batch_size,
        "num_classes": workload.num_classes,
        "image_size": workload.image_size,
        "steps": settings.steps,
    }
    received = f"Received: peer={settings.peer!r}"
    try:
        words = [word.format(**fields) for word in shlex.split(settings.peer)]
    except (ValueError, KeyError, IndexError) as error:
        raise ValueError(f"{_expected(fields)} ({error!r}). {received}") from error
    if not words:
        raise ValueError(f"{_expected(fields)}. {received}")
    return words


def _expected(fields):
    return f"Expected a command with placeholders from {', '.join(fields)}"


def _theirs(words):
    printed = fresh.json_line(words)
    rate = printed.get("images_per_s")
    if not isinstance(rate, int | float) or not rate > 0:
        raise ValueError(
            f"Expected a peer that reports a positive images_per_s. Received: {printed} from "
            f"{shlex.join(words)}"
        )
    return printed
