"""The cases of the benchmark; each returns rows, dicts with what was timed and the numbers."""

import functools
import statistics
import time

import tensorflow as tf

from benchmarks import fresh
from benchmarks import workload as workloads
from ipkd_tf import data
from ipkd_tf.deployment import latency
from ipkd_tf.models import flexible

_PIPELINE_EXAMPLES = 50_000  # as CIFAR has
_PIPELINE_IMAGES = 50_000


def training(settings):
    """Optimizer steps of every model and method, in this process."""
    samples = {_key(one): _training_sample(one, settings.steps) for one in settings.workloads()}
    seconds = latency.interleaved(samples, settings.repeats)
    return [_training_row(key, seconds) for key in samples]


def _key(workload):
    return workload.model, workload.method, workload.batch_size


def _training_sample(workload, steps):
    step = workloads.training_step(workload, workload.distiller())
    workloads.wait_for_step(step())  # traces
    calls = max(1, steps // workload.steps_per_execution)

    def seconds_per_step():
        seconds = latency.seconds_per_call(step, calls, workloads.wait_for_step)
        return seconds / workload.steps_per_execution

    return seconds_per_step


def _training_row(key, seconds):
    model, method, batch_size = key
    plain = seconds.get((model, "none", batch_size))
    median = statistics.median(seconds[key])
    return {
        "model": model,
        "method": method,
        "batch_size": batch_size,
        "step_ms": 1e3 * median,
        "images_per_s": batch_size / median,
        # Of speeds: below 1 is slower than training without teachers.
        "ratio_to_none": latency.median_ratio(plain, seconds[key]) if plain else None,
    }


def forward(settings):
    """Inference of every sub-model, cut out of its network, one image and a batch at a time."""
    samples = {}
    for workload in settings.workloads(methods=["none"]):
        network = workload.network()
        for index, name in enumerate(flexible.names(network)):
            infer = tf.function(functools.partial(flexible.cut(network, index), training=False))
            for batch_size in sorted({1, workload.batch_size}):
                images, _ = workload.images_and_labels(batch_size)
                call = functools.partial(infer, tf.constant(images))
                samples[workload.model, name, batch_size] = functools.partial(
                    latency.seconds_per_call, call, settings.steps, _on_host
                )
    seconds = latency.interleaved(samples, settings.repeats, warmup=2)
    return [_forward_row(*key, statistics.median(numbers)) for key, numbers in seconds.items()]


def _on_host(logits):
    return logits.numpy()


def _forward_row(model, submodel, batch_size, seconds):
    return {
        "model": model,
        "submodel": submodel,
        "batch_size": batch_size,
        "ms": 1e3 * seconds,
        "images_per_s": batch_size / seconds,
    }


def start(settings):
    """Seconds to the first step, and peak memory, of fresh processes."""
    samples = {
        _key(one): functools.partial(fresh.run, one, settings.steps, threads=settings.threads)
        for one in settings.workloads()
    }
    results = latency.interleaved(samples, settings.process_repeats, warmup=0)
    return [
        {"model": model, "method": method, "batch_size": batch_size, **medians(numbers)}
        for (model, method, batch_size), numbers in results.items()
    ]


def medians(results):
    """The median of each number over dicts of the same numbers."""
    return {name: statistics.median(one[name] for one in results) for name in results[0]}


def pipeline(settings):
    """Shuffled, cropped and flipped batches of images in memory, without any training."""
    workload = settings.workload(settings.models[0], 1)
    images, labels = workload.images_and_labels(_PIPELINE_EXAMPLES)
    samples = {
        batch_size: functools.partial(
            _pipeline_rate, data.training(images, labels, batch_size, seed=0), batch_size
        )
        for batch_size in sorted(set(settings.batch_sizes))
    }
    rates = latency.interleaved(samples, settings.repeats)
    return [
        {
            "batch_size": batch_size,
            "image_size": settings.image_size,
            "images_per_s": statistics.median(numbers),
        }
        for batch_size, numbers in rates.items()
    ]


def _pipeline_rate(batches, batch_size):
    steps = max(1, _PIPELINE_IMAGES // batch_size)
    # A fresh iterator, or batches prepared in the background between two samples would count.
    iterator = iter(batches)
    next(iterator)
    start_time = time.perf_counter()
    for _ in range(steps):
        next(iterator)
    return steps * batch_size / (time.perf_counter() - start_time)


def add_pipeline_ratio(rows):
    """Adds how many times the fastest training of that batch size the pipeline delivers."""
    for row in rows.get("pipeline", []):
        eaten = [
            one["images_per_s"]
            for one in rows.get("training", [])
            if one["batch_size"] == row["batch_size"]
        ]
        row["times_training"] = row["images_per_s"] / max(eaten) if eaten else None
