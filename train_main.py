"""Trains one experiment; see ipkd_tf/tools/train.py, or --help."""

from ipkd_tf.tools.train import start

if __name__ == "__main__":
    start()
