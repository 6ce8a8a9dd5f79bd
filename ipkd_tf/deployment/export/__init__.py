"""Sub-models of a flexible network as files that run without this package.

Every file takes uint8 images `image` `[batch, height, width, 3]` and returns `logits`,
`probabilities` and `class_id`; it is compared with the network before it takes its place.
"""

from ipkd_tf.deployment.export.formats import FORMATS, Tolerance, check_formats, open_model
from ipkd_tf.deployment.export.writing import export_all, export_submodel
from ipkd_tf.models.folding import fold_batch_normalization

__all__ = [
    "FORMATS",
    "Tolerance",
    "check_formats",
    "export_all",
    "export_submodel",
    "fold_batch_normalization",
    "open_model",
]
