"""A scripted answerer whose scores arithmetic gives; what a first look at its boxes finds; several processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from skyeye.data.geometry.boxes import Box
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.eval.answers.store import ALONE, Process
from skyeye.eval.benchmarks import select
from skyeye.eval.benchmarks.conditions import BenchmarkRun, prepare
from skyeye.eval.box_families import ANY
from skyeye.eval.box_frame import ORDERS, Frame
from skyeye.eval.evaluate import answer_function, run_benchmarks
from skyeye.eval.first_look import FirstLook
from skyeye.eval.other_answers import with_box_prompts, with_room_for_boxes
from skyeye.eval.other_style import OtherStyle
from skyeye.eval.settings import EvalSettings
from skyeye.generation.answerers import Answerer, Reply

pytestmark = pytest.mark.usefixtures("without_java")
SWAPPED = Frame("0..1000", 1000.0, order=ORDERS[1])


class Scripted:
    """Writes y before x, in thousandths; every third box that it is asked for is somewhere else."""

    about: dict = {}  # noqa: RUF012  (of the protocol)

    def __init__(self, run: BenchmarkRun, frame: Frame | None = SWAPPED):
        self.frame, self.truth = frame, {}
        for number, record in enumerate(run.seen):
            box = Box(*record.references["boxes"][0])
            wrong = number % 3 == 2
            self.truth[record.images, record.turns[0].question] = Box(0, 0, 0.02, 0.02) if wrong else box

    def decoding(self, max_new_tokens: int) -> str:
        return f"as the script says, {max_new_tokens}"

    def answers(self, records: Sequence[Record], max_new_tokens: int) -> Iterator[tuple[int, Reply]]:
        for index, record in enumerate(records):
            box = self.truth.get((record.images, record.turns[0].question))
            said = "nothing" if box is None or self.frame is None else self.frame.write(box, (112, 112))
            yield index, Reply(said)


@pytest.fixture
def refer(world) -> BenchmarkRun:
    chosen = select(["synth.refer"])
    settings = with_box_prompts(EvalSettings(), chosen, ANY)
    (run,) = with_room_for_boxes([prepare(chosen[0], world, settings)], settings)
    return run


def _evaluate(answerer: Answerer, run: BenchmarkRun, out: Path, process: Process = ALONE):
    style = OtherStyle(ANY, None)
    about = {"checkpoint": "script", "recipe": None, "stage": None, "step": None, "seed": 0, "limit": None}
    return run_benchmarks(
        answer_function(answerer),
        [run],
        out,
        about,
        answers=out / "answers",
        process=process,
        patience=20,
        style=style,
        decoding=answerer.decoding,
        look=FirstLook(style, None, 0),
    )


def test_the_score_is_the_share_that_arithmetic_gives(refer, tmp_path):
    results = _evaluate(Scripted(refer), refer, tmp_path)
    scored = results.benchmarks["synth.refer"]
    count = len(refer.seen)
    assert scored.metrics["accuracy@0.5"].value == pytest.approx(100 * (count - count // 3) / count, abs=1e-3)
    assert scored.metrics["accuracy@0.5"].shuffled_phrases < 50
    assert results.about["boxes"].startswith("boxes are y1, x1, y2, x2 in 0..1000")
    assert results.about["boxes"] in scored.protocol.notes
    assert scored.protocol.question == ANY.refer.replace("{phrase}", refer.seen[0].references["phrase"])
    assert scored.protocol.decoding == "as the script says, 128", "four times the room of our own notation"


def test_without_boxes_it_refuses_and_says_what_is_answered(refer, tmp_path):
    with pytest.raises(SkyEyeError, match=r"0 of \d+ answers hold four numbers.*is answered 'nothing'.*synth\.refer"):
        _evaluate(Scripted(refer, None), refer, tmp_path)


def test_several_processes_come_to_the_same(refer, tmp_path):
    alone = _evaluate(Scripted(refer), refer, tmp_path / "alone")
    results = {}

    def share(rank: int) -> None:
        results[rank] = _evaluate(Scripted(refer), refer, tmp_path / "many", Process(rank, 2))

    others = threading.Thread(target=share, args=(1,))
    others.start()
    share(0)
    others.join(20)
    assert results[1] is None and results[0].benchmarks == alone.benchmarks


def test_prompts_that_were_given_stay(refer):
    chosen = select(["synth.refer", "synth.vqa"])
    settings = with_box_prompts(EvalSettings(prompts={"synth.refer": "Where?"}), chosen, ANY)
    assert settings.prompts == {"synth.refer": "Where?"}
    asked = replace(EvalSettings(), max_new_tokens=7)
    assert with_room_for_boxes([replace(refer, max_new_tokens=7)], asked)[0].max_new_tokens == 7
