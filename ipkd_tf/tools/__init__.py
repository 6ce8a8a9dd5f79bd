"""Command line programs: python -m ipkd_tf.tools.NAME."""
