"""Several processes, on one host or many, that train one network together."""

import contextlib
import functools
import json
import os
import socket
import sys
import time

import numpy as np
import tensorflow as tf

from ipkd_tf.output import checks

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
_STEPS_BETWEEN_QUESTIONS = 16
_SECONDS_BEFORE_A_WORD, _SECONDS_BETWEEN_WORDS = 3, 60


def read_cluster():
    """Address of this process in TF_CONFIG, and those of the others that train."""
    text = os.environ.get("TF_CONFIG", "")
    expected = "TF_CONFIG to list the workers of the cluster and say which this is, as JSON (see "
    expected += "docs/several_devices.md)"
    kinds = (ValueError, KeyError, TypeError, AttributeError)
    with checks.explained(kinds, expected, strategy="multi_worker", TF_CONFIG=text):
        config = json.loads(text)
        tasks = {
            (kind, number): address
            for kind in ("chief", "worker")
            for number, address in enumerate(config["cluster"].get(kind, []))
        }
        own = tasks.pop((config["task"]["type"], int(config["task"]["index"])))
        int(own.rpartition(":")[2])
    return own, list(tasks.values())


def wait_for_peers(own, peers):
    """Returns when every other worker has come; TensorFlow waits deaf to signals, in silence."""
    say = time.monotonic() + _SECONDS_BEFORE_A_WORD
    with _listen(own) if peers else contextlib.nullcontext():
        several = len(peers) + 1
        while peers := [address for address in peers if not _answers(address)]:
            if time.monotonic() >= say:
                text = f"waiting for {len(peers)} of {several} workers at {', '.join(peers)}"
                print(text, file=sys.stderr, flush=True)
                say = time.monotonic() + _SECONDS_BETWEEN_WORDS
            time.sleep(0.2)


def _listen(address):
    port = int(address.rpartition(":")[2])
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise OSError(
            f"this worker's port cannot be opened ({error.strerror}); end what uses it, or choose "
            f"another in TF_CONFIG. Received: {address}"
        ) from error


def _answers(address):
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def count(strategy):
    """Number of processes."""
    return max(1, sum(map(len, _training_tasks(strategy).values())))


def is_chief(strategy):
    """Whether this process writes the outputs: the chief, without one worker 0, or the only one."""
    if count(strategy) == 1:
        return True
    resolver = strategy.cluster_resolver
    return (resolver.task_type, resolver.task_id) == (next(iter(_training_tasks(strategy))), 0)


def _training_tasks(strategy):
    """Addresses of the processes that train, by type of task."""
    resolver = strategy.cluster_resolver
    tasks = resolver.cluster_spec().as_dict() if resolver else {}
    return {kind: tasks[kind] for kind in ("chief", "worker") if kind in tasks}


def shared(dataset):
    """The batches such that each worker takes its part of every one."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options)


def share_training(strategy, batch_size, batches):
    """Training batches such that each worker reads its part of every one, and no more.

    `batches` goes from (number, parts) to the data set of that part. If the replicas cannot share
    `batch_size` evenly, all read all.
    """
    replicas = strategy.num_replicas_in_sync
    if count(strategy) == 1 or batch_size % replicas:
        return shared(batches((0, 1)))

    def of_worker(context):
        own = batches((context.input_pipeline_id, context.num_input_pipelines))
        return own.rebatch(batch_size // replicas, drop_remainder=True)

    return strategy.distribute_datasets_from_function(of_worker)


def check_agreement(strategy, step):
    """Fails unless all workers, who see the same workdir, are about to go on from the same step."""
    if (mean := total(strategy, step) / count(strategy)) != step:
        raise ValueError(
            "the workers found different checkpoints: --workdir must be a directory that all of "
            f"them see. Received: step={step}, mean over the workers {mean}"
        )


def wait_for_all(strategy):
    """Returns when every worker has come here; one that ended early would look lost."""
    total(strategy, 0)


def may_ask(strategy, batch):
    """Whether workers compare notes after this batch; a single process always does."""
    return count(strategy) == 1 or batch % _STEPS_BETWEEN_QUESTIONS == 0


def anywhere(strategy, flags):
    """For each flag, whether any worker has raised its own; every worker must ask at once."""
    return [count > 0 for count in total(strategy, np.float32(flags))]


def total(strategy, value):
    """The sum of the workers' numbers or arrays, float32; every worker must ask at once."""
    if count(strategy) == 1:
        return np.float32(value)
    of_replicas = _on_replicas(strategy)(tf.constant(value, tf.float32))
    replicas = strategy.num_replicas_in_sync // count(strategy)
    return strategy.reduce("SUM", of_replicas, axis=None).numpy() / replicas


@functools.cache  # a new function would be traced each time
def _on_replicas(strategy):
    return tf.function(lambda value: strategy.run(tf.identity, (value,)), reduce_retracing=True)


@contextlib.contextmanager
def explained(strategy):
    """Raises what says what to do when a worker is lost; a single process keeps its errors."""
    try:
        yield
    except _LOST as error:
        if count(strategy) == 1:
            raise
        reason = error.message.partition("\n")[0][:200]
        raise ConnectionError(
            f"another worker was lost ({reason}); start the same command on every host again to "
            "go on from the last checkpoint"
        ) from error
