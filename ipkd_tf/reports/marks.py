"""Tables inside a Markdown file, between marks, written by a command and not by hand."""

import re

from ipkd_tf.reports import tables

_MARKED = re.compile(r"(<!-- report: (\S+) (\S+)( differences)? -->\n).*?(<!-- end -->)", re.S)


def fill(text, comparisons):
    """Replaces what stands between each pair of marks by the table that the first one names.

    Args:
        text: Markdown with marks such as `<!-- report: msdnet_small cifar10 -->` or
            `<!-- report: msdnet_small cifar10 differences -->`, each with its `<!-- end -->`.
        comparisons: List of `Comparison`.

    Raises:
        ValueError: There is no mark, or none of the comparisons is the one a mark names.
    """
    by_name = {(one.model, one.dataset): one for one in comparisons}

    def table(match):
        begin, model, dataset, differences, end = match.groups()
        make = tables.differences if differences else tables.accuracies
        made = make(by_name[model, dataset]) if (model, dataset) in by_name else None
        if made is None:
            raise ValueError(f"No finished run is there for a mark. Received: {begin.strip()!r}")
        return f"{begin}{made.markdown()}\n{end}"

    filled, count = _MARKED.subn(table, text)
    if not count:
        raise ValueError(
            "Expected marks in the file, such as <!-- report: msdnet_small cifar10 --> and "
            "<!-- end -->. Received: none"
        )
    return filled
