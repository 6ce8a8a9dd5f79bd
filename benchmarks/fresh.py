"""One workload in a process of its own: its start, its steps, its peak memory.

    python -m benchmarks '{"workload": {"model": "msdnet"}, "steps": 5}'

runs the child by hand; it prints one JSON line. Sizes are in MB, 10^6 bytes.
"""

import dataclasses
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time

import tensorflow as tf

from benchmarks import workload as workloads
from ipkd_tf.deployment import latency
from ipkd_tf.models import cost


def run(workload, steps, warmup=2, threads=(0, 0), loss=False):
    """Measures a workload in a fresh process.

    Args:
        workload: the `Workload`.
        steps: timed steps, after the first one and the warm-up.
        warmup: steps before these.
        threads: TensorFlow's (intra-op, inter-op) threads; 0 leaves the choice to it.
        loss: whether to time the loss and its gradient without the network, too.

    Returns:
        dict as `measure` returns; `import_s` and `total_s` count from the start of the process.

    Raises:
        ChildProcessError: the process failed; the message has the last line of its errors.
    """
    request = {
        "workload": dataclasses.asdict(workload),
        "steps": steps,
        "warmup": warmup,
        "threads": threads,
        "loss": loss,
        "spawned": time.time(),
    }
    command = [sys.executable, "-m", "benchmarks", json.dumps(request)]
    return json_line(command, {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})


def json_line(command, environment=None):
    """Runs a command and returns the dict in the last line it prints.

    Raises:
        ChildProcessError: the command cannot be run, fails, or ends in another line.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:]
            raise ValueError(f"exit status {done.returncode}: {''.join(reason)}")
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise ChildProcessError(
            f"Expected a program that prints one JSON object as its last line ({error}). "
            f"Received: command={command}"
        ) from error


def measure(workload, steps, warmup=2, threads=(0, 0), loss=False, spawned=None):
    """Measures a workload in this process, which must not have used TensorFlow before.

    Returns:
        dict of seconds `import_s`, `build_s` (network, distiller, optimizer), `first_step_s`
        (tracing and the first step), `total_s` (their sum), `step_s` (median of the single
        steps); `images_per_s`; trainable `parameters`; `start_mb` and `peak_mb`, peak memory
        before building and at the end; `device_peak_mb` on a GPU; `loss_s` if asked for.
    """
    set_threads(threads)
    clock, start_mb = [spawned or time.time(), time.time()], peak_mb()
    distiller = workload.distiller()
    clock.append(time.time())
    step = workloads.training_step(workload, distiller)
    workloads.wait_for_step(step())
    clock.append(time.time())
    step_s = _median_seconds(step, workloads.wait_for_step, warmup, steps)
    step_s /= workload.steps_per_execution
    result = {
        "import_s": clock[1] - clock[0],
        "build_s": clock[2] - clock[1],
        "first_step_s": clock[3] - clock[2],
        "total_s": clock[3] - clock[0],
        "step_s": step_s,
        "images_per_s": workload.batch_size / step_s,
        "start_mb": start_mb,
        "peak_mb": peak_mb(),
        "parameters": cost.parameters(distiller.network),
        **_device_memory(),
    }
    if loss:
        call = workloads.loss_step(workload, len(distiller.submodel_names))
        result["loss_s"] = _median_seconds(call, workloads.wait_for_loss, warmup, steps)
    return result


def set_threads(threads):
    """Sets this process's (intra-op, inter-op) threads; TensorFlow must not have begun yet."""
    tf.config.threading.set_intra_op_parallelism_threads(threads[0])
    tf.config.threading.set_inter_op_parallelism_threads(threads[1])


def _median_seconds(call, wait, warmup, repeats):
    seconds = [latency.seconds_per_call(call, 1, wait) for _ in range(warmup + repeats)]
    return statistics.median(seconds[warmup:])


def peak_mb():
    """Peak resident memory of this process, MB."""
    # Linux starts a child's getrusage() peak at its parent's memory (exec keeps the maximum), so
    # there the kernel's figure for the program alone is read instead.
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) * 1024 / 1e6
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes


def _device_memory():
    if not tf.config.list_physical_devices("GPU"):
        return {}
    return {"device_peak_mb": tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6}
