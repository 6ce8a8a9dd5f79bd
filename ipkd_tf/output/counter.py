"""How far a long loop is: in programs a bar on a terminal, elsewhere a line now and then."""

import contextlib
import datetime
import sys
import time

_FIRST, _SELDOM = 5, 60  # seconds before the first line, and at most between two
_shown, _busy = False, 0


@contextlib.contextmanager
def shown(whether=True):
    """Inside the block `count` and `track` tell how far they are; the library alone is silent."""
    global _shown
    before, _shown = _shown, whether
    try:
        yield
    finally:
        _shown = before


def track(items, what, unit="images"):
    """Yields the items, and says how many are done; what is tracked meanwhile is silent."""
    global _busy
    try:
        total = len(items)
    except TypeError:  # as of a generator
        total = 0
    tell = count(what, unit) if total else None
    _busy += 1
    try:
        for number, item in enumerate(items, 1):
            yield item
            if tell:
                tell(number, total)
    finally:
        _busy -= 1


def count(what, unit="images"):
    """A function of (how many are done, how many there are), silent in the first seconds."""
    if not _shown or _busy:
        return lambda done, total: None
    bar, start, pause = None, time.monotonic(), _FIRST
    said = start

    def tell(done, total):
        nonlocal bar, said, pause
        now, last = time.monotonic(), done >= total
        if bar:
            bar.update(done - bar.n)
            if last:
                bar.close()
        elif now - said > pause and sys.stdout.isatty():
            import tqdm

            settings = {"unit": f" {unit}", "file": sys.stdout, "dynamic_ncols": True}
            bar = tqdm.tqdm(desc=what, total=total, initial=done, **settings)
        elif now - said > pause or (last and said > start):
            seconds = (now - start) * (1 if last else total / done - 1)
            clock = f"{datetime.timedelta(seconds=round(seconds))} {'in all' if last else 'left'}"
            print(f"{what}: {done} of {total} {unit}, {clock}", flush=True)
            said, pause = now, min(2 * pause, _SELDOM)

    return tell


def say(text):
    """Prints a line above a bar that is shown."""
    import tqdm

    tqdm.tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()
