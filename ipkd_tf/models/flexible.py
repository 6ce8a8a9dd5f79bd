"""The contract of a flexible network, and how a sub-model is cut out of any network."""

import inspect
import typing
from collections.abc import Iterable, Sequence

import keras

from ipkd_tf.models import graph
from ipkd_tf.models.naming import Submodel, find, names


def cut(network: keras.Model, which: int | str | Submodel) -> keras.Model:
    """Returns one sub-model as a plain `keras.Model` that holds only what it uses.

    It takes images to logits, with weights of its own; models inside the network are dissolved
    into their layers.

    Args:
        network: As for `names`.
        which: As for `find`, or what the network's own `submodel` takes.

    Example:
        >>> cut(keras.Model(image, [early_logits, late_logits]), 0).save("early.keras")
    """
    if hasattr(network, "submodel"):
        return network.submodel(which)
    return _cut_graph(network, find(network, which))


def _cut_graph(network, index):
    whole = graph.Graph(network)
    return whole.copy([whole.outputs[index]], name=names(network)[index])


class FlexibleNetwork(keras.Model):
    """A functional model whose outputs are the logits of its named sub-models, smallest first.

    A family subclasses it: constructor arguments, from which it can be saved and loaded (ValueError
    where one is out of range), and a functional graph, handed to
    `super().__init__(inputs=..., outputs=[...], submodels=[...])`. It overrides only what differs:

    * `build_submodel` where the graph cut at one output holds more than that output uses, and
      `weights_of` where the weights of such a plain model are not leading slices of those of the
      network's layer of the same name;
    * `parse` where there are sub-models beyond the named ones, and `space` and `compose` where
      these are searched;
    * `draw`, `drawn` and `train_logits` where a training step computes other sub-models than
      these, or further logits that only the labels train;
    * `needs_recalibration` and `recalibrate` where sub-models share normalisation statistics;
    * `codes_of` where weights are whole numbers of few bits, which a packed file stores as such,
      and `rounds_activations` where activations are rounded;
    * `costs`, a table as `ipkd_tf.models.cost.COSTS`, where it costs more than others do.

    Args:
        inputs: Symbolic images `[batch, height, width, channels]`, uint8 or float in 0..255.
        outputs: List of symbolic logits `[batch, classes]`, smallest first.
        submodels: `Submodel` or name of each output.
        **kwargs: Of `keras.Model`, such as `name`.

    Attributes:
        arguments: Dict of the constructor's arguments, without those of `keras.Model`.
        submodels: Tuple of `Submodel`, one for each output.
        needs_recalibration: Whether a sub-model needs `recalibrate` after training.
        rounds_activations: Whether another last bit may become another level of an activation, so
            that equal computations in another order differ by more than rounding.
    """

    needs_recalibration = False
    rounds_activations = False

    def __new__(cls, *args, **kwargs):
        network = super().__new__(cls, *args, **kwargs)
        network.keep(arguments=_constructor_arguments(cls, network, *args, **kwargs))
        return network

    def __init__(
        self,
        *,
        inputs: typing.Any,
        outputs: Sequence,
        submodels: Sequence[str | Submodel],
        **kwargs: typing.Any,
    ):
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self.submodels = tuple(Submodel(s) if isinstance(s, str) else s for s in submodels)

    def keep(self, **attributes: typing.Any) -> None:
        """Sets attributes past Keras, which would wrap dicts and lists and track the layers."""
        for name, value in attributes.items():
            object.__setattr__(self, name, value)

    @property
    def submodel_names(self) -> tuple[str, ...]:
        return tuple(submodel.name for submodel in self.submodels)

    def resolve(self, which: int | str | Submodel) -> Submodel:
        """Returns the `Submodel` of a number, a name or a `Submodel`; see `find`."""
        name = getattr(which, "name", which)
        unlisted = self.parse(name) if isinstance(name, str) else None
        return unlisted or self.submodels[find(self, which)]

    def parse(self, name: str) -> Submodel | None:
        """Returns the `Submodel` of a name beyond the named ones; None: there is none."""

    def space(self) -> dict[str, tuple]:
        """Returns what sub-models are searched among: dict of gene to a tuple of its choices.

        The first choices make the smallest sub-model, the last ones the largest.
        """
        return {"submodel": self.submodel_names}

    def compose(self, genes: dict) -> Submodel:
        """Returns the `Submodel` of a dict with one choice for each gene of `space`."""
        return self.resolve(genes["submodel"])

    def submodel(self, which: int | str | Submodel) -> keras.Model:
        """Returns one sub-model as a plain model of its own, without any weight it does not use.

        It takes images to logits `[batch, classes]`, equal to that output of the network in
        inference mode. Training one does not change the other.

        Args:
            which: Its number (0 for the smallest, negative ones count from the largest), its name,
                or a `Submodel`.

        Raises:
            IndexError, ValueError: There is none of that number or name.

        Example:
            >>> network.submodel("exit_1").save("exit_1.keras")
        """
        submodel = self.resolve(which)
        model = self.build_submodel(submodel)
        if model is None:
            return _cut_graph(self, find(self, submodel))
        for layer in model.layers:
            if layer.weights:
                graph.set_weights(layer, self.weights_of(submodel, layer))
        return model

    def build_submodel(self, submodel: Submodel) -> keras.Model | None:
        """Returns an untrained plain model of a sub-model; None: the graph cut at its output."""

    def weights_of(self, submodel: Submodel, layer: keras.layers.Layer) -> list:
        """Returns the arrays that a layer of the plain model of a sub-model gets as weights."""
        return leading_slices(self.get_layer(layer.name), layer)

    def codes_of(self, submodel: Submodel, layer: keras.layers.Layer) -> typing.Any:
        """Returns the `quantized_layers.Codes` of a plain layer's first weight, or None."""

    def draw(self, seed: int, step: typing.Any) -> typing.Any:
        """Returns what one training step trains, smallest first, or None: the named sub-models.

        A pure function of the seed, a Python int, and the step, an integer tensor.
        """

    @property
    def drawn(self) -> int:
        """How many sub-models one training step trains."""
        return len(self.submodels)

    def train_logits(self, images: typing.Any, drawn: typing.Any = None) -> tuple[list, list]:
        """Computes the logits of what `draw` returned, in training mode.

        Returns a list of `drawn` logits `[batch, classes]`, smallest first, and a list of further
        logits that only the labels train. Images are `[batch, height, width, channels]` in 0..255.
        """
        return keras.tree.flatten(self(images, training=True)), []

    def recalibrate(self, which: int | str | Submodel, batches: Iterable) -> None:
        """Estimates the normalisation statistics of one sub-model anew, if it shares them.

        Args:
            which: As for `submodel`.
            batches: Iterable of training images `[batch, height, width, channels]`.
        """

    def get_config(self):
        return {**self.arguments, "name": self.name}


def _constructor_arguments(cls, network, *args, **kwargs):
    """A constructor's arguments by name, without `network` and the name of the model."""
    signature = inspect.signature(cls.__init__)
    # Keras also makes one without arguments, when it first meets the class.
    bound = signature.bind_partial(network, *args, **kwargs)
    bound.apply_defaults()
    _, *arguments = bound.arguments.items()
    flat = {}
    for name, value in arguments:
        more = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        flat |= value if more else {name: value}
    flat.pop("name", None)
    return flat


def leading_slices(source, layer):
    """The leading slices of a layer's weights, in the shapes of those of another layer."""
    pairs = zip(source.weights, layer.weights, strict=True)
    return [wide.numpy()[tuple(map(slice, narrow.shape))] for wide, narrow in pairs]
