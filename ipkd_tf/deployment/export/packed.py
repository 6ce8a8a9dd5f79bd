"""Sub-models in one small file: quantised weights as codes of few bits, the rest in float32.

The file is a NumPy archive without pickled objects. `header` is JSON: for each sub-model the
configuration of a model of Keras's layers and, weight by weight, where its values lie in `floats`
(float32) or its codes in `codes` (bytes, the highest bit first). Equal values are stored once; so
are codes of which other precisions hold the leading bits.
"""

import json
import math

import keras
import numpy as np

from ipkd_tf.models import flexible, graph
from ipkd_tf.models.quantized_layers import Codes
from ipkd_tf.output.checks import check, explained

VERSION = 1


def write(content, path, calibration_images=None):
    """Writes sub-models of a network, given as the network and what `submodel` takes of each."""
    network, chosen = content
    store, submodels = _Store(), {}
    for which in reversed(chosen):  # The widest codes come first: they hold the others.
        model = flexible.cut(network, which)
        submodels[model.name] = {
            "model": model.to_json(),
            "weights": list(_specs(network, which, model, store)),
        }
    header = {"version": VERSION, "submodels": dict(reversed(submodels.items()))}
    with open(path, "wb") as file:  # By a name NumPy would append its own suffix.
        np.savez_compressed(
            file,
            header=np.frombuffer(json.dumps(header).encode(), np.uint8),
            codes=np.frombuffer(b"".join(store.codes), np.uint8),
            floats=np.concatenate([*store.floats, np.zeros(0, np.float32)]),
        )


def read(path):
    """Reads the sub-models of a packed file; nothing in it is imported or run.

    Args:
        path: The file, such as `export/bits_2/model_packed.npz`.

    Returns:
        Dict of plain `keras.Model`s from images in 0..255 to logits `[batch, classes]`, by name,
        smallest first. Their weights are the values that the codes stand for.

    Raises:
        ValueError: The file is damaged, or no packed file.

    Example:
        >>> model = read("model_packed.npz")["bits_2"]
        >>> logits = model(images)
    """
    expected = "a whole packed file; export it again"
    # Damage shows in many ways: as a bad archive, bad JSON, arrays that are too short.
    with open(path, "rb") as file, explained(Exception, expected, path=str(path)):
        with np.load(file, allow_pickle=False) as archive:
            header = json.loads(archive["header"].tobytes())
            codes, floats = archive["codes"], archive["floats"]
        check(header["version"] == VERSION, f"version {VERSION}", version=header["version"])
        return {
            name: _model(name, submodel, codes, floats)
            for name, submodel in header["submodels"].items()
        }


class _Store:
    """Lists of arrays, equal ones once, and where each begins."""

    def __init__(self):
        self.codes, self.floats = [], []
        self._places, self._wide = {}, {}

    def add(self, name, value):
        """Where a weight is, as a dict for JSON."""
        if not isinstance(value, Codes):
            flat = np.ascontiguousarray(value, np.float32).reshape(-1)
            return {"floats": self._place(self.floats, flat)}
        wide = self._wide.setdefault((name, value.scheme), value)
        if wide.scheme != "nested" or not np.array_equal(wide.at(value.bits).codes, value.codes):
            wide = value
        return {
            "codes": self._place(self.codes, pack(wide.codes, wide.bits)),
            "stored_bits": wide.bits,
            "bits": value.bits,
            "scale": float(value.scale),
            "scheme": value.scheme,
        }

    def _place(self, parts, part):
        key = id(parts), part if isinstance(part, bytes) else part.tobytes()
        if key not in self._places:
            self._places[key] = sum(map(len, parts))
            parts.append(part)
        return self._places[key]


def _specs(network, which, model, store):
    for layer in model.layers:
        codes = None
        if isinstance(network, flexible.FlexibleNetwork):
            codes = network.codes_of(network.resolve(which), layer)
        for number, weight in enumerate(layer.weights):
            value = codes if codes and number == 0 else weight.numpy()
            yield {"shape": list(weight.shape), **store.add(weight.path, value)}


def _model(name, submodel, codes, floats):
    model = keras.models.model_from_json(submodel["model"])
    graph.set_weights(model, [_value(spec, codes, floats) for spec in submodel["weights"]])
    check(model.name == name, f"the model {name}", name=model.name)
    return model


def _value(spec, codes, floats):
    shape, count = spec["shape"], math.prod(spec["shape"])
    if "floats" in spec:
        return floats[spec["floats"] :][:count].reshape(shape)
    size, stored = math.ceil(count * spec["stored_bits"] / 8), spec["stored_bits"]
    whole = unpack(codes[spec["codes"] :][:size], stored, count).reshape(shape)
    scale = np.float32(spec["scale"])
    return Codes(whole, stored, scale, spec["scheme"]).at(spec["bits"]).values()


def pack(codes, bits):
    """Whole numbers below 2^bits as bytes, `bits` bits each, the highest first."""
    each = np.unpackbits(codes.reshape(-1, 1), axis=1)[:, 8 - bits :]
    return np.packbits(each).tobytes()


def unpack(packed, bits, count):
    """Returns the first `count` numbers that `pack` made bytes of, uint8 `[count]`."""
    enough = 8 * len(packed) >= count * bits  # NumPy would append zeros.
    check(enough, f"bytes for {count} numbers of {bits} bits", bytes=len(packed))
    each = np.unpackbits(packed, count=count * bits).reshape(count, bits)
    return np.packbits(np.pad(each, [(0, 0), (8 - bits, 0)]), axis=1).reshape(-1)
