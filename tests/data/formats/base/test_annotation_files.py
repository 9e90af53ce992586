import pytest

from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.errors import SkyEyeError


def test_files_of_a_folder(tmp_path):
    for name in ("b.xml", "a.xml", "below/c.xml", "._a.xml", "__MACOSX/._a.xml", "__MACOSX/a.xml", "d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert annotation_files(tmp_path, "**/*.xml") == [tmp_path / name for name in ("a.xml", "b.xml", "below/c.xml")]
    assert annotation_files(tmp_path, "*.xml", "*.txt", fits=lambda file: file.stem > "a") == [
        tmp_path / "b.xml",
        tmp_path / "d.txt",
    ]


def test_what_is_no_folder_of_a_data_set(tmp_path):
    (tmp_path / "a.xml").touch()
    with pytest.raises(SkyEyeError, match=r"no \*.json or \*.jsonl file in this folder \(check"):
        annotation_files(tmp_path, "**/*.json", "**/*.jsonl")
    with pytest.raises(SkyEyeError, match=r"a.xml: is a file, not the folder of a data set \(give the folder\)"):
        annotation_files(tmp_path / "a.xml", "*.xml")
