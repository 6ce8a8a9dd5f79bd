"""Programs for flexible networks: python -m ipkd_tf COMMAND [--help]."""

import ast
import difflib
import pathlib
import runpy
import sys

import ipkd_tf

_FIRST = """
A first run of a minute, and what becomes of it:
  python -m ipkd_tf init
  python -m ipkd_tf train --flagfile=runs/quickstart.flags
  python -m ipkd_tf export --run=runs/quickstart/seed0 --submodel=exit_2"""
_MARK = 'if __name__ == "__main__":'


def find_commands():
    """What each program of `ipkd_tf.tools` does, by name; they are read, not imported."""
    paths = sorted((pathlib.Path(__file__).parent / "tools").glob("*.py"))
    sources = {path.stem: path.read_text(encoding="utf-8") for path in paths}
    return {
        name: ast.get_docstring(ast.parse(source)).partition("\n")[0]
        for name, source in sources.items()
        if _MARK in source
    }


def main(arguments):
    """Runs the program that the first argument names with the others; returns an exit status."""
    commands = find_commands()
    name = arguments[0] if arguments else "--help"
    if name in ("--help", "-h", "help"):
        width = max(map(len, commands))
        lines = [f"  {name:{width}}  {what}" for name, what in commands.items()]
        print(__doc__, "", *lines, _FIRST, sep="\n")
        return 0
    if name == "--version":
        print(ipkd_tf.__version__)
        return 0
    if name not in commands:
        close = difflib.get_close_matches(name, commands, 1)
        hint = f"did you mean {close[0]}?" if close else "python -m ipkd_tf --help lists them."
        print(f"Expected a command; {hint} Received: {name}", file=sys.stderr)
        return 1
    sys.argv = [name, *arguments[1:]]
    runpy.run_module(f"ipkd_tf.tools.{name}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
