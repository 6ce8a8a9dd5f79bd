"""A multi-output network cut into stages that run one after the other, nothing computed twice."""

import collections
import dataclasses

import keras

from ipkd_tf.models import flexible, graph
from ipkd_tf.output.checks import check

IMAGE = "image"


@dataclasses.dataclass(frozen=True)
class Stage:
    """What is left to compute for one output of a network when the smaller ones are known."""

    name: str  # of the sub-model
    body: "Piece | None"  # what later stages need too, if there is such a thing
    head: "Piece"  # the logits; without it the next stage can still run
    keeps: tuple  # names of all tensors that later stages need, whoever computed them

    @property
    def inputs(self):
        """Symbolic tensors that the stage takes, by name."""
        made = self.body.writes if self.body else ()
        return {
            name: tensor
            for piece in filter(None, (self.body, self.head))
            for name, tensor in zip(piece.reads, piece.model.inputs, strict=True)
            if name not in made
        }

    def advance(self, tensors):
        """Runs the body: the dict of tensors for the head and for `keep`."""
        return {**tensors, **self.body.run(tensors)} if self.body else tensors

    def answer(self, tensors):
        """Runs the head on what `advance` returned: logits `[batch, classes]`."""
        (logits,) = self.head.run(tensors).values()
        return logits

    def keep(self, tensors):
        """What the next stage needs of what `advance` returned."""
        return {name: tensors[name] for name in self.keeps}

    def run(self, tensors):
        """The logits, and the tensors for the next stage; the first takes `{"image": images}`."""
        tensors = self.advance(tensors)
        return self.answer(tensors), self.keep(tensors)


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of a network, its layers, from the tensors named in `reads` to those in `writes`."""

    model: keras.Model
    reads: tuple
    writes: tuple

    def run(self, tensors):
        """Takes what it reads from a dict of tensors and returns a dict of what it writes."""
        results = self.model([tensors[name] for name in self.reads], training=False)
        # Keras unpacks a list of one.
        return dict(zip(self.writes, keras.tree.flatten(results), strict=True))


def partition(network):
    """Cuts a network into one stage for each output.

    Stage k computes what output k needs and no earlier stage has computed: in a row they compute
    each operation of the network at most once, and the same logits. The part of a stage that only
    its own output needs is its head, which may be left out.
    """
    names = flexible.names(network)
    inputs = len(network.inputs)
    check(inputs == 1, "a network of one input, images", network=network.name, inputs=inputs)
    observed = _Graph(network)
    parts = observed.parts()
    return tuple(_stage(observed, parts, index, name) for index, name in enumerate(names))


def _stage(observed, parts, index, name):
    own, later = parts[index], parts[index + 1 :]
    outputs_later = [id(output) for output in observed.outputs[index + 1 :]]
    keeps = observed.read([call for part in later for call in part], outputs_later)
    shared = observed.leading_to(graph.outputs_of(own).intersection(keeps), own)
    alone = [call for call in own if call not in shared]
    logits = [id(observed.outputs[index])]
    made = graph.outputs_of(shared)
    handed = [t for t in observed.in_order({*keeps, *observed.read(alone, logits)}) if t in made]
    return Stage(
        name=name,
        body=observed.piece(shared, handed, f"{name}_body") if handed else None,
        head=observed.piece(alone, logits, f"{name}_head"),
        keeps=observed.names(keeps),
    )


class _Graph(graph.Graph):
    """A network's graph whose tensors have an order and names."""

    def __init__(self, network):
        super().__init__(network)
        tensors = [self.inputs[0], *(tensor for call in self.calls for tensor in call.outputs)]
        self._tensors = {id(tensor): tensor for tensor in tensors}
        self._order = {id(tensor): number for number, tensor in enumerate(tensors)}

    def parts(self):
        """For each output, the calls it needs and no earlier output does, in order."""
        parts, left = [], self.calls
        for output in self.outputs:
            parts.append(self.leading_to([id(output)], left))
            left = [call for call in left if call not in parts[-1]]
        return parts

    def read(self, calls, results):
        """Ids of the tensors that calls and results need and the calls do not make, in order."""
        needed = {id(tensor) for call in calls for tensor in call.inputs} | set(results)
        return self.in_order(needed - graph.outputs_of(calls))

    def in_order(self, tensors):
        """Ids of tensors, sorted as the network computes them."""
        return sorted(tensors, key=self._order.get)

    def names(self, tensors):
        """Names of tensors, given by their ids: `image` or `features_` and a number."""
        numbers = map(self._order.get, tensors)
        return tuple(f"features_{number}" if number else IMAGE for number in numbers)

    def piece(self, calls, results, name):
        """The calls as a model of their own that gives the results."""
        reads = self.read(calls, results)
        inputs = [
            keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=read)
            for read, tensor in zip(self.names(reads), map(self._tensors.get, reads), strict=True)
        ]
        tensors = dict(zip(reads, inputs, strict=True))
        operations = {id(call.operation): call.operation for call in calls}.values()
        taken = collections.Counter(operation.name for operation in operations)
        for number, call in enumerate(calls):
            name_clashes = taken[call.operation.name] > 1
            (_rename(call, number) if name_clashes else call).repeat(tensors)
        model = keras.Model(inputs, [tensors[result] for result in results], name=name)
        return Piece(model, self.names(reads), self.names(results))


def _rename(call, number):
    """The same call of a model around the operation, as layers of two models may share a name."""
    reads = {id(tensor): tensor for tensor in call.inputs}
    inputs = {key: keras.Input(batch_shape=x.shape, dtype=x.dtype) for key, x in reads.items()}
    name = f"{call.operation.name}_of_call_{number}"
    model = keras.Model([*inputs.values()], call.repeat({**inputs}).outputs, name=name)
    return graph.Call(model, ([*reads.values()],), {}, call.outputs)
