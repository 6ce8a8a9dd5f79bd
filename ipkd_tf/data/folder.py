"""Own images: one folder per class, read with Pillow."""

import concurrent.futures
import hashlib
import os
import pathlib
import warnings

import numpy as np

from ipkd_tf.data import image_file, splits
from ipkd_tf.data.examples import Examples, ImageDataset, check_fits, collect, mean_and_std

_KINDS = ", ".join(image_file.SUFFIXES)
_BATCH = 256  # images decoded between two calls of `progress`
_LISTED = 20  # broken files that are named


def read(
    path, image_size=None, train_examples=None, test_examples=None, seed=0, progress=None
) -> ImageDataset:
    """Reads `path/train/CLASS/*` and `path/test/CLASS/*`, or `path/CLASS/*`.

    Without a `test` folder a fifth of the images, stratified and always the same ones, becomes the
    test split; when images come or go, it is another fifth, and the data set has another `digest`.
    Classes are numbered in the alphabetical order of their folders. PNG, JPEG, BMP, GIF (first
    frame), WebP and TIFF files count; hidden files do not. Images become RGB, turned upright as
    their EXIF data says; transparent parts become white.

    Args:
        path: The folder.
        image_size: Side of the square that every image is scaled to (antialiased, aspect ratio
            not kept). May be left out if all images are squares of one size.
        train_examples, test_examples, seed, progress: As in `ipkd_tf.data.read`.

    Raises:
        ValueError: A missing path, no class folders, a class without images, or files that cannot
            be decoded (all of them are named).
    """
    root = pathlib.Path(path).expanduser()
    class_names, (train_files, train_labels), (test_files, test_labels) = _scan(root)
    source = _describe(root, [*train_files, *test_files])
    train = splits.subset(train_labels, train_examples, "train_examples", seed)
    test = splits.subset(test_labels, test_examples, "test_examples", seed)
    files = [*train_files[train], *test_files[test]]
    name, size = f"folder:{path}", image_size or _side(files[0])
    check_fits(name, len(files), size)
    images = _decode_all(root, files, size, image_size is not None, progress)
    whole = Examples(images, np.concatenate([train_labels[train], test_labels[test]]))
    train = whole.subset(np.arange(len(train)))
    test = whole.subset(np.arange(len(train), len(files)))
    return ImageDataset(name, train, test, class_names, *mean_and_std(train), source=source)


def _scan(root):
    """Returns class names and, for the two splits, arrays of files and their labels."""
    if not root.is_dir():
        raise ValueError(
            f"There is no folder {str(root)!r}. Give the folder that holds one folder of images "
            f"per class. Received: path={str(root)!r}"
        )
    if not _folders(root / "train"):
        class_names, files, labels = _scan_classes(root)
        train, test = splits.split_off_test(labels, class_names)
        return class_names, (files[train], labels[train]), (files[test], labels[test])
    if not (root / "test").is_dir():
        raise ValueError(
            f"{str(root / 'train')!r} has no {str(root / 'test')!r} next to it. Add the test "
            "images, or put the class folders directly into the path and a fifth of the images "
            f"will be held out as test split. Received: path={str(root)!r}"
        )
    class_names, *train = _scan_classes(root / "train")
    test_class_names, *test = _scan_classes(root / "test")
    if class_names != test_class_names:
        different = sorted(set(class_names) ^ set(test_class_names))
        raise ValueError(
            "The folders train and test must hold the same classes; only one of them has "
            f"{', '.join(different)}. Received: path={str(root)!r}"
        )
    return class_names, train, test


def _scan_classes(root):
    """Returns (class names, files `[examples]`, int32 labels `[examples]`) of `root/CLASS/*`."""
    folders = _folders(root)
    if not folders:
        raise ValueError(
            f"{str(root)!r} has no class folders: it must hold one folder of images per class. "
            f"Received: path={str(root)!r}"
        )
    files, labels, nested, other = [], [], {}, {}
    for label, folder in enumerate(folders):
        visible = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
        images = [str(p) for p in visible if _is_image(p)]
        below = sum(_is_image(file) for p in visible if p.is_dir() for file in p.rglob("*"))
        if not images:
            hint = f" It has {below} in folders of its own: move them up." if below else ""
            raise ValueError(
                f"Class folder {str(folder)!r} has no images ({_KINDS}).{hint} Add some or "
                f"remove the folder. Received: path={str(folder)!r}"
            )
        files += images
        labels += [label] * len(images)
        nested[folder.name] = below
        other[folder.name] = sum(p.is_file() and not _is_image(p) for p in visible)
    _warn_of_unread(root, nested, other)
    names = tuple(folder.name for folder in folders)
    return names, np.array(files, dtype=object), np.array(labels, np.int32)


def _warn_of_unread(root, nested, other):
    """One warning with what a user may have taken for training data, by class."""
    reasons = {
        "images in folders below the class folders": nested,
        f"files that are not {_KINDS}": other,
    }
    parts = [
        f"{sum(counts.values())} {reason} "
        f"({', '.join(f'{name}: {count}' for name, count in counts.items() if count)})"
        for reason, counts in reasons.items()
        if sum(counts.values())
    ]
    if parts:
        warnings.warn(f"Not read from {str(root)!r}: {'; '.join(parts)}.", stacklevel=2)


def _folders(root):
    if not root.is_dir():
        return []
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _is_image(path):
    return path.suffix.lower() in image_file.SUFFIXES and path.is_file()


def _describe(root, files):
    """What tells this folder from others: a hash of every file's path below it and size."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.removeprefix(str(root))} {os.path.getsize(file)}\n".encode())
    return f"folder of {len(files)} images {digest.hexdigest()}"


def _side(file):
    """Side of the first image, which stands for all when no size was asked for."""
    width, height = image_file.open_rgb(file).size
    if width != height:
        raise ValueError(
            f"Networks take square images, but {file!r} has {width}x{height} pixels. Choose a "
            "size that all images are scaled to, such as --image_size=32. Received: image_size=None"
        )
    return width


def _decode_all(root, files, size, resize, progress):
    broken = []

    def decode(file):
        try:
            return image_file.decode(file, size, resize)
        except image_file.BrokenImage as error:
            broken.append(f"{file}: {error.__cause__}")
            return np.zeros((size, size, 3), np.uint8)

    def batches():
        # Pillow decodes outside Python's global lock, so threads use all cores.
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(files), _BATCH):
                yield np.stack(list(pool.map(decode, files[start : start + _BATCH])))

    images = collect(batches(), len(files), size, progress)
    if broken:
        more = f"\n... and {len(broken) - _LISTED} more" if len(broken) > _LISTED else ""
        raise ValueError(
            f"{len(broken)} of {len(files)} image files cannot be read. Replace or remove them:\n"
            + "\n".join(sorted(broken)[:_LISTED])
            + f"{more}\nReceived: path={str(root)!r}"
        )
    return images
