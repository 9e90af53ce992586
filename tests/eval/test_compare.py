"""Two results side by side, on what both have answered."""

from __future__ import annotations

import json
from html import unescape

import pytest

from skyeye.cli import main
from skyeye.eval.benchmarks import select
from skyeye.eval.benchmarks.conditions import prepare
from skyeye.eval.evaluate import run_benchmarks
from skyeye.eval.question import asked
from skyeye.eval.settings import EvalSettings

pytestmark = pytest.mark.usefixtures("without_java")


@pytest.fixture
def files(tmp_path, world):
    """Two prediction files for questions about synthetic scenes: a is right everywhere, b about half of the images."""
    records, _ = select(["synth.vqa"])[0].load(world)
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
    options = ["--benchmark", "synth.vqa", "--data-root", str(world), "--out", str(out)]
    assert main(["eval", "compare", str(a), str(b), *options]) == 0
    result = json.loads((out / "compare.json").read_text())["synth.vqa"]
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
    assert "synth.vqa" in capsys.readouterr().out


def test_folders_that_an_evaluation_wrote(files, world, tmp_path):
    a, b, records, _ = files
    for name, file in (("A", a), ("B", b)):
        command = ["eval", "score", str(file), "--benchmark", "synth.vqa", "--data-root", str(world)]
        assert main([*command, "--out", str(tmp_path / name)]) == 0
    out = tmp_path / "out"
    assert main(["eval", "compare", str(tmp_path / "A"), str(tmp_path / "B"), "--out", str(out)]) == 0
    result = json.loads((out / "compare.json").read_text())
    assert set(result) == {"synth.vqa", "about"}
    counts = result["synth.vqa"]["counts"]
    assert result["synth.vqa"]["metrics"]["accuracy"]["a"] == 100  # what was not answered is not compared
    assert (counts["compared"], counts["answered by a alone"], counts["answered by b alone"]) == (
        len(records) - 3,
        2,
        1,
    )
    assert (counts["answered by neither"], counts["other question"]) == (0, 0)
    assert result["synth.vqa"]["asked"]["a"]["decoding"].startswith("not known")


def test_a_result_compared_with_itself_does_not_differ(files, world, tmp_path):
    a, *_ = files
    options = ["--benchmark", "synth.vqa", "--data-root", str(world), "--out", str(tmp_path / "out")]
    assert main(["eval", "compare", str(a), str(a), *options]) == 0
    for difference in json.loads((tmp_path / "out" / "compare.json").read_text())["synth.vqa"]["metrics"].values():
        assert difference["difference"] in (0, None)
        assert difference["p"] in (1, None)


def test_mistakes_are_told(files, world, tmp_path, capsys):
    a, *_ = files
    for arguments, words in (
        ([str(a), str(a)], "--benchmark"),
        ([str(tmp_path), str(a), "--benchmark", "synth.vqa"], "no scores.json"),
        ([str(a), str(a), "--benchmark", "synth.vqa"], "give --data-root"),
    ):
        assert main(["eval", "compare", *arguments, "--out", str(tmp_path / "out")]) == 2
        assert words in capsys.readouterr().err


@pytest.fixture
def runs(world, oracle, tmp_path):
    """Folders of two runs: the second was asked otherwise and could say more."""

    def run(name: str, prompt: str | None, longest: int | None, limit: int | None = None):
        prompts = {} if prompt is None else {"synth.vqa": prompt}
        settings = EvalSettings(limit=limit, controls=False, prompts=prompts, max_new_tokens=longest)
        task = prepare(select(["synth.vqa"])[0], world, settings)
        about = {"checkpoint": name, "data_root": str(world)}
        answerer = oracle("perfect", task.seen)
        run_benchmarks(answerer, [task], tmp_path / name, about, answers=tmp_path / name / "answers")
        return tmp_path / name, task.seen

    return run


def test_what_was_asked_otherwise_is_told(runs, tmp_path):
    (a, seen), (b, _) = runs("A", None, None, 20), runs("B", "[vqa] say: {question}", 3)
    out = tmp_path / "out"
    assert main(["eval", "compare", str(a), str(b), "--out", str(out)]) == 0
    result = json.loads((out / "compare.json").read_text())["synth.vqa"]
    first = asked(seen[0])
    other = first.replace("[vqa] ", "[vqa] say: ")
    assert result["asked"]["a"]["question"] == first and result["asked"]["b"]["question"] == other
    assert result["asked"]["a"]["records"] == 20 < result["asked"]["b"]["records"]
    assert "at most 20 new tokens" in result["asked"]["a"]["decoding"]
    assert "at most 3 new tokens" in result["asked"]["b"]["decoding"]
    assert result["counts"]["other question"] == result["counts"]["compared"] == 20
    assert [warning.split(":")[0] for warning in result["warnings"][:2]] == [
        "The question differs",
        "The decoding differs",
    ]
    assert result["warnings"][2].startswith("A has answered 20 records, B ")
    page, text = (out / "compare.html").read_text(), (out / "compare.md").read_text()
    for told in (
        f"The question differs: A {first!r}, B {other!r}",
        "at most 3 new tokens",
        "A has answered 20 records",
    ):
        assert told in unescape(page) and told in text


def test_the_same_questions_to_both_are_no_warning(runs, tmp_path):
    (a, _), (b, _) = runs("A", None, None, 20), runs("B", None, None, 20)
    assert main(["eval", "compare", str(a), str(b), "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out" / "compare.json").read_text())["synth.vqa"]
    assert result["warnings"] == [] and result["counts"]["other question"] == 0


def test_a_file_says_what_was_asked_or_it_is_not_known(files, runs, world, tmp_path):
    """The file has answers to all but the first record, and no questions."""
    a, _, records, _ = files
    b, _ = runs("B", None, None)
    out = tmp_path / "out"
    command = ["eval", "compare", str(a), str(b), "--benchmark", "synth.vqa", "--data-root", str(world)]
    assert main([*command, "--out", str(out)]) == 0
    result = json.loads((out / "compare.json").read_text())["synth.vqa"]
    assert result["asked"]["a"]["question"].startswith("not known")
    assert result["asked"]["b"]["question"] == asked(records[1])
    assert result["counts"]["other question"] == 0
    lines = [{"id": r.id, "question": "what?" if n == 4 else asked(r), "answer": "no"} for n, r in enumerate(records)]
    a.write_text("".join(json.dumps(row) + "\n" for row in lines))
    assert main([*command, "--out", str(out)]) == 0
    result = json.loads((out / "compare.json").read_text())["synth.vqa"]
    assert result["asked"]["a"]["question"] == "what?" and result["counts"]["other question"] == 1
    assert result["asked"]["b"]["question"] == asked(records[4])


def test_errors_of_counting_are_those_of_the_same_questions(world, tmp_path):
    """A is off by 2 where both say a number, and by 8 where B says none."""
    records, _ = select(["synth.vqa"])[0].load(world)
    count = [r for r in records if r.references["type"] == "count"]
    half = {r.id for r in count[::2]}
    answers = {
        "a": [(r.id, str(int(r.references["answer"]) + (2 if r.id in half else 8))) for r in count],
        "b": [(r.id, str(int(r.references["answer"]) + 1) if r.id in half else "many") for r in count],
    }
    for name, rows in answers.items():
        lines = (json.dumps({"id": id, "answer": answer}) + "\n" for id, answer in rows)
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    command = ["eval", "compare", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), "--benchmark", "synth.vqa"]
    assert main([*command, "--data-root", str(world), "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out" / "compare.json").read_text())["synth.vqa"]
    errors = result["metrics"]["count_error"]
    assert (errors["a"], errors["b"], errors["difference"]) == (2, 1, -1)
    assert (errors["low"], errors["high"]) == (-1, -1)
    assert "count_error: of the questions that both answered with a number" in result["asked"]["a"]["metric"]
    assert len(count) > 4 and result["counts"]["count_error of both"] == len(half)


def test_boxes_are_read_as_each_side_writes_them(world, tmp_path):
    """A folder says its notation itself; a prediction file is in that of --boxes, or in ours."""
    records, _ = select(["synth.refer"])[0].load(world)
    boxes = {r.id: r.references["boxes"][0] for r in records}
    forms = {
        "theirs": lambda box: "[{}, {}, {}, {}]".format(*(round(1000 * v, 6) for v in box)),
        "ours": lambda box: "{{<{}><{}><{}><{}>}}".format(*(float(round(100 * v, 6)) for v in box)),
    }
    files = {}
    for name, form in forms.items():
        files[name] = tmp_path / f"{name}.jsonl"
        lines = (json.dumps({"id": id, "answer": form(box)}) + "\n" for id, box in boxes.items())
        files[name].write_text("".join(lines))
    of = ["--benchmark", "synth.refer", "--data-root", str(world)]
    for name, options in (("theirs", ["--boxes", "thousandths"]), ("ours", [])):
        assert main(["eval", "score", str(files[name]), *of, *options, "--out", str(tmp_path / name)]) == 0
    pairs = [
        ([tmp_path / "theirs", tmp_path / "ours"], []),
        ([tmp_path / "theirs", files["ours"]], of[:2]),
        ([files["theirs"], tmp_path / "ours"], [*of, "--boxes", "thousandths"]),
        ([files["theirs"], files["ours"]], [*of, "--boxes", "thousandths"]),
    ]
    for number, (sides, options) in enumerate(pairs):
        out = tmp_path / f"out{number}"
        assert main(["eval", "compare", *map(str, sides), *options, "--out", str(out)]) == 0
        metrics = json.loads((out / "compare.json").read_text())["synth.refer"]["metrics"]
        assert (metrics["accuracy@0.9"]["a"], metrics["accuracy@0.9"]["b"]) == (100, 100), (sides, options)


def test_a_damaged_result_is_told(files, world, tmp_path, capsys):
    a, *_ = files
    command = ["eval", "score", str(a), "--benchmark", "synth.vqa", "--data-root", str(world)]
    assert main([*command, "--out", str(tmp_path / "A")]) == 0
    scores = tmp_path / "A" / "scores.json"
    scores.write_text(scores.read_text().replace('"shuffled_images"', '"blind"'))
    assert main(["eval", "compare", str(tmp_path / "A"), str(a), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert f"{scores}, key synth.vqa." in error and "blind: is not known" in error


def test_what_is_left_out_of_a_file_is_told(tmp_path, world, capsys):
    records, _ = select(["synth.vqa"])[0].load(world)
    rows = [{"id": record.id, "answer": f"{record.references['answer']}</s>"} for record in records]
    doubled = [*rows, rows[0], {**rows[1], "answer": "other"}, {"id": "none", "answer": "yes"}]
    for name, lines in (("a", rows), ("b", doubled)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ["eval", "compare", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), "--benchmark", "synth.vqa"]
    assert main([*command, "--data-root", str(world), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    for words in ("1 records with different answers", "1 records with the same answer", "1 ids that belong to no"):
        assert f"note: {tmp_path / 'b.jsonl'}: {words}" in said
    notes = json.loads((tmp_path / "out" / "compare.json").read_text())["synth.vqa"]["notes"]
    assert notes[0] == f"{tmp_path / 'a.jsonl'}: {len(rows)} answers without traces of an output format that they had"
