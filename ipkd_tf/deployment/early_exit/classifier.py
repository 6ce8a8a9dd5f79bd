"""A classifier that stops computing for the images it is sure of."""

import typing
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf.deployment.early_exit import confidence as confidences
from ipkd_tf.deployment.early_exit import inference
from ipkd_tf.models import flexible, naming, stages


class EarlyExitClassifier:
    """Runs a network stage by stage; only images that are not yet sure go on.

    Between stages the batch is regrouped: every tensor that the next stage reads is gathered for
    the images that stay, nothing is computed again. If all stay, nothing is gathered; if none do,
    the rest of the network does not run; the head of a skipped exit does not run either.

    Args:
        network: A flexible network, or any functional model of one input with one logits output
            per sub-model, smallest first.
        thresholds: float `[n - 1]`, least confidence to leave at each exit but the last: 0 lets all
            leave, above 1 skips the exit. They are only defaults.
        confidence: `probability`, `margin` or `entropy`.
        temperatures: float `[n]`, divides the logits of each sub-model; None for 1.
        copy: Whether to run a copy made faster, with the weights of now as constants; without it
            the classifier follows the network's weights.

    Attributes:
        names: Of the sub-models, in the order of `exit`.
        network: What it runs, the copy or the network itself.
        variables: List of `tf.Variable` it reads; of a copy the weights are constants.

    Raises:
        ValueError: An argument is not as described.

    Example:
        >>> classify = EarlyExitClassifier(network, thresholds=[0.9, 0.8, 0.8])
        >>> classify(images)["class_id"]
        >>> classify(images, thresholds=[0.5, 0.5, 0.5])["exit"]

    Source: Huang et al., MSDNet, ICLR 2018; Teerapittayanon et al., BranchyNet, ICPR 2016.
    """

    def __init__(
        self,
        network: keras.Model,
        thresholds: Sequence[float],
        confidence: str = "probability",
        temperatures: Sequence[float] | None = None,
        copy: bool = True,
    ):
        self.names = flexible.names(network)
        self.thresholds = self._check_thresholds(thresholds)
        self.confidence = confidence
        temperatures = [1.0] * len(self.names) if temperatures is None else temperatures
        expected = "one positive temperature for each of {}"
        self.temperatures = _check(
            temperatures, self.names, lambda value: 0 < value < np.inf, expected, "temperatures"
        )
        self._measure = confidences.measure(confidence)
        self.network = inference.fastest(network) if copy else network
        parts = stages.partition(self.network)
        self._stages = tuple(map(inference.frozen, parts)) if copy else parts
        self.variables = [] if copy else [variable.value for variable in network.variables]
        self._classes = self.network.outputs[0].shape[-1]
        self.image_shape = tuple(self.network.inputs[0].shape[1:])
        specs = [
            tf.TensorSpec([None, *self.image_shape], tf.float32),
            tf.TensorSpec([len(self.names) - 1], tf.float32),
        ]
        # A concrete function is called a fifth of a millisecond faster than one that looks for it.
        classify = tf.function(self._classify, input_signature=specs)
        self.classify = classify.get_concrete_function()

    def __call__(
        self, images: typing.Any, thresholds: Sequence[float] | None = None
    ) -> dict[str, tf.Tensor]:
        """Classifies a batch of any size, also of none.

        Args:
            images: uint8 or float `[batch, height, width, channels]` in 0..255.
            thresholds: float `[n - 1]`; None for the default ones.

        Returns:
            Dict of tensors: `class_id` int32 `[batch]`, `probabilities` float32 `[batch, classes]`,
            and `exit` int32 `[batch]`: which sub-model answered, 0 for the smallest.
        """
        images = tf.cast(images, tf.float32)
        naming.check_images(self.network, images)
        limits = self.thresholds if thresholds is None else self._check_thresholds(thresholds)
        return self.classify(images, tf.constant(limits, tf.float32))

    def _check_thresholds(self, thresholds):
        expected = "one threshold for each of {}: 0 lets all images leave there, above 1 skips it"
        return _check(thresholds, self.names[:-1], lambda value: value >= 0, expected, "thresholds")

    def _classify(self, images, thresholds):
        # Convolutions fail on empty batches.
        probabilities, exits = tf.cond(
            tf.shape(images)[0] > 0,
            lambda: self._answer(0, {stages.IMAGE: images}, thresholds),
            lambda: (tf.zeros([0, self._classes]), tf.zeros([0], tf.int32)),
        )
        return {
            "class_id": tf.argmax(probabilities, axis=-1, output_type=tf.int32),
            "probabilities": tf.ensure_shape(probabilities, (None, self._classes)),
            "exit": tf.ensure_shape(exits, (None,)),
        }

    def _answer(self, index, tensors, thresholds):
        """Probabilities and exits of images that come to stage `index`, at least one of them."""
        stage = self._stages[index]
        batch = tf.shape(next(iter(tensors.values())))[0]
        tensors = stage.advance(tensors)
        exits = tf.fill([batch], index)

        def answer():
            logits = tf.cast(stage.answer(tensors), tf.float32)
            return tf.nn.softmax(logits / self.temperatures[index])

        def decide():
            probabilities = answer()
            return probabilities, self._measure(probabilities) >= thresholds[index]

        def skip():
            return tf.zeros([batch, self._classes]), tf.zeros([batch], tf.bool)

        if index == len(self._stages) - 1:
            return answer(), exits
        probabilities, sure = tf.cond(thresholds[index] <= 1, decide, skip)
        staying = tf.where(~sure)

        def go_on():
            kept = _gather(stage.keep(tensors), staying[:, 0], batch)
            later = self._answer(index + 1, kept, thresholds)
            return (
                tf.tensor_scatter_nd_update(probabilities, staying, later[0]),
                tf.tensor_scatter_nd_update(exits, staying, later[1]),
            )

        return tf.cond(tf.size(staying) > 0, go_on, lambda: (probabilities, exits))


def _check(values, names, valid, expected, argument):
    """The values as a tuple of floats; ValueError unless there is a valid one for each name."""
    numbers = tuple(map(float, values))
    if len(numbers) != len(names) or not all(map(valid, numbers)):
        expected = expected.format(", ".join(names))
        raise ValueError(f"Expected {expected}. Received: {argument}={values}")
    return numbers


def _gather(tensors, rows, batch):
    """Rows of each of the tensors; the tensors themselves if that is all of them."""
    gathered = tf.cond(
        tf.size(rows) < batch,
        lambda: {name: tf.gather(tensor, rows) for name, tensor in tensors.items()},
        lambda: {name: tf.identity(tensor) for name, tensor in tensors.items()},
    )
    return {name: tf.ensure_shape(gathered[name], one.shape) for name, one in tensors.items()}
