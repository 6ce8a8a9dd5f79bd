"""One experiment from start to finish: data, network, training, result files."""

import dataclasses
import statistics
import sys

import keras

from ipkd_tf import checkpointing, data, environment, evaluation, preparation, report, workdir

_PROGRESS = ("loss", "hard_loss", "soft_loss", "avg_accuracy", "val_loss", "val_avg_accuracy")


def run(experiment, callbacks=()):
    """Trains, evaluates and reports an experiment, or goes on with one that was interrupted.

    Args:
        experiment: The `Experiment`; its `output_dir` receives flags.txt, environment.json,
            history.csv, best.keras, last.keras, result.json, two PNG figures and checkpoints/.
        callbacks: Further Keras callbacks.

    Returns:
        What result.json holds: the settings, the best and the last epoch, and for each of the two
        the rows of `evaluation.evaluate` on the test images. A finished run is not run again.

    Raises:
        ValueError: A setting does not fit the data or the network, or the directory holds
            another run.
        OSError: The outputs cannot be written or the data cannot be read.

    Example:
        >>> run(Experiment(model="msdnet_small", epochs=10, workdir="runs/first"))
    """
    directory = workdir.prepare(experiment)
    result = workdir.read_json(directory / "result.json")
    if result and result["last_epoch"] == experiment.epochs:
        print(f"{directory} holds this run, finished.")
    else:
        result, history = _train(experiment, directory, callbacks)
        report.draw(result, history, directory)
        # Last, because its presence says that the run is finished.
        workdir.write_json(directory / "result.json", result)
    print(report.table(result))
    return result


def _train(experiment, directory, callbacks):
    _keep_environment(directory)
    keras.config.set_dtype_policy(experiment.precision)
    splits = preparation.read_splits(experiment)
    with preparation.make_strategy(experiment.strategy).scope():
        distiller = preparation.build(experiment, splits)
        keeper = checkpointing.KeepEpochs(directory, distiller)
        finished = keeper.restore()
    print(_headline(experiment, splits, directory, finished), flush=True)
    _fit(distiller, experiment, splits, finished, [keeper, Progress(), *callbacks])
    checkpointing.save_network(distiller.network, directory / "last.keras")
    best = checkpointing.best_epoch(keeper.history)
    rows = _test(distiller.network, experiment, splits, best["epoch"], directory)
    return _result(experiment, splits, keeper.history, best, rows), keeper.history


class Progress(keras.callbacks.ProgbarLogger):
    """Keras's progress bar without the scores of single sub-models: a line that fits a terminal."""

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, self._overall(logs))

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, self._overall(logs))

    def _overall(self, logs):
        return {name: logs[name] for name in _PROGRESS if name in logs}


def _keep_environment(directory):
    """A run that was interrupted may have begun elsewhere: earlier starts stay on record."""
    path = directory / "environment.json"
    earlier = workdir.read_json(path)
    starts = [*earlier.pop("earlier_starts"), earlier] if earlier else []
    workdir.write_json(path, {**environment.describe(), "earlier_starts": starts})


def _fit(distiller, experiment, splits, finished, callbacks):
    if finished == experiment.epochs:
        return
    steps = splits.steps_per_epoch(experiment.batch_size)
    train = data.training(
        *splits.train,
        batch_size=experiment.batch_size,
        seed=experiment.seed,
        start_step=finished * steps,
        augmentation=data.Augmentation(experiment.crop_padding, experiment.flip),
    )
    distiller.fit(
        train,
        validation_data=data.evaluation(*splits.validation, batch_size=experiment.batch_size),
        initial_epoch=finished,
        epochs=experiment.epochs,
        steps_per_epoch=steps,
        callbacks=callbacks,
        shuffle=False,  # the data set has its order already
        verbose=1 if sys.stdout.isatty() else 2,
    )


def _test(network, experiment, splits, best_epoch, directory):
    """The last and the best network's rows on the test images; leaves the best in `network`."""
    test = data.evaluation(*splits.test, batch_size=experiment.batch_size)
    last = evaluation.evaluate(network, test)
    if best_epoch == experiment.epochs:
        return {"best": last, "last": last}
    network.load_weights(directory / "best.keras")
    return {"best": evaluation.evaluate(network, test), "last": last}


def _headline(experiment, splits, directory, finished):
    counts = ", ".join(f"{count} {part}" for part, count in splits.examples().items())
    devices = ", ".join(environment.devices())
    begin = f"goes on after epoch {finished} of" if finished else "trains for"
    return (
        f"{experiment.run_name} {begin} {experiment.epochs} epochs: {experiment.model}, "
        f"{experiment.method}, {experiment.dataset} ({counts}), on {devices}. Outputs: {directory}"
    )


def _result(experiment, splits, history, best, rows):
    seconds = [row["seconds"] for row in history]
    return {
        "name": experiment.run_name,
        "model": experiment.model,
        "dataset": experiment.dataset,
        "method": experiment.method,
        "seed": experiment.seed,
        "best_epoch": best["epoch"],
        "last_epoch": len(history),
        **rows,
        "examples": splits.examples(),
        "seconds": {"training": round(sum(seconds), 3), "epoch": statistics.median(seconds)},
        "settings": dataclasses.asdict(experiment),
    }
