"""How fast training, inference and the input pipeline are on this machine, in what memory."""

import dataclasses
import os
import platform

from benchmarks import cases, early_exit, exported, fresh, growth, peer
from benchmarks.settings import Settings
from ipkd_tf.training import environment

__all__ = ["CASES", "Settings", "machine", "run"]

# In this order, because fresh processes should not share the machine with what ours still holds.
CASES = {
    "peer": peer.measure,
    "growth": growth.measure,
    "start": cases.start,
    "training": cases.training,
    "forward": cases.forward,
    "adaptive": early_exit.measure,
    "export": exported.measure,
    "pipeline": cases.pipeline,
}


def run(settings, names, begins=lambda case: None):
    """Measures the named cases.

    Args:
        settings: `Settings`.
        names: names from `CASES`.
        begins: called with each case's name when it begins; some take minutes.

    Returns:
        dict of `machine` (hardware, threads, versions, date), `settings`, and `rows`: for each
        case its rows, dicts of what was timed and the numbers. Their names carry the units.

    Raises:
        ValueError: there is no such case, or a setting does not fit it.
        ChildProcessError: a process of its own failed.

    Example:
        >>> run(Settings(models=("msdnet_small",), batch_sizes=(64,)), ["training"])["rows"]
    """
    if unknown := [name for name in names if name not in CASES]:
        raise ValueError(f"Expected cases from {', '.join(CASES)}. Received: {unknown[0]!r}")
    fresh.set_threads(settings.threads)
    described = machine(settings)
    rows = {}
    for name in CASES:
        if name in names:
            begins(name)
            rows[name] = CASES[name](settings)
    cases.add_pipeline_ratio(rows)
    if "growth" in rows:
        rows["growth_exponents"] = growth.exponents(rows["growth"])
    return {"machine": described, "settings": dataclasses.asdict(settings), "rows": rows}


def machine(settings):
    """What the numbers depend on besides the settings."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        **environment.describe(),
        "cpu": _cpu(),
        "cores": available,
        "intra_op_threads": settings.intra_op_threads,
        "inter_op_threads": settings.inter_op_threads,
    }


def _cpu():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line for line in file if line.startswith("model name")]
        return names[0].partition(":")[2].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
