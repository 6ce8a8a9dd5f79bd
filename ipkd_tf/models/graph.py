"""A functional model as a list of calls, and copies of parts of it."""

import dataclasses

import keras

from ipkd_tf.models import keras_hooks, layers


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One call of an operation on symbolic tensors."""

    operation: keras.Operation
    args: tuple
    kwargs: dict
    outputs: list

    @property
    def inputs(self):
        return symbolic_tensors((self.args, self.kwargs))

    def repeat(self, tensors, operation=None):
        """Calls the operation, or another in its place, on `tensors` by the ids of this call's."""

        def replace(value):
            return tensors[id(value)] if isinstance(value, keras.KerasTensor) else value

        args, kwargs = keras.tree.map_structure(replace, (self.args, self.kwargs))
        operation = operation or self.operation
        outputs = symbolic_tensors(operation(*args, **kwargs))
        tensors.update(zip(map(id, self.outputs), outputs, strict=True))
        return Call(operation, args, kwargs, outputs)


class Graph:
    """The calls of a functional model in a valid order, those of models inside it one by one."""

    def __init__(self, model):
        self.calls = []
        self._names = {}
        observed = []

        def observe(operation, *args, **kwargs):
            result = operation(*args, **kwargs)
            observed.append(Call(operation, args, kwargs, symbolic_tensors(result)))
            return result

        # Of any functional or sequential model, whatever its class.
        model = keras.Model(model.inputs, model.outputs)
        rebuilt = keras.models.clone_model(
            model, clone_function=lambda layer: layer, call_function=observe
        )
        tensors = {id(x): x for x in rebuilt.inputs}
        for call in observed:
            self._add(call, tensors)
        self.inputs = rebuilt.inputs
        self.outputs = [tensors[id(output)] for output in rebuilt.outputs]

    def _add(self, call, tensors):
        """Adds a call, or those inside it, on tensors by the ids of those that were observed."""
        if is_functional(call.operation):
            inner = Graph(call.operation)
            inputs = [tensors[id(x)] for x in call.inputs]
            own = dict(zip(map(id, inner.inputs), inputs, strict=True))
            for one in inner.calls:
                self.calls.append(one.repeat(own))
                name = f"{call.operation.name}_{inner.name(one.operation)}"
                self._names.setdefault(id(one.operation), name)
            results = [own[id(output)] for output in inner.outputs]
            tensors.update(zip(map(id, call.outputs), results, strict=True))
        else:
            after_models = any(tensors[id(x)] is not x for x in call.inputs)
            tensors.update({id(x): x for x in call.outputs})
            self.calls.append(call.repeat(tensors) if after_models else call)
            self._names.setdefault(id(call.operation), call.operation.name)

    def name(self, operation):
        """The name of an operation, behind those of the models around it."""
        return self._names[id(operation)]

    def leading_to(self, tensors, calls=None):
        """Those of the calls that tensors, given by their ids, depend on, in order."""
        needed, chosen = set(tensors), []
        for call in reversed(self.calls if calls is None else calls):
            if needed & outputs_of([call]):
                chosen.insert(0, call)
                needed |= set(map(id, call.inputs))
        return chosen

    def copy(self, outputs, name=None, changes=None, skip=()):
        """Returns a flat model of what outputs need, its layers and weights its own.

        Layers of ours that are Keras's own but faster become Keras's, which load everywhere. Layers
        in `skip`, by name, are left out; those in `changes` get other entries of their configs, and
        their weights stay untrained.
        """
        changes = changes or {}
        tensors = {
            id(x): keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name) for x in self.inputs
        }
        inputs, copies = list(tensors.values()), {}
        for call in self.leading_to(map(id, outputs)):
            operation = call.operation
            own = self.name(operation)
            if own in skip:
                tensors[id(call.outputs[0])] = tensors[id(call.inputs[0])]
                continue
            if own not in copies:
                config = {**operation.get_config(), "name": own, **changes.get(own, {})}
                copies[own] = operation, layers.keras_kind(operation).from_config(config)
            call.repeat(tensors, copies[own][1])
        results = [tensors[id(output)] for output in outputs]
        # To Keras a tensor and a list of one are not the same.
        model = keras.Model(*(x[0] if len(x) == 1 else x for x in (inputs, results)), name=name)
        for own, (operation, copy) in copies.items():
            if own not in changes and getattr(operation, "weights", None):
                set_weights(copy, [weight.numpy() for weight in operation.weights])
        return model


def is_functional(operation):
    """Whether an operation is a model that is nothing but a graph of calls."""
    return (
        isinstance(operation, keras.Model)
        and bool(getattr(operation, "inputs", None))
        and type(operation).call.__module__.partition(".")[0] == "keras"
    )


def symbolic_tensors(structure):
    return [x for x in keras.tree.flatten(structure) if isinstance(x, keras.KerasTensor)]


def outputs_of(calls):
    """Ids of the tensors that calls make."""
    return {id(tensor) for call in calls for tensor in call.outputs}


def set_weights(layer, values):
    """Sets a layer's weights to arrays, and what it derives from them (as `Normalization` does)."""
    layer.set_weights(values)
    finalize(layer)


def finalize(layer):
    """Lets a layer or model, its weights just set, derive from them what it computes with."""
    for one in keras_hooks.flatten_layers(layer):
        if hasattr(one, "finalize_state"):
            one.finalize_state()
