"""One image file as an upright 8-bit RGB image, whatever its format, mode and orientation."""

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def decode(file, size, resize):
    """Reads `file` into a uint8 array `[size, size, 3]`, scaled to it if `resize` is set."""
    image = open_rgb(file)
    if resize:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    elif image.size != (size, size):
        raise ValueError(
            f"Images have different sizes: {file!r} has {image.width}x{image.height} pixels, the "
            f"first image {size}x{size}. Choose a size that all images are scaled to, such as "
            "--image_size=32. Received: image_size=None"
        )
    return np.asarray(image)


def open_rgb(file):
    """Opens an image file as an upright 8-bit RGB image; `BrokenImage` if it cannot be read."""
    try:
        with Image.open(file) as image:
            return _to_rgb(ImageOps.exif_transpose(image))
    # Depending on the format Pillow reports damage with any of these.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise BrokenImage(
            f"Cannot read image file {str(file)!r} ({error}). Replace it. "
            f"Received: file={str(file)!r}"
        ) from error


class BrokenImage(ValueError):
    """A file that is no image, or a damaged one."""


def _to_rgb(image):
    if image.mode.startswith("I"):  # 16 bits per pixel, which Pillow would clip instead of scale
        image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
    if image.has_transparency_data:
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image.convert("RGBA"))
    return image.convert("RGB")
