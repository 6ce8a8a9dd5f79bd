"""One image as upright 8-bit pixels, whatever its format and orientation, and windows of it."""

import contextlib
import io
import math

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)  # of EXIF data; those that exchange width and height
_GAP = 2  # A JPEG file is decoded at 1/2, 1/4 or 1/8 where that is still twice what is needed.


def decode(file, shape, window=None):
    """Reads a window of an image file or bytes, scaled (antialiased), as uint8 of the shape.

    `window` goes from width and height to (left, top, width, height); None insists on the size.
    """
    sides = shape[1::-1]
    with _reported(file):
        image = Image.open(io.BytesIO(file) if isinstance(file, bytes) else file)
        lying = image.getexif().get(_ORIENTATION) in _LYING
    width, height = image.size[::-1] if lying else image.size
    if window is None and (width, height) != sides:
        raise ValueError(
            f"Images have different sizes: {_name(file)} has {width}x{height} pixels, the first "
            f"image {sides[0]}x{sides[1]}. Choose a size that all images are scaled to, such as "
            "--image_size=32. Received: image_size=None"
        )
    left, top, wide, high = window(width, height) if window else (0, 0, width, height)
    with _reported(file), image:
        scales = zip(sides, (width, height), (wide, high), strict=True)
        least = [math.ceil(_GAP * side * all / part) for side, all, part in scales]
        image.draft(None, tuple(least[::-1] if lying else least))
        upright = _upright_rgb(image)
    x, y = upright.width / width, upright.height / height  # below 1 for a JPEG decoded smaller
    return fit(upright, shape, (left * x, top * y, (left + wide) * x, (top + high) * y))


def scale_window(pixels, window):
    """A window of an image `[height, width, channels]`, scaled to the same shape."""
    left, top, wide, high = window(pixels.shape[1], pixels.shape[0])
    return fit(from_pixels(pixels), pixels.shape, (left, top, left + wide, top + high))


def from_pixels(pixels):
    """The Pillow image of a uint8 array `[height, width, 1 or 3]`."""
    return Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])


def fit(image, shape, box=None):
    """A Pillow image, or a box of it, as uint8 of a shape: scaled bilinear, antialiased."""
    height, width, channels = shape
    image = image.convert("L" if channels == 1 else "RGB")
    left, top, right, bottom = box or (0, 0, image.width, image.height)
    box = left, top, min(right, image.width), min(bottom, image.height)
    resized = image.resize((width, height), Image.Resampling.BILINEAR, box, reducing_gap=_GAP)
    return np.asarray(resized).reshape(shape)


def open_rgb(file):
    """Opens an image file as an upright 8-bit RGB image; `BrokenImage` if it cannot be read."""
    with _reported(file), Image.open(file) as image:
        return _upright_rgb(image)


def centre(share, aspect=1.0):
    """The window in the middle, a share of the largest of its width / height; 0: everything."""

    def window(width, height):
        if not share:
            return 0, 0, width, height
        high = share * min(width / aspect, height)
        wide = high * aspect
        return (width - wide) / 2, (height - high) / 2, wide, high

    return window


def drawn(draws):
    """The first window inside the image that random numbers `[attempts, 4]` choose.

    They are the share of the area, width / height, and the place from left and top in 0..1, as in
    torchvision's RandomResizedCrop; if none lies inside, the largest in the middle with 3/4 to 4/3.
    """

    def window(width, height):
        for area, ratio, x, y in draws.tolist():
            wide = round(math.sqrt(area * width * height * ratio))
            high = round(math.sqrt(area * width * height / ratio))
            if 0 < wide <= width and 0 < high <= height:
                return int(x * (width - wide + 1)), int(y * (height - high + 1)), wide, high
        wide, high = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
        return (width - wide) // 2, (height - high) // 2, wide, high

    return window


class BrokenImage(ValueError):
    """A file that is no image, or a damaged one."""


@contextlib.contextmanager
def _reported(file):
    try:
        yield
    # Depending on the format Pillow reports damage with any of these.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise BrokenImage(
            f"Cannot read image file {_name(file)} ({error}). Replace it. "
            f"Received: file={_name(file)}"
        ) from error


def _name(file):
    return "of a record" if isinstance(file, bytes) else repr(str(file))


def _upright_rgb(image):
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):  # 16 bits per pixel, which Pillow would clip instead of scale
        image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
    if image.has_transparency_data:
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image.convert("RGBA"))
    return image.convert("RGB")
