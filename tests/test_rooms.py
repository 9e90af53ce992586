"""Who may import whom. A room may use the rooms on the floors below its own, and no other.

Every import statement of the package counts, wherever it stands: at the top, in a function or for type checkers only.
A new folder or file directly under ``skyeye/`` needs a place in this table; docs/design.md shows it with the reasons.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import skyeye

FLOORS = (
    ("__main__",),
    ("cli",),
    ("bench", "runs", "doctor"),
    ("plan", "serve"),
    ("train", "eval", "curate"),
    ("generation",),
    ("models", "synth", "html"),
    ("data",),
    ("config", "launch", "run_log"),
    ("__init__",),
    ("errors", "registration"),
)
#: Arrows that may point upwards, and why.
EXCEPTIONS = {
    ("skyeye", "skyeye.serve.model"): "for type checkers alone: `skyeye.load` is looked up when it is asked for",
    ("skyeye.train.__main__", "skyeye.cli"): "torchrun and srun start `python -m skyeye.train`: it is `skyeye train`",
}

HEIGHT = {room: -number for number, rooms in enumerate(FLOORS) for room in rooms}
PACKAGE = Path(skyeye.__file__).parent


class Arrow(NamedTuple):
    """One import: the module it stands in, the module it names, its line, and whether loading the former runs it."""

    user: str
    used: str
    line: int
    at_import_time: bool


def arrows(sources: dict[str, str]) -> list[Arrow]:
    """All imports of modules of the package in ``sources`` (module -> text)."""
    return [
        Arrow(module, name, line, at_import_time)
        for module, text in sources.items()
        for names, line, at_import_time in _imports(ast.parse(text), True)
        for name in sorted({_module(name, sources) for name in names if name.split(".")[0] == "skyeye"})
    ]


def _imports(node: ast.AST, at_import_time: bool) -> Iterator[tuple[list[str], int, bool]]:
    """Dotted names of every import statement below ``node``; of ``from a import b`` it is ``a.b``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: imports are written in full"
            yield [f"{child.module}.{name.name}" for name in child.names], child.lineno, at_import_time
        elif isinstance(child, ast.Import):
            yield [name.name for name in child.names], child.lineno, at_import_time
        else:
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from _imports(child, at_import_time and not later and not for_types)


def _module(name: str, sources: dict[str, str]) -> str:
    return name if name in sources else name.rpartition(".")[0]


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def forbidden(found: list[Arrow]) -> list[str]:
    """Arrows to a room that is not on a lower floor, as one line each."""
    return [
        f"{x.user}:{x.line} imports {x.used}: {room(x.user)} does not stand above {room(x.used)}"
        for x in found
        if room(x.user) != room(x.used)
        and HEIGHT[room(x.user)] <= HEIGHT[room(x.used)]
        and (x.user, x.used) not in EXCEPTIONS
    ]


def circle(found: list[Arrow]) -> list[str]:
    """The modules of one circle of imports that run while modules are loaded; empty where there is none."""
    graph: dict[str, set[str]] = {}
    for arrow in found:
        if arrow.at_import_time and arrow.user != arrow.used:
            graph.setdefault(arrow.user, set()).add(arrow.used)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1][::-1]  # a module imports the one that follows it
    return []


@pytest.fixture(scope="module")
def found() -> list[Arrow]:
    texts = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("skyeye", *path.relative_to(PACKAGE).with_suffix("").parts)
        texts[".".join(parts).removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return arrows(texts)


def test_every_room_has_its_floor():
    rooms = {
        path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))
    }
    assert rooms == set(HEIGHT)


def test_no_arrow_points_up_or_sideways(found):
    wrong = forbidden(found)
    assert not wrong, "\n" + "\n".join(wrong)


def test_no_circle_at_import_time(found):
    assert not circle(found)


def test_every_exception_is_needed(found):
    assert {(x.user, x.used) for x in found} >= set(EXCEPTIONS)


@pytest.mark.parametrize(
    "text",
    [
        "from skyeye.models import build",
        "def f():\n    import skyeye.models.build",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from skyeye.models.build import x",
        "try:\n    pass\nfinally:\n    from skyeye.synth.scene import x",
        "from skyeye import models",
    ],
)
def test_an_arrow_upwards_is_found_wherever_it_stands(text):
    modules = {"skyeye": "", "skyeye.models": "", "skyeye.models.build": "", "skyeye.synth.scene": ""}
    (line,) = forbidden(arrows({**modules, "skyeye.data.new": text}))
    assert line.startswith("skyeye.data.new:") and "data does not stand above" in line


def test_an_arrow_sideways_is_found_and_one_downwards_is_not():
    modules = {"skyeye.eval.score": "", "skyeye.errors": "", "skyeye.train.optim": ""}
    text = "from skyeye.errors import SkyEyeError\nfrom skyeye.train.optim import x\nfrom skyeye.eval.score import y"
    (line,) = forbidden(arrows({**modules, "skyeye.train.run": text}))
    assert line == "skyeye.train.run:3 imports skyeye.eval.score: train does not stand above eval"


def test_a_circle_is_named_and_one_closed_inside_a_function_is_none():
    modules = {"skyeye.data.a": "import skyeye.data.b", "skyeye.data.b": "from skyeye.data import c"}
    back = "from skyeye.data.a import x"
    found = circle(arrows({**modules, "skyeye.data.c": back}))
    assert set(found) == {"skyeye.data.a", "skyeye.data.b", "skyeye.data.c"}
    assert not circle(arrows({**modules, "skyeye.data.c": f"def f():\n    {back}"}))
