"""What a person who watches the epochs of a run sees of it."""

import datetime
import sys
import time

import keras

_OVERALL = ("loss", "hard_loss", "soft_loss", "avg_accuracy", "val_loss", "val_avg_accuracy")


def callbacks():
    """A progress bar on a terminal; one line per epoch elsewhere and after the bar."""
    return [ProgressBar(), EpochLine()] if sys.stdout.isatty() else [EpochLine()]


class ProgressBar(keras.callbacks.ProgbarLogger):
    """Keras's progress bar without the scores of single sub-models: a line that fits a terminal."""

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, _overall(logs))

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, _overall(logs))


class EpochLine(keras.callbacks.Callback):
    """One line per epoch: scores, how long it took, and how long the rest will take."""

    def on_train_begin(self, logs=None):
        self._since, self._since_epoch = time.monotonic(), None

    def on_epoch_begin(self, epoch, logs=None):
        if self._since_epoch is None:
            self._since_epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        scores = ", ".join(f"{name} {float(value):.4f}" for name, value in _overall(logs).items())
        per_epoch = (time.monotonic() - self._since) / (epoch + 1 - self._since_epoch)
        epochs = self.params["epochs"]
        left = datetime.timedelta(seconds=round(per_epoch * (epochs - epoch - 1)))
        print(
            f"epoch {epoch + 1}/{epochs}: {scores}; {per_epoch:.1f} s per epoch, {left} left",
            flush=True,
        )


def _overall(logs):
    return {name: logs[name] for name in _OVERALL if name in logs}
