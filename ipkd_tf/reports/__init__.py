"""Any set of finished runs as tables and figures: methods side by side, over seeds."""

from ipkd_tf.reports.comparison import Comparison, compare
from ipkd_tf.reports.document import FORMATS, markdown, write
from ipkd_tf.reports.marks import fill
from ipkd_tf.reports.mixing import told_apart
from ipkd_tf.reports.runs import Gathered, gather, read_csv, write_csv

__all__ = [
    "FORMATS",
    "Comparison",
    "Gathered",
    "compare",
    "fill",
    "gather",
    "markdown",
    "read_csv",
    "told_apart",
    "write",
    "write_csv",
]
