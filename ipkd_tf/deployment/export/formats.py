"""The formats a sub-model is exported to, by name; and exported files opened by their names."""

import dataclasses
import pathlib
from collections.abc import Callable

from ipkd_tf.deployment.export import keras_file, litert, onnx_file, optional, saved_model, serving


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far a file may be from the network it was written from.

    Attributes:
        difference: Largest difference of a logit, as a share of the largest absolute logit.
        agreement: Least share of the images on which both decide for the same class.
    """

    difference: float
    agreement: float

    def __post_init__(self):
        if not (0 <= self.difference and 0 <= self.agreement <= 1):
            raise ValueError(
                f"Expected a difference of at least 0 and an agreement from 0 to 1. "
                f"Received: tolerance={self}"
            )


EXACT = Tolerance(difference=1e-4, agreement=0.999)
HALF = Tolerance(difference=0.02, agreement=0.98)
# Beyond the calibrated range int8 saturates: single logits may be far off, decisions may not.
QUANTIZED = Tolerance(difference=1.0, agreement=0.9)


@dataclasses.dataclass(frozen=True)
class Format:
    """One format: the name of its file, how it is written, and how exact it has to be."""

    file: str
    write: Callable
    tolerance: Tolerance = EXACT
    holds_several: bool = False
    calibrated: bool = False
    needs: str = ""


FORMATS = {
    "saved_model": Format("saved_model", saved_model.write, holds_several=True),
    "keras": Format("model.keras", keras_file.write),
    "litert": Format("model.tflite", litert.write, holds_several=True, needs="litert"),
    "litert_float16": Format(
        "model_float16.tflite", litert.write_float16, HALF, holds_several=True, needs="litert"
    ),
    "litert_int8": Format(
        "model_int8.tflite",
        litert.write_int8,
        QUANTIZED,
        holds_several=True,
        calibrated=True,
        needs="litert",
    ),
    "onnx": Format("model.onnx", onnx_file.write, needs="onnx"),
    "onnx_int8": Format(
        "model_int8.onnx", onnx_file.write_int8, QUANTIZED, calibrated=True, needs="onnx_int8"
    ),
}
_PREDICTORS = {
    ".keras": keras_file.Predictor,
    ".tflite": litert.Predictor,
    ".onnx": onnx_file.Predictor,
}


def check_formats(names, several=False):
    """Raises ValueError unless the formats exist, can be written here and hold what is asked.

    Args:
        names: Names from `FORMATS`.
        several: Whether each file is to hold several sub-models.
    """
    for name in names:
        if name not in FORMATS:
            raise ValueError(
                f"Expected formats from {', '.join(FORMATS)}. Received: format={name!r}"
            )
        if several and not FORMATS[name].holds_several:
            able = ", ".join(name for name, format in FORMATS.items() if format.holds_several)
            raise ValueError(
                f"One file of this format holds one sub-model; choose a sub-model, or one of "
                f"{able}. Received: format={name!r}"
            )
        if FORMATS[name].needs:
            optional.require(FORMATS[name].needs)


def open_model(path, threads=None):
    """Opens an exported file with the runtime of its format.

    Args:
        path: A .keras, .tflite or .onnx file, or the directory of a SavedModel.
        threads: Threads of LiteRT and ONNX Runtime; None for their own choice.
            TensorFlow's are set for the whole process.

    Returns:
        A callable `(uint8 images [batch, height, width, 3], signature) -> dict` of numpy arrays
        `logits`, `probabilities`, `class_id`, with `signatures` (names) and `image_shape`.

    Raises:
        ValueError: The file is missing, damaged, or no exported model.

    Example:
        >>> model = open_model("export/exit_3/model.tflite")
        >>> model(images, model.signatures[-1])["class_id"]
    """
    path = pathlib.Path(path)
    predictor = saved_model.Predictor if path.is_dir() else _PREDICTORS.get(path.suffix)
    if not path.exists() or predictor is None:
        raise ValueError(
            f"Expected a .keras, .tflite or .onnx file, or the directory of a SavedModel, that "
            f"exists. Received: path={str(path)!r}"
        )
    if path.suffix == ".tflite":
        optional.require("litert")
    if path.suffix == ".onnx":
        optional.require("onnxruntime")
    try:
        model = predictor(path, threads)
        if set(model.outputs) != set(serving.OUTPUTS):
            raise ValueError(f"its outputs are {', '.join(model.outputs)}")
        return model
    # The runtimes report damage with whatever their parsers happen to raise.
    except Exception as error:
        raise ValueError(
            f"The file is damaged or was not exported by ipkd_tf ({_first_line(error)}). "
            f"Received: path={str(path)!r}"
        ) from error


def _first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
