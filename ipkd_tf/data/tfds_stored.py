"""Sees to it that a TFDS data set is stored, or says at once what is missing and how to get it.

TFDS itself retries a missing network silently for more than three minutes and takes an incomplete
folder for a complete one.
"""

import os
import urllib.error
import urllib.request

import tensorflow_datasets as tfds

# Not public: the type of one of TFDS's errors.
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

SECONDS_TO_ANSWER = 4  # a reachable host takes well under one
_TFDS_BUCKET = "https://storage.googleapis.com"  # stands for the network if no source is known


def ensure_stored(builder):
    """Downloads and prepares the data set if that is needed and possible.

    Raises:
        ValueError: The stored files are incomplete, the data set is not stored and its host does
            not answer, or an archive put there by hand is not the official one.
    """
    if builder.data_path.exists():
        _check_complete(builder)
        return
    source = next(iter(_archives(builder)), _TFDS_BUCKET)
    if not (_has_archives(builder) or _answers(source)):
        raise _refusal(
            builder,
            f"is not stored in {builder.data_dir!r}, its archive is not in "
            f"{_manual_dir(builder)!r}, and {source} does not answer",
        )
    config = tfds.download.DownloadConfig(manual_dir=_manual_dir(builder), try_download_gcs=False)
    try:
        builder.download_and_prepare(download_config=config)
    except NonMatchingChecksumError as error:
        reason = "an interrupted download? Remove the archive"
        raise _refusal(
            builder,
            f"has an archive that is not the official one (wrong checksum; {reason}): {error}",
        ) from error
    except Exception as error:  # each of the many builders fails in its own way
        raise _refusal(
            builder, f"could not be prepared: {type(error).__name__}: {error}"
        ) from error


def incomplete(builder, reason):
    """The ValueError for stored files that cannot be used."""
    return _refusal(
        builder,
        f"is stored incompletely in {builder.data_dir!r}: {reason}; remove that folder",
    )


def _refusal(builder, problem):
    """A ValueError that names the problem and the ways out."""
    name = "/".join(filter(None, (builder.name, builder.builder_config_name)))
    root, manual = str(builder.data_dir_root), (builder.MANUAL_DOWNLOAD_INSTRUCTIONS or "").strip()
    archives = "".join(
        f", or download {url} to {os.path.join(_manual_dir(builder), filename)!r}"
        for url, filename in _archives(builder).items()
        if filename
    )
    return ValueError(
        f"Data set {builder.name!r} {problem}.\n"
        f"Where there is a network, run tfds.load({name!r}, data_dir={root!r}) and copy the folder "
        f"{builder.name!r} from there into {root!r}{archives}, or take the data that comes along, "
        f"--dataset=digits. {manual}\nReceived: data_dir={root!r}"
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
        raise incomplete(builder, f"{', '.join(missing)} missing")


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


def _answers(url):
    """Whether the host of `url` answers at all; asked once, before TFDS asks ten times."""
    request = urllib.request.Request(url, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER).close()
    except urllib.error.HTTPError:  # an answer, too
        return True
    except OSError:
        return False
    return True
