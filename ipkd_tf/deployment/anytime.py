"""Answers that get better with time: each sub-model's logits as soon as they are ready."""

import time
import typing
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf.models import stages
from ipkd_tf.output.checks import check

_REHEARSALS = 9
# Of their durations: on the safe side, but a single hiccup does not count.
_PERCENTILE = 75


class InTime(typing.NamedTuple):
    """The last logits that were ready before a deadline, and the name of their sub-model."""

    logits: np.ndarray
    submodel: str


class Anytime:
    """The stages of a network, compiled once, run one at a time.

    It follows the network's weights; what earlier stages have computed is reused.

    Args:
        network: Functional `keras.Model` of one input with one logits output per sub-model,
            smallest first.
        clock: Function that returns seconds.

    Example:
        >>> for logits in Anytime(network).logits(images):
        ...     answer = logits
        ...     if time_is_up():
        ...         break
    """

    def __init__(self, network: keras.Model, clock: Callable[[], float] = time.perf_counter):
        self._stages = stages.partition(network)
        self._run = _compiled(self._stages, network.inputs[0].shape)
        self._clock = clock
        self._seconds = {}  # of each stage, by the shape of the images

    def logits(self, images: typing.Any) -> Iterator[np.ndarray]:
        """Yields each sub-model's logits `[batch, classes]`, as an array, when they are ready.

        Nothing of a stage is computed before its logits are asked for. At least one image.
        """
        tensors = {stages.IMAGE: tf.cast(images, tf.float32)}
        for run in self._run:
            logits, tensors = run(tensors)
            yield logits.numpy()

    def within(self, images: typing.Any, milliseconds: float) -> InTime:
        """The last logits that are ready before a deadline.

        A stage starts only if it should end in time, judging by a few rehearsals; those precede the
        first call with images of a shape and are not on the clock. The first stage always runs. A
        stage that ends late after all does not count.

        Args:
            images: uint8 or float `[batch, height, width, channels]` in 0..255.
            milliseconds: From the call to the answer, above 0.
        """
        check(milliseconds > 0, "a number above 0", milliseconds=milliseconds)
        expected = self._expected(images)
        deadline = self._clock() + milliseconds / 1e3
        answers = self.logits(images)
        answer = InTime(next(answers), self._stages[0].name)
        for stage, seconds in zip(self._stages[1:], expected[1:], strict=True):
            if self._clock() + seconds > deadline:
                break
            logits = next(answers)
            if self._clock() > deadline:
                break
            answer = InTime(logits, stage.name)
        return answer

    def _expected(self, images):
        """Seconds of each stage for images of this shape."""
        shape = tuple(np.shape(images))
        if shape not in self._seconds:
            rounds = []
            for _ in range(2 + _REHEARSALS):  # The first calls trace and warm up.
                times = [self._clock()]
                times += (self._clock() for _ in self.logits(images))
                rounds.append(np.diff(times))
            self._seconds[shape] = np.percentile(rounds[2:], _PERCENTILE, axis=0)
        return self._seconds[shape]


def _compiled(parts, image_shape):
    """One concrete function for each stage: called faster than one that has to be looked for."""
    specs, functions = {stages.IMAGE: tf.TensorSpec(image_shape, tf.float32, stages.IMAGE)}, []
    for stage in parts:
        functions.append(tf.function(stage.run).get_concrete_function(specs))
        _, tensors = functions[-1].structured_outputs
        specs = {name: tf.TensorSpec(one.shape, one.dtype, name) for name, one in tensors.items()}
    return functions
