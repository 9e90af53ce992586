"""Answers that someone else wrote: scores by arithmetic, and every id that does not fit by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skyeye.cli import main
from skyeye.eval.benchmarks import select
from skyeye.eval.rescore import score_file

TYPES = ["presence", "comp", "count", "rural_urban"]
TRUTHS = {"presence": "yes", "comp": "no", "count": "3", "rural_urban": "urban"}
ROOT = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture
def rsvqa(tmp_path) -> Path:
    """An RSVQA test split without images: 5 of them, with one question of each of four types; ids 100 to 119."""
    folder = tmp_path / "RSVQA_LR"
    folder.mkdir()
    questions, answers = [], []
    for number in range(20):
        kind = TYPES[number % 4]
        fields = {"id": 100 + number, "img_id": number // 4, "type": kind, "question": f"{kind}?", "active": True}
        questions.append({**fields, "answers_ids": [number]})
        answers.append({"id": number, "answer": TRUTHS[kind], "active": True, "question_id": 100 + number})
    images = [{"id": number, "active": True} for number in range(5)]
    for what, content in (("questions", questions), ("answers", answers), ("images", images)):
        (folder / f"LR_split_test_{what}.json").write_text(json.dumps({what: content}))
    return tmp_path


def truth(number: int) -> str:
    return TRUTHS[TYPES[number % 4]]


def written(tmp_path: Path, lines: list) -> Path:
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def scored(tmp_path, rsvqa, lines, *options: str) -> dict:
    out = tmp_path / "scores.json"
    command = ["eval", "score", str(written(tmp_path, lines)), "--benchmark", "RSVQA-LR"]
    assert main([*command, "--data-root", str(rsvqa), "--json", str(out), *options]) == 0
    return json.loads(out.read_text())


RULES = {
    "perfect": (lambda n: truth(n), 100, 100),
    "empty": (lambda n: "", 0, 0),
    "one word off": (lambda n: truth(n) + " indeed", 0, 0),
    "of the next question": (lambda n: truth(n + 1), 0, 0),
    "always yes": (lambda n: "Yes.", 25, 100 / 3),  # a quarter; of three types in the mean one is right
    "no counts": (lambda n: "many" if TYPES[n % 4] == "count" else truth(n), 75, 100),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("style", ["ours", "llava"])
def test_answers_by_rule_score_what_arithmetic_says(tmp_path, rsvqa, rule, style):
    answer, accuracy, mean = RULES[rule]
    keys = ("id", "answer") if style == "ours" else ("question_id", "text")
    result = scored(tmp_path, rsvqa, [{keys[0]: 100 + n, keys[1]: answer(n)} for n in range(20)])
    assert result["metrics"]["accuracy"] == accuracy
    assert result["metrics"]["mean_over_types"] == pytest.approx(mean, abs=1e-3)
    assert result["counts"]["records"] == result["counts"]["answered"] == 20
    assert result["unknown"] == result["missing"] == result["double"] == result["unreadable"] == []
    assert result["metrics_of_answered"] is None


def test_what_does_not_fit_is_named_and_never_guessed(tmp_path, rsvqa, capsys):
    lines: list = [{"id": 100 + n, "answer": truth(n)} for n in range(2, 20)]
    lines += [{"id": 119, "answer": truth(19)}, {"id": 1190, "answer": "yes"}, "{broken", {"id": 100}]
    result = scored(tmp_path, rsvqa, lines)
    assert result["unknown"] == ["1190"]
    assert [name.split(":")[-1] for name in result["missing"]] == ["100", "101"]
    assert [name.split(":")[-1] for name in result["double"]] == ["119"]
    assert [problem["where"].rpartition(", ")[2] for problem in result["unreadable"]] == ["line 21", "line 22"]
    counts = {key: result["counts"][key] for key in ("records", "answered", "missing", "double", "unknown")}
    assert counts == {"records": 20, "answered": 17, "missing": 2, "double": 1, "unknown": 1}
    assert result["metrics"]["accuracy"] == 85  # 17 of 20: what has no answer, or two, is wrong
    assert result["metrics_of_answered"]["accuracy"] == 100
    said = capsys.readouterr().out
    for words in ("missing 2", "double 1", "unknown 1", "1190", "unreadable 2", "17 of 20 records answered"):
        assert words in said


def test_an_interval_knows_that_questions_of_an_image_stand_together(tmp_path, rsvqa):
    """All questions of two of five images are right: drawing images, the score is k / 5 x 100 with binomial k."""
    lines = [{"id": 100 + n, "answer": truth(n) if n < 8 else "-"} for n in range(20)]
    result = scored(tmp_path, rsvqa, lines)
    assert result["metrics"]["accuracy"] == 40
    assert result["intervals"]["accuracy"] == [0, 80]  # P(k = 0) = 7.8 %, P(k <= 4) = 99.0 %


def test_tables_and_report_are_written_where_asked(tmp_path, rsvqa):
    lines = [{"id": 100 + n, "answer": truth(n)} for n in range(20)] + [{"id": 7, "answer": "what"}]
    scored(tmp_path, rsvqa, lines, "--out", str(tmp_path / "out"))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"predictions", "scores.json", "scores.md", "scores.tex", "report.html"}
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["rsvqa_lr"]["protocol"]["decoding"].startswith("not known")
    assert scores["rsvqa_lr"]["counts"]["answers unknown"] == 1
    rows = (tmp_path / "out" / "predictions" / "rsvqa_lr.jsonl").read_text().splitlines()
    assert len(rows) == 20 and all(json.loads(row)["correct"] for row in rows)
    again = tmp_path / "out" / "predictions" / "rsvqa_lr.jsonl"  # what was written can be scored again
    assert score_file(again, select(["rsvqa_lr"])[0], rsvqa)["metrics"]["accuracy"] == 100


def test_boxes_in_another_notation(tmp_path):
    """Fractions of the image, as LHRS-Bot writes them, on the box of the true answer."""
    if not (ROOT / "DOTA8").is_dir():
        pytest.skip("../shared/data is not there")
    benchmark = select(["dota.refer"])[0]
    records, _ = benchmark.load(ROOT)
    lines = [
        {"id": r.id, "answer": "[{:.4f}, {:.4f}, {:.4f}, {:.4f}]".format(*r.references["boxes"][0])} for r in records
    ]
    file = written(tmp_path, lines)
    assert score_file(file, benchmark, ROOT)["metrics"]["accuracy@0.5"] == 0
    turned = score_file(file, benchmark, ROOT, notation="fractions")["metrics"]
    assert turned["accuracy@0.5"] > 95  # the smallest boxes lose more than half to hundredths


def test_mistakes_are_told(tmp_path, rsvqa, capsys):
    file = str(written(tmp_path, [{"id": 1, "answer": "a"}]))
    for arguments, words in (
        ([file, "--benchmark", "rsvqa_hl", "--data-root", str(rsvqa)], "did you mean"),
        ([file, "--benchmark", "rsvqa_lr", "--data-root", str(tmp_path / "nowhere")], "error:"),
        ([file, "--benchmark", "vqa", "--data-root", str(rsvqa)], "benchmarks"),
        ([str(tmp_path / "none.jsonl"), "--benchmark", "rsvqa_lr", "--data-root", str(rsvqa)], "none.jsonl"),
    ):
        assert main(["eval", "score", *arguments]) == 2
        assert words in capsys.readouterr().err


def test_questions_for_another_system(tmp_path, world):
    out = tmp_path / "questions.jsonl"
    assert main(["eval", "questions", "world.frames", "--data-root", str(world), "--out", str(out)]) == 0
    assert main(["eval", "questions", "world.vqa", "--data-root", str(world), "--out", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    records, _ = select(["world.vqa"])[0].load(world)
    assert [row["question_id"] for row in rows] == [record.id for record in records]
    assert all(Path(row["image"]).is_file() and row["question"].startswith("[vqa] ") for row in rows)
    truths = {record.id: record.references["answer"] for record in records}
    answers = written(tmp_path, [{**row, "answer": truths[row["question_id"]]} for row in rows])
    assert score_file(answers, select(["world.vqa"])[0], world)["metrics"]["accuracy"] == 100
