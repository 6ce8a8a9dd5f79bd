"""The records of a prepared TFDS split, read by their number."""

import os

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from ipkd_tf.data.image_file import BrokenImage
from ipkd_tf.data.originals import keep

_BLOCK = 10_000  # records looked through at a time
_BEFORE, _AFTER = 12, 4  # bytes around each record of a TFRecord file: its length and checksums


class TFRecords:
    """Records of TFRecord files, read once to the end: the format does not say where they lie.

    Places and labels are kept for the next time. `tell` is called with how many are looked through.
    """

    def __init__(self, paths, name, tell):
        self.name, self._paths = name, paths
        found = _keep(paths, lambda: self._look_through(tell))
        self.labels = np.concatenate([labels for labels, _ in found]).astype(np.int32)
        self._files = np.repeat(np.arange(len(paths)), [len(labels) for labels, _ in found])
        lengths = [np.array(lengths) for _, lengths in found]
        ends = [np.cumsum(of_file + _BEFORE + _AFTER) - _AFTER for of_file in lengths]
        self._lengths = np.concatenate(lengths)
        self._starts = np.concatenate(ends) - self._lengths

    def _look_through(self, tell):
        found, done = [], 0
        for path in self._paths:
            records = tf.data.TFRecordDataset(path, buffer_size=2**20)
            pairs = records.map(_label_and_length, num_parallel_calls=tf.data.AUTOTUNE)
            found.append([[], []])
            for labels, lengths in pairs.batch(_BLOCK).as_numpy_iterator():
                found[-1][0] += labels.tolist()
                found[-1][1] += lengths.tolist()
                done += len(labels)
                tell(done)
        return found

    def read(self, row):
        with open(self._paths[self._files[row]], "rb") as file:
            file.seek(self._starts[row])
            return file.read(self._lengths[row])


class ArrayRecords:
    """As `TFRecords`, of ArrayRecord files, which know where their records lie."""

    def __init__(self, paths, name, tell):
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        self.name, self._source = name, ArrayRecordDataSource(paths)
        self.labels = np.array(_keep(paths, lambda: [self._look_through(tell)])[0][0], np.int32)

    def _look_through(self, tell):
        labels, total = [], len(self._source)
        for start in range(0, total, _BLOCK):
            records = self._source.__getitems__(range(start, min(start + _BLOCK, total)))
            labels += [_feature(record, "label").int64_list.value[0] for record in records]
            tell(len(labels))
        return [labels]

    def read(self, row):
        return self._source[row]


def read_image(records, row):
    """The encoded image of a record; `BrokenImage` if it cannot be read any more."""
    try:
        return _feature(records.read(row), "image").bytes_list.value[0]
    except (OSError, DecodeError, IndexError) as error:
        raise BrokenImage(f"Cannot read record {row}. Received: row={row}") from error


def _feature(record, name):
    return tf.train.Example.FromString(record).features.feature[name]


def _label_and_length(record):
    parsed = tf.io.parse_single_example(record, {"label": tf.io.FixedLenFeature([], tf.int64)})
    return parsed["label"], tf.strings.length(record)


def _keep(paths, look_through):
    stats = [os.stat(path) for path in paths]
    signature = [[stat.st_size, stat.st_mtime_ns] for stat in stats]
    return keep("\n".join(paths), signature, look_through, lambda f: sum(len(p[0]) for p in f))
