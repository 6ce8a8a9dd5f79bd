"""Packages that only some formats need, named when they are missing."""

import importlib.util

PIP_COMMAND = "pip install 'ipkd_tf[export]'"
_MODULES = {
    "litert": ("ai_edge_litert",),
    "onnx": ("tf2onnx", "onnx", "onnxruntime"),
    "onnx_int8": ("tf2onnx", "onnx", "onnxruntime", "sympy"),
    "onnxruntime": ("onnxruntime",),
}


def require(purpose):
    """Raises ValueError if packages for a purpose, such as the format onnx, are not installed."""
    if missing := _missing(purpose):
        packages = " ".join(name.replace("_", "-") for name in missing)
        raise ValueError(
            f"{purpose} needs packages that are not installed; {PIP_COMMAND}, or "
            f"pip install {packages}. Received: missing={packages}"
        )


def is_there(purpose):
    """Whether all packages for a purpose are installed; True if it needs none."""
    return not _missing(purpose)


def _missing(purpose):
    needed = _MODULES.get(purpose, ())
    return [name for name in needed if importlib.util.find_spec(name) is None]
