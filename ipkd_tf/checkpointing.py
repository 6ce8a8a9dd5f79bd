"""What a run keeps after each epoch, and how it goes on from there."""

import time

import keras
import tensorflow as tf

from ipkd_tf import workdir

CRITERION = "val_avg_accuracy"


def best_epoch(history):
    """The row of the epoch whose accuracy, averaged over the sub-models, is highest; the first."""
    return max(history, key=lambda row: row[CRITERION])


class KeepEpochs(keras.callbacks.Callback):
    """After each epoch keeps its history row, a checkpoint, and the network if it is the best yet.

    Args:
        directory: Where history.csv, checkpoints/ and best.keras go.
        distiller: The compiled `InplaceDistiller`; its optimizer must be built.
    """

    def __init__(self, directory, distiller):
        super().__init__()
        self.directory = directory
        self.history = []
        self._network = distiller.network
        self._finished = tf.Variable(0, dtype=tf.int64, trainable=False)
        # Checkpoints leave out the state of dropout's random numbers unless it is named.
        random_states = [v.value for v in distiller.variables if "seed_generator" in v.path]
        checkpoint = tf.train.Checkpoint(
            network=distiller.network,
            optimizer=distiller.optimizer,
            finished_epochs=self._finished,
            random_states=random_states,
        )
        self._manager = tf.train.CheckpointManager(
            checkpoint, str(directory / "checkpoints"), max_to_keep=2
        )

    def restore(self):
        """Goes back to the newest checkpoint, if any; returns the number of finished epochs."""
        if not self._manager.latest_checkpoint:
            return 0
        self._manager.checkpoint.restore(self._manager.latest_checkpoint).assert_consumed()
        finished = int(self._finished.numpy())
        self.history = workdir.read_history(self.directory / "history.csv")[:finished]
        if len(self.history) < finished:
            raise ValueError(
                f"history.csv has {len(self.history)} of the {finished} finished epochs; remove "
                f"the workdir to start anew. Received: workdir={str(self.directory)!r}"
            )
        # An interruption may have come between the checkpoint and best.keras.
        self._keep_if_best()
        return finished

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.monotonic()
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        self._learning_rate = float(str(rate))  # 0.1, not the float32's 0.10000000149

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, "learning_rate": self._learning_rate}
        row |= {name: float(value) for name, value in logs.items()}
        row["seconds"] = round(time.monotonic() - self._started, 3)
        self.history.append(row)
        workdir.write_history(self.directory / "history.csv", self.history)
        self._finished.assign(epoch + 1)
        self._manager.save(checkpoint_number=epoch + 1)
        self._keep_if_best()

    def _keep_if_best(self):
        if best_epoch(self.history) is self.history[-1]:
            save_network(self._network, self.directory / "best.keras")


def save_network(network, path):
    with workdir.replacing(path) as aside:
        network.save(aside)
