"""The contract of a flexible network, and sub-models of any functional multi-output network."""

import dataclasses
import inspect
import operator
import re

import keras

from ipkd_tf.models import graph, keras_hooks


@dataclasses.dataclass(frozen=True)
class Submodel:
    """Names one sub-model of a network.

    Attributes:
        name: As in metrics, files and signatures, such as `exit_1` or `width_0.25`.
        choice: What its family needs to know of it, hashable; () for exits.
    """

    name: str
    choice: tuple = ()


def names(network):
    """Returns one name for each sub-model, smallest first: the network's own, or of its outputs.

    A plain model of one output goes by the name that it was given, so that a sub-model is called
    the same inside its network and cut out of it.

    Args:
        network: A functional `keras.Model` with one output `[batch, classes]` of logits for each
            sub-model; an attribute `submodel_names` takes precedence over the outputs' names.

    Raises:
        ValueError: The outputs are not as described.

    Example:
        >>> names(ipkd_tf.models.MSDNet(blocks=2))
        ('exit_1', 'exit_2')
    """
    _check_outputs(network)
    own = tuple(getattr(network, "submodel_names", None) or ())
    if not own:
        alone = len(network.outputs) == 1 and not _is_automatic(network.name, type(network))
        own = (network.name,) if alone else tuple(network.output_names)
    # Two outputs of one layer share that layer's name.
    unique = len(set(own)) == len(network.outputs)
    return own if unique else tuple(f"output_{k}" for k in range(1, len(network.outputs) + 1))


def _is_automatic(name, kind):
    """Whether Keras made up the name of an object, such as `functional_3`, which counts on."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.__name__).lower()
    return re.fullmatch(rf"{words}(_\d+)?", name) is not None


def find(network, which):
    """Returns the number of a named sub-model, 0 for the smallest.

    Args:
        network: As for `names`.
        which: Its number (negative ones count from the largest), its name, or a `Submodel`.

    Raises:
        IndexError: There is none of that number.
        ValueError: There is none of that name.

    Example:
        >>> find(network, "exit_1"), find(network, -1)
        (0, 6)
    """
    known = names(network)
    name = which.name if isinstance(which, Submodel) else which
    if isinstance(name, str):
        if name not in known:
            raise ValueError(
                f"Expected a sub-model of these: {', '.join(known)}. Received: submodel={name!r}"
            )
        return known.index(name)
    try:
        index = operator.index(name)
    except TypeError as error:
        raise ValueError(
            f"Expected a sub-model's number or name, or a Submodel. Received: submodel={name!r}"
        ) from error
    if not -len(known) <= index < len(known):
        raise IndexError(
            f"Expected a sub-model from 0 to {len(known) - 1} ({', '.join(known)}). "
            f"Received: submodel={index}"
        )
    return index % len(known)


def cut(network, which):
    """Returns one sub-model as a plain `keras.Model` that holds only what it uses.

    Args:
        network: As for `names`.
        which: As for `find`, or what the network's own `submodel` takes.

    Returns:
        A `keras.Model` from images to logits, with weights of its own. Models inside the network
        are dissolved into their layers.

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

    A family subclasses it: constructor arguments, from which it can be saved and loaded, and a
    functional graph, handed to `super().__init__(inputs=..., outputs=[...], submodels=[...])`.
    It overrides only what differs:

    * `build_submodel` where the graph cut at one output holds more than that output uses, and
      `weights_of` where the weights of such a plain model are not leading slices of those of the
      network's layer of the same name;
    * `resolve` where there are sub-models beyond the named ones, and `space` and `compose` where
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
        arguments = _constructor_arguments(cls, network, *args, **kwargs)
        # Past Keras, which would wrap the dict and the lists in it.
        object.__setattr__(network, "arguments", arguments)
        return network

    def __init__(self, *, inputs, outputs, submodels, **kwargs):
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self.submodels = tuple(Submodel(s) if isinstance(s, str) else s for s in submodels)

    @property
    def submodel_names(self):
        return tuple(submodel.name for submodel in self.submodels)

    def resolve(self, which):
        """Returns the `Submodel` of a number, a name or a `Submodel`; see `find`."""
        return self.submodels[find(self, which)]

    def space(self):
        """Returns what sub-models are searched among: dict of gene to a tuple of its choices.

        The first choices make the smallest sub-model, the last ones the largest.
        """
        return {"submodel": self.submodel_names}

    def compose(self, genes):
        """Returns the `Submodel` of a dict with one choice for each gene of `space`."""
        return self.resolve(genes["submodel"])

    def submodel(self, which):
        """Returns one sub-model as a plain model of its own, without any weight it does not use.

        Args:
            which: Its number (0 for the smallest, negative ones count from the largest), its name,
                or a `Submodel`.

        Returns:
            A `keras.Model` from images to logits `[batch, classes]`, equal to that output of the
            network in inference mode. Training one does not change the other.

        Raises:
            IndexError: There is none of that number.
            ValueError: There is none of that name.

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

    def build_submodel(self, submodel):
        """Returns an untrained plain model of a sub-model; None: the graph cut at its output."""

    def weights_of(self, submodel, layer):
        """Returns the arrays that a layer of the plain model of a sub-model gets as weights."""
        return leading_slices(self.get_layer(layer.name), layer)

    def codes_of(self, submodel, layer):
        """Returns the `quantized_layers.Codes` of a plain layer's first weight, or None."""

    def draw(self, seed, step):
        """Returns what one training step trains, smallest first, or None: the named sub-models.

        Args:
            seed: Python int.
            step: Integer tensor; the draw is a pure function of both.
        """

    @property
    def drawn(self):
        """How many sub-models one training step trains."""
        return len(self.submodels)

    def train_logits(self, images, drawn=None):
        """Computes the logits of what was drawn, in training mode.

        Args:
            images: `[batch, height, width, channels]` in 0..255.
            drawn: What `draw` returned.

        Returns:
            A list of `drawn` logits `[batch, classes]`, smallest first, and a list of further
            logits that only the labels train.
        """
        return keras.tree.flatten(self(images, training=True)), []

    def recalibrate(self, which, batches):
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


def _check_outputs(network):
    shapes = [tuple(output.shape) for output in getattr(network, "outputs", None) or []]
    alike = shapes and all(len(shape) == 2 and shape[-1] == shapes[0][-1] for shape in shapes)
    if not alike:
        raise ValueError(
            "Expected a functional keras.Model with one output [batch, classes] of logits for each "
            f"sub-model, smallest first. Received: network={network!r} with output shapes {shapes}"
        )
    if isinstance(network.output, dict):
        raise ValueError(
            "Expected a list of outputs, smallest first; Keras sorts those of a dict by their "
            f"keys. Received: network={network.name!r} with outputs {list(network.output)}"
        )
    if shapes[0][-1] == 1:
        raise ValueError(
            "Expected logits of two classes or more; for a yes or no give the last layers two "
            f"units. Received: network={network.name!r} with output shapes {shapes}"
        )
    for output in network.outputs:
        _check_logits(output, network.name)


def last_activation(output):
    """Returns the last operation before an output, and the name of its activation in lower case."""
    operation, index = keras_hooks.producer(output)
    while graph.is_functional(operation):
        operation, index = keras_hooks.producer(operation.outputs[index])
    activation = getattr(operation, "activation", None) or type(operation)
    return operation, getattr(activation, "__name__", "").lower()


def _check_logits(output, name):
    """Raises ValueError if the last operation before an output makes probabilities of logits."""
    operation, told = last_activation(output)
    if told in ("softmax", "sigmoid"):
        raise ValueError(
            "Expected logits; build the last layers with activation=None. Received: "
            f"network={name!r}, whose layer {operation.name!r} ends in {told}"
        )


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
