"""Own images: one folder per class, read with Pillow."""

import concurrent.futures
import hashlib
import os
import pathlib
import warnings

import numpy as np

from ipkd_tf.data import image_file, splits
from ipkd_tf.data.examples import Source

_KINDS = ", ".join(image_file.SUFFIXES)
_BATCH = 256  # images decoded at a time
_LISTED = 20  # broken files that are named


def open_folder(path, image_size=None) -> Source:
    """The images `path/train/CLASS/*` and `path/test/CLASS/*`, or `path/CLASS/*`.

    Without a `test` folder a fifth of the images, stratified and always the same ones, becomes the
    test split; when images come or go it is another fifth, and `ImageDataset.digest` another one.
    Classes are numbered in the alphabetical order of their folders. PNG, JPEG, BMP, GIF (first
    frame), WebP and TIFF files count; hidden files do not. Images become RGB, turned upright as
    their EXIF data says; transparent parts become white.

    Raises:
        ValueError: A missing path, no class folders, a class without images, or images of another
            shape than a square without `image_size`. Decoding raises it for files that cannot be
            decoded, and names them all.
    """
    root = pathlib.Path(path).expanduser()
    class_names, (train_files, train_labels), (test_files, test_labels) = _scan(root)
    size = image_size or _side(train_files[0])

    def decode(train, test):
        files = [*train_files[train], *test_files[test]]
        return _decode_all(root, files, size, resize=image_size is not None)

    description = _describe(root, [*train_files, *test_files])
    return Source(class_names, train_labels, test_labels, size, decode, description)


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
        raise ValueError(
            "The folders train and test must hold the same classes; only one of them has "
            f"{', '.join(sorted({*class_names} ^ {*test_class_names}))}. "
            f"Received: path={str(root)!r}"
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
    files, counts, nested, other = [], [], {}, {}
    for folder in folders:
        visible = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
        images = [str(p) for p in visible if _is_image(p)]
        nested[folder.name] = sum(_is_image(f) for p in visible if p.is_dir() for f in p.rglob("*"))
        other[folder.name] = sum(p.is_file() and not _is_image(p) for p in visible)
        if not images:
            raise ValueError(
                f"Class folder {str(folder)!r} has no images ({_KINDS}), and "
                f"{nested[folder.name]} in folders below it, which are not read. Move some up or "
                f"remove the folder. Received: path={str(folder)!r}"
            )
        files += images
        counts.append(len(images))
    _warn(root, {"images in folders below those": nested, f"files other than {_KINDS}": other})
    labels = np.repeat(np.arange(len(folders), dtype=np.int32), counts)
    return tuple(folder.name for folder in folders), np.array(files, object), labels


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


def _decode_all(root, files, size, resize):
    """Batches of decoded images; names all broken files at the end."""
    broken = []

    def decode(file):
        try:
            return image_file.decode(file, size, resize)
        except image_file.BrokenImage as error:
            broken.append(f"{file}: {error.__cause__}")
            return np.zeros((size, size, 3), np.uint8)

    # Pillow decodes outside Python's global lock, so threads use all cores.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), _BATCH):
            yield np.stack(list(pool.map(decode, files[start : start + _BATCH])))
    if broken:
        listed = "\n".join(sorted(broken)[:_LISTED])
        more = f"\n... and {len(broken) - _LISTED} more" if len(broken) > _LISTED else ""
        raise ValueError(
            f"{len(broken)} of {len(files)} image files cannot be read. Replace or remove them:\n"
            f"{listed}{more}\nReceived: path={str(root)!r}"
        )
