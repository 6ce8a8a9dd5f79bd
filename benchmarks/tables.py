"""Results of a benchmark as text, and against an earlier result."""

import dataclasses
import json
import pathlib

import tabulate


@dataclasses.dataclass(frozen=True)
class Case:
    """How the rows of a case are told apart, printed and compared."""

    keys: tuple
    measures: tuple
    headline: str  # the measure that is compared with an earlier result


_STEP = ("model", "method", "batch_size")
CASES = {
    "training": Case(_STEP, ("step_ms", "images_per_s", "ratio_to_none"), "images_per_s"),
    "forward": Case(("model", "submodel", "batch_size"), ("ms", "images_per_s"), "images_per_s"),
    "adaptive": Case(
        ("model", "leaving", "batch_size"),
        ("images_per_s", "multiply_adds_share", "time_share", "saving_arrived"),
        "images_per_s",
    ),
    "export": Case(("model", "submodel", "format"), ("ms", "images_per_s"), "images_per_s"),
    "start": Case(
        _STEP,
        ("import_s", "build_s", "first_step_s", "total_s", "start_mb", "peak_mb", "device_peak_mb"),
        "total_s",
    ),
    "pipeline": Case(
        ("batch_size", "image_size"), ("images_per_s", "times_training"), "images_per_s"
    ),
    "peer": Case(
        _STEP,
        (
            "images_per_s",
            "peer_images_per_s",
            "ratio_to_peer",
            "parameters",
            "peer_parameters",
        ),
        "ratio_to_peer",
    ),
    "growth": Case(
        ("quantity", "model", "value"), ("step_ms", "memory_mb", "loss_share"), "step_ms"
    ),
    "growth_exponents": Case(
        ("quantity", "model"), ("step_exponent", "memory_exponent"), "step_exponent"
    ),
}
# Where an earlier result may differ without its numbers becoming incomparable.
_FREE = {"start", "git_commit", "ipkd_tf"}


def table(result):
    """The machine in one line, then one table for each case.

    Args:
        result: what `benchmarking.run` returns.
    """
    machine = result["machine"]
    threads = [machine[f"{kind}_op_threads"] or "automatic" for kind in ("intra", "inter")]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores; {', '.join(machine['devices'])}",
        f"threads: {threads[0]} within, {threads[1]} between operations; "
        f"TensorFlow {machine['tensorflow']}, Keras {machine['keras']}, "
        f"Python {machine['python']}; {machine['start']}",
    ]
    for name, rows in result["rows"].items():
        lines += ["", name.replace("_", " "), *_table(CASES[name], rows)]
    return "\n".join(lines)


def _table(case, rows):
    measures = (*case.measures, f"{case.headline}_to_baseline")
    shown = [name for name in measures if any(row.get(name) is not None for row in rows)]
    heads = [name.replace("_", " ") for name in (*case.keys, *shown)]
    cells = [
        [*(str(row[key]) for key in case.keys), *(_number(row.get(name)) for name in shown)]
        for row in rows
    ]
    words = sum(isinstance(rows[0][key], str) for key in case.keys)
    alignment = ["left"] * words + ["right"] * (len(heads) - words)
    return tabulate.tabulate(
        cells, heads, "plain", colalign=alignment, disable_numparse=True
    ).splitlines()


def _number(value):
    """Three significant digits, and all digits before the point."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def read(path):
    """An earlier result.

    Raises:
        ValueError: the file is not one.
        OSError: it cannot be read.
    """
    try:
        result = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        if not {"machine", "settings", "rows"} <= set(result) or not set(result["rows"]) <= set(
            CASES
        ):
            raise ValueError("it lacks machine, settings or rows")
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"Expected the --output file of an earlier benchmark ({error}). "
            f"Received: baseline={str(path)!r}"
        ) from error
    return result


def add_baseline(result, baseline):
    """Adds to each row its headline number divided by the earlier one's, where there is one.

    Returns:
        What else differs between the two, as texts: machine, versions, threads, settings.
    """
    for name, rows in result["rows"].items():
        case = CASES[name]
        earlier = {_identity(case, row): row for row in baseline["rows"].get(name, [])}
        for row in rows:
            before = earlier.get(_identity(case, row), {}).get(case.headline)
            if before and row.get(case.headline) is not None:
                row[f"{case.headline}_to_baseline"] = row[case.headline] / before
    return [
        f"{name}: {baseline[part].get(name)} before, {value} now"
        for part in ("machine", "settings")
        for name, value in json.loads(json.dumps(result[part])).items()
        if name not in _FREE and baseline[part].get(name) != value
    ]


def _identity(case, row):
    return tuple(row[key] for key in case.keys)
