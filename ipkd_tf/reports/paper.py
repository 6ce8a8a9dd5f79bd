"""The accuracies that the paper reports: Tables I and II of Ozerov & Duong, EUSIPCO 2021."""

import pandas as pd

from ipkd_tf.training.experiment import METHODS

_TITLES = ("No distillation", "IPKD", "IPKD-TA-1", "IPKD-TA-M")
EPOCHS = {"msdnet": 300, "slimmable_mobilenet_v1": 200}
# The last row of each table is its average as printed, of figures with more digits.
_TABLE_1 = {
    "cifar10": (
        (90.12, 91.24, 90.34, 91.03),
        (91.59, 92.43, 91.32, 92.39),
        (92.64, 93.10, 92.60, 93.12),
        (92.80, 93.35, 92.98, 93.43),
        (93.24, 93.54, 93.40, 93.69),
        (93.12, 93.74, 93.88, 93.92),
        (93.27, 93.69, 93.90, 94.16),
        (92.39, 93.01, 92.63, 93.10),
    ),
    "cifar100": (
        (65.20, 65.20, 65.42, 65.85),
        (68.37, 67.69, 68.49, 68.29),
        (70.82, 70.55, 71.36, 70.47),
        (71.70, 71.65, 72.61, 72.25),
        (73.25, 72.71, 73.24, 73.04),
        (73.61, 73.34, 73.91, 74.29),
        (74.11, 73.91, 73.80, 74.84),
        (71.00, 70.72, 71.26, 71.29),
    ),
}
# The paper labels these rows in reverse: its "x0.25" is the most accurate one. Narrowest first.
_TABLE_2 = {
    "cifar10": (
        (86.04, 87.03, 86.55, 86.36),
        (88.74, 89.16, 89.28, 89.15),
        (89.97, 90.17, 90.27, 90.45),
        (90.46, 90.59, 90.59, 90.54),
        (88.80, 89.24, 89.17, 89.13),
    ),
    "cifar100": (
        (54.98, 58.17, 58.26, 59.18),
        (60.36, 61.88, 60.96, 62.47),
        (62.76, 63.52, 62.80, 63.96),
        (63.56, 63.75, 63.47, 64.19),
        (60.42, 61.83, 61.37, 62.45),
    ),
}
_TABLES = {
    "msdnet": (_TABLE_1, [f"exit_{number}" for number in range(1, 8)]),
    "slimmable_mobilenet_v1": (_TABLE_2, [f"width_{w}" for w in ("0.25", "0.5", "0.75", "1.0")]),
}


def title(method, variant=""):
    """The paper's name of a method, with a variant of it, for the heads of columns and legends."""
    names = {**dict(zip(METHODS, _TITLES, strict=True)), "kd": "KD", "alone": "Each alone"}
    name, *teachers = method.split(" by ", 1)
    title = " by ".join([names.get(name, name), *teachers])
    return f"{title}, {variant}" if variant else title


def accuracies(model, dataset):
    """The paper's table of a network and data set in percent; None if the paper has none.

    `pandas.DataFrame`, sub-models (smallest first, then "average") by methods.
    """
    tables, submodels = _TABLES.get(model, ({}, []))
    if dataset not in tables:
        return None
    return pd.DataFrame(tables[dataset], index=[*submodels, "average"], columns=list(METHODS))


def differences(table, baseline):
    """What `accuracies` gives, minus the baseline method's column; without methods if not in it."""
    if baseline not in table:
        return table[[]]
    others = table.drop(columns=baseline)
    return others.sub(table[baseline], axis=0)


def full_size(model):
    """The paper's network of which a model is the reduced form, or the model itself."""
    return model.removesuffix("_small")
