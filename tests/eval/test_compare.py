"""Two results side by side, on what both have answered."""

from __future__ import annotations

import json

import pytest

from skyeye.cli import main
from skyeye.eval.benchmarks import select

pytestmark = pytest.mark.usefixtures("without_java")


@pytest.fixture
def files(tmp_path, world):
    """Two prediction files for the made world's questions: a is right everywhere, b only about half of the images."""
    records, _ = select(["world.vqa"])[0].load(world)
    images = list(dict.fromkeys(record.images for record in records))
    half = set(images[: len(images) // 2])
    right = [{"id": r.id, "answer": r.references["answer"]} for r in records]
    wrong = [{"id": r.id, "answer": r.references["answer"] if r.images in half else "?"} for r in records]
    for name, rows in (("a", right[1:]), ("b", wrong[:-2])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "a.jsonl", tmp_path / "b.jsonl", records, half


def test_the_difference_is_that_of_the_records_both_have_answered(files, world, tmp_path, capsys):
    a, b, records, half = files
    out = tmp_path / "out"
    options = ["--benchmark", "world.vqa", "--data-root", str(world), "--out", str(out)]
    assert main(["eval", "compare", str(a), str(b), *options]) == 0
    result = json.loads((out / "compare.json").read_text())["world.vqa"]
    common = records[1:-2]
    share = 100 * sum(record.images in half for record in common) / len(common)
    accuracy = result["metrics"]["accuracy"]
    assert accuracy["a"] == 100 and accuracy["b"] == pytest.approx(share, abs=1e-3)
    assert accuracy["difference"] == pytest.approx(share - 100, abs=1e-3)
    assert accuracy["low"] < accuracy["difference"] < accuracy["high"] < 0 and accuracy["p"] < 0.05
    wrong = sum(record.images not in half for record in common)
    assert (result["mcnemar"]["only_a"], result["mcnemar"]["only_b"]) == (wrong, 0)
    assert f"| {share - 100:+.1f} |" in (out / "compare.md").read_text()
    counts = {"compared": len(common), "answered by a alone": 2, "answered by b alone": 1}
    assert {key: result["counts"][key] for key in counts} == counts
    assert {path.name for path in out.iterdir()} == {"compare.json", "compare.md", "compare.html"}
    assert "world.vqa" in capsys.readouterr().out


def test_folders_that_an_evaluation_wrote(files, world, tmp_path):
    a, b, *_ = files
    for name, file in (("A", a), ("B", b)):
        command = ["eval", "score", str(file), "--benchmark", "world.vqa", "--data-root", str(world)]
        assert main([*command, "--out", str(tmp_path / name)]) == 0
    out = tmp_path / "out"
    assert main(["eval", "compare", str(tmp_path / "A"), str(tmp_path / "B"), "--out", str(out)]) == 0
    result = json.loads((out / "compare.json").read_text())
    assert set(result) == {"world.vqa", "about"}
    assert result["world.vqa"]["metrics"]["accuracy"]["a"] < 100  # what was not answered was written as empty


def test_a_result_compared_with_itself_does_not_differ(files, world, tmp_path):
    a, *_ = files
    options = ["--benchmark", "world.vqa", "--data-root", str(world), "--out", str(tmp_path / "out")]
    assert main(["eval", "compare", str(a), str(a), *options]) == 0
    for difference in json.loads((tmp_path / "out" / "compare.json").read_text())["world.vqa"]["metrics"].values():
        assert difference["difference"] in (0, None)
        assert difference["p"] in (1, None)


def test_mistakes_are_told(files, world, tmp_path, capsys):
    a, *_ = files
    for arguments, words in (
        ([str(a), str(a)], "--benchmark"),
        ([str(tmp_path), str(a), "--benchmark", "world.vqa"], "no scores.json"),
        ([str(a), str(a), "--benchmark", "world.vqa"], "give --data-root"),
    ):
        assert main(["eval", "compare", *arguments, "--out", str(tmp_path / "out")]) == 2
        assert words in capsys.readouterr().err
