"""What a run keeps while it trains, and how it goes on from there bit for bit."""

import json
import math
import time

import keras
import numpy as np

from ipkd_tf.models import graph
from ipkd_tf.output import files
from ipkd_tf.training import averaging, state, workdir, workers
from ipkd_tf.training.checkpoints import CheckpointFiles
from ipkd_tf.training.sigterm import Terminated
from ipkd_tf.training.splits import check_same_data

CRITERION = "val_avg_accuracy"


def best_epoch(history):
    """The row of the epoch whose accuracy, averaged over the sub-models, is highest; the first."""
    return max(history, key=lambda row: row[CRITERION])


class Keeper(keras.callbacks.Callback):
    """Keeps a run's history, best network and whole state, after each epoch and every `seconds`.

    Of several workers only the chief keeps anything. They look every 16 steps, and when an epoch
    ends, whether one of them has something to say: then all save, end or fail at the same step.
    `history` has a dict per finished epoch; `epoch` counts these, `step` the steps of the one that
    runs, all of them while it is validated. Raises FloatingPointError when a loss or weight is not
    finite, and Terminated when SIGTERM has come and the state is saved.
    """

    def __init__(
        self, directory, distiller, identity, steps_per_epoch, seconds, sigterm, patience=0
    ):
        super().__init__()
        self.directory, self.identity, self.history = directory, identity, []
        self.epoch = self.step = 0
        self._distiller, self._sigterm = distiller, sigterm
        self._steps_per_epoch, self._seconds = steps_per_epoch, seconds
        self._patience = patience
        self._strategy = distiller.distribute_strategy
        self._writes = workers.is_chief(self._strategy)
        self._files = CheckpointFiles(directory / "checkpoints")
        self._saved_at = time.monotonic()

    @property
    def global_step(self):
        return self.epoch * self._steps_per_epoch + self.step

    @property
    def stopped(self):
        """Whether `patience` epochs came after the best one; never if it is 0."""
        later = len(self.history) - best_epoch(self.history)["epoch"] if self.history else 0
        return 0 < self._patience <= later

    def restore(self):
        """Goes back to the newest checkpoint; returns whether there is one."""
        if (arrays := self._files.read()) is None:
            return False
        progress = json.loads(arrays.pop("progress").tobytes())
        check_same_data(progress["data"], self.identity, self.directory)
        self._metrics = {name: a for name, a in arrays.items() if name.startswith("metrics/")}
        weights = {name: a for name, a in arrays.items() if name not in self._metrics}
        state.assign(state.variables(self._distiller), weights)
        graph.finalize(self._distiller.network)
        self.history = progress["history"]
        self.epoch, self.step = progress["epoch"], progress["step"]
        self._learning_rate, self._elapsed = progress["learning_rate"], progress["elapsed"]
        # An interruption may have come between the checkpoint and these.
        if self.history and self._writes:
            self._publish()
        return True

    def on_epoch_begin(self, epoch, logs=None):
        if self.step:  # The epoch goes on where a checkpoint left it.
            if self._writes:  # It holds the sums of all workers.
                state.assign(state.metrics(self._distiller), self._metrics)
        else:
            self._learning_rate = self._read_learning_rate()
            self._elapsed = 0.0
        self._steps_before = self.step
        self._epoch_began = time.monotonic() - self._elapsed

    def on_train_batch_begin(self, batch, logs=None):
        if self._steps_before + batch + 1 == self._steps_per_epoch:  # A warm-up rises until here.
            self._learning_rate = max(self._learning_rate, self._read_learning_rate())

    def on_train_batch_end(self, batch, logs=None):
        self.step = self._steps_before + batch + 1
        self._sigterm.waits = True
        finite = math.isfinite(loss := float(logs["loss"]))
        if not workers.may_ask(self._strategy, batch):
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
        asks = workers.may_ask(self._strategy, batch)
        if asks and any(workers.anywhere(self._strategy, [self._is_due()])):
            self._save(self._before_validation)

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, "learning_rate": self._learning_rate}
        row |= {name: float(value) for name, value in logs.items()}
        row["seconds"] = round(time.monotonic() - self._epoch_began, 3)
        self.history.append(row)
        self.epoch, self.step = epoch + 1, 0
        self._save(self._capture(), self._publish)
        if self.stopped:
            self._distiller.stop_training = True

    def on_train_end(self, logs=None):
        self._sigterm.waits = False

    def _is_due(self):
        return self._sigterm.requested or time.monotonic() - self._saved_at >= self._seconds

    def _save(self, arrays, publish=lambda: None):
        if self._writes:
            self._files.write(self.global_step, arrays)
            publish()
        self._saved_at = time.monotonic()
        # The others would take its end for a loss.
        self._sigterm.waits = workers.count(self._strategy) > 1
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
        arrays = state.read(state.variables(self._distiller))
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                self._diverged(name, "not finite")
        if self.step:
            arrays |= state.read_metrics(self._distiller)
        progress = {
            "data": self.identity,
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
            "learning_rate": self._learning_rate,
            "elapsed": time.monotonic() - self._epoch_began,
        }
        return {**arrays, "progress": np.frombuffer(json.dumps(progress).encode(), np.uint8)}

    def _read_learning_rate(self):
        rate = keras.ops.convert_to_numpy(self._distiller.optimizer.learning_rate)
        return float(str(rate))  # 0.1, not the float32's 0.10000000149

    def _diverged(self, what, value):
        raise FloatingPointError(
            f"training diverged at step {self.global_step} (epoch {self.epoch + 1}), learning rate "
            f"{self._read_learning_rate():.6g}; the last good checkpoint, "
            f"{self._files.newest or 'none yet'}, is kept. Try another --workdir with a lower "
            f"--learning_rate, --warmup_epochs or --clip_norm. Received: {what}={value}"
        )


def save_network(network, path):
    with files.replacing(path) as aside:
        network.save(aside)
