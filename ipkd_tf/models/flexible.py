"""The contract of a flexible network, and the pieces all families share."""

import keras


class FlexibleNetwork(keras.Model):
    """A functional model whose outputs are the logits of its sub-models, smallest first.

    A family subclasses it in keras-hub's manner: constructor arguments, functional graph, config.
    It calls `super().__init__(inputs=..., outputs=[...], submodel_names=(...))`. Where cutting the
    graph at one output would leave weights that this output does not use, it also defines
    `build_submodel(index)`: an untrained plain Keras model of the same function as that output,
    with the layer names of the network; `submodel` fills it with the network's weights.

    Attributes:
        submodel_names: One name for each output, used in metrics, files and signatures.

    Images enter as uint8 or float `[batch, height, width, 3]` in 0..255.
    """

    def __init__(self, *, inputs, outputs, submodel_names, **kwargs):
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self.submodel_names = tuple(submodel_names)

    def build_submodel(self, index):
        """Returns an untrained plain model of output `index`, its layers named as the network's."""
        cut = keras.Model(self.input, self.outputs[index], name=self.submodel_names[index])
        return keras.models.clone_model(cut)

    def weight_source(self, index, layer):
        """Returns the network's layer that holds the weights of `layer` of sub-model `index`."""
        return self.get_layer(layer.name)

    def submodel(self, index):
        """Returns sub-model `index` as a model of its own, without any weight it does not use.

        Args:
            index: 0 for the smallest; negative indices count from the largest.

        Returns:
            A `keras.Model` from images to logits `[batch, classes]`, equal to output `index` of the
            network in inference mode. Training one does not change the other.

        Raises:
            IndexError: There is no such sub-model.

        Example:
            >>> network.submodel(0).save("exit_1.keras")
        """
        count = len(self.submodel_names)
        if not -count <= index < count:
            raise IndexError(
                f"Expected a sub-model from 0 to {count - 1} ({', '.join(self.submodel_names)}). "
                f"Received: index={index}"
            )
        index %= count
        model = self.build_submodel(index)
        for layer in model.layers:
            if layer.weights:
                _copy_leading_slices(self.weight_source(index, layer), layer)
        return model


class TurnedNetwork(FlexibleNetwork):
    """A flexible network that computes on turned images, see `prepare_images`, and saves so.

    A family defines `arguments()`, a dict of its constructor's arguments without the name.
    """

    def get_config(self):
        return {**self.arguments(), "name": self.name, "images": "turned"}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        if config.pop("images", None) != "turned":
            # Its kernels would load, but compute something else.
            raise ValueError("saved before networks computed on turned images; train it again")
        return cls(**config)


def _copy_leading_slices(source, target):
    for wide, narrow in zip(source.weights, target.weights, strict=True):
        narrow.assign(wide.numpy()[tuple(slice(side) for side in narrow.shape)])


def prepare_images(images, mean, std):
    """Scales images in 0..255 to zero mean and unit deviation per channel, and turns them by 180°.

    The networks compute on turned images for the sake of speed. Where a side is even and the stride
    2, PyTorch's padding of 1 comes to one row above and one column to the left, TensorFlow's "same"
    to one below and one to the right: with images and kernels turned they are equal. A network is
    thus the reference's with every kernel turned by 180°, and no layer has to copy its input in
    order to pad it.

    Args:
        images: `[batch, height, width, 3]`, uint8 or float in 0..255.
        mean: Per channel mean, in units of the whole range (pixel / 255).
        std: Per channel standard deviation, in the same units.
    """
    scale = [1.0 / (255.0 * s) for s in std]
    offset = [-m / s for m, s in zip(mean, std, strict=True)]
    normalized = keras.layers.Rescaling(scale, offset, name="normalize")(images)
    return keras.ops.flip(normalized, axis=(1, 2))


def check_positive(**values):
    """Raises ValueError unless each value is a positive whole number (or a sequence of them)."""
    for name, value in values.items():
        numbers = value if isinstance(value, list | tuple) else [value]
        if not numbers or not all(isinstance(n, int) and n > 0 for n in numbers):
            raise ValueError(f"Expected positive whole numbers. Received: {name}={value!r}")


def check_statistics(mean, std):
    """Raises ValueError unless mean and std hold three numbers each, std positive."""
    if len(mean) != 3 or len(std) != 3 or not all(s > 0 for s in std):
        raise ValueError(
            "Expected a mean and a positive standard deviation for each of 3 channels, as shares "
            f"of 255. Received: mean={mean!r}, std={std!r}"
        )
