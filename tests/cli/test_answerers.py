"""``skyeye eval hf:...`` and ``openai:...``: the same benchmarks and controls, whoever answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skyeye.cli import main
from skyeye.data.record import Record
from skyeye.eval.benchmarks import select
from skyeye.eval.box_families import ANY, FAMILIES
from skyeye.eval.results import EvalResults, read_scores
from skyeye.synth import write_scenes

pytestmark = pytest.mark.usefixtures("without_java")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "world"
    write_scenes(folder, images=1, seed=3, held_out=10, size=112, processes=1)
    return folder


@pytest.fixture
def evaluate(scenes, tmp_path, capfd):
    def run(who: str, *options: str, code: int = 0) -> str:
        """What the command says."""
        arguments = ["eval", who, "--data-root", str(scenes), "--out", str(tmp_path / "out"), *options]
        assert main(arguments) == code, capfd.readouterr()
        return "".join(capfd.readouterr())

    return run


@pytest.fixture
def scores(tmp_path):
    return lambda: read_scores(tmp_path / "out" / "scores.json")


class Knowing:
    """Answers by the truths of a benchmark, to whoever shows the right picture."""

    def __init__(self, scenes: Path, name: str, wording: str | None, write):
        self.truth: dict[tuple[str, bytes], str] = {}
        self.number = 0
        (benchmark,) = select([name])
        records, _ = benchmark.load(scenes, prompt=wording)
        for record in records:
            self.truth[record.turns[0].question, Path(record.images[0]).read_bytes()] = write(record)

    def __call__(self, text: str, images: list[bytes]) -> str:
        self.number += 1
        return self.truth.get((text, images[0]) if images else ("", b""), "nothing")


def _in_json(scale: int):
    def write(record: Record) -> str:
        box = [round(number * scale) for number in record.references["boxes"][0]]
        return f'```json\n[{{"bbox_2d": {box}, "label": "thing"}}]\n```'

    return write


def _openai(server) -> str:
    return f"openai:{server.address}#tiny"


def test_a_server_that_knows_everything_scores_everything_and_falls_with_the_controls(
    chat_server, scenes, evaluate, scores, monkeypatch, tmp_path
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    chat_server.answer = Knowing(scenes, "synth.refer", FAMILIES["norm1000"].refer, _in_json(1000))
    told = evaluate(_openai(chat_server), "--benchmarks", "synth.refer", "--boxes", "norm1000")
    results = scores()
    accuracy = results.benchmarks["synth.refer"].metrics["accuracy@0.5"]
    assert accuracy.value == accuracy.value_on_shuffled_phrases_items == 100
    assert accuracy.shuffled_phrases == 0 and accuracy.shuffled_images < 50
    protocol = results.benchmarks["synth.refer"].protocol
    assert protocol.question.startswith("Locate ") and "bbox_2d coordinates in JSON" in protocol.question
    assert protocol.decoding == "temperature 0, at most 128 new tokens, asked once, by a server"
    assert "boxes are read as x1, y1, x2, y2 in 0..1000 (--boxes norm1000)" in protocol.notes
    counts = results.benchmarks["synth.refer"].counts
    assert counts["answers with markdown fence taken off"] == counts["records"]
    assert results.about["checkpoint"] == _openai(chat_server)
    assert results.about["prompts"] == {"synth.refer": FAMILIES["norm1000"].refer}
    assert chat_server.keys[0] == "Bearer sk-secret" and "sk-secret" not in told
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) > 5 and all(b"sk-secret" not in path.read_bytes() for path in written)
    asked = chat_server.answer.number
    told = evaluate(_openai(chat_server), "--benchmarks", "synth.refer", "--boxes", "norm1000")
    assert chat_server.answer.number == asked and "were answered in an earlier run" in told
    assert scores().benchmarks == results.benchmarks


def test_how_boxes_are_written_is_found_out_told_and_stored(chat_server, scenes, evaluate, scores, tmp_path):
    chat_server.answer = Knowing(
        scenes, "synth.refer", ANY.refer, lambda record: str([round(n * 112) for n in record.references["boxes"][0]])
    )
    told = evaluate(_openai(chat_server), "--benchmarks", "synth.refer", "synth.identify")
    results = scores()
    assert "answers: boxes are x1, y1, x2, y2 in pixels" in told
    assert results.about["boxes"].startswith("boxes are x1, y1, x2, y2 in pixels")
    assert results.about["boxes"] in results.benchmarks["synth.refer"].protocol.notes
    assert results.about["boxes"] not in results.benchmarks["synth.identify"].protocol.notes
    assert results.benchmarks["synth.refer"].metrics["accuracy@0.5"].value == 100
    first = json.loads((tmp_path / "out/predictions/synth.identify.jsonl").read_text().splitlines()[0])
    box = [round(number * 112) for number in first["question_boxes"][0]]
    assert str(box) in first["question"], "boxes in questions are in the frame that was found"
    main(["eval", "compare", str(tmp_path / "out"), str(tmp_path / "out"), "--out", str(tmp_path / "compared")])
    compared = json.loads((tmp_path / "compared/compare.json").read_text())
    assert compared["synth.refer"]["metrics"]["accuracy@0.5"]["a"] == 100, (
        "boxes are those that were read, not read anew"
    )


def test_boxes_that_have_no_frame_are_refused_in_words(chat_server, evaluate, tmp_path):
    chat_server.answer = lambda text, images: "It is on the left."
    told = evaluate(_openai(chat_server), "--benchmarks", "synth.refer", code=2)
    assert "--boxes auto: the frame of the boxes cannot be told: 0 of " in told
    assert "is answered 'It is on the left.' (name the family, e.g. --boxes norm1000" in told
    assert not (tmp_path / "out" / "scores.json").exists()


def test_refused_questions_are_counted_and_not_asked_again(chat_server, evaluate, scores):
    names = ["--benchmarks", "synth.vqa", "--no-controls", "--limit", "4", "--concurrency", "1"]
    chat_server.faults = [(400, b'{"error": {"message": "a forbidden word"}}')] * 2
    for _ in range(2):
        evaluate(_openai(chat_server), *names)
        note = "2 of 4 questions were refused by the server, and count as wrong; of the first it says: a forbidden word"
        assert note in scores().benchmarks["synth.vqa"].protocol.notes
    assert len(chat_server.seen) == 4


def test_nobody_answers(evaluate):
    told = evaluate("openai:http://127.0.0.1:9/v1#m", "--benchmarks", "synth.vqa", code=2)
    assert "http://127.0.0.1:9/v1: no server answers" in told and "start the server" in told


@pytest.mark.parametrize("family", ["qwen", "llava"])
def test_a_model_of_transformers_is_asked(family, request, evaluate, scores):
    folder = request.getfixturevalue(f"{family}_folder")
    boxes = "qwen_absolute" if family == "qwen" else "norm1"
    names = ["--benchmarks", "synth.refer", "synth.scene", "--limit", "2", "--max-new-tokens", "4", "--batch-size", "3"]
    told = evaluate(f"hf:{folder}", *names, "--boxes", boxes, "--dtype", "fp32")
    assert "[transformers]" not in told, "no warnings of the library about how it was asked"
    results = scores()
    assert results.benchmarks["synth.scene"].metrics["accuracy"].value == 0, "a random model knows nothing"
    assert results.benchmarks["synth.scene"].metrics["accuracy"].shuffled_images == 0
    protocol = results.benchmarks["synth.refer"].protocol
    wording = {"qwen": "output its bbox_2d coordinates in JSON", "llava": "in fractions of its width and height"}[
        family
    ]
    assert wording in protocol.question
    expected = "multiples of 28, 3,136 to 12,544 pixels" if family == "qwen" else "in 0..1"
    assert any(expected in note for note in protocol.notes)
    assert results.about["dtype"] == "float32" and results.about["model_type"].startswith(family)


@pytest.mark.parametrize(
    ("who", "options", "said"),
    [
        ("hf:nowhere", [], "hf:nowhere: is no folder of this machine, and no name of the hub that was fetched"),
        ("hf:nobody/nothing", [], "hf download nobody/nothing"),
        ("hf:", [], "hf download NAME"),
        ("hf:~/no such model", [], f"hf:{Path.home()}/no such model: is no folder"),
        ("openai:localhost:8000#m", [], "write openai:http://HOST:PORT/v1#MODEL"),
        ("openai:http://a:b@host#m", [], "put the key into the environment as OPENAI_API_KEY"),
        ("openai:http://127.0.0.1:9#m", ["--dtype", "bf16"], "--dtype: is the server's own affair"),
        ("openai:http://127.0.0.1:9#m", ["--boxes", "qwn"], "unknown way of writing boxes 'qwn'"),
        ("hf:x", ["--base", "b.yaml"], "--base: is for checkpoints of this project, and hf:x is none"),
        (".", ["--boxes", "norm1"], "knows how it writes boxes (leave --boxes out)"),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(evaluate, who, options, said):
    assert said in evaluate(who, "--benchmarks", "synth.vqa", *options, code=2)


def test_where_scores_go_has_to_be_said(scenes, capfd):
    assert main(["eval", "hf:x", "--benchmarks", "synth.vqa", "--data-root", str(scenes)]) == 2
    assert "hf:x: has no folder of its own for scores (give --out" in "".join(capfd.readouterr())


def test_llava_has_no_pixels_of_qwens(llava_folder, evaluate):
    told = evaluate(f"hf:{llava_folder}", "--benchmarks", "synth.refer", "--boxes", "qwen_absolute", code=2)
    assert "its processor does not resize images as Qwen's does" in told and "--boxes auto" in told


def test_without_images_a_server_gets_none(chat_server, evaluate, scores):
    evaluate(_openai(chat_server), "--benchmarks", "synth.scene", "--no-images")
    assert all(isinstance(body["messages"][0]["content"], str) for body in chat_server.seen)
    results: EvalResults = scores()
    assert results.benchmarks["synth.scene"].protocol.decoding.endswith("by a server, without the images")


def test_what_was_answered_before_the_server_failed_is_not_asked_again(chat_server, evaluate, scores):
    names = ["--benchmarks", "synth.vqa", "--no-controls", "--limit", "6", "--concurrency", "1"]
    chat_server.faults = [None, None, None, (401, b'{"error": {"message": "the key has expired"}}')]
    told = evaluate(_openai(chat_server), *names, code=2)
    assert "the server refuses with status 401: the key has expired (set the server's key as OPENAI_API_KEY" in told
    asked = len(chat_server.seen)
    told = evaluate(_openai(chat_server), *names)
    assert "3 questions were answered in an earlier run" in told
    assert len(chat_server.seen) == asked + 3 and scores().benchmarks["synth.vqa"].counts["records"] == 6
