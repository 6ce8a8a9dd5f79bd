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
    """Raises ValueError if packages for a purpose, a key of `_MODULES`, are not installed."""
    missing = [name for name in _MODULES[purpose] if importlib.util.find_spec(name) is None]
    if missing:
        packages = " ".join(name.replace("_", "-") for name in missing)
        raise ValueError(
            f"{purpose} needs packages that are not installed; {PIP_COMMAND}, or "
            f"pip install {packages}. Received: missing={packages}"
        )
