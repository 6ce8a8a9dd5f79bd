"""How a setting of an experiment is declared, checked, and written as text."""

import dataclasses
import json
import math
import operator
import re

_BOUNDS = {
    "above": operator.gt,
    "below": operator.lt,
    "at_least": operator.ge,
    "at_most": operator.le,
}
_BY_DATA = ("num_classes", "image_size", "mean", "std")


def setting(default, help, *, section=None, choices=None, parse=None, identity=True):
    """A field of the dataclass of settings; `help` is the text of its flag.

    `section` begins one; `choices` are the only values; `parse` reads the value or raises
    ValueError, and its docstring says what it expects; of the same `identity` are runs of the same
    values.
    """
    metadata = {"help": help, "section": section, "choices": choices, "parse": parse}
    return dataclasses.field(default=default, metadata={**metadata, "identity": identity})


def number(default, help, *, section=None, identity=True, **bounds):
    """A setting that is a finite number within `_BOUNDS`, at least 0 where none says more."""
    if not bounds.keys() & {"above", "at_least"}:
        bounds = {"at_least": 0, **bounds}

    def parse(value):
        if not math.isfinite(value) or not all(_BOUNDS[b](value, end) for b, end in bounds.items()):
            raise ValueError("out of bounds")

    inside = " and ".join(f"{b.replace('_', ' ')} {end}" for b, end in bounds.items())
    parse.__doc__ = f"A number {inside}."
    return setting(default, help, section=section, parse=parse, identity=identity)


def sections(settings):
    """The fields of a dataclass of settings by section, a dict of lists."""
    grouped = {}
    for field in dataclasses.fields(settings):
        section = field.metadata["section"] or section  # noqa: F821  the first field begins one
        grouped.setdefault(section, []).append(field)
    return grouped


def check(field, value):
    """Raises ValueError unless the value is one of the setting."""
    expected = None
    if type(value) not in ((int, float) if field.type is float else (field.type,)):
        expected = f"of type {field.type.__name__}"
    elif field.type is str and len(f"{value}.".splitlines()) > 1:  # flags.txt has one line each
        expected = "one line of text"
    elif (choices := field.metadata["choices"]) and value not in choices:
        expected = f"one of {', '.join(choices)}"
    elif parse := field.metadata["parse"]:
        try:
            parse(value)
        except ValueError:
            expected = parse.__doc__[0].lower() + parse.__doc__[1:].rstrip(".")
    if expected:
        raise ValueError(f"{field.name} must be {expected}. Received: {field.name}={value!r}")


def as_text(settings):
    """Every setting by name, written as a flag file has it."""

    def text(field):
        value = field.type(getattr(settings, field.name))  # 4 and 4.0 are one temperature
        return str(value).lower() if field.type is bool else str(value)

    return {field.name: text(field) for field in dataclasses.fields(settings)}


def identity(settings):
    """What tells one run from another, by name."""
    fields = dataclasses.fields(settings)
    return {f.name: getattr(settings, f.name) for f in fields if f.metadata["identity"]}


def parse_some(text):
    """A name."""
    if not text:
        raise ValueError("empty")


def parse_epochs(text):
    """Increasing whole numbers above 0 with commas between, such as 150,225."""
    epochs = tuple(int(part) for part in text.split(",")) if text else ()
    if any(second <= first for first, second in zip((0, *epochs), epochs, strict=False)):
        raise ValueError("not increasing")
    return epochs


def parse_size(text):
    """A number of pixels, or HEIGHTxWIDTH such as 24x32."""
    if not re.fullmatch(r"0|[1-9]\d*(x[1-9]\d*)?", text):
        raise ValueError("no size")
    sides = tuple(map(int, text.split("x")))
    return None if sides == (0,) else sides * 2 if len(sides) == 1 else sides


def parse_widths(text):
    """Positive numbers with commas between."""
    widths = tuple(float(part) for part in text.split(",")) if text else ()
    if not all(0 < width < math.inf for width in widths):
        raise ValueError("not positive")
    return widths


def parse_teachers(text):
    """Runs or .keras files with commas between, such as runs/big/seed0:exit_7,net.keras."""
    # A colon before a slash is of the path (of a drive).
    found = [re.fullmatch(r"(.+?)(?::([^:/\\]+))?", part.strip()) for part in text.split(",")]
    if text and not all(found):
        raise ValueError("empty")
    return tuple((match[1], match[2] or "") for match in found if match)


def parse_memory(text):
    """A number with its unit, such as 500MB or 8GB."""
    if not text:
        return None
    match = re.fullmatch(r"(\d+|\d*\.\d+) *(MB|GB)", text)
    if not match:
        raise ValueError("no number with a unit")
    return round(float(match[1]) * {"MB": 10**6, "GB": 10**9}[match[2]])


def parse_held_out(text):
    """Test, holdout:IMAGES or holdout:SHARE with a share between 0 and 1."""
    if text == "test":
        return None
    match = re.fullmatch(r"holdout:(\d+|0?\.\d+)", text)
    if not match or not float(match[1]):
        raise ValueError("neither test nor holdout:...")
    # Images or a share of them.
    return int(match[1]) if match[1].isdigit() else float(match[1])


def parse_arguments(text):
    """A JSON object without num_classes, image_size, mean, std (those of the data)."""
    arguments = parse_object(text)
    if any(name in arguments for name in _BY_DATA):
        raise ValueError("an argument too many")
    return arguments


def parse_object(text):
    """A JSON object, such as {"beta_2": 0.99}."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value
