"""Measures again and fails where a ratio of results.json has become 10 % worse.

python -m benchmarks.check --cases=training,forward,early_exit
python -m benchmarks.check --cases=peer,bfloat16 --python=/path/with/torch/bin/python

Ratios within one run (against PyTorch, against no teachers, between sub-models) carry over from
one machine to another; milliseconds do not.
"""

import dataclasses

from absl import flags

from benchmarks import bfloat16, case, early_exit, forward, peer, training, workload
from ipkd_tf.output import files, tables
from ipkd_tf.tools import command

_CASES = (peer, bfloat16, training, forward, early_exit)
CASES = {case.__name__.rpartition(".")[2]: case for case in _CASES}
_KEYS = ("model", "method", "submodel", "runtime", "share", "batch_size")
_COLUMNS = (
    ("case", "case", "{}"),
    ("what", "what", "{}"),
    ("before", "before", "{:.2f}"),
    ("now", "now", "{:.2f}"),
    ("", "verdict", "{}"),
)
TOLERANCE = 0.1


def define_flags():
    flags.DEFINE_list("cases", list(CASES), "Which to measure again.")
    flags.DEFINE_string("python", "python", "The peer's, with torch.")
    flags.DEFINE_integer("repeats", 5, "Rounds over all samples.")
    flags.DEFINE_integer("inter_op_threads", 2, "Operations at a time, one thread in each.")


def compare(name, before, now):
    """A row for each ratio that both have."""
    earlier = {_identity(row): row["ratio"] for row in before if row.get("ratio")}
    pairs = [(_identity(row), row.get("ratio")) for row in now]
    return [
        {
            "case": name,
            "what": " ".join(map(str, what)),
            "before": earlier[what],
            "now": ratio,
            "verdict": "worse" if ratio < (1 - TOLERANCE) * earlier[what] else "",
        }
        for what, ratio in pairs
        if what in earlier and ratio
    ]


def _identity(row):
    return tuple(row[key] for key in _KEYS if key in row)


def main():
    """Prints all ratios; status 1 if one is worse."""
    results = files.read_json(case.RESULTS)
    settings = case.Settings(
        python=flags.FLAGS.python,
        repeats=flags.FLAGS.repeats,
        intra_op_threads=1,
        inter_op_threads=flags.FLAGS.inter_op_threads,
    )
    workload.set_threads(settings.threads)
    rows = []
    for name in flags.FLAGS.cases:
        before = results[name]["rows"]
        # Only what stands there: models and methods in the order of their rows.
        kept = {
            field: tuple(dict.fromkeys(row[key] for row in before))
            for field, key in (("models", "model"), ("methods", "method"))
            if key in before[0]
        }
        again = CASES[name].measure(dataclasses.replace(settings, **kept))
        rows += compare(name, before, again)
    print(tables.text(rows, _COLUMNS))
    return int(any(row["verdict"] for row in rows))


if __name__ == "__main__":
    command.start(define_flags, main)
