"""Tables that look alike: rows as aligned text, a frame of texts as Markdown or LaTeX."""

import re

import tabulate

_LATEX = {sign: f"\\{sign}" for sign in "_%&#${}"} | {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "±": "$\\pm$",
    "†": "$^\\dagger$",
    "‡": "$^\\ddagger$",
}


def percent(share, digits=2):
    """A share as text in percent, without the sign: the head of the column has it."""
    return f"{100 * share:.{digits}f}"


def text(rows, columns, style="plain"):
    """Rows, dicts, as an aligned table; texts to the left, numbers to the right.

    `columns` are (head, key, format), a format such as "{:,}" or a function from the value to text
    such as `percent`; what is missing or None is "-". `style` is tabulate's, such as `pipe`.
    """
    cells = [[_cell(row.get(key), form) for _, key, form in columns] for row in rows]
    words = [bool(rows) and isinstance(rows[0].get(key), str) for _, key, _ in columns]
    heads = [head for head, _, _ in columns]
    alignment = ["left" if is_text else "right" for is_text in words]
    table = tabulate.tabulate(cells, heads, style, colalign=alignment, disable_numparse=True)
    return "\n".join(line.rstrip() for line in table.splitlines())


def _cell(value, form):
    if value is None or isinstance(value, str):
        return "-" if value is None else value
    return form.format(value) if isinstance(form, str) else form(value)


def markdown(frame, note=""):
    """A `pandas.DataFrame` of texts as a Markdown table, its note below; `**...**` is bold."""
    frame = _mapped(frame, lambda cell: cell.replace("|", "\\|"))
    alignment = ["left", *["right"] * frame.shape[1]]
    table = frame.to_markdown(colalign=alignment, disable_numparse=True)
    return f"{table}\n\n{note}" if note else table


def latex(frame, note, label):
    """The same frame as a floating LaTeX table, its note the caption; needs booktabs."""
    frame = _mapped(frame, _to_latex).rename_axis(None)
    return frame.to_latex(
        escape=False,
        caption=_to_latex(note),
        label=label,
        position="tb",
        column_format="l" + "r" * frame.shape[1],
    ).replace("\\begin{tabular}", "\\centering\n\\begin{tabular}")


def _to_latex(text):
    text = re.sub(r"(?<![\w.])-(?=\d)", "−", text)
    text = "".join(_LATEX.get(sign, sign) for sign in text).replace("−", "$-$")
    return re.sub(r"\*\*(.+?)\*\*", r"\\textbf{\1}", text)


def _mapped(frame, change):
    """The frame with its cells, heads and index changed."""
    return frame.map(change).rename(index=change, columns=change)
