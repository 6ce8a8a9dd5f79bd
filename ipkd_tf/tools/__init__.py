"""Command line programs: python -m ipkd_tf NAME, for each module that can be run."""
