"""Finds out quickly whether a TFDS data set is stored, can be prepared now, or how to get it.

TFDS itself retries a missing network silently for more than three minutes, takes an incomplete
folder for a complete one, and reports damage with TensorFlow's internal errors.
"""

import os
import threading
import urllib.error
import urllib.request

import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

SECONDS_TO_ANSWER = 4  # a reachable host takes well under one
_TFDS_BUCKET = "https://storage.googleapis.com"  # stands for the network if no source is known


def ensure_stored(builder):
    """Downloads and prepares the data set if that is needed and possible.

    Raises:
      ValueError: within seconds, when the stored files are incomplete, when the data set is not
        stored and the network does not answer, or when an archive put there by hand is not the
        official one. The message says what is missing, where it was looked for, and the ways out.
    """
    if builder.data_path.exists():
        _check_complete(builder)
    elif _has_archives(builder) or _answers(_source(builder)):
        _prepare(builder)
    else:
        raise ValueError(
            f"Data set {builder.name!r} is not stored in {builder.data_dir!r}, its archive is not "
            f"in {_manual_dir(builder)!r}, and {_source(builder)} does not answer.\n"
            f"{_ways_out(builder)}\n"
            f"Received: data_dir={str(builder.data_dir_root)!r}"
        )


def damaged(builder, reason):
    """The ValueError for stored files that cannot be used."""
    return ValueError(
        f"Data set {builder.name!r} is stored incompletely in {builder.data_dir!r}: {reason}. "
        f"Copy it again, or remove this folder and then:\n{_ways_out(builder)}\n"
        f"Received: data_dir={str(builder.data_dir_root)!r}"
    )


def _check_complete(builder):
    missing = [
        name
        for name in ("dataset_info.json", "features.json")
        if not (builder.data_path / name).is_file()
    ]
    for split in builder.info.splits.values():
        missing += [path.name for path in split.filepaths if not path.is_file()]
    if missing:
        raise damaged(builder, f"{', '.join(missing)} missing")


def _prepare(builder):
    config = tfds.download.DownloadConfig(manual_dir=_manual_dir(builder), try_download_gcs=False)
    try:
        builder.download_and_prepare(download_config=config)
    except NonMatchingChecksumError as error:
        raise ValueError(
            f"An archive of data set {builder.name!r} is not the official one (wrong checksum, "
            "perhaps an interrupted download). Remove it and get it again.\n"
            f"{error}\nReceived: data_dir={str(builder.data_dir_root)!r}"
        ) from error
    except Exception as error:  # each of the many builders fails in its own way
        raise ValueError(
            f"Data set {builder.name!r} could not be prepared: {type(error).__name__}: {error}\n"
            f"{_ways_out(builder)}\nReceived: data_dir={str(builder.data_dir_root)!r}"
        ) from error


def _manual_dir(builder):
    return os.path.join(builder.data_dir_root, "downloads", "manual")


def _archives(builder):
    """URL and file name of every archive that TFDS knows for this data set."""
    return {url: info.filename for url, info in (builder.url_infos or {}).items()}


def _has_archives(builder):
    """Whether all the data set is made from has been put into the folder for manual downloads."""
    folder = _manual_dir(builder)
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:  # TFDS does not tell the file names of these
        return os.path.isdir(folder) and bool(os.listdir(folder))
    names = _archives(builder).values()
    return bool(names) and all(
        name and os.path.isfile(os.path.join(folder, name)) for name in names
    )


def _source(builder):
    return next(iter(_archives(builder)), _TFDS_BUCKET)


def _answers(url):
    """Whether the host of `url` answers at all within a few seconds."""
    answers = []

    def ask():
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER).close()
        except urllib.error.HTTPError:  # an answer too
            pass
        except OSError:
            return
        answers.append(url)

    # In a thread because name resolution knows no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_ANSWER)
    return bool(answers)


def _ways_out(builder):
    name = "/".join(filter(None, (builder.name, builder.builder_config_name)))
    command = (
        "import tensorflow_datasets as tfds; "
        f"tfds.load('{name}', data_dir='{builder.data_dir_root}')"
    )
    lines = [
        "Ways out:",
        f'* on a machine with network run: python -c "{command}"',
        f"  and copy the folder {builder.name!r} from there into {str(builder.data_dir_root)!r}, "
        "or name its place with --data_dir",
        *(
            f"* or download {url} by hand and put it, still packed, at "
            f"{os.path.join(_manual_dir(builder), filename)!r}"
            for url, filename in _archives(builder).items()
            if filename
        ),
        "* or use the data that comes along: --dataset=digits",
    ]
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        lines.insert(1, f"* {builder.MANUAL_DOWNLOAD_INSTRUCTIONS.strip()}")
    return "\n".join(lines)
