"""Requests are sent again after what passes, and end in words after what does not; keys are never repeated."""

from __future__ import annotations

import json

import pytest

from skyeye.errors import SkyEyeError
from skyeye.generation.answerers import requests as module
from skyeye.generation.answerers.requests import Address, QuestionRefused, Requests, parse_address

SLOW = "slow"


@pytest.fixture
def asking(chat_server):
    opened = []

    def make(key: str | None = None, timeout: float = 5.0) -> Requests:
        opened.append(Requests(Address(chat_server.address, "tiny"), key, timeout, first_wait=0.01))
        return opened[-1]

    yield make
    for each in opened:
        each.stop()


def _said(requests: Requests) -> str:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "?"}]}
    return requests.complete(body, "record r", lambda content: content["choices"][0]["message"]["content"])


@pytest.mark.parametrize(
    "fault",
    [
        (429, b'{"error": {"message": "slow down"}}', {"Retry-After": "0"}),
        (500, b"<html>oops</html>"),
        (503, b""),
        "cut",
        b'{"choices": [',
        b'{"choices": []}',
        b'{"error": "overloaded"}',
        b"[]",
    ],
)
def test_what_passes_is_asked_again(chat_server, asking, fault, capsys):
    chat_server.faults = [fault, fault]
    assert _said(asking()) == "yes"
    assert len(chat_server.seen) == 3
    assert capsys.readouterr().out.count("asked again, up to 6 times") == 1, "of each kind once"


def test_a_slow_answer_is_asked_again(chat_server, asking):
    chat_server.faults, chat_server.slow_seconds = [SLOW], 0.6
    assert _said(asking(timeout=0.2)) == "yes"
    assert len(chat_server.seen) == 2


def test_after_all_tries_it_ends_in_words(chat_server, asking, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 3)
    chat_server.faults = [(503, b'{"detail": "loading the model"}')] * 9
    with pytest.raises(
        SkyEyeError, match=r"record r: no answer after 3 tries; the last: status 503: loading the model"
    ):
        _said(asking())
    assert len(chat_server.seen) == 3


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_question_that_is_taken_as_wrong_is_asked_once(chat_server, asking, status):
    chat_server.faults = [(status, json.dumps({"error": {"message": "too long", "param": "messages"}}).encode())]
    with pytest.raises(QuestionRefused, match="too long") as refused:
        _said(asking())
    assert refused.value.parameter == "messages"
    assert len(chat_server.seen) == 1


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "OPENAI_API_KEY"), (403, "may use this model"), (404, "name of the model")]
)
def test_what_no_question_can_mend_ends_at_once_and_without_the_key(chat_server, asking, status, remedy):
    chat_server.faults = [(status, b'{"error": {"message": "Incorrect API key provided: sk-secret. Mend it."}}')]
    with pytest.raises(SkyEyeError, match=remedy) as error:
        _said(asking("sk-secret"))
    assert "key provided: ***." in str(error.value) and "sk-secret" not in str(error.value)
    assert chat_server.keys == ["Bearer sk-secret"]


def test_without_a_key_none_is_sent(chat_server, asking):
    _said(asking())
    assert chat_server.keys == [None]


def test_nobody_is_there():
    requests = Requests(Address("http://127.0.0.1:9/v1", "m"), None, 1.0)
    with pytest.raises(SkyEyeError, match=r"http://127.0.0.1:9/v1: no server answers: .*start the server"):
        requests.models()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://host:8000/v1#m", Address("http://host:8000/v1", "m")),
        ("http://host:8000", Address("http://host:8000/v1", "")),
        ("http://host:8000/#Qwen/Qwen3-VL", Address("http://host:8000/v1", "Qwen/Qwen3-VL")),
        ("https://host/api/v3/chat/completions#m", Address("https://host/api/v3", "m")),
    ],
)
def test_addresses(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "host:8000#m", "ftp://host#m", "http://#m", "http://host:port/v1#m", "/v1"])
def test_what_is_no_address(text):
    with pytest.raises(SkyEyeError, match="is no address of a server"):
        parse_address(text)


@pytest.mark.parametrize("text", ["http://me:sk-secret@host/v1#m", "http://host/v1?key=sk-secret#m"])
def test_a_key_in_the_address_is_refused_and_not_repeated(text):
    with pytest.raises(SkyEyeError, match="OPENAI_API_KEY") as error:
        parse_address(text)
    assert "sk-secret" not in str(error.value)
