"""Image classification data sets of TensorFlow Datasets (TFDS)."""

import os
import urllib.error
import urllib.request

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from ipkd_tf.data import splits
from ipkd_tf.data.examples import Source
from ipkd_tf.data.originals import Originals
from ipkd_tf.data.records import ArrayRecords, TFRecords, read_image

# Of the training pixels, as published; CIFAR's within 0.0016 deviations of what
# kalviny/MSDNet-PyTorch normalizes by, whose constants differ in the fourth digit.
PUBLISHED = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet2012": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
SECONDS_TO_ANSWER = 4  # a reachable host takes well under one
_TFDS_BUCKET = "https://storage.googleapis.com"  # stands for the network if no source is known


def open_tfds(
    name, data_dir=None, size=None, channels=3, centre_crop=0.0, skip_broken=0, progress=None
) -> Source:
    """A TFDS data set with the features `image` and `label`, prepared as TFRecord or ArrayRecord.

    The test split is `test`, or `validation` where no labels of it are known; else a fifth of
    `train`.
    """
    # A shell leaves the ~ of --data_dir=~/data alone, and so does TFDS.
    builder = _builder(name, os.path.expanduser(data_dir) if data_dir else None)
    _ensure_stored(builder)
    image, label = (builder.info.features[key] for key in ("image", "label"))
    native = image.shape[:2]
    if size is None and None in native:
        raise ValueError(
            f"Images of {name!r} are of different sizes. Choose one that all are scaled to, such "
            "as --image_size=32. Received: image_size=None"
        )
    class_names = tuple(label.int2str(index) for index in range(label.num_classes))
    available = builder.info.splits
    if "train" not in available:
        raise ValueError(
            f"Data set {name!r} has no split 'train', only {list(available)}. "
            f"Received: name={name!r}"
        )
    train = _records(builder, "train", progress)
    tests = (_records(builder, s, progress) for s in ("test", "validation") if s in available)
    test = next((records for records in tests if records.labels.min(initial=0) >= 0), None)
    parts = [train.labels, (test or train).labels]
    rows = [np.arange(len(labels)) for labels in parts]
    if test is None:
        rows = splits.split_off_test(train.labels, class_names)

    def find(row):
        part = int(row >= len(rows[0]))
        return (train, test or train)[part], rows[part][row - part * len(rows[0])]

    size = size or native
    images = Originals(
        lambda row: read_image(*find(row)),
        lambda row: "record {1} of {0.name}".format(*find(row)),
        sum(map(len, rows)),
        (*size, channels),
        None if native == tuple(size) else centre_crop,
        skip_broken,
    )
    counts = {split: info.num_examples for split, info in sorted(available.items())}
    return Source(
        class_names,
        *(labels[of_part] for labels, of_part in zip(parts, rows, strict=True)),
        images,
        f"tfds {builder.info.full_name} {counts}",
        PUBLISHED.get(builder.name) if channels == 3 else None,
    )


def _builder(name, data_dir):
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(
            "TFDS has no data set of this name, and none is stored in the data directory. Names: "
            "https://www.tensorflow.org/datasets/catalog/overview. "
            f"Received: name={name!r}, data_dir={data_dir!r}"
        ) from error
    except Exception as error:  # each of the many builders fails in its own way
        raise ValueError(
            f"TFDS cannot open this data set: {type(error).__name__}: {error}. "
            f"Received: name={name!r}, data_dir={data_dir!r}"
        ) from error
    features = dict(builder.info.features.items())
    image, label = features.get("image"), features.get("label")
    if not (isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.ClassLabel)):
        raise ValueError(
            "Of TFDS's data sets those with features called 'image' and 'label' can be read; this "
            f"one has {', '.join(map(repr, features))}. Received: name={name!r}"
        )
    if image.np_dtype != np.uint8 or image.shape[-1] not in (1, 3):
        raise ValueError(
            f"Images must be uint8, grey or RGB; those of this data set are {image.np_dtype} of "
            f"shape {image.shape}. Received: name={name!r}"
        )
    return builder


def _ensure_stored(builder):
    """Downloads and prepares the data set if need be; asks once whether that is possible."""
    manual = _manual_dir(builder)
    if builder.data_path.exists():  # TFDS takes an incomplete folder for a complete one
        files = [builder.data_path / name for name in ("dataset_info.json", "features.json")]
        files += [path for split in builder.info.splits.values() for path in split.filepaths]
        missing = [path.name for path in files if not path.is_file()]
        if missing:
            raise _incomplete(builder, f"{', '.join(missing)} missing")
        return
    archives = builder.url_infos or {}
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:  # TFDS does not tell the names of these archives
        at_hand = os.path.isdir(manual) and os.listdir(manual)
    else:
        names = [info.filename for info in archives.values()]
        at_hand = names and all(
            name and os.path.isfile(os.path.join(manual, name)) for name in names
        )
    host = next(iter(archives), _TFDS_BUCKET)
    if not at_hand and not _answers(host):
        raise _refusal(
            builder,
            f"is not stored in {builder.data_dir!r}, its archive is not in {manual!r}, and {host} "
            "does not answer",
        )
    config = tfds.download.DownloadConfig(manual_dir=manual, try_download_gcs=False)
    try:
        builder.download_and_prepare(download_config=config)
    except Exception as error:  # each of the many builders fails in its own way
        problem = f"could not be prepared: {type(error).__name__}: {error}"
        raise _refusal(builder, problem) from error


def _answers(url):
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER).close()
    except OSError as error:
        return isinstance(error, urllib.error.HTTPError)  # an answer, too
    return True


def _manual_dir(builder):
    return os.path.join(builder.data_dir_root, "downloads", "manual")


def _incomplete(builder, reason):
    place = f"is stored incompletely in {builder.data_dir!r}"
    return _refusal(builder, f"{place}: {reason}. Remove that folder")


def _refusal(builder, problem):
    """A ValueError that names the problem and the ways out."""
    name = "/".join(filter(None, (builder.name, builder.builder_config_name)))
    root, manual = str(builder.data_dir_root), builder.MANUAL_DOWNLOAD_INSTRUCTIONS or ""
    archives = "".join(
        f" Or download {url} to {os.path.join(_manual_dir(builder), info.filename)!r}."
        for url, info in (builder.url_infos or {}).items()
        if info.filename
    )
    return ValueError(
        f"Data set {builder.name!r} {problem}.\nWhere there is a network, run "
        f"tfds.load({name!r}, data_dir={root!r}) and copy the folder {builder.name!r} from there "
        f"into {root!r}.{archives} Or take the data that comes along, --dataset=digits. "
        f"{manual.strip()}\nReceived: data_dir={root!r}"
    )


def _records(builder, split, progress):
    """The records of a split; what TensorFlow reports of the files becomes clear."""
    info, kind = builder.info.splits[split], builder.info.file_format.name
    kinds = {"TFRECORD": TFRecords, "ARRAY_RECORD": ArrayRecords}
    if kind not in kinds:
        raise _refusal(
            builder,
            f"is stored as {kind.lower()}, of which records cannot be read one by one. Prepare it "
            'with file_format="tfrecord" or "array_record"',
        )
    total = info.num_examples
    try:
        paths = [str(path) for path in info.filepaths]
        tell = progress and (lambda done: progress(done, total))
        records = kinds[kind](paths, f"split {split!r}", tell or (lambda done: None))
    except tf.errors.OpError as error:
        reason = f"split {split!r} cannot be read ({str(error).splitlines()[0]})"
        raise _incomplete(builder, reason) from error
    if len(records.labels) != total:
        held = len(records.labels)
        raise _incomplete(builder, f"split {split!r} holds {held} of {total} examples")
    return records
