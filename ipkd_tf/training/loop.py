"""One experiment from start to finish: data, network, training, result files."""

import contextlib
import dataclasses
import functools
import pathlib
import statistics

import keras
import tensorflow as tf

from ipkd_tf import data
from ipkd_tf.models import cost
from ipkd_tf.output import checks, counter, files
from ipkd_tf.training import (
    assembly,
    averaging,
    environment,
    evaluation,
    finished_run,
    initialization,
    progress,
    resume,
    splits,
    summary,
    teachers,
    workdir,
    workers,
)
from ipkd_tf.training.sigterm import Sigterm


def run(experiment, callbacks=()):
    """Trains, evaluates and reports an experiment, or goes on with one that was interrupted.

    Args:
        experiment: The `Experiment`; its `output_dir` receives flags.txt, environment.json,
            history.csv, best.keras, last.keras, result.json, two PNG figures and checkpoints/.
        callbacks: Further Keras callbacks.

    Returns:
        What result.json holds: the settings, the best and the last epoch, and for each of the two
        the rows of `evaluation.evaluate` on the test images. A finished run is not run again.
        Of several workers only the chief evaluates and writes; the others return None.

    Raises:
        ValueError: A setting does not fit the data or the network, or the directory holds
            another run, or one that is being trained by another process.
        OSError: The outputs cannot be written, the data cannot be read, or a worker was lost.
        FloatingPointError: Training diverged.
        Terminated: SIGTERM came; what had been done is saved. (Where there is nothing to save, the
            process ends at once, with status 0.)

    Example:
        >>> run(Experiment(model="msdnet_small", epochs=10, workdir="runs/first"))
    """
    if experiment.tensorboard:
        checks.require("tensorboard", extra="tensorboard")
    if experiment.deterministic:
        tf.config.experimental.enable_op_determinism()
    directory = pathlib.Path(experiment.output_dir)
    with Sigterm() as sigterm, contextlib.ExitStack() as stack:
        strategy = assembly.make_strategy(experiment.strategy)
        stack.enter_context(workers.explained(strategy))
        stack.enter_context(finished_run.arithmetic(experiment.precision))
        is_chief = workers.is_chief(strategy)
        if is_chief:
            stack.enter_context(workdir.locked(directory))
            stack.enter_context(workdir.explain_full_disk(directory))
            workdir.prepare(experiment)
        result = files.read_json(directory / "result.json") or {}
        if not _is_finished(result, experiment):
            training = _Training(experiment, strategy, sigterm)
            training.fit(callbacks)
            result = training.conclude() if is_chief else None
            workers.wait_for_all(strategy)
        elif is_chief:
            teachers.check_same(result, experiment)
            print(f"{directory} holds this run, finished.")
        if not is_chief:
            return None
        print(summary.table(result))
        return result


def _is_finished(result, experiment):
    if result.get("state") != "finished":
        return False
    patience, last = experiment.early_stopping, result["last_epoch"]
    return last == experiment.epochs or 0 < patience <= last - result["best_epoch"]


class _Training:
    """A run in progress: its data, its distiller, what it keeps."""

    def __init__(self, experiment, strategy, sigterm):
        self.experiment, self.directory = experiment, pathlib.Path(experiment.output_dir)
        self.is_chief = workers.is_chief(strategy)
        if self.is_chief:
            environment.record(self.directory / "environment.json")
        with counter.shown(self.is_chief):
            self.splits = splits.read_splits(experiment)
        self.steps = self.splits.steps_per_epoch(experiment.batch_size)
        identity = {**self.splits.identity(), **teachers.identity(experiment)}
        seconds = 60 * experiment.checkpoint_minutes
        self.fresh_heads = None  # Names of those that start anew, where weights have a source.
        with strategy.scope():
            self.distiller = assembly.build(experiment, self.splits)
            self.keeper = resume.Keeper(
                *(self.directory, self.distiller, identity, self.steps, seconds, sigterm),
                patience=experiment.early_stopping,
            )
            if not self.keeper.restore() and (source := experiment.initialize_from):
                self.fresh_heads = initialization.initialize_from(
                    self.distiller.network, source, experiment.dataset
                )
        workers.check_agreement(strategy, self.keeper.global_step)

    def fit(self, callbacks):
        """Trains to the last epoch, with callbacks of the user's as well."""
        callbacks = [
            self.keeper,
            averaging.EvaluateAverages(),
            evaluation.Recalibration(self.splits.train),
            *callbacks,
        ]
        if self.is_chief:
            step = self.keeper.global_step
            text = progress.headline(self.experiment, self.splits, step, self.fresh_heads)
            print(text, flush=True)
            keep_result = keras.callbacks.LambdaCallback(on_epoch_end=self._write_running)
            callbacks += [keep_result, *progress.callbacks()]
            if self.experiment.tensorboard:
                board = keras.callbacks.TensorBoard(
                    self.directory / "tensorboard", write_graph=False
                )
                callbacks.append(board)
        callbacks = keras.callbacks.CallbackList(
            callbacks,
            True,
            model=self.distiller,
            epochs=self.experiment.epochs,
            steps=self.steps,
            verbose=1,
        )
        with data.explain_failure(self.splits.train):
            self._fit(callbacks)

    def _fit(self, callbacks):
        keeper, batch_size = self.keeper, self.experiment.batch_size
        validation = workers.shared(data.evaluation(self.splits.validation, batch_size=batch_size))
        if keeper.step == self.steps:
            self._finish_epoch(validation, callbacks)
        # An epoch of which a part is done is a `fit` of its own: Keras's epochs are equally long.
        last = self.experiment.epochs
        for end in [keeper.epoch + 1, last] if keeper.step else [last]:
            if keeper.epoch < end and not keeper.stopped:
                batches = functools.partial(
                    splits.training_batches, self.experiment, self.splits, keeper.global_step
                )
                strategy = self.distiller.distribute_strategy
                self.distiller.fit(
                    workers.share_training(strategy, batch_size, batches),
                    validation_data=validation,
                    initial_epoch=keeper.epoch,
                    epochs=end,
                    steps_per_epoch=self.steps - keeper.step,
                    callbacks=callbacks,
                    shuffle=False,  # the data set has its order already
                )

    def _finish_epoch(self, validation, callbacks):
        """Validates an epoch whose steps were all done when the run was interrupted."""
        epoch = self.keeper.epoch
        callbacks.on_train_begin()
        callbacks.on_epoch_begin(epoch)
        logs = self.distiller.get_metrics_result()
        scores = self.distiller.evaluate(validation, callbacks=callbacks, return_dict=True)
        callbacks.on_epoch_end(epoch, {**logs, **{f"val_{k}": v for k, v in scores.items()}})
        callbacks.on_train_end()

    def conclude(self):
        """Tests, reports and only then calls the run finished; returns the result."""
        network, history = self.distiller.network, self.keeper.history
        test = data.evaluation(self.splits.test, batch_size=self.experiment.batch_size)
        with averaging.averaged(self.distiller), data.explain_failure(self.splits.test):
            resume.save_network(network, self.directory / "last.keras")
            best = last = evaluation.evaluate(network, test)
            if resume.best_epoch(history)["epoch"] != len(history):
                network.load_weights(self.directory / "best.keras")
                best = evaluation.evaluate(network, test)
        parameters = cost.parameters(network)
        chosen = {"validation": resume.best_epoch(history), "parameters": parameters}
        result = self._result("finished", best=best, last=last, **chosen)
        summary.draw(result, history, self.directory)
        files.write_json(self.directory / "result.json", result)
        return result

    def _write_running(self, epoch, logs):
        """Whoever waits for the end of the run looks at the state in its result.json."""
        result = self._result("running", validation=resume.best_epoch(self.keeper.history))
        files.write_json(self.directory / "result.json", result)

    def _result(self, state, **rows):
        experiment, history = self.experiment, self.keeper.history
        seconds = [row["seconds"] for row in history]
        examples = dict(self.keeper.identity)
        before = files.read_json(self.directory / "result.json") or {}
        return {
            "state": state,
            "name": experiment.run_name,
            **{name: getattr(experiment, name) for name in ("model", "dataset", "method", "seed")},
            "best_epoch": resume.best_epoch(history)["epoch"],
            "last_epoch": len(history),
            **rows,
            "data_digest": examples.pop("digest"),
            **({"teachers": examples.pop("teachers")} if experiment.teacher else {}),
            "examples": examples,
            "skipped": {**before.get("skipped", {}), **self.splits.train.skipped},
            "seconds": {"training": round(sum(seconds), 3), "epoch": statistics.median(seconds)},
            "settings": dataclasses.asdict(experiment),
        }
