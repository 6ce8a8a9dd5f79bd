"""What took long to find out about files, kept until they change."""

import contextlib
import hashlib
import json
import os
import pathlib

from ipkd_tf.output import files

FROM = 100_000  # images: what concerns fewer is found out anew each time


def keep(name, signature, find, count):
    """Returns `find()`, a JSON value, or what it was when `signature`, another, was the same.

    `name` says what it is about; it is kept if it is about `FROM` images, `count(value)`, or more.
    """
    place = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    path = place / "ipkd_tf" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"
    signature = json.loads(json.dumps(signature))
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        stored = files.read_json(path)
        if stored and stored["signature"] == signature:
            return stored["value"]
    value = find()
    if count(value) < FROM:
        return value
    with contextlib.suppress(OSError):  # Nothing depends on it.
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, json.dumps({"signature": signature, "value": value}))
    return value
