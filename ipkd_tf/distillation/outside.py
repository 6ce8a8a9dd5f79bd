"""Teachers from outside: frozen networks whose logits teach, and of which nothing else is known."""

import tensorflow as tf

from ipkd_tf.models import flexible


class OutsideTeachers:
    """Frozen networks beside the one that is trained, for the columns of W after its sub-models.

    No Keras object, so that a distiller that holds it takes none of their weights for its own.
    Copies are made, which stay what they are and lie on all devices of the strategy in scope.

    Args:
        models: Trained functional `keras.Model`s from the network's images to logits `[batch,
            classes]`. Of several outputs the last counts, the largest.
        network: The network that they teach.
    """

    def __init__(self, models, network):
        for number, model in enumerate(models, 1):
            _check_fit(model, f"t{number}", network)
        self._models = [flexible.cut(model, -1) for model in models]

    def logits(self, images):
        """Their logits in inference mode, a list of `[batch, classes]`."""
        return [model(images, training=False) for model in self._models]


def _check_fit(model, name, network):
    flexible.names(model)  # refuses what gives no logits
    given, asked = (
        [*(image.shape for image in one.inputs), one.outputs[-1].shape] for one in (model, network)
    )
    if len(given) != len(asked) or not all(
        tf.TensorShape(a).is_compatible_with(b) for a, b in zip(given, asked, strict=True)
    ):
        raise ValueError(
            f"Expected an outside teacher that takes the network's images and tells its classes "
            f"apart, {asked[:-1]} -> {asked[-1]}; train one on the same data. "
            f"Received: {name} with {given[:-1]} -> {given[-1]}"
        )
