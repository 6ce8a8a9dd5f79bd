"""What a person who watches the epochs of a run sees of it."""

import datetime
import sys
import time

import keras

from ipkd_tf.training import environment

_OVERALL = ("loss", "hard_loss", "soft_loss", "avg_accuracy", "val_loss", "val_avg_accuracy")
_SMALL_VALIDATION = 100  # images, below which one of them is over a point of accuracy


def headline(experiment, splits, step, fresh_heads):
    """What is about to happen, after `step` steps; `fresh_heads` None: of new weights."""
    counts = ", ".join(f"{count} {part}" for part, count in splits.examples().items())
    place = "in memory" if splits.train.in_memory else "read from files"
    begin = f"goes on after step {step}, for" if step else "trains for"
    epochs = "1 epoch" if experiment.epochs == 1 else f"{experiment.epochs} epochs"
    alone = f", {experiment.submodel} alone" if experiment.submodel else ""
    taught = f" by {experiment.teacher}" if experiment.teacher else ""
    text = (
        f"{experiment.run_name} {begin} {epochs}: {experiment.model}{alone}, "
        f"{experiment.method}{taught}, {experiment.dataset} ({counts}, {place}), on "
        f"{', '.join(environment.devices())}. Outputs: {experiment.output_dir}"
    )
    if fresh_heads is not None:
        heads = ", ".join(fresh_heads)
        heads = f"without the heads, which start anew: {heads}" if heads else "all"
        text += f"\nWeights from {experiment.initialize_from}, {heads}."
    if (count := len(splits.validation)) < _SMALL_VALIDATION:
        text += (
            f"\nNote: {count} images choose the best epoch, so one of them is "
            f"{100 / count:.1f} points. Programs take the last epoch with --epoch=last."
        )
    return text


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
