"""No function is longer than a screen. ``python tests/test_function_lengths.py [FOLDER]`` prints how long all are."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LIMIT = 60
PACKAGE = Path(__file__).parents[1] / "skyeye"
#: Functions that may be longer: those that say, entry by entry, what a table or a command line holds.
ALLOWED: dict[str, str] = {}


class Length(NamedTuple):
    """Lines of a function from ``def`` to its end, signature and docstring included."""

    lines: int
    file: str
    name: str


def lengths(package: Path) -> list[Length]:
    """All functions of a package, the longest first; one inside another counts on its own and in the outer one."""
    return sorted(
        (
            Length(node.end_lineno - node.lineno + 1, path.relative_to(package.parent).as_posix(), name)
            for path in package.rglob("*.py")
            for node, name in _functions(ast.parse(path.read_text(encoding="utf-8")))
        ),
        key=lambda function: (-function.lines, function.file, function.name),
    )


def _functions(node: ast.AST, inside: str = "") -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    for child in ast.iter_child_nodes(node):
        name = inside
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{inside}.{child.name}".lstrip(".")
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child, name
        yield from _functions(child, name)


def table(package: Path) -> str:
    """How many functions there are, how many pass 40, 60 and 100 lines, and the ten longest."""
    found = lengths(package)
    counts = [f"| functions | {len(found)} |"]
    counts += [f"| above {limit} lines | {sum(x.lines > limit for x in found)} |" for limit in (40, 60, 100)]
    longest = [f"| `{x.file}` `{x.name}` | {x.lines} |" for x in found[:10]]
    return "\n".join(["| | |", "|---|---|", *counts, "", "| longest | lines |", "|---|---|", *longest])


def test_no_function_is_longer_than_a_screen():
    long = {f"{x.file}:{x.name}": x.lines for x in lengths(PACKAGE) if x.lines > LIMIT}
    assert {name: lines for name, lines in long.items() if name not in ALLOWED} == {}
    assert set(ALLOWED) <= set(long), "these have become shorter and need no exception"


def test_lines_are_counted_from_def_to_the_end_in_classes_and_functions_too(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "m.py").write_text(
        'class A:\n    @wrap\n    def f(\n        self,\n    ):\n        """D."""\n\n        def g(): ...\n'
    )
    assert lengths(tmp_path / "p") == [Length(6, "p/m.py", "A.f"), Length(1, "p/m.py", "A.f.g")]


if __name__ == "__main__":
    print(table(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE))
