"""Several processes, on one host or many, that train one network together."""

import contextlib

import tensorflow as tf

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


def count(strategy):
    """Number of processes."""
    return max(1, sum(map(len, _training_tasks(strategy).values())))


def is_chief(strategy):
    """Whether this process writes the outputs: the chief, without one worker 0, or the only one."""
    if count(strategy) == 1:
        return True
    resolver = strategy.cluster_resolver
    first = "chief" if "chief" in _training_tasks(strategy) else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


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


def check_agreement(strategy, step):
    """Fails unless all workers are about to go on from the same step.

    Raises:
        ValueError: they found different checkpoints, so they do not see the same workdir.
    """
    if count(strategy) > 1 and (total := _sum(strategy, step)) != count(strategy) * step:
        raise ValueError(
            "the workers found different checkpoints: --workdir must be a directory that all of "
            f"them see. Received: step={step}, mean over the workers {total / count(strategy)}"
        )


def wait_for_all(strategy):
    """Returns when every worker has come here; one that ended early would look lost."""
    if count(strategy) > 1:
        _sum(strategy, 0)


def _sum(strategy, value):
    """The sum of the workers' numbers."""
    of_replicas = tf.function(lambda: strategy.run(lambda: tf.constant(float(value))))()
    replicas = strategy.num_replicas_in_sync // count(strategy)
    return float(strategy.reduce("SUM", of_replicas, axis=None)) / replicas


@contextlib.contextmanager
def explained(strategy):
    """Says what to do when a worker is lost; a single process keeps its errors.

    Raises:
        ConnectionError: another worker ended.
    """
    try:
        yield
    except _LOST as error:
        if count(strategy) == 1:
            raise
        reason = error.message.partition("\n")[0][:200]
        raise ConnectionError(
            f"another worker was lost ({reason}); start the same command on every host again to "
            "go on after the last finished epoch"
        ) from error
