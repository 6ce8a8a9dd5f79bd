"""What a run keeps while it trains, and how it goes on from there bit for bit."""

import json
import math
import time

import keras
import numpy as np

from ipkd_tf.output import files
from ipkd_tf.training import averaging, workdir, workers
from ipkd_tf.training.checkpoints import CheckpointFiles
from ipkd_tf.training.sigterm import Terminated

CRITERION = "val_avg_accuracy"
_STEPS_BETWEEN_QUESTIONS = 16


def best_epoch(history):
    """The row of the epoch whose accuracy, averaged over the sub-models, is highest; the first."""
    return max(history, key=lambda row: row[CRITERION])


class Keeper(keras.callbacks.Callback):
    """Keeps a run's history and best network, and its whole state after each epoch and in between.

    Args:
        directory: Where history.csv, checkpoints/ and best.keras go.
        distiller: The compiled `InplaceDistiller`.
        steps_per_epoch: Optimizer steps in an epoch.
        seconds: Time from one checkpoint to the next inside an epoch.
        sigterm: The `Sigterm` that may ask for the end.

    Of several workers only the chief keeps anything. They look every 16 steps, and when an epoch
    ends, whether one of them has something to say: then all save, end or fail at the same step.

    Attributes:
        history: One dict per finished epoch.
        epoch: Number of finished epochs.
        step: Steps done of the epoch that runs; all of them while it is validated.

    Raises (while training):
        FloatingPointError: A loss or a weight is not finite; the last good checkpoint stays.
        Terminated: SIGTERM has come, the state is saved.
    """

    def __init__(self, directory, distiller, steps_per_epoch, seconds, sigterm):
        super().__init__()
        self.directory = directory
        self.history = []
        self.epoch = self.step = 0
        self._distiller = distiller
        self._steps_per_epoch = steps_per_epoch
        self._seconds = seconds
        self._sigterm = sigterm
        self._strategy = distiller.distribute_strategy
        self._writes = workers.is_chief(self._strategy)
        self._alone = workers.count(self._strategy) == 1
        self._files = CheckpointFiles(directory / "checkpoints")
        self._saved_at = time.monotonic()
        self._metrics = None

    @property
    def global_step(self):
        return self.epoch * self._steps_per_epoch + self.step

    def restore(self):
        """Goes back to the newest checkpoint, if there is one."""
        if (arrays := self._files.read()) is None:
            return
        progress = json.loads(arrays.pop("progress").tobytes())
        self._metrics = {name: a for name, a in arrays.items() if name.startswith("metrics/")}
        _assign(_state(self._distiller), arrays.keys() - self._metrics.keys(), arrays)
        self.history = progress["history"]
        self.epoch, self.step = progress["epoch"], progress["step"]
        self._learning_rate, self._elapsed = progress["learning_rate"], progress["elapsed"]
        # An interruption may have come between the checkpoint and these.
        if self.history and self._writes:
            self._publish()

    def on_epoch_begin(self, epoch, logs=None):
        if self.step:  # The epoch goes on where a checkpoint left it.
            if self._writes:  # It holds the sums of all workers.
                _assign(_metrics(self._distiller), self._metrics.keys(), self._metrics)
        else:
            rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
            self._learning_rate = float(str(rate))  # 0.1, not the float32's 0.10000000149
            self._elapsed = 0.0
        self._steps_before = self.step
        self._epoch_began = time.monotonic() - self._elapsed

    def on_train_batch_end(self, batch, logs=None):
        self.step = self._steps_before + batch + 1
        self._sigterm.waits = True
        finite = math.isfinite(loss := float(logs["loss"]))
        if not self._may_ask(batch):
            return
        due, diverged = workers.anywhere(self._strategy, [self._is_due(), not finite])
        if diverged:
            self._diverged("loss", "not finite at another worker" if finite else loss)
        if due:
            self._save(self._capture())

    def on_test_begin(self, logs=None):
        # Validation resets the metrics and may exchange the weights: this is the state to keep.
        self._before_validation = self._capture()

    def on_test_batch_end(self, batch, logs=None):
        if self._may_ask(batch) and any(workers.anywhere(self._strategy, [self._is_due()])):
            self._save(self._before_validation)

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, "learning_rate": self._learning_rate}
        row |= {name: float(value) for name, value in logs.items()}
        row["seconds"] = round(time.monotonic() - self._epoch_began, 3)
        self.history.append(row)
        self.epoch, self.step = epoch + 1, 0
        self._save(self._capture(), self._publish)

    def on_train_end(self, logs=None):
        self._sigterm.waits = False

    def _may_ask(self, batch):
        return self._alone or batch % _STEPS_BETWEEN_QUESTIONS == 0

    def _is_due(self):
        return self._sigterm.requested or time.monotonic() - self._saved_at >= self._seconds

    def _save(self, arrays, publish=lambda: None):
        if self._writes:
            self._files.write(self.global_step, arrays)
            publish()
        self._saved_at = time.monotonic()
        self._sigterm.waits = not self._alone  # The others would take its end for a loss.
        # Asked last: no worker leaves before the chief has written.
        if any(workers.anywhere(self._strategy, [self._sigterm.requested])):
            raise Terminated

    def _publish(self):
        workdir.write_history(self.directory / "history.csv", self.history)
        # Inside an epoch the weights are no longer those that the last row's scores belong to.
        if not self.step and best_epoch(self.history) is self.history[-1]:
            with averaging.averaged(self._distiller):
                save_network(self._distiller.network, self.directory / "best.keras")

    def _capture(self):
        arrays = {name: variable.numpy() for name, variable in _state(self._distiller).items()}
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                self._diverged(name, "not finite")
        if self.step:
            arrays |= self._captured_metrics()
        progress = {
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
            "learning_rate": self._learning_rate,
            "elapsed": time.monotonic() - self._epoch_began,
        }
        return {**arrays, "progress": np.frombuffer(json.dumps(progress).encode(), np.uint8)}

    def _captured_metrics(self):
        """Each replica's sums of the metrics; what other workers hold is added to the first."""
        arrays = {name: part.numpy() for name, part in _metrics(self._distiller).items()}
        if not self._alone:
            first = [name for name in arrays if name.endswith("/0")]
            local = np.stack([_summed_over_replicas(arrays, name) for name in first])
            for name, others in zip(
                first, workers.total(self._strategy, local) - local, strict=True
            ):
                arrays[name] = arrays[name] + others
        return arrays

    def _diverged(self, what, value):
        rate = float(keras.ops.convert_to_numpy(self._distiller.optimizer.learning_rate))
        raise FloatingPointError(
            f"training diverged at step {self.global_step} (epoch {self.epoch + 1}), learning rate "
            f"{rate:.6g}; the last good checkpoint, {self._files.newest or 'none yet'}, is kept. "
            "Try another --workdir with a lower --learning_rate, --warmup_epochs or --clip_norm. "
            f"Received: {what}={value}"
        )


def _state(distiller):
    """The variables of network (random states too) and optimizer, by number.

    The names that Keras makes up count the layers made in the same process before.
    """
    groups = {"network": distiller.network.variables, "optimizer": distiller.optimizer.variables}
    return {
        f"{group}/{number}": variable
        for group, variables in groups.items()
        for number, variable in enumerate(variables)
    }


def _metrics(distiller):
    """Each replica's own sums of the metrics, by name: their total may round differently."""
    local = distiller.distribute_strategy.experimental_local_results
    return {
        f"metrics/{number}/{replica}": part
        for number, variable in enumerate(distiller.metrics_variables)
        for replica, part in enumerate(local(variable.value))
    }


def _summed_over_replicas(arrays, first):
    replicas = [array for name, array in arrays.items() if name.startswith(first[:-1])]
    return np.sum(replicas, axis=0)


def _assign(variables, names, arrays):
    if variables.keys() != set(names):
        different = sorted(variables.keys() ^ set(names))
        raise ValueError(
            "the checkpoint belongs to another network or number of devices; choose another "
            f"--workdir, or remove it. Received: {different[0]}"
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def save_network(network, path):
    with files.replacing(path) as aside:
        network.save(aside)
