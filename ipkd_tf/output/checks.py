"""Errors in one form: what was expected, what was received, one way out."""

import contextlib
import importlib.util


def check(fits, expected, **received):
    """Raises ValueError, with the values that were received, unless they fit what is expected."""
    if not fits:
        raise ValueError(_text(expected, received))


@contextlib.contextmanager
def explained(kinds, expected, **received):
    """Inside the block errors of these kinds become a ValueError that says what was expected."""
    try:
        yield
    except kinds as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ValueError(_text(f"{expected} ({reason})", received)) from error


def first_line(error):
    """The first line of an error's text, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _text(expected, received):
    values = ", ".join(f"{name}={value!r}" for name, value in received.items())
    return f"Expected {expected}. Received: {values}"


def missing(packages):
    """Those of the packages, by the names they are imported under, that are not installed."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


def require(*packages, extra):
    """Raises ValueError unless packages that only a part of ours needs are installed."""
    names = " ".join(name.replace("_", "-") for name in missing(packages))
    expected = f"more packages: pip install 'ipkd_tf[{extra}]', or pip install {names}"
    check(not names, expected, missing=names)


def check_choice(known, **values):
    """Raises ValueError unless each value is one of those known."""
    for name, value in values.items():
        check(value in [*known], f"one of {', '.join(known)}", **{name: value})


def check_positive(**values):
    """Raises ValueError unless each value is a positive whole number (or a sequence of them)."""
    for name, value in values.items():
        numbers = value if isinstance(value, list | tuple) else [value]
        fits = numbers and all(isinstance(n, int) and n > 0 for n in numbers)
        check(fits, "positive whole numbers", **{name: value})


def is_ascending(values):
    return list(values) == sorted(set(values))
