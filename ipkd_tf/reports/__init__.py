"""Any set of finished runs as tables and figures: methods side by side, over seeds."""

from ipkd_tf.reports.comparison import Comparison, compare
from ipkd_tf.reports.document import FORMATS, fill, markdown, write
from ipkd_tf.reports.runs import by_experiment, gather, label_variants, read_csv, write_csv

__all__ = [
    "FORMATS",
    "Comparison",
    "by_experiment",
    "compare",
    "fill",
    "gather",
    "label_variants",
    "markdown",
    "read_csv",
    "write",
    "write_csv",
]
