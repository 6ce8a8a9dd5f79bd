"""Which runs may stand in one table: those whose settings differ in method and seed only."""

import pandas as pd

from ipkd_tf.reports.runs import SETTINGS

NETWORK_AND_DATA = ["model", "dataset"]


def told_apart(rows, mix=False):
    """Adds the column `variant`: "" or, of mixed runs, the settings in which they differ.

    Args:
        rows: Rows of `Gathered`, of one choice of epoch.
        mix: Whether settings other than method and seed may differ within a network and data set.

    Raises:
        ValueError: Settings differ and `mix` is false, or two runs are of the same network, data
            set, settings and seed.

    Example:
        >>> set(told_apart(rows, mix=True)["variant"])
        {'temperature=1.0', 'temperature=5.0'}
    """
    groups = rows.groupby(NETWORK_AND_DATA, sort=False)
    marked = pd.concat([_variants(group, mix) for _, group in groups])
    for _, same in marked.groupby([*NETWORK_AND_DATA, "method", "variant", "seed"], sort=False):
        _refuse_several_runs(same)
    return marked


def _variants(group, mix):
    varying = [name for name in SETTINGS if group[name].nunique() > 1]
    if varying and not mix:
        _refuse_difference(group, varying)
    texts = [f"{name}=" + group[name].astype(str) for name in varying]
    variant = texts[0].str.cat(texts[1:], sep=", ") if texts else ""
    return group.assign(variant=variant)


def _refuse_difference(group, varying):
    name = varying[0]
    first = group.iloc[0]
    other = group[group[name] != first[name]].iloc[0]
    also = f" ({', '.join(varying[1:])} differ too)" if varying[1:] else ""
    raise ValueError(
        f"runs of {first['model']} on {first['dataset']} differ in more than method and "
        f"seed{also}; name fewer runs, or give --mix to show them in columns of their own. "
        f"Received: {name}={first[name]} in {first['source']}, {name}={other[name]} in "
        f"{other['source']}"
    )


def _refuse_several_runs(same):
    sources = same["source"].unique()
    if len(sources) > 1:
        raise ValueError(
            "two runs are of the same network, data set, method, settings and seed; leave one of "
            f"them out. Received: {sources[0]}, {sources[1]}"
        )
