"""What is timed: one training step of one network, here or in a process of its own."""

import dataclasses
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import tensorflow as tf

from ipkd_tf import models
from ipkd_tf.deployment import latency
from ipkd_tf.distillation import losses
from ipkd_tf.distillation.distiller import InplaceDistiller
from ipkd_tf.training import finished_run, optimizers

_JIT = {"auto": "auto", "on": True, "off": False}


@dataclasses.dataclass(frozen=True)
class Workload:
    """Everything the time of a step depends on, apart from the machine."""

    model: str = "msdnet"
    method: str = "ipkd_ta_m"
    teacher: str = ""  # outside teacher of a method that asks for one: a preset
    batch_size: int = 64
    num_classes: int = 10
    image_size: int = 32
    arguments: dict = dataclasses.field(default_factory=dict)  # of the network's constructor
    precision: str = "float32"
    jit: str = "auto"

    def network(self):
        return self._build(self.model, **self.arguments)

    def _build(self, model, **arguments):
        sizes = {"num_classes": self.num_classes, "image_size": self.image_size}
        with finished_run.arithmetic(self.precision):
            return models.from_preset(model, **sizes, **arguments)

    def distiller(self):
        """The network in a compiled distiller."""
        network = self.network()
        asks = self.method == "kd" or "t1" in self.method
        outside = [self._build(self.teacher)] if self.teacher and asks else []
        with finished_run.arithmetic(self.precision):  # of a float16 one Keras scales the loss
            distiller = InplaceDistiller(network, teachers=self.method, outside=outside)
            optimizer = optimizers.SGD(0.1, momentum=0.9, weight_decay=1e-4)
            distiller.compile(optimizer=optimizer, jit_compile=_JIT[self.jit])
        return distiller

    def images_and_labels(self, examples=None):
        """Random images uint8 `[examples, side, side, 3]` and labels int32; a batch by default."""
        generator = np.random.default_rng(0)
        shape = (examples or self.batch_size, self.image_size, self.image_size, 3)
        images = generator.integers(0, 256, shape, dtype=np.uint8)
        return images, generator.integers(0, self.num_classes, len(images), dtype=np.int32)

    def step(self, distiller):
        """A function that runs one training step as `fit` does and waits for it: the loss.

        The batch is always the same one, copied from the host for each step as a pipeline would.
        """
        distiller.make_train_function()
        batches = iter(tf.data.Dataset.from_tensors(self.images_and_labels()).repeat().prefetch(2))
        return lambda: float(distiller.train_function(batches)["loss"])

    def loss_step(self, submodels):
        """A function that computes loss and gradient of random logits, without a network."""
        _, labels = self.images_and_labels()
        shape = (submodels, self.batch_size, self.num_classes)
        values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        logits = [tf.Variable(value) for value in values]

        @tf.function
        def loss_and_gradients():
            with tf.GradientTape() as tape:
                loss = losses.inplace_distillation_loss(labels, logits, self.method, 0.8, 5.0)
            return loss, tape.gradient(loss, logits)

        return lambda: [gradient.numpy() for gradient in loss_and_gradients()[1]]


def set_threads(threads):
    """TensorFlow's threads (within, between operations); 0: its choice; before its first use."""
    tf.config.threading.set_intra_op_parallelism_threads(threads[0])
    tf.config.threading.set_inter_op_parallelism_threads(threads[1])


def measure(workload, steps, threads=(0, 0), loss=False, products=False, spawned=None):
    """Measures a workload in this process, which must not have used TensorFlow before.

    Returns:
        Dict of `start_s` (from `spawned` to the end of the first step), `step_ms` (median),
        `start_core_s` and `core_ms` (the same in time of processors), `images_per_s`,
        `parameters` (trainable), `start_mb` and `peak_mb` (10^6 bytes of peak memory before
        building and at the end), `loss_share` (of the step) or `product_rate` (see there) if asked
        for.
    """
    spawned, start_mb = spawned or time.time(), peak_mb()
    set_threads(threads)
    distiller = workload.distiller()
    step = workload.step(distiller)
    step()
    start_s, start_core_s = time.time() - spawned, time.process_time()
    step_s, core_s = _median_seconds(step, steps)
    result = {
        "start_s": start_s,
        "start_core_s": start_core_s,
        "step_ms": 1e3 * step_s,
        "core_ms": 1e3 * core_s,
        "images_per_s": workload.batch_size / step_s,
        "parameters": sum(np.prod(v.shape) for v in distiller.network.trainable_weights).item(),
        "start_mb": start_mb,
        "peak_mb": peak_mb(),
    }
    if loss:
        loss_s, _ = _median_seconds(workload.loss_step(len(distiller.submodel_names)), steps)
        result["loss_share"] = loss_s / step_s
    if products:
        result["product_rate"] = product_rate()
    return result


def _median_seconds(call, repeats, warmup=2):
    """Median seconds of a call by the clock, and by the time of all processors."""

    def both():
        start = time.process_time()
        return latency.seconds_per_call(call, 1), time.process_time() - start

    taken = [both() for _ in range(warmup + repeats)]
    return [statistics.median(seconds) for seconds in zip(*taken[warmup:], strict=True)]


def product_rate(side=2048, repeats=7):
    """Multiply-adds per second and core of a large matrix product in float32."""
    matrix = tf.random.normal([side, side])
    _, core_s = _median_seconds(lambda: tf.matmul(matrix, matrix).numpy(), repeats)
    return side**3 / core_s


def peak_mb():
    """Peak resident memory of this process, 10^6 bytes."""
    # Linux starts a child's getrusage() peak at its parent's memory (exec keeps the maximum), so
    # there the kernel's figure for the program alone is read instead.
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) * 1024 / 1e6
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes


def run(workload, **settings):
    """`measure` in a fresh process."""
    request = {**settings, "workload": dataclasses.asdict(workload), "spawned": time.time()}
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "benchmarks.workload", json.dumps(request)]
    return last_json_line(command, environment)


def last_json_line(command, environment=None):
    """Runs a command; returns the dict in the last line it prints, ChildProcessError if none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            reason = "".join(done.stderr.strip().splitlines()[-1:])
            raise ValueError(f"exit status {done.returncode}: {reason}")
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise ChildProcessError(
            f"Expected a program that prints one JSON object as its last line ({error}). "
            f"Received: command={command}"
        ) from error


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(measure(**{**asked, "workload": Workload(**asked["workload"])})))
