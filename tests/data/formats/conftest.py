import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_with_problems


@pytest.fixture
def write_images():
    """Writes blank images of the given names below a folder."""

    def write(folder: Path, *names: str, size=(10, 10)) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size).save(folder / name)

    return write


@pytest.fixture
def read():
    """(format, path, ...) -> records, and how many of which kind were left out."""

    def read(format: str, path: Path, images: Path | None = None, split: str | None = None, **options):
        source = SourceConfig(format, str(path), images and str(images), split, options)
        records, problems = read_with_problems(source, "mine")
        return records, Counter(problem.kind for problem in problems)

    return read


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real samples, which is no part of the project."""
    beside = Path(__file__).resolve().parents[3] / "../shared"
    folder = Path(os.environ.get("SKYEYE_SHARED", beside)) / "data"
    if not folder.is_dir():
        pytest.skip(f"real samples are not on this machine: no folder {folder} (set SKYEYE_SHARED)")
    return folder
