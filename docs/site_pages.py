"""What MkDocs asks of us: texts of the top level are pages of the site, too.

A tutorial is a program in the style of keras.io's examples, whose texts are strings between the
code; here it becomes a page, as jupytext makes a notebook of it.

Links are written as they lead somewhere in the repository; here they become links between pages,
or plain text where they lead to a file that is no page.
"""

import os
import pathlib
import re

import jupytext
from mkdocs.structure.files import File

_ROOT = pathlib.Path(__file__).parents[1]
_TOP = {
    "README.md": "index.md",
    "runs/README.md": "runs.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
_HEADER = re.compile(r"Title: (.+)\n(?:.+: .+\n)*Description: (.+)\n(?:.+: .+\n?)*")
_LINK = re.compile(r"\[([^\[\]]*)\]\(([^)#:\s]+)(#[^)]*)?\)")
_SOURCE = re.compile(r'(?<=src=")[^":]+')


def on_files(files, config):
    for source, page in _TOP.items():
        files.append(File.generated(config, page, abs_src_path=str(_ROOT / source)))
    for path in sorted(pathlib.Path(__file__).parent.glob("tutorial/*.py")):
        page = path.relative_to(path.parents[1]).with_suffix(".md").as_posix()
        files.append(File.generated(config, page, content=read_tutorial(path)))
    return files


def read_tutorial(path):
    """The Markdown of a tutorial: its texts, and its code in between."""
    _magic, header, *cells = jupytext.read(path, fmt="py:sphinx").cells
    texts = [_HEADER.sub(r"# \1\n\n\2\n", header.source)]
    for cell in cells:
        code = cell.cell_type == "code"
        texts.append(f"```python\n{cell.source}\n```" if code else cell.source)
    return "\n\n".join(texts)


def on_page_markdown(markdown, page, config, files):
    here = pathlib.Path(page.file.abs_src_path or _ROOT / "docs" / page.file.src_uri).parent

    def find_page(path):
        inside = (here / path).resolve().relative_to(_ROOT).as_posix()
        uri = _TOP.get(inside, inside.removeprefix("docs/"))
        uri = re.sub(r"^(tutorial/.*)\.py$", r"\1.md", uri)
        start = os.path.dirname(page.file.src_uri)
        return files.get_file_from_path(uri) and os.path.relpath(uri, start)

    def lead(link):
        text, path, heading = link.groups("")
        target = find_page(path)
        return f"[{text}]({target}{heading})" if target else text

    markdown = _SOURCE.sub(lambda match: find_page(match[0]), markdown)
    return _LINK.sub(lead, markdown)
