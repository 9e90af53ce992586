"""Answers on disk: shares of processes, kills, and what another process did not finish. Real processes, no model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError
from skyeye.eval.answers.store import ALONE, AnswerStore, Process, digest
from skyeye.eval.results import Answer, Mask
from skyeye.generation.certainty import Told


def records(images: int = 7, each: int = 3) -> list[Record]:
    """Questions in an order that goes round the images."""
    return [
        Record(f"{q}:{i}", "s", "vqa", "test", (f"{i}.png",), (Turn(f"[vqa] question {q}", "a"),))
        for q in range(each)
        for i in range(images)
    ]


class Echo:
    """Answers with the question and the image; the last first. ``asked`` are the ids it was asked."""

    def __init__(self):
        self.asked: list[str] = []

    def __call__(self, asked, max_new_tokens):
        self.asked += [record.id for record in asked]
        for index in reversed(range(len(asked))):
            yield index, Answer(said(asked[index]))


def said(record: Record) -> str:
    return f"{record.turns[0].question} {record.images[0]} \u2028 {{}}"


def ask(folder: Path, echo, process: Process = ALONE, of=None) -> int:
    with AnswerStore(folder, process) as store:
        return store.ask(echo, of or records(), 5, lambda n: None)


@pytest.mark.parametrize("world", [1, 2, 3, 9])
def test_every_question_is_asked_once_and_images_stay_together(tmp_path, world):
    everyone = [Echo() for _ in range(world)]
    for rank, echo in enumerate(everyone):
        ask(tmp_path, echo, Process(rank, world))
    asked = [id for echo in everyone for id in echo.asked]
    assert sorted(asked) == sorted(record.id for record in records())
    shown = [{id.split(":")[1] for id in echo.asked} for echo in everyone]
    assert sum(map(len, shown)) == 7, "an image is encoded by one process only"
    with AnswerStore(tmp_path) as store:
        assert store.collect(records(), 5, patience=0.1) == [Answer(said(record)) for record in records()]


def test_what_is_answered_is_not_asked_again_by_any_number_of_processes(tmp_path):
    first = Echo()
    ask(tmp_path, first, Process(0, 2))
    rest = [Echo() for _ in range(3)]
    reused = sum(ask(tmp_path, echo, Process(rank, 3)) for rank, echo in enumerate(rest))
    assert sorted(first.asked + [id for echo in rest for id in echo.asked]) == sorted(r.id for r in records())
    assert reused == len(first.asked)


def test_an_answer_is_for_these_words_these_images_and_this_length(tmp_path):
    one = records(1, 1)[0]
    other_words = Record(one.id, "s", "vqa", "test", one.images, (Turn("[vqa] another", "a"),))
    other_image = Record(one.id, "s", "vqa", "test", ("x.png",), one.turns)
    keys = {
        digest(r, n, c)
        for r, n, c in ((one, 5, "x"), (other_words, 5, "x"), (other_image, 5, "x"), (one, 6, "x"), (one, 5, "y"))
    }
    assert len(keys) == 5
    ask(tmp_path, Echo(), of=[one])
    again = Echo()
    ask(tmp_path, again, of=[one, other_image])
    assert again.asked == [other_image.id]


def test_half_a_line_is_asked_again(tmp_path):
    ask(tmp_path, Echo())
    file = tmp_path / "rank0-of-1.jsonl"
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    file.write_bytes(whole[: -len(lines[-1]) // 2])
    with AnswerStore(tmp_path) as store, pytest.raises(SkyEyeError, match="1 of 21 answers are missing"):
        store.collect(records(), 5, patience=0)
    again = Echo()
    ask(tmp_path, again)
    assert len(again.asked) == 1
    assert [json.loads(line)["id"] for line in file.read_bytes().splitlines()][-1] == again.asked[0]


def test_waiting_ends_when_another_process_fails_and_not_before(tmp_path):
    ask(tmp_path, Echo(), Process(0, 2))

    def fails(asked, max_new_tokens):
        yield 0, Answer("one answer")
        raise ValueError("no such picture")

    with pytest.raises(ValueError):
        ask(tmp_path, fails, Process(1, 2))
    told = "rank1-of-2 failed: ValueError: no such picture"
    with AnswerStore(tmp_path, Process(0, 2)) as store, pytest.raises(SkyEyeError, match=told):
        store.collect(records(), 5, patience=100)
    old = tmp_path / "rank1-of-2.failed"
    os.utime(old, (time.time() - 1e6,) * 2)  # of an earlier launch
    with AnswerStore(tmp_path, Process(0, 2)) as store, pytest.raises(SkyEyeError, match="none came for 0 s"):
        store.collect(records(), 5, patience=0)
    ask(tmp_path, Echo(), Process(1, 2))
    assert not old.exists()


SLOW = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_store import Echo, Process, ask
class Slow(Echo):
    def __call__(self, asked, longest):
        for pair in super().__call__(asked, longest):
            yield pair
            print("x", flush=True)
            time.sleep(0.02)
ask(__import__("pathlib").Path(sys.argv[2]), Slow(), Process(int(sys.argv[3]), 2))
"""


def test_killed_processes_lose_nothing_that_they_said(tmp_path):
    """Both are killed at different moments, started again, and killed again, until all is answered."""
    answered = 0
    for _ in range(20):
        running = [
            subprocess.Popen(
                [sys.executable, "-c", SLOW, str(Path(__file__).parent), str(tmp_path / "answers"), str(rank)],
                stdout=subprocess.PIPE,
            )
            for rank in (0, 1)
        ]
        for rank, process in enumerate(running):
            for _ in range(3 + rank):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
        store = AnswerStore(tmp_path / "answers")
        lines = [line for file in store.folder.glob("*.jsonl") for line in file.read_bytes().splitlines()]
        assert len(lines) >= answered + 3 or len(lines) >= 21
        answered = len(lines)
        if answered >= 21:
            break
    with AnswerStore(tmp_path / "answers") as store:
        assert store.collect(records(), 5, patience=0) == [Answer(said(record)) for record in records()]


def test_the_same_question_is_asked_once(tmp_path):
    echo = Echo()
    told = []
    with AnswerStore(tmp_path) as store:
        assert store.ask(echo, records() * 2, 5, told.append) == 0
        assert store.ask(echo, records(), 5, told.append) == 0, "what this run asked is no answer of an earlier one"
        assert store.collect(records() * 2, 5, patience=0) == [Answer(said(record)) for record in records() * 2]
    assert len(echo.asked) == 21 and sum(told) == 63


def test_an_image_with_another_content_is_asked_again(tmp_path):
    """Not one that was only copied or touched."""
    folder, answers = tmp_path / "images", tmp_path / "answers"
    folder.mkdir()
    files = [folder / f"{n}.png" for n in range(3)]
    for file in files:
        file.write_bytes(file.name.encode())
    shown = [Record(f.name, "s", "vqa", "test", (str(f),), (Turn("[vqa] q", "a"),)) for f in files]
    ask(answers, Echo(), of=shown)
    files[1].write_bytes(b"PNG.1")  # as long as before
    os.utime(files[2], (1, 1))
    again = Echo()
    assert ask(answers, again, of=shown) == 2
    assert again.asked == ["1.png"]


def test_a_member_of_a_shard_is_known_by_its_own_bytes(tmp_path):
    shard, answers = tmp_path / "a.tar", tmp_path / "answers"
    shard.write_bytes(b"firstother")
    names = [f"{shard}#offset={at}&size=5" for at in (0, 5)]
    shown = [Record(name, "s", "vqa", "test", (name,), (Turn("[vqa] q", "a"),)) for name in names]
    ask(answers, Echo(), of=shown)
    shard.write_bytes(b"firstOTHER")
    again = Echo()
    ask(answers, again, of=shown)
    assert again.asked == [names[1]]


BROKEN = [b"\0" * 200, b"{", b"[]", b"\xff", b"", b'{"asked": "x"}', b'{"asked": "x", "answer": 5}', b"[" * 100_000]
BROKEN += [
    b'{"asked": "x", "answer": "", "' + more + b"}" for more in (b'boxes": [[1, 2]]', b'boxes": 3', b'mask": {}')
]
BROKEN += [b'{"asked": "x", "answer": "", "embedding": ["one"]}', b'"asked answer"', b"7"]


@pytest.mark.parametrize("broken", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_line_is_passed_over_and_counted(tmp_path, broken):
    ask(tmp_path, Echo())
    file = tmp_path / "rank0-of-1.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:3], broken + b"\n", *lines[4:]]))
    again = Echo()
    with AnswerStore(tmp_path) as store:
        assert store.ask(again, records(), 5, lambda n: None) == 20
        assert store.broken == 1
        assert store.collect(records(), 5, patience=0) == [Answer(said(record)) for record in records()]
    assert len(again.asked) == 1


KINDS = [
    Answer("yes"),
    Answer("", ()),
    Answer("", (Box(0.1, 1 / 3, 0.5, 2 / 3), OrientedBox(*(n / 7 for n in range(8))))),
    Answer("", mask=Mask(2, 3, (1, 2, 3))),
    Answer("it", embedding=(0.1, -1e-9, 3.0)),
    Answer("", (Box(0.1, 0.2, 0.5, 0.6),), scores=(1 / 3,)),
    Answer("{<1>", told=(Told(1, -0.1), Told(4, -1 / 3))),
]


@pytest.mark.parametrize("answer", KINDS)
def test_a_line_holds_what_the_answer_holds(tmp_path, answer):
    """To the last bit, whether this process or another one said it."""
    one = records(1, 1)
    ask(tmp_path, lambda asked, max_new_tokens: iter([(0, answer)]), of=one)
    with AnswerStore(tmp_path) as store:
        assert store.collect(one, 5, patience=0) == [answer]
    [line] = (tmp_path / "rank0-of-1.jsonl").read_text().splitlines()
    kinds = {"boxes": answer.boxes, "mask": answer.mask, "embedding": answer.embedding, "scores": answer.scores}
    kinds["told"] = answer.told or None
    assert set(json.loads(line)) == {"asked", "id", "answer"} | {k for k, held in kinds.items() if held is not None}


def test_processes_that_meet_afterwards_wait_until_all_have_answered(tmp_path):
    """A slow one is waited for, however long it takes, as long as its answers come."""
    seen = []

    def slowly(asked, longest):
        for index, record in enumerate(asked):
            time.sleep(0.15)
            seen.append(index)
            yield index, Answer(said(record))

    def slow():
        with AnswerStore(tmp_path, Process(1, 2)) as store:
            store.ask(slowly, records(), 5, lambda _: None)
            store.wait_for_all(patience=0.6)

    other = threading.Thread(target=slow)
    with AnswerStore(tmp_path, Process(0, 2)) as store:
        store.ask(Echo(), records(), 5, lambda _: None)
        other.start()
        store.wait_for_all(patience=0.6)
        assert len(seen) * 0.15 > 0.6 and store.collect(records(), 5, patience=0)
    other.join()


def test_processes_that_meet_afterwards_are_told_of_one_that_is_lost(tmp_path):
    with AnswerStore(tmp_path, Process(0, 2)) as store, pytest.raises(SkyEyeError, match="1 of 2 processes have not"):
        store.wait_for_all(patience=0)
