"""Image classification data sets of TensorFlow Datasets (TFDS)."""

import os
import urllib.error
import urllib.request

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from ipkd_tf.data import splits
from ipkd_tf.data.examples import Source

# Of the training pixels, as published; within 0.0016 deviations of what kalviny/MSDNet-PyTorch
# normalizes by, whose constants differ in the fourth digit.
PUBLISHED = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
SECONDS_TO_ANSWER = 4  # a reachable host takes well under one
_TFDS_BUCKET = "https://storage.googleapis.com"  # stands for the network if no source is known
_BATCH = 256  # images decoded at a time


def open_tfds(name, data_dir=None, image_size=None) -> Source:
    """A TFDS data set with the features `image` and `label`.

    The test split is `test`, else `validation`, else a fixed stratified fifth of `train`. `name`
    is as TFDS knows it: "cifar10", "svhn_cropped", "name/config:1.0.0".
    """
    # A shell leaves the ~ of --data_dir=~/data alone, and so does TFDS.
    builder = _builder(name, os.path.expanduser(data_dir) if data_dir else None)
    _ensure_stored(builder)
    image, label = (builder.info.features[key] for key in ("image", "label"))
    height, width, _ = image.shape
    if image_size is None and (height is None or height != width):
        raise ValueError(
            f"Networks take square images, but those of {name!r} have shape {image.shape}. Choose "
            "a size that all images are scaled to, such as --image_size=32. "
            "Received: image_size=None"
        )
    size = image_size or height
    class_names = tuple(label.int2str(index) for index in range(label.num_classes))
    available = builder.info.splits
    if "train" not in available:
        raise ValueError(
            f"Data set {name!r} has no split 'train', only {list(available)}. "
            f"Received: name={name!r}"
        )
    train_labels = _labels(builder, "train")
    test_split = next((split for split in ("test", "validation") if split in available), "train")
    if test_split == "train":
        train, test = splits.split_off_test(train_labels, class_names)
        train_labels, test_labels = train_labels[train], train_labels[test]
    else:
        test_labels = _labels(builder, test_split)
        train, test = np.arange(len(train_labels)), np.arange(len(test_labels))

    def decode(of_train, of_test):
        yield from _image_batches(builder, "train", train[of_train], size)
        yield from _image_batches(builder, test_split, test[of_test], size)

    counts = {split: info.num_examples for split, info in sorted(available.items())}
    return Source(
        class_names,
        train_labels,
        test_labels,
        size,
        decode,
        f"tfds {builder.info.full_name} {counts}",
        PUBLISHED.get(builder.name),
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
    """Downloads and prepares the data set if that is needed and possible.

    Whether it is possible is asked once, before TFDS asks eleven times in silence.
    """
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
    except urllib.error.HTTPError:  # an answer, too
        return True
    except OSError:
        return False
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


def _labels(builder, split):
    """All labels of a split, int32 `[examples]`; no image is decoded."""
    label_only = tfds.decode.PartialDecoding({"label": True})
    labels = builder.as_dataset(split=split, decoders=label_only).map(lambda e: e["label"])
    labels = np.concatenate([[], *_elements(builder, split, labels.batch(10_000))])
    expected = builder.info.splits[split].num_examples
    if len(labels) != expected:
        raise _incomplete(builder, f"split {split!r} holds {len(labels)} of {expected} examples")
    return labels.astype(np.int32)


def _image_batches(builder, split, indices, size):
    """Batches of the decoded images of these sorted indices, uint8 `[batch, size, size, 3]`."""
    feature = builder.info.features["image"]
    wanted = np.zeros(builder.info.splits[split].num_examples, bool)
    wanted[indices] = True

    def decode(_, example):
        image = feature.decode_example(example["image"])
        if image.shape[-1] == 1:
            image = tf.image.grayscale_to_rgb(image)
        if image.shape[:2] == (size, size):
            return image
        resized = tf.image.resize(image, (size, size), antialias=True)
        return tf.cast(tf.round(resized), tf.uint8)  # bilinear: stays within 0..255

    encoded = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    chosen = encoded.enumerate().filter(lambda index, _: tf.gather(wanted, index))
    decoded = chosen.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    return _elements(builder, split, decoded.batch(_BATCH).prefetch(1))


def _elements(builder, split, dataset):
    """Iterates over `dataset` in numpy; what TensorFlow reports of the files becomes clear."""
    try:
        yield from dataset.as_numpy_iterator()
    except tf.errors.OpError as error:
        reason = f"split {split!r} cannot be read ({str(error).splitlines()[0]})"
        raise _incomplete(builder, reason) from error
