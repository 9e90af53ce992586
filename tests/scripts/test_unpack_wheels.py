"""A Python without a package takes it from a folder of wheels; one that has it keeps its own."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "unpack_wheels.py"


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("unpack_wheels", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_missing_packages_of_this_python_are_unpacked(tmp_path, script):
    for name in ("made_up-1.0-py3-none-any.whl", "torch-9.9-py3-none-any.whl", "binary-1.0-cp27-cp27m-linux.whl"):
        with zipfile.ZipFile(tmp_path / name, "w") as wheel:
            wheel.writestr(f"{name.split('-')[0]}/__init__.py", "")
    out = tmp_path / "out"
    unpacked, strange = script.unpack_missing(tmp_path, out)
    assert unpacked == ["made_up-1.0-py3-none-any.whl"] and strange == ["binary-1.0-cp27-cp27m-linux.whl"]
    assert [path.name for path in out.iterdir()] == ["made_up"]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path, script):
    assert script.unpack_missing(tmp_path / "none", tmp_path) == ([], [])
