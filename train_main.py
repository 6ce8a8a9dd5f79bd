"""Trains one experiment, as python -m ipkd_tf train does; see ipkd_tf/tools/train.py, or --help."""

from ipkd_tf.tools.train import start

if __name__ == "__main__":
    start()
