"""A server as an answerer: pictures, systems, limits, refusals; many questions at once."""

from __future__ import annotations

import io
import json
import threading
import time

import pytest
from PIL import Image

from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError
from skyeye.generation.answerers import Reply, ServerSettings
from skyeye.generation.answerers.requests import Address
from skyeye.generation.answerers.server import ServerAnswerer, find_model

SETTINGS = ServerSettings(concurrency=3, timeout=5.0, first_wait=0.01)


@pytest.fixture
def ask(chat_server):
    def run(records, settings=SETTINGS, key=None):
        address = Address(chat_server.address, "tiny")
        answerer = ServerAnswerer(address, lambda record: record.turns[0].question, key=key, settings=settings)
        return dict(answerer.answers(records, 9)), answerer

    return run


def _record(number, images=(), system=None):
    turn = Turn(f"question {number}", "", system=system)
    return Record(f"r{number}", "x", "vqa", "test", tuple(map(str, images)), (turn,))


def test_pictures_come_before_the_words_as_they_lie_on_disk(chat_server, ask, tmp_path):
    jpeg, palette = tmp_path / "a.jpg", tmp_path / "b.png"
    Image.new("RGB", (9, 5), (200, 10, 10)).save(jpeg)
    Image.new("P", (4, 4), 3).save(palette)
    shown = []
    chat_server.answer = lambda text, images: shown.append((text, images)) or f"about {len(images)}"
    replies, _ = ask([_record(0, [jpeg, palette], system="be brief"), _record(1)])
    assert replies == {0: Reply("about 2"), 1: Reply("about 0")}
    bodies = {len(body["messages"]): body for body in chat_server.seen}
    assert bodies[2]["messages"][0] == {"role": "system", "content": "be brief"}
    assert bodies[1]["messages"] == [{"role": "user", "content": "question 1"}]
    assert {key: bodies[1][key] for key in ("model", "max_tokens", "temperature")} == {
        "model": "tiny",
        "max_tokens": 9,
        "temperature": 0,
    }
    first, second = next(images for text, images in shown if text == "question 0")
    assert first == jpeg.read_bytes(), "without loss, and without being coded anew"
    assert Image.open(io.BytesIO(second)).convert("RGB").tobytes() == Image.open(palette).convert("RGB").tobytes()


def test_many_questions_are_with_the_server_at_once_and_no_more(chat_server, ask):
    lock, now, most = threading.Lock(), [0], [0]

    def answer(text, images):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.03)
        with lock:
            now[0] -= 1
        return text[::-1]

    chat_server.answer = answer
    replies, _ = ask([_record(n) for n in range(12)])
    assert replies == {n: Reply(f"question {n}"[::-1]) for n in range(12)}
    assert 1 < most[0] <= SETTINGS.concurrency


def test_an_answer_that_was_cut_says_so(chat_server, ask):
    chat_server.finish = "length"
    assert ask([_record(0)])[0] == {0: Reply("yes", cut=True)}


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        ({"content": None, "reasoning_content": "hm"}, Reply("")),
        ({"content": None, "refusal": "I cannot."}, Reply("I cannot.")),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, Reply("ab")),
    ],
)
def test_replies_of_other_shapes(chat_server, ask, message, reply):
    chat_server.faults = [json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()]
    assert ask([_record(0)])[0] == {0: reply}


def _refusal(text, parameter=None):
    return 400, json.dumps({"error": {"message": text, "param": parameter}}).encode()


def test_a_refused_question_is_answered_with_why(chat_server, ask):
    chat_server.faults = [_refusal("the picture is too large")]
    replies, _ = ask([_record(n) for n in range(4)], ServerSettings(1, 5.0, 0.01))
    assert replies == {0: Reply("", refused="the picture is too large"), **{n: Reply("yes") for n in (1, 2, 3)}}


def test_a_server_that_refuses_everything_is_told(chat_server, ask):
    chat_server.faults = [_refusal("tiny takes no pictures")] * 20
    with pytest.raises(SkyEyeError, match="refuses every question; of record r[0-4] it says: tiny takes no pictures"):
        ask([_record(n) for n in range(20)])
    chat_server.faults = [_refusal("no")] * 2
    with pytest.raises(SkyEyeError, match="refuses every question"):
        ask([_record(0), _record(1)])


def test_the_names_and_settings_of_newer_models(chat_server, ask, capsys):
    chat_server.faults = [
        _refusal("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "max_tokens"),
        _refusal("Unsupported value: 'temperature' does not support 0.", "temperature"),
    ]
    replies, answerer = ask([_record(0)])
    assert replies == {0: Reply("yes")}
    assert chat_server.seen[-1].keys() == {"model", "messages", "max_completion_tokens"}
    assert answerer.decoding(9).startswith("the server's own temperature")


def test_a_failure_ends_the_other_questions_too(chat_server, ask):
    chat_server.faults = [(401, b"{}")] * 50
    with pytest.raises(SkyEyeError, match="status 401"):
        ask([_record(n) for n in range(50)])
    assert len(chat_server.seen) <= 10


def test_the_only_model_of_a_server_need_not_be_named(chat_server):
    address = Address(chat_server.address, "")
    assert find_model(address, None, SETTINGS).model == "tiny"
    chat_server.models = ["a", "b"]
    with pytest.raises(SkyEyeError, match=r"of these: a, b \(openai:http"):
        find_model(address, None, SETTINGS)
    assert find_model(Address(chat_server.address, "b"), None, SETTINGS).model == "b"
