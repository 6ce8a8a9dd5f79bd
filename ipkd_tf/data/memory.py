"""How much memory is free."""

import contextlib
import pathlib

import psutil

_CGROUP = pathlib.Path("/sys/fs/cgroup")


def free_memory():
    """Bytes that this process may still take: of the machine, and of its container, if any."""
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        limit, used = (
            int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current")
        )
        cached = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        free = min(free, limit - used + int(cached.get("inactive_file", 0)))
    return max(free, 0)
