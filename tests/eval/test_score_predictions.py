"""Answers that someone else wrote: scores by arithmetic, and every id that does not fit by name."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from PIL import Image

from skyeye.cli import main
from skyeye.data.images.load import image_size
from skyeye.eval.benchmarks import select
from skyeye.eval.report.to_text import format_text
from skyeye.eval.results import read_scores
from skyeye.eval.score_predictions import PredictionFile, score_file

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
    lines += [{"id": 119, "answer": "conflicting"}, {"id": 1190, "answer": "yes"}, "{broken", {"id": 100}]
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


def test_a_file_that_was_appended_twice_scores_what_its_answers_do(tmp_path, rsvqa, capsys):
    lines: list = [{"id": 100 + n, "answer": truth(n)} for n in range(20)]
    result = scored(tmp_path, rsvqa, [*lines, *lines[:3]], "--out", str(tmp_path / "out"))
    assert result["metrics"]["accuracy"] == 100 and result["double"] == []
    assert result["repeated"] == ["100", "101", "102"] and result["counts"]["repeated"] == 3
    assert "repeated 3 (the same answer several times; it counts once): 100, 101, 102" in capsys.readouterr().out
    assert read_scores(tmp_path / "out" / "scores.json").benchmarks["rsvqa_lr"].counts["answers repeated"] == 3


FORMS = {
    "end token": ("{}</s>", "end token"),
    "prompt": ("[INST] <Img></Img> [vqa] is it ? [/INST] {}", "echoed prompt"),
    "role": ("ASSISTANT: {}", "role prefix"),
    "json": ('```json\n{{"answer": "{}"}}\n```', "JSON object"),
    "quotes": ("'{}'", "quotes"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_trace_of_an_output_format_costs_no_point_and_is_told(tmp_path, rsvqa, capsys, form):
    template, kind = FORMS[form]
    result = scored(tmp_path, rsvqa, [{"id": 100 + n, "answer": template.format(truth(n))} for n in range(20)])
    assert result["metrics"]["accuracy"] == 100
    assert result["output_format"][kind] == 20
    assert f"{kind} 20" in capsys.readouterr().out


@pytest.mark.parametrize("change", [str.upper, str.title, lambda text: f"{text}.", lambda text: f" {text}\n"])
def test_case_and_full_stops_cost_no_point(tmp_path, rsvqa, change):
    result = scored(tmp_path, rsvqa, [{"id": 100 + n, "answer": change(truth(n))} for n in range(20)])
    assert result["metrics"]["accuracy"] == 100 and result["output_format"] == {}


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
    assert score_file(PredictionFile(again), select(["rsvqa_lr"])[0], rsvqa).metrics["accuracy"] == 100


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
    unread = score_file(PredictionFile(file), benchmark, ROOT)
    assert unread.metrics["accuracy@0.5"] == 0
    assert "no answer holds a box in this project's notation" in unread.hints[0]
    assert "look like --boxes fractions or --boxes padded" in format_text(unread)
    read = score_file(PredictionFile(file, "fractions"), benchmark, ROOT)
    assert read.metrics["accuracy@0.9"] == 100 and read.hints == []


def test_boxes_in_pixels_are_not_rounded(tmp_path, read_jsonl):
    """Vehicles are small: in hundredths of the frame, most lose more than a tenth."""
    if not (ROOT / "aerial_cars").is_dir():
        pytest.skip("../shared/data is not there")
    benchmark = select(["vehicles.refer"])[0]
    records, _ = benchmark.load(ROOT, "keep")
    lines = []
    for record in records:
        w, h = image_size(record.images[0])
        x1, y1, x2, y2 = record.references["boxes"][0]
        lines.append({"id": record.id, "answer": f"[{x1 * w:.1f}, {y1 * h:.1f}, {x2 * w:.1f}, {y2 * h:.1f}]"})
    file = written(tmp_path, lines)
    assert (
        "look like --boxes pixels or --boxes thousandths" in score_file(PredictionFile(file), benchmark, ROOT).hints[0]
    )
    out = tmp_path / "out"
    result = score_file(PredictionFile(file, "pixels"), benchmark, ROOT, out_dir=out)
    assert result.metrics["accuracy@0.9"] == 100 and result.metrics["mean_iou"] > 99
    written_rows = out / "predictions" / "vehicles.refer.jsonl"
    again = score_file(PredictionFile(written_rows, "pixels"), benchmark, ROOT)
    assert again.metrics == result.metrics
    for row, line, record in zip(read_jsonl(written_rows), lines, records, strict=True):
        assert row["answer"] == line["answer"], "the answer stays as it was written"
        assert row["boxes"] == [pytest.approx(record.references["boxes"][0], abs=1e-3)]
    assert read_scores(out / "scores.json").about["notation"] == "pixels"


def test_the_notation_is_found_out_from_the_answers_and_told(tmp_path):
    if not (ROOT / "aerial_cars").is_dir():
        pytest.skip("../shared/data is not there")
    benchmark = select(["vehicles.refer"])[0]
    records, _ = benchmark.load(ROOT, "keep")
    lines, elsewhere = [], []
    for record in records:
        w, h = image_size(record.images[0])
        x1, y1, x2, y2 = record.references["boxes"][0]
        lines.append({"id": record.id, "answer": f"[{y1 * h:.1f}, {x1 * w:.1f}, {y2 * h:.1f}, {x2 * w:.1f}]"})
        elsewhere.append({"id": record.id, "answer": f"[{x1 * 0.1:.3f}, {1 - y1:.3f}, 0.1, 0.9]"})
    file = written(tmp_path, lines)
    out = tmp_path / "out"
    result = score_file(PredictionFile(file, "auto"), benchmark, ROOT, out_dir=out)
    assert result.metrics["accuracy@0.9"] == 100 and result.hints == []
    assert "boxes are y1, x1, y2, x2 in pixels" in format_text(result)
    assert read_scores(out / "scores.json").about["boxes"] == result.about["boxes"]
    untold = score_file(PredictionFile(written(tmp_path, elsewhere), "auto"), benchmark, ROOT)
    assert "cannot be told" in untold.hints[0] and untold.metrics["accuracy@0.5"] == 0


def test_captions_of_coco_s_form(tmp_path, without_java):
    """Image ids are those of the annotation, which counts from 0 what the files count from 1."""
    if not (ROOT / "UCM_captions").is_dir():
        pytest.skip("../shared/data is not there")
    images = json.loads((ROOT / "UCM_captions" / "dataset.json").read_text())["images"]
    rows = [
        {"image_id": image["imgid"], "caption": image["sentences"][0]["raw"]}
        for image in images
        if image["split"] == "test"
    ]
    file = tmp_path / "captions.json"
    file.write_text(json.dumps(rows))
    result = score_file(PredictionFile(file), select(["ucm.caption"])[0], ROOT / "UCM_captions")
    assert (result.counts["answered"], result.unknown) == (210, [])
    assert result.ids == "the id in the published annotation"
    assert result.metrics["BLEU-1"] == pytest.approx(100, abs=0.5)


def test_a_file_that_holds_the_truth_too(tmp_path, rsvqa, capsys):
    lines = [{"id": 100 + n, "answer": truth(n), "prediction": truth(n + n % 2)} for n in range(20)]
    file = written(tmp_path, lines)
    command = ["eval", "score", str(file), "--benchmark", "rsvqa_lr", "--data-root", str(rsvqa)]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "line 2: has different answers under 'answer', 'prediction'" in error and "--answer-key NAME" in error
    result = scored(tmp_path, rsvqa, lines, "--answer-key", "prediction")
    assert result["metrics"]["accuracy"] == 50
    assert result["keys"] == {"id": ["id"], "answer": ["prediction"]}
    assert "Read: ids under 'id', taken for the id in the published annotation; answers under 'prediction'." in (
        capsys.readouterr().out
    )


def test_ids_of_a_file_do_not_steer_the_terminal(tmp_path, rsvqa, capsys):
    ids = ["\x1b[2J\x1b[31mgone", "two\nlines", "left\u202eright", "x" * 300]
    lines: list = [{"id": 100, "answer": "yes"}] + [{"id": id, "answer": "yes"} for id in ids]
    result = scored(tmp_path, rsvqa, [*lines, {"id": "\x1b[0m", "answer": True}])
    assert result["unknown"] == ids
    said = capsys.readouterr().out
    assert all(sign.isprintable() or sign == "\n" for sign in said)
    for words in (r"\x1b[2J\x1b[31mgone", r"two\nlines", r"left\u202eright", "x" * 79 + "…"):
        assert words in said
    assert "x" * 80 not in said


def test_what_the_metric_counted_is_told(tmp_path, rsvqa, capsys):
    scored(tmp_path, rsvqa, [{"id": 100 + n, "answer": "many" if n % 4 == 2 else truth(n)} for n in range(20)])
    assert "\nCounted: count answers without a number 5.\n" in capsys.readouterr().out
    scored(tmp_path, rsvqa, [{"id": 100 + n, "answer": truth(n)} for n in range(20)])
    assert "Counted" not in capsys.readouterr().out


def test_of_a_file_that_fits_nothing_the_ids_are_explained(tmp_path, rsvqa, capsys):
    result = scored(tmp_path, rsvqa, [{"id": f"q{n}", "answer": "yes"} for n in range(3)])
    assert result["counts"]["answered"] == 0
    assert "error: no prediction names a record; the first record is called 'test:100' or '100' (as published), " in (
        capsys.readouterr().out
    )
    twice = scored(tmp_path, rsvqa, [{"id": 100, "answer": "yes"}] * 2)
    assert twice["hints"] == []


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
    assert main(["eval", "questions", "synth.frames", "--data-root", str(world), "--out", str(out)]) == 0
    assert main(["eval", "questions", "synth.vqa", "--data-root", str(world), "--out", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    records, _ = select(["synth.vqa"])[0].load(world)
    assert [row["question_id"] for row in rows] == [record.id for record in records]
    assert all(Path(row["image"]).is_file() and row["question"].startswith("[vqa] ") for row in rows)
    truths = {record.id: record.references["answer"] for record in records}
    answers = written(tmp_path, [{**row, "answer": truths[row["question_id"]]} for row in rows])
    assert score_file(PredictionFile(answers), select(["synth.vqa"])[0], world).metrics["accuracy"] == 100


def test_what_was_not_answered_is_not_written_as_answered(tmp_path, rsvqa, read_jsonl):
    """Scoring what was written gives the numbers of the first time, and the same records without an answer."""
    lines: list = [{"id": 100 + n, "answer": truth(n) if n != 5 else ""} for n in range(2, 20)]
    lines.append({"id": 119, "answer": "conflicting"})
    first = scored(tmp_path, rsvqa, lines, "--out", str(tmp_path / "out"))
    written_rows = tmp_path / "out" / "predictions" / "rsvqa_lr.jsonl"
    assert [row["id"].split(":")[1] for row in read_jsonl(written_rows)] == [str(n) for n in range(102, 119)]
    again = json.loads(json.dumps(asdict(score_file(PredictionFile(written_rows), select(["rsvqa_lr"])[0], rsvqa))))
    for key in ("metrics", "intervals", "metrics_of_answered"):
        assert again[key] == first[key]
    assert (first["counts"]["missing"], first["counts"]["double"]) == (2, 1)
    assert again["missing"] == [f"test:{n}" for n in (100, 101, 119)]
    assert again["counts"]["answered"] == first["counts"]["answered"] == 17  # an empty answer is one


def test_no_file_names_the_mark_of_an_absent_image(tmp_path, rsvqa, read_jsonl):
    lines = [{"id": 100 + n, "answer": truth(n)} for n in range(20)]
    out = tmp_path / "out"
    scored(tmp_path, rsvqa, lines, "--out", str(out))
    questions = out / "questions.jsonl"
    assert main(["eval", "questions", "rsvqa_lr", "--data-root", str(rsvqa), "--out", str(questions)]) == 0
    compared = ["--benchmark", "rsvqa_lr", "--data-root", str(rsvqa), "--out", str(out)]
    assert main(["eval", "compare", str(tmp_path / "predictions.jsonl"), str(questions.parent), *compared]) == 0
    files = [path for path in out.rglob("*") if path.is_file()] + [tmp_path / "scores.json"]
    assert len(files) == 10
    assert not [path for path in files if b"absent:" in path.read_bytes()]
    assert [row["image"] for row in read_jsonl(questions)] == [str(n // 4) for n in range(20)]
    assert read_jsonl(out / "predictions" / "rsvqa_lr.jsonl")[4]["images"] == ["1"]


def test_records_without_images_are_treated_alike_in_asking_and_scoring(tmp_path, rsvqa, read_jsonl, capsys):
    (rsvqa / "RSVQA_LR" / "Images_LR").mkdir()
    for number in range(3):
        Image.new("RGB", (4, 4)).save(rsvqa / "RSVQA_LR" / "Images_LR" / f"{number}.tif")
    out = tmp_path / "questions.jsonl"
    command = ["eval", "questions", "rsvqa_lr", "--data-root", str(rsvqa), "--out", str(out)]
    assert main([*command, "--missing-images", "stop"]) == 2
    assert "lacks images, 8 records at least" in capsys.readouterr().err and not out.exists()
    assert main([*command, "--missing-images", "skip"]) == 0
    assert "8 skipped" in capsys.readouterr().out
    some = [row["question_id"] for row in read_jsonl(out)]
    assert some == [f"test:{n}" for n in range(100, 112)]
    assert main(command) == 0
    assert len(read_jsonl(out)) == 20
    lines = [{"id": id, "answer": truth(int(id[5:]))} for id in some]
    every = scored(tmp_path, rsvqa, lines)
    assert (every["metrics"]["accuracy"], every["counts"]["records"]) == (60, 20)
    asked = scored(tmp_path, rsvqa, lines, "--missing-images", "skip", "--out", str(tmp_path / "out"))
    assert (asked["metrics"]["accuracy"], asked["counts"]["records"], len(asked["skipped"])) == (100, 12, 8)
    assert asked["about"]["missing_images"] == "skip"
    counts = json.loads((tmp_path / "out" / "scores.json").read_text())["rsvqa_lr"]["counts"]
    assert (counts["records"], counts["skipped"]) == (12, 8)
