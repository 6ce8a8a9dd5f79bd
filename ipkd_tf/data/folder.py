"""Own images: one folder per class, read with Pillow."""

import hashlib
import os
import pathlib
import time
import warnings

import numpy as np

from ipkd_tf.data import image_file, splits
from ipkd_tf.data.examples import Source
from ipkd_tf.data.originals import Originals, keep
from ipkd_tf.output.checks import check

_KINDS = ", ".join(image_file.SUFFIXES)


def open_folder(path, size=None, channels=3, centre_crop=0.0, skip_broken=0) -> Source:
    """The images `path/train/CLASS/*` and `path/test/CLASS/*`, or `path/CLASS/*`.

    Without a `test` folder a fifth of the images, stratified and always the same ones, becomes the
    test split; when images come or go it is another fifth, and `ImageDataset.digest` another one.
    Classes are numbered in the alphabetical order of their folders. PNG, JPEG, BMP, GIF (first
    frame), WebP and TIFF files count; hidden files do not. Images become RGB or grey, turned
    upright as their EXIF data says; transparent parts become white.
    """
    root = pathlib.Path(path).expanduser()
    class_names, *parts = _scan(root)
    files, sizes = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    # Without a size to scale to, that of the first image stands for all.
    shape = *(size or image_file.open_rgb(files[0]).size[::-1]), channels
    crop = centre_crop if size else None
    images = Originals(files.item, files.item, len(files), shape, crop, skip_broken)
    labels = [part[2] for part in parts]
    return Source(class_names, *labels, images, _describe(root, files, sizes))


def _scan(root):
    """Returns class names and, for the two splits, arrays of files, their sizes and labels."""
    check(root.is_dir(), "a folder that holds one folder of images per class", path=str(root))
    if not _folders(root / "train"):
        class_names, *arrays = _scan_classes(root)
        parts = splits.split_off_test(arrays[-1], class_names)
        return class_names, *([array[part] for array in arrays] for part in parts)
    expected = "a folder test beside train; or class folders directly in the path, then a fifth of "
    expected += "the images becomes the test split"
    check((root / "test").is_dir(), expected, path=str(root))
    class_names, *train = _scan_classes(root / "train")
    test_class_names, *test = _scan_classes(root / "test")
    differ = ", ".join(sorted({*class_names} ^ {*test_class_names}))
    expected = f"the same classes in the folders train and test; only one of them has {differ}"
    check(class_names == test_class_names, expected, path=str(root))
    return class_names, train, test


def _scan_classes(root):
    """Returns (class names, files, their sizes, int32 labels `[examples]`) of `root/CLASS/*`."""
    folders = _folders(root)
    check(folders, "class folders, one folder of images per class", path=str(root))
    # A folder's time changes when files come or go, but may be too coarse to show it at once.
    times = [folder.stat().st_mtime for folder in folders]
    listed = keep(
        str(root.resolve()),
        [[folder.name, at] for folder, at in zip(folders, times, strict=True)],
        lambda: [_list_folder(folder) for folder in folders],
        lambda listed: sum(len(names) for names, *_ in listed if max(times) < time.time() - 2),
    )
    files, sizes, nested, other = [], [], {}, {}
    for folder, (names, bytes, below, others) in zip(folders, listed, strict=True):
        expected = f"images ({_KINDS}) in each class folder; {below} are in folders below, which "
        check(names, f"{expected}are not read: move some up or remove the folder", path=str(folder))
        nested[folder.name], other[folder.name] = below, others
        files += [f"{folder}{os.sep}{name}" for name in names]
        sizes += bytes
    _warn(root, {"images in folders below those": nested, f"files other than {_KINDS}": other})
    counts = [len(names) for names, *_ in listed]
    labels = np.repeat(np.arange(len(folders), dtype=np.int32), counts)
    return tuple(f.name for f in folders), np.array(files, object), np.array(sizes), labels


def _list_folder(folder):
    """Names and sizes of a folder's images; numbers of images further down and of other files."""
    images, nested, other = {}, 0, 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                nested += sum(_is_image(name) for *_, names in os.walk(entry) for name in names)
            elif entry.is_file() and _is_image(entry.name):
                images[entry.name] = entry.stat().st_size
            else:
                other += entry.is_file()
    names = sorted(images)
    return names, [images[name] for name in names], nested, other


def _warn(root, unread):
    """Warns, once, of what a user may have taken for training data, by class."""
    parts = []
    for what, counts in unread.items():
        classes = ", ".join(f"{name}: {count}" for name, count in counts.items() if count)
        parts += [f"{sum(counts.values())} {what} ({classes})"] if classes else []
    if parts:
        text = f"Not read from the class folders of {str(root)!r}: {'; '.join(parts)}."
        warnings.warn(text, stacklevel=2)


def _folders(root):
    if not root.is_dir():
        return []
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _is_image(name):
    return os.path.splitext(name)[1].lower() in image_file.SUFFIXES


def _describe(root, files, sizes):
    """What tells this folder from others: a hash of every file's path below it and size."""
    digest, start = hashlib.sha256(), len(str(root))
    for file, size in zip(files, sizes, strict=True):
        digest.update(f"{file[start:]} {size}\n".encode("utf-8", "surrogateescape"))
    return f"folder of {len(files)} images {digest.hexdigest()}"
