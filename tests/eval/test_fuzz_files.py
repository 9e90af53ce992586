"""Damaged prediction and result files: scores or one line, never a traceback, and nothing half-written."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyeye.cli import main
from skyeye.errors import SkyEyeError
from skyeye.eval.answers import read_predictions
from skyeye.eval.compare import answered
from skyeye.eval.results import (
    BenchmarkResult,
    EvalResults,
    MetricValue,
    Protocol,
    read_scores,
    scores_to_json,
    write_scores,
)

ROWS = [{"id": f"test:{100 + n}", "image": "0.png", "answer": "yes</s>" if n % 2 else 'a "b"'} for n in range(8)]
FORMS = {
    "lines": "".join(json.dumps(row) + "\n" for row in ROWS),
    "list": json.dumps(ROWS, indent=1),
    "object": json.dumps({row["id"]: row["answer"] for row in ROWS}),
}
#: What files of others hold where nobody expects it.
PIECES = [
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\0",
    b"NaN",
    b"1e999",
    b"null",
    b"\r\n",
    b"\r",
    b"}{",
    b"[" * 3000,
    b'"id": 1, ',
]
PIECES += [
    b"\\ud800",
    b"\xc3",
    b"\x1f\x8b",
    b"PK\x03\x04",
    b'{"id": {}, "answer": []}',
    b"\xe2\x80\xa8",
    b"-",
    b'"',
    b"9" * 5000,
]
MUTATIONS = st.lists(
    st.tuples(st.sampled_from(["cut", "insert", "replace", "repeat"]), st.floats(0, 1), st.sampled_from(PIECES)),
    min_size=1,
    max_size=3,
)


def mutated(content: bytes, mutations) -> bytes:
    for what, place, piece in mutations:
        at = int(place * len(content))
        if what == "cut":
            content = content[:at]
        elif what == "repeat":
            content = content + content[at:]
        else:
            content = content[:at] + piece + content[at + (len(piece) if what == "replace" else 0) :]
    return content


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=120, deadline=None)
@given(mutations=MUTATIONS)
def test_a_damaged_prediction_file_is_read_or_refused(tmp_path_factory, form, mutations):
    file = tmp_path_factory.getbasetemp() / f"{form}.json"
    file.write_bytes(mutated(FORMS[form].encode(), mutations))
    try:
        predictions, problems = read_predictions(file)
    except SkyEyeError as error:
        assert "\n" not in str(error)
    else:
        assert predictions and all("\n" not in problem.what for problem in problems)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(form=st.sampled_from(sorted(FORMS)), mutations=MUTATIONS)
def test_a_damaged_prediction_file_is_scored_or_one_line(tmp_path_factory, capsys, form, mutations):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "p.json").write_bytes(mutated(FORMS[form].encode(), mutations))
    questions = [
        {"id": 100 + n, "img_id": 0, "type": "presence", "question": "is it ?", "active": True, "answers_ids": [n]}
        for n in range(8)
    ]
    answers = [{"id": n, "answer": "yes", "active": True, "question_id": 100 + n} for n in range(8)]
    contents = {"questions": questions, "answers": answers, "images": [{"id": 0, "active": True}]}
    for what, content in contents.items():
        (folder / f"LR_split_test_{what}.json").write_text(json.dumps({what: content}))
    command = ["eval", "score", str(folder / "p.json"), "--benchmark", "rsvqa_lr", "--data-root", str(folder)]
    before = {path.name for path in folder.iterdir()}
    code = main([*command, "--json", str(folder / "s.json")])
    said = capsys.readouterr().err
    assert code in (0, 2) and said.count("\n") == (code == 2)
    assert {path.name for path in folder.iterdir()} - before == ({"s.json"} if code == 0 else set())
    if code == 0:
        json.loads((folder / "s.json").read_text(), parse_constant=pytest.fail)


PROTOCOL = Protocol("T", "vqa", "accuracy", "is it ?", "greedy", "exact match", "95%")
RESULTS = EvalResults(
    {"rsvqa_lr": BenchmarkResult({"accuracy": MetricValue(50.0)}, {"records": 2, "images": 1}, PROTOCOL)},
    {"checkpoint": "c", "data_root": "d", "limit": None, "prompts": {}},
)


NAN = json.dumps(scores_to_json(RESULTS)).replace("50.0", "NaN")


@settings(max_examples=150, deadline=None)
@given(mutations=MUTATIONS)
def test_a_damaged_scores_file_is_read_or_refused(tmp_path_factory, mutations):
    folder = tmp_path_factory.getbasetemp() / "damaged_scores"  # exports look for scores in the folders above them
    folder.mkdir(exist_ok=True)
    file = folder / "scores.json"
    write_scores(file, RESULTS)
    file.write_bytes(mutated(file.read_bytes(), mutations))
    try:
        known = answered(folder, None)
    except SkyEyeError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(known.name, str) and isinstance(known.data_root, str | None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"1", "holds a JSON number"),
        (b"\x80{}", "is not text"),
        (b'{"about": {"checkpoint": "a"', "is not valid JSON"),
        (b'{"about": {"checkpoint": "a", "data_root": 5}}', "key about.data_root: is no text"),
        (NAN.encode(), "rsvqa_lr.accuracy.value: is no number"),
    ],
)
def test_what_is_no_scores_file_is_called_what_it_is(tmp_path, content, words):
    (tmp_path / "scores.json").write_bytes(content)
    with pytest.raises(SkyEyeError) as told:
        read_scores(tmp_path / "scores.json")
    assert words in str(told.value) and str(told.value).endswith("write it again: skyeye eval)")
