"""Gathers finished runs, over methods and seeds, into tables and figures.

  python -m ipkd_tf report runs
  python -m ipkd_tf report runs/a/seed0 runs/b --output=/tmp/report --formats=markdown,latex
  python -m ipkd_tf report runs --csv=runs/results.csv --readme=docs/results.md
  python -m ipkd_tf report runs/results.csv --epoch=last

Arguments are directories of runs, directories above them, or CSV files that --csv wrote; none
means runs. There is one table for each network and data set: a row for each sub-model and their
average, a column for each method, mean and standard deviation over seeds, the best in bold, the
paper's figure beside ours where it has one; then the differences to the baseline.
"""

import os
import pathlib
import sys

from absl import flags

from ipkd_tf.output.checks import check
from ipkd_tf.tools import command

FLAGS = flags.FLAGS


def define_flags(values=flags.FLAGS):
    define = command.definer(values)
    define("output", "", "Directory; empty: report/ in the directory that holds all runs.")
    define(
        "formats",
        ["markdown", "html", "csv", "latex"],
        "markdown (report.md and figures), html (report.html, one file that holds all), csv "
        "(summary.csv), latex (report.tex and PDF figures).",
    )
    define("csv", "", "File for the scores of every run, one row per sub-model.")
    define(
        "readme",
        [],
        "Markdown files in which tables stand between <!-- report: MODEL DATASET --> (or ... "
        "DATASET differences -->) and <!-- end -->; they are replaced.",
    )
    define("epoch", "best", "Of each run.", ["best", "last"])
    define("baseline", "none", "The method that the others are compared with.")
    define("mix", False, "Take runs that differ in more than method and seed, in own columns.")
    define(
        "split",
        False,
        "The same, but each setting is a comparison of its own, beside what all say together: gain "
        "against epochs and images, and how often IPKD-TA-M is ahead.",
    )


def report(paths, values, beside=None, experiments=None):
    """Writes and prints the report, into what `beside` or else `paths` have in common.

    Of all that `paths` hold, `experiments` may choose some.
    """
    command.start_tensorflow()
    import pandas as pd

    from ipkd_tf import reports
    from ipkd_tf.output import files

    rows, left_out = reports.gather(paths)
    if experiments is not None:
        rows = pd.concat(reports.by_experiment(rows, experiments), ignore_index=True)
    by_reason = {}
    for path, why in left_out.items():
        by_reason.setdefault(why, []).append(path)
    for why, left in by_reason.items():
        print(f"report: left out, {why}: {', '.join(left)}", file=sys.stderr)
    check(not rows.empty, "at least one finished run", paths=" ".join(paths))
    chosen = reports.label_variants(rows[rows["which"] == values.epoch], values.mix, values.split)
    comparisons = reports.compare(chosen, values.baseline)
    documents = {
        path: reports.fill(pathlib.Path(path).read_text(encoding="utf-8"), comparisons)
        for path in values.readme
    }
    directories = [os.path.dirname(p) if p.endswith(".csv") else p for p in beside or paths]
    output = values.output or os.path.join(os.path.commonpath(directories), "report")
    written = reports.write(output, comparisons, left_out, values.formats)
    if values.csv:
        reports.write_csv(rows, values.csv)
    for path, text in documents.items():
        files.write_text(path, text)
    print(reports.markdown(comparisons, figure=""))
    print("Written:", *[*written, *filter(None, [values.csv]), *documents], sep="\n  ")


def main(paths):
    """Reports what stands on the command line."""
    report(paths or ["runs"], FLAGS)


if __name__ == "__main__":
    command.start(define_flags, main)
