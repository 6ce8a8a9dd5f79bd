"""Writes CIFAR-100's training images, scaled to 224 pixels, as JPEG files: more than memory holds.

python -m benchmarks.photographs --output=/tmp/big --files=100000 --data_dir=DATA_DIR

Each image is written as often as it takes, a little smaller each time, so that no two files agree.
"""

import concurrent.futures
import functools
import os
import pathlib

import numpy as np
from absl import flags
from PIL import Image

from ipkd_tf.tools import command

_SIDE = 224


def define_flags():
    flags.DEFINE_string("output", None, "Folder to write CLASS/*.jpg into.", required=True)
    flags.DEFINE_integer("files", 100_000, "How many.", 1)
    flags.DEFINE_string("data_dir", "", "Where CIFAR-100 is.")


def write(output, images, labels, class_names, number):
    """Writes file `number`."""
    image, times = number % len(images), number // len(images)
    margin = min(times, 14)  # pixels of 32 that are cut away
    pixels = Image.fromarray(images[image][margin // 2 : 32 - (margin + 1) // 2])
    path = pathlib.Path(output, class_names[labels[image]], f"{number:07}.jpg")
    pixels.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).save(path, quality=90)


def main():
    """Reads CIFAR-100 and writes the files in as many threads as there are cores."""
    command.start_tensorflow()
    from ipkd_tf import data

    train = data.read("cifar100", data_dir=flags.FLAGS.data_dir or None).train
    class_names = [f"class_{number:02}" for number in range(100)]
    for name in class_names:
        pathlib.Path(flags.FLAGS.output, name).mkdir(parents=True, exist_ok=True)
    images, labels = train.images(), np.asarray(train.labels)
    task = functools.partial(write, flags.FLAGS.output, images, labels, class_names)
    # Pillow works without Python's lock.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        for _ in threads.map(task, range(flags.FLAGS.files)):
            pass
    print(f"{flags.FLAGS.files} files in {flags.FLAGS.output}")


if __name__ == "__main__":
    command.start(define_flags, main)
