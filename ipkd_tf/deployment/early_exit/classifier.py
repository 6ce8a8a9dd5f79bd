"""A classifier that stops computing for the images it is sure of."""

import numpy as np
import tensorflow as tf

from ipkd_tf.deployment.early_exit import confidence as confidences
from ipkd_tf.deployment.early_exit import inference, simulation
from ipkd_tf.models import flexible, stages
from ipkd_tf.output import files


class AdaptiveClassifier(tf.Module):
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
        copy: Whether to run a copy made faster, with the weights of now as constants, see
            `inference`; without it the classifier follows the network's weights.

    Attributes:
        names: Of the sub-models, in the order of `exit`.
        stages: Tuple of `stages.Stage`.

    Raises:
        ValueError: An argument is not as described.

    Example:
        >>> classify = AdaptiveClassifier(network, thresholds=[0.9, 0.8, 0.8])
        >>> classify(images)["class_id"]
        >>> classify(images, thresholds=[0.5, 0.5, 0.5])["exit"]

    Source: Huang et al., MSDNet, ICLR 2018; Teerapittayanon et al., BranchyNet, ICPR 2016.
    """

    def __init__(self, network, thresholds, confidence="probability", temperatures=None, copy=True):
        super().__init__()
        self.names = flexible.names(network)
        self.confidence = confidence
        self.default_thresholds = check_thresholds(thresholds, self.names)
        self._defaults = tf.constant(self.default_thresholds, tf.float32)
        self.temperatures = _check_temperatures(temperatures, self.names)
        self._measure = confidences.measure(confidence)
        made = inference.fastest(network) if copy else network
        parts = stages.partition(made)
        # A module tracks, and saves, variables and lists of Keras models, but needs only the first.
        self._stages = _Untracked(tuple(map(inference.frozen, parts)) if copy else parts)
        self._weights = [] if copy else [variable.value for variable in made.variables]
        self._classes = made.outputs[0].shape[-1]
        self.image_shape = tuple(made.inputs[0].shape[1:])
        specs = [
            tf.TensorSpec([None, *self.image_shape], tf.float32),
            tf.TensorSpec([len(self.names) - 1], tf.float32),
        ]
        # A concrete function is called a fifth of a millisecond faster than one that looks for it.
        classify = tf.function(self._classify, input_signature=specs)
        self.classify = classify.get_concrete_function()

    @property
    def stages(self):
        return self._stages.value

    def __call__(self, images, thresholds=None):
        """Classifies a batch of any size, also of none.

        Args:
            images: uint8 or float `[batch, height, width, 3]` in 0..255.
            thresholds: float `[n - 1]`; None for the default ones.

        Returns:
            Dict of tensors: `class_id` int32 `[batch]`, `probabilities` float32 `[batch, classes]`,
            and `exit` int32 `[batch]`: which sub-model answered, 0 for the smallest.
        """
        limits = self._defaults
        if thresholds is not None:
            limits = tf.constant(check_thresholds(thresholds, self.names), tf.float32)
        return self.classify(tf.cast(images, tf.float32), limits)

    def export(self, path):
        """Writes a SavedModel that runs without this package.

        Its signatures take uint8 `image` `[batch, height, width, 3]` and return what a call does:
        `serving_default` with the default thresholds, `with_thresholds` with `thresholds`
        `[n - 1]` of the caller's, so that one file serves every budget.

        Args:
            path: Directory; replaced, when the new one is complete.

        Example:
            >>> classify.export("adaptive")
            >>> loaded = tf.saved_model.load("adaptive")
            >>> loaded.signatures["serving_default"](image=images)["class_id"]
        """
        image = tf.TensorSpec([None, *self.image_shape], tf.uint8, name="image")
        thresholds = tf.TensorSpec([len(self.names) - 1], tf.float32, name="thresholds")

        @tf.function(input_signature=[image, thresholds])
        def with_thresholds(image, thresholds):
            return self.classify(tf.cast(image, tf.float32), thresholds)

        # TensorFlow's own loader knows no default values of a signature's inputs.
        @tf.function(input_signature=[image])
        def serving_default(image):
            return with_thresholds(image, tf.constant(self.default_thresholds))

        signatures = {"serving_default": serving_default, "with_thresholds": with_thresholds}
        with files.replacing(path) as aside:
            tf.saved_model.save(self, str(aside), signatures=signatures)

    def _classify(self, images, thresholds):
        def nothing():
            return tf.zeros([0, self._classes]), tf.zeros([0], tf.int32)

        # Convolutions fail on empty batches.
        probabilities, exits = tf.cond(
            tf.shape(images)[0] > 0,
            lambda: self._answer(0, {stages.IMAGE: images}, thresholds),
            nothing,
        )
        return {
            "class_id": tf.argmax(probabilities, axis=-1, output_type=tf.int32),
            "probabilities": tf.ensure_shape(probabilities, (None, self._classes)),
            "exit": tf.ensure_shape(exits, (None,)),
        }

    def _answer(self, index, tensors, thresholds):
        """Probabilities and exits of images that come to stage `index`, at least one of them."""
        stage = self.stages[index]
        batch = tf.shape(next(iter(tensors.values())))[0]
        tensors = stage.advance(tensors)
        if index == len(self.stages) - 1:
            return self._probabilities(index, tensors), tf.fill([batch], index)
        probabilities, sure = tf.cond(
            thresholds[index] <= 1,
            lambda: self._decide(index, tensors, thresholds[index]),
            lambda: (tf.zeros([batch, self._classes]), tf.zeros([batch], tf.bool)),
        )
        staying = tf.where(~sure)
        exits = tf.fill([batch], index)

        def go_on():
            kept = _gather(stage.keep(tensors), staying[:, 0], batch)
            later = self._answer(index + 1, kept, thresholds)
            return (
                tf.tensor_scatter_nd_update(probabilities, staying, later[0]),
                tf.tensor_scatter_nd_update(exits, staying, later[1]),
            )

        return tf.cond(tf.size(staying) > 0, go_on, lambda: (probabilities, exits))

    def _probabilities(self, index, tensors):
        logits = tf.cast(self.stages[index].answer(tensors), tf.float32)
        return tf.nn.softmax(logits / self.temperatures[index])

    def _decide(self, index, tensors, threshold):
        probabilities = self._probabilities(index, tensors)
        return probabilities, self._measure(probabilities) >= threshold


def _gather(tensors, rows, batch):
    """Rows of each of the tensors; the tensors themselves if that is all of them."""
    names = list(tensors)
    gathered = tf.cond(
        tf.size(rows) < batch,
        lambda: [tf.gather(tensors[name], rows) for name in names],
        lambda: [tf.identity(tensors[name]) for name in names],
    )
    return {
        name: tf.ensure_shape(one, tensors[name].shape)
        for name, one in zip(names, gathered, strict=True)
    }


def open_saved_model(path):
    """Opens what `AdaptiveClassifier.export` wrote: a function from uint8 images to its dict."""
    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]

    def run(images, loaded=loaded):  # The signature does not keep the weights alive.
        return serve(image=tf.constant(images))

    return run


class _Untracked:
    """Hides a value from the tracking of `tf.Module`."""

    def __init__(self, value):
        self.value = value


def check_thresholds(thresholds, names):
    """Thresholds as a tuple of floats.

    Raises:
        ValueError: There is not one number of at least 0 for each exit but the last.
    """
    values = tuple(map(float, thresholds))
    if len(values) != len(names) - 1 or not all(value >= 0 for value in values):
        raise ValueError(
            f"Expected one threshold for each of {', '.join(names[:-1])}: 0 lets all images leave "
            f"there, above 1 (such as {simulation.SKIP}) skips it. Received: "
            f"thresholds={thresholds}"
        )
    return values


def _check_temperatures(temperatures, names):
    values = (1.0,) * len(names) if temperatures is None else tuple(map(float, temperatures))
    if len(values) != len(names) or not all(0 < value < np.inf for value in values):
        raise ValueError(
            f"Expected one positive temperature for each of {', '.join(names)}. "
            f"Received: temperatures={temperatures}"
        )
    return values
