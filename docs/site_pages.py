"""What MkDocs asks of us: texts of the top level are pages of the site, too.

Links are written as they lead somewhere in the repository; here they become links between pages,
or plain text where they lead to a file that is no page.
"""

import os
import pathlib
import re

from mkdocs.structure.files import File

_ROOT = pathlib.Path(__file__).parents[1]
_TOP = {
    "README.md": "index.md",
    "runs/README.md": "runs.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
_LINK = re.compile(r"\[([^\[\]]*)\]\(([^)#:\s]+)(#[^)]*)?\)")
_SOURCE = re.compile(r'(?<=src=")[^":]+')


def on_files(files, config):
    for source, page in _TOP.items():
        files.append(File.generated(config, page, abs_src_path=str(_ROOT / source)))
    return files


def on_page_markdown(markdown, page, config, files):
    here = pathlib.Path(page.file.abs_src_path).parent

    def find_page(path):
        inside = (here / path).resolve().relative_to(_ROOT).as_posix()
        uri = _TOP.get(inside, inside.removeprefix("docs/"))
        start = os.path.dirname(page.file.src_uri)
        return files.get_file_from_path(uri) and os.path.relpath(uri, start)

    def lead(link):
        text, path, heading = link.groups("")
        target = find_page(path)
        return f"[{text}]({target}{heading})" if target else text

    markdown = _SOURCE.sub(lambda match: find_page(match[0]), markdown)
    return _LINK.sub(lead, markdown)
