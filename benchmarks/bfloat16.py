"""Training steps in float32 and bfloat16, ours and PyTorch's, in fresh processes in turn.

python -m benchmarks.bfloat16 --python=/path/with/torch/bin/python --steps=8 \
    --intra_op_threads=1 --inter_op_threads=2

For a CPU with AVX512-BF16 or AMX. PyTorch's bfloat16 is its autocast.
"""

import dataclasses
import functools
import statistics

from benchmarks import case, peer, workload

COLUMNS = (
    ("network", "model", "{}"),
    ("batch", "batch_size", "{}"),
    ("float32, images per s", "images_per_s", "{:,.0f}"),
    ("bfloat16", "narrow_images_per_s", "{:,.0f}"),
    ("gain", "ratio", "{:.2f}"),
    ("PyTorch, float32", "peer_images_per_s", "{:,.0f}"),
    ("PyTorch, bfloat16", "narrow_peer_images_per_s", "{:,.0f}"),
    ("against PyTorch's float32", "peer_ratio", "{:.2f}"),
    ("against its bfloat16", "narrow_peer_ratio", "{:.2f}"),
)


def measure(settings, run=workload.run):
    return [_row(settings, settings.workload(model), run) for model in settings.models]


def _row(settings, one, run):
    narrow = dataclasses.replace(one, precision="mixed_bfloat16")
    ours = functools.partial(run, steps=settings.steps, threads=settings.threads)

    def theirs(one):
        return workload.last_json_line(peer.command(settings, one))

    samples = {
        "images_per_s": functools.partial(ours, one),
        "narrow_images_per_s": functools.partial(ours, narrow),
        "peer_images_per_s": functools.partial(theirs, one),
        "narrow_peer_images_per_s": functools.partial(theirs, narrow),
    }
    results = case.sample_in_turn(samples, settings.repeats)
    rates = {side: [one["images_per_s"] for one in results[side]] for side in samples}
    fast = rates["narrow_images_per_s"]
    return {
        "model": one.model,
        "method": one.method,
        "batch_size": one.batch_size,
        **{side: statistics.median(numbers) for side, numbers in rates.items()},
        "ratio": case.median_ratio(fast, rates["images_per_s"]),
        "peer_ratio": case.median_ratio(fast, rates["peer_images_per_s"]),
        "narrow_peer_ratio": case.median_ratio(fast, rates["narrow_peer_images_per_s"]),
    }


if __name__ == "__main__":
    case.start("bfloat16", measure, COLUMNS)
