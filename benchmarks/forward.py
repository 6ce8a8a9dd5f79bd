"""Inference of the smallest and the largest sub-model, cut out: one image and a batch at a time.

python -m benchmarks.forward
"""

import functools
import statistics

import tensorflow as tf

from benchmarks import case
from ipkd_tf.deployment import latency

COLUMNS = (
    ("network", "model", "{}"),
    ("sub-model", "submodel", "{}"),
    ("batch", "batch_size", "{}"),
    ("ms", "ms", "{:,.1f}"),
    ("images per s", "images_per_s", "{:,.0f}"),
    ("speed against the largest", "ratio", "{:.2f}"),
)


def measure(settings):
    samples = {}
    for model in settings.models:
        one = settings.workload(model)
        network = one.network()
        for name in dict.fromkeys((network.submodel_names[0], network.submodel_names[-1])):
            index = network.submodel_names.index(name)
            infer = tf.function(functools.partial(network.submodel(index), training=False))
            for batch_size in sorted({1, one.batch_size}):
                call = functools.partial(infer, tf.constant(one.images_and_labels(batch_size)[0]))
                samples[model, name, batch_size] = functools.partial(
                    latency.seconds_per_call, call, settings.steps, lambda logits: logits.numpy()
                )
    seconds = latency.interleaved(samples, settings.repeats, warmup=2)
    largest = {(model, batch): key for key in samples for model, _, batch in [key]}
    return [
        {
            **dict(zip(("model", "submodel", "batch_size"), key, strict=True)),
            "ms": 1e3 * statistics.median(numbers),
            "images_per_s": key[2] / statistics.median(numbers),
            "ratio": case.median_ratio(seconds[largest[key[0], key[2]]], numbers),
        }
        for key, numbers in seconds.items()
    ]


if __name__ == "__main__":
    case.start("forward", measure, COLUMNS)
