"""Own images: one folder per class, read with Pillow."""

import concurrent.futures
import os
import pathlib
import warnings

import numpy as np

from ipkd_tf.data import image_file, memory, splits
from ipkd_tf.data.dataset import ImageDataset, mean_and_std

_KINDS = ", ".join(image_file.SUFFIXES)
_BATCH = 256  # images decoded between two updates of the progress bar


def read(path, image_size=None, train_examples=None, test_examples=None, seed=0):
    """Reads `path/train/CLASS/*` and `path/test/CLASS/*`, or `path/CLASS/*`.

    Without a `test` folder a fifth of the images, stratified and always the same ones, becomes the
    test split. Classes are numbered in the alphabetical order of their folders. PNG, JPEG, BMP and
    GIF (first frame) files count; hidden files do not. Images become RGB, turned upright as their
    EXIF data says; transparent parts become white.

    Args:
      path: the folder.
      image_size: side of the square that every image is scaled to (antialiased, aspect ratio not
        kept). May be left out if all images are squares of one size.
      train_examples, test_examples, seed: as in `ipkd_tf.data.read`.

    Raises:
      ValueError: for a missing path, no class folders, a class without images, or a file that
        cannot be decoded (which one, and what to do).
    """
    root = pathlib.Path(path).expanduser()
    class_names, (train_files, train_labels), (test_files, test_labels) = _scan(root)
    train = splits.subset_indices(train_labels, train_examples, "train_examples", seed)
    test = splits.subset_indices(test_labels, test_examples, "test_examples", seed)
    name, size = f"folder:{path}", image_size or _side(train_files[0])
    memory.check_fits(name, len(train) + len(test), size, size)
    train_images = _decode_all(train_files[train], size, resize=image_size is not None)
    mean, std = mean_and_std(train_images)
    return ImageDataset(
        name=name,
        train_images=train_images,
        train_labels=train_labels[train],
        test_images=_decode_all(test_files[test], size, resize=image_size is not None),
        test_labels=test_labels[test],
        class_names=class_names,
        mean=mean,
        std=std,
    )


def _scan(root):
    """Returns class names and, for the two splits, arrays of files and their labels."""
    if not root.is_dir():
        raise ValueError(
            f"There is no folder {str(root)!r}. Give the folder that holds one folder of images "
            f"per class. Received: path={str(root)!r}"
        )
    if not _folders(root / "train"):
        class_names, files, labels = _scan_classes(root)
        train, test = splits.split_off_test(labels)
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
    files_by_class = [_image_files(folder) for folder in folders]
    labels = np.repeat(np.arange(len(folders), dtype=np.int32), [len(f) for f in files_by_class])
    files = np.array([str(file) for files in files_by_class for file in files])
    return tuple(folder.name for folder in folders), files, labels


def _folders(root):
    if not root.is_dir():
        return []
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _image_files(folder):
    visible = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    files = [p for p in visible if p.suffix.lower() in image_file.SUFFIXES and p.is_file()]
    if not files:
        raise ValueError(
            f"Class folder {str(folder)!r} has no images ({_KINDS}). Add some or "
            f"remove the folder. Received: path={str(folder)!r}"
        )
    if len(files) < len(visible):
        warnings.warn(
            f"Ignored {len(visible) - len(files)} entries of {str(folder)!r}: no {_KINDS} files.",
            stacklevel=2,
        )
    return files


def _side(file):
    """Side of the first image, which stands for all when no size was asked for."""
    width, height = image_file.open_rgb(file).size
    if width != height:
        raise ValueError(
            f"Networks take square images, but {file!r} has {width}x{height} pixels. Choose a "
            "size that all images are scaled to, such as --image_size=32. Received: image_size=None"
        )
    return width


def _decode_all(files, size, resize):
    def decode(file):
        return image_file.decode(file, size, resize)

    def batches():
        # Pillow decodes outside Python's global lock, so threads use all cores.
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(files), _BATCH):
                yield np.stack(list(pool.map(decode, files[start : start + _BATCH])))

    return memory.collect(batches(), len(files), size, size)
