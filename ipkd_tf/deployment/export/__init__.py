"""Sub-models of a flexible network as files that run without this package.

Every file takes uint8 images `image` `[batch, height, width, channels]` and returns `logits`,
`probabilities` and `class_id`; it is compared with the network before it takes its place.
"""

import importlib
import typing

# ruff: noqa: F401
if typing.TYPE_CHECKING:
    from ipkd_tf.deployment.export.formats import FORMATS, Tolerance, check_formats
    from ipkd_tf.deployment.export.readers import open_model
    from ipkd_tf.deployment.export.writing import export_submodel
    from ipkd_tf.models.folding import fold_batch_normalization

_PUBLIC = {
    "FORMATS": "ipkd_tf.deployment.export.formats",
    "Tolerance": "ipkd_tf.deployment.export.formats",
    "check_formats": "ipkd_tf.deployment.export.formats",
    "export_submodel": "ipkd_tf.deployment.export.writing",
    "fold_batch_normalization": "ipkd_tf.models.folding",
    "open_model": "ipkd_tf.deployment.export.readers",
}
__all__ = list(_PUBLIC)


def __getattr__(name):
    # Only when asked for: the names of the formats need no TensorFlow.
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
