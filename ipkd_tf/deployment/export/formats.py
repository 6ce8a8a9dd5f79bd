"""The formats a sub-model is exported to, by name, and the packages that some of them need."""

import dataclasses
import typing
from collections.abc import Iterable

from ipkd_tf.output.checks import check, check_choice, explained, require

DEFAULT_SIGNATURE = "serving_default"
PACKAGES = {  # by what needs them
    "": (),
    "litert": ("ai_edge_litert",),
    "onnx": ("tf2onnx", "onnx", "onnxruntime"),
    "onnx_int8": ("tf2onnx", "onnx", "onnxruntime", "sympy"),
    "onnxruntime": ("onnxruntime",),
}


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far a file may be from the network it was written from.

    Attributes:
        difference: Largest difference of a logit, as a share of the largest absolute logit, or
            absolute where all logits are below 1; None for the format's own.
        agreement: Least share of the images on which both decide for the same class; None for the
            format's own.
    """

    difference: float | None = None
    agreement: float | None = None

    def __post_init__(self):
        difference, agreement = self.difference or 0.0, self.agreement or 0.0
        expected = "a difference of at least 0 and an agreement from 0 to 1"
        check(0 <= difference and 0 <= agreement <= 1, expected, tolerance=self)

    def of(self, format: str, network: typing.Any = None) -> "Tolerance":
        """What holds for a format and network: their tolerance where nothing else was asked for."""
        asked = {k: value for k, value in dataclasses.asdict(self).items() if value is not None}
        own = FORMATS[format].tolerance
        if getattr(network, "rounds_activations", False):
            difference = max(own.difference, _STEPS.difference)
            own = Tolerance(difference, min(own.agreement, _STEPS.agreement))
        return dataclasses.replace(own, **asked)


@dataclasses.dataclass(frozen=True)
class Format:
    """One format: its file, who writes it, how exact it has to be, and how it is run."""

    file: str
    writer: str
    usage: str
    tolerance: Tolerance = Tolerance(difference=1e-4, agreement=0.999)
    holds_several: bool = False
    calibrated: bool = False
    needs: str = ""
    of_network: bool = False

    def write(self, models, path, calibration_images=None):
        """Writes models of named inputs, smallest first; ValueError if they cannot be converted.

        A format `of_network` gets the network and a list of its sub-models instead.
        """
        from ipkd_tf.deployment.export import converters

        expected = "another format: the sub-model cannot be converted"
        # Converters raise what their parts happen to raise.
        with explained(Exception, expected, file=self.file):
            getattr(converters, self.writer)(models, path, calibration_images)


# Rounding to 11 bits at every layer.
_HALF = Tolerance(difference=0.02, agreement=0.98)
# Beyond the calibrated range int8 saturates: single logits may be far off, decisions may not.
_QUANTIZED = Tolerance(difference=1.0, agreement=0.9)
# Where activations are rounded, another last bit may become another level, and that a few more.
_STEPS = Tolerance(difference=0.5, agreement=0.98)
_SAVED_MODEL = """import tensorflow as tf
model = tf.saved_model.load("{path}")
outputs = model.signatures["{signature}"](image=tf.constant(images))"""
_KERAS = """import keras
model = keras.models.load_model("{path}")
outputs = model(images)"""
_LITERT = """from ai_edge_litert.interpreter import Interpreter
model = Interpreter("{path}")
outputs = model.get_signature_runner("{signature}")(image=images)"""
_ONNX = """import onnxruntime
model = onnxruntime.InferenceSession("{path}")
outputs = dict(zip([o.name for o in model.get_outputs()], model.run(None, {{"image": images}})))"""
_PACKED = """from ipkd_tf.deployment.export import packed
model = packed.read("{path}")["{signature}"]
logits = model(images)"""
_LITERT_FORMAT = {"usage": _LITERT, "holds_several": True, "needs": "litert"}
_INT8 = {"tolerance": _QUANTIZED, "calibrated": True}

FORMATS = {
    "saved_model": Format("saved_model", "write_saved_model", _SAVED_MODEL, holds_several=True),
    "keras": Format("model.keras", "write_keras", _KERAS),
    "litert": Format("model.tflite", "write_litert", **_LITERT_FORMAT),
    "litert_float16": Format(
        "model_float16.tflite", "write_litert_float16", tolerance=_HALF, **_LITERT_FORMAT
    ),
    "litert_int8": Format("model_int8.tflite", "write_litert_int8", **_LITERT_FORMAT, **_INT8),
    "onnx": Format("model.onnx", "write_onnx", _ONNX, needs="onnx"),
    "onnx_int8": Format("model_int8.onnx", "write_onnx_int8", _ONNX, needs="onnx_int8", **_INT8),
    "packed": Format(
        "model_packed.npz", "write_packed", _PACKED, holds_several=True, of_network=True
    ),
}


def check_formats(names: Iterable[str], several: bool = False) -> None:
    """Raises ValueError unless the formats exist, can be written here and hold what is asked."""
    for name in names:
        check_choice(FORMATS, format=name)
        able = [one for one, format in FORMATS.items() if format.holds_several or not several]
        expected = f"one of {', '.join(able)}; a file of others holds one sub-model"
        check(name in able, expected, format=name)
        require(*PACKAGES[FORMATS[name].needs], extra="export")
