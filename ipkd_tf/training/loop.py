"""One experiment from start to finish: data, network, training, result files."""

import contextlib
import dataclasses
import functools
import importlib.util
import pathlib
import statistics

import keras
import tensorflow as tf

from ipkd_tf import data
from ipkd_tf.models import cost
from ipkd_tf.output import files
from ipkd_tf.training import (
    assembly,
    averaging,
    environment,
    evaluation,
    finished_run,
    initialization,
    progress,
    resume,
    summary,
    teachers,
    workdir,
    workers,
)
from ipkd_tf.training.sigterm import Sigterm
from ipkd_tf.training.splits import read_splits

_SMALL_VALIDATION = 100  # images, below which one of them is over a point of accuracy


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
    if experiment.tensorboard and not importlib.util.find_spec("tensorboard"):
        raise ValueError(
            'TensorBoard logs need pip install "ipkd_tf[tensorboard]". Received: tensorboard=True'
        )
    if experiment.deterministic:
        tf.config.experimental.enable_op_determinism()
    directory = pathlib.Path(experiment.output_dir)
    with Sigterm() as sigterm, contextlib.ExitStack() as stack:
        strategy = assembly.make_strategy(experiment.strategy)
        stack.enter_context(workers.explained(strategy))
        stack.enter_context(finished_run.arithmetic(experiment.precision))
        if not workers.is_chief(strategy):
            return _follow(experiment, directory, strategy, sigterm, callbacks)
        stack.enter_context(workdir.locked(directory))
        stack.enter_context(workdir.explain_full_disk(directory))
        return _lead(experiment, strategy, sigterm, callbacks)


def _lead(experiment, strategy, sigterm, callbacks):
    directory = workdir.prepare(experiment)
    if _is_finished(directory, experiment):
        result = files.read_json(directory / "result.json")
        teachers.check_same(result, experiment)
        print(f"{directory} holds this run, finished.")
    else:
        _keep_environment(directory)
        result = _conclude(experiment, *_train(experiment, directory, strategy, sigterm, callbacks))
        workers.wait_for_all(strategy)
    print(summary.table(result))
    return result


def _follow(experiment, directory, strategy, sigterm, callbacks):
    """What workers do that are not the chief: the same steps, no outputs."""
    if not _is_finished(directory, experiment):
        _train(experiment, directory, strategy, sigterm, callbacks)
        workers.wait_for_all(strategy)


def _is_finished(directory, experiment):
    result = files.read_json(directory / "result.json") or {}
    return (result.get("state"), result.get("last_epoch")) == ("finished", experiment.epochs)


def _train(experiment, directory, strategy, sigterm, callbacks):
    tell = progress.reading() if workers.is_chief(strategy) else None
    splits = read_splits(experiment, tell)
    steps = splits.steps_per_epoch(experiment.batch_size)
    identity = {**splits.identity(), **teachers.identity(experiment)}
    fresh = None
    with strategy.scope():
        distiller = assembly.build(experiment, splits)
        keeper = resume.Keeper(
            directory, distiller, identity, steps, 60 * experiment.checkpoint_minutes, sigterm
        )
        if not keeper.restore() and experiment.initialize_from:
            source = experiment.initialize_from
            fresh = initialization.initialize_from(distiller.network, source, experiment.dataset)
    workers.check_agreement(strategy, keeper.global_step)
    callbacks = [keeper, averaging.EvaluateAverages(), *callbacks]
    if getattr(distiller.network, "needs_recalibration", False):
        batches = evaluation.batches_to_recalibrate(splits.train)
        callbacks.insert(2, evaluation.Recalibration(batches))
    if workers.is_chief(strategy):
        print(_headline(experiment, splits, directory, keeper, fresh), flush=True)
        callbacks += [_running_result(experiment, splits, keeper), *progress.callbacks()]
        if experiment.tensorboard:
            board = keras.callbacks.TensorBoard(directory / "tensorboard", write_graph=False)
            callbacks.append(board)
    with data.explain_failure(splits.train):
        _fit(distiller, experiment, splits, keeper, callbacks)
    return splits, distiller, keeper


def _running_result(experiment, splits, keeper):
    """Keeps result.json up to date; whoever waits for the end of the run looks at its state."""

    def write(epoch, logs):
        rows = {"validation": resume.best_epoch(keeper.history)}
        result = _result(experiment, splits, keeper, rows, "running")
        files.write_json(keeper.directory / "result.json", result)

    return keras.callbacks.LambdaCallback(on_epoch_end=write)


def _conclude(experiment, splits, distiller, keeper):
    """Tests, reports and only then calls the run finished."""
    directory, history = keeper.directory, keeper.history
    best = resume.best_epoch(history)
    with averaging.averaged(distiller), data.explain_failure(splits.test):
        resume.save_network(distiller.network, directory / "last.keras")
        rows = _test(distiller.network, experiment, splits, best["epoch"], directory)
    rows["parameters"] = cost.parameters(distiller.network)
    result = _result(experiment, splits, keeper, rows, "finished")
    summary.draw(result, history, directory)
    files.write_json(directory / "result.json", result)
    return result


def _keep_environment(directory):
    """A run that was interrupted may have begun elsewhere: earlier starts stay on record."""
    path = directory / "environment.json"
    earlier = files.read_json(path)
    starts = [*earlier.pop("earlier_starts"), earlier] if earlier else []
    files.write_json(path, {**environment.describe(), "earlier_starts": starts})


def _fit(distiller, experiment, splits, keeper, callbacks):
    steps = splits.steps_per_epoch(experiment.batch_size)
    validation = workers.shared(
        data.evaluation(splits.validation, batch_size=experiment.batch_size)
    )
    callbacks = keras.callbacks.CallbackList(
        callbacks, True, model=distiller, epochs=experiment.epochs, steps=steps, verbose=1
    )
    if keeper.step == steps:
        _finish_epoch(distiller, validation, keeper.epoch, callbacks)
    # An epoch of which a part is done is a `fit` of its own: Keras's epochs are equally long.
    ends = [keeper.epoch + 1, experiment.epochs] if keeper.step else [experiment.epochs]
    for end in ends:
        if keeper.epoch < end:
            distiller.fit(
                workers.share_training(
                    distiller.distribute_strategy,
                    experiment.batch_size,
                    functools.partial(_training_batches, experiment, splits, keeper.global_step),
                ),
                validation_data=validation,
                initial_epoch=keeper.epoch,
                epochs=end,
                steps_per_epoch=steps - keeper.step,
                callbacks=callbacks,
                shuffle=False,  # the data set has its order already
            )


def _finish_epoch(distiller, validation, epoch, callbacks):
    """Validates an epoch whose steps were all done when the run was interrupted."""
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(epoch)
    logs = distiller.get_metrics_result()
    scores = distiller.evaluate(validation, callbacks=callbacks, return_dict=True)
    callbacks.on_epoch_end(epoch, {**logs, **{f"val_{k}": v for k, v in scores.items()}})
    callbacks.on_train_end()


def _training_batches(experiment, splits, start_step, part):
    return data.training(
        splits.train,
        batch_size=experiment.batch_size,
        seed=experiment.seed,
        start_step=start_step,
        part=part,
        augmentation=data.Augmentation(
            crop_padding=experiment.crop_padding,
            flip=experiment.flip,
            rotation=experiment.rotation,
            cutout=experiment.cutout,
            resized_crop=experiment.resized_crop,
            jitter=experiment.jitter,
            mixup=experiment.mixup,
            label_smoothing=experiment.label_smoothing,
            num_classes=len(splits.dataset.class_names),
        ),
    )


def _test(network, experiment, splits, best_epoch, directory):
    """The last and the best network's rows on the test images; leaves the best in `network`."""
    test = data.evaluation(splits.test, batch_size=experiment.batch_size)
    last = evaluation.evaluate(network, test)
    if best_epoch == experiment.epochs:
        return {"best": last, "last": last}
    network.load_weights(directory / "best.keras")
    return {"best": evaluation.evaluate(network, test), "last": last}


def _headline(experiment, splits, directory, keeper, fresh):
    """What is about to happen; `fresh` are the heads that start anew, None without a source."""
    counts = ", ".join(f"{count} {part}" for part, count in splits.examples().items())
    devices = ", ".join(environment.devices())
    place = "in memory" if splits.train.in_memory else "read from files"
    begin = f"goes on after step {keeper.global_step}, for" if keeper.global_step else "trains for"
    epochs = "1 epoch" if experiment.epochs == 1 else f"{experiment.epochs} epochs"
    alone = f", {experiment.submodel} alone" if experiment.submodel else ""
    taught = f" by {experiment.teacher}" if experiment.teacher else ""
    text = (
        f"{experiment.run_name} {begin} {epochs}: {experiment.model}{alone}, "
        f"{experiment.method}{taught}, {experiment.dataset} ({counts}, {place}), on {devices}. "
        f"Outputs: {directory}"
    )
    if fresh is not None:
        heads = f"without the heads, which start anew: {', '.join(fresh)}" if fresh else "all"
        text += f"\nWeights from {experiment.initialize_from}, {heads}."
    if (count := len(splits.validation)) < _SMALL_VALIDATION:
        text += (
            f"\nNote: {count} images choose the best epoch, so one of them is {100 / count:.1f} "
            "points. Programs take the last epoch with --epoch=last."
        )
    return text


def _result(experiment, splits, keeper, rows, state):
    seconds = [row["seconds"] for row in keeper.history]
    examples = dict(keeper.identity)
    teachers = {"teachers": examples.pop("teachers")} if experiment.teacher else {}
    before = files.read_json(keeper.directory / "result.json") or {}
    return {
        "state": state,
        "name": experiment.run_name,
        "model": experiment.model,
        "dataset": experiment.dataset,
        "method": experiment.method,
        "seed": experiment.seed,
        "best_epoch": resume.best_epoch(keeper.history)["epoch"],
        "last_epoch": len(keeper.history),
        **rows,
        "data_digest": examples.pop("digest"),
        "examples": examples,
        **teachers,
        "skipped": {**before.get("skipped", {}), **splits.train.skipped},
        "seconds": {"training": round(sum(seconds), 3), "epoch": statistics.median(seconds)},
        "settings": dataclasses.asdict(experiment),
    }
