"""What setup.cfg cannot say: the run files of the top level are part of the package, too."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["ipkd_tf*"]), "ipkd_tf.runs", "ipkd_tf.runs.base"],
    package_dir={"ipkd_tf.runs": "runs", "ipkd_tf.runs.base": "runs/base"},
    package_data={
        "ipkd_tf": ["py.typed"],
        "ipkd_tf.models.trained": ["*/best.keras", "*/result.json", "*/README.md"],
        "ipkd_tf.runs": ["*.flags"],
        "ipkd_tf.runs.base": ["*.flags"],
    },
)
