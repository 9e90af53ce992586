"""Load on a server of a random model: every sound request is answered, and the figures add up."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os

import pytest
from PIL import Image

from skyeye.bench import soak as soaking
from skyeye.bench.clients import Load, made_requests, run_clients
from skyeye.bench.serve import OneByOne, format_text
from skyeye.serve.model import Model
from tests.serve.api.conftest import running
from tests.serve.conftest import parts  # noqa: F401  a fixture

ASKED = made_requests(12, 0, ("how many ships?", "where are they?"), side=32)


@pytest.fixture
def served(parts):  # noqa: F811
    with running(parts) as found:
        yield found


def test_requests_are_the_same_every_time_and_no_picture_twice():
    assert made_requests(12, 0, ("how many ships?", "where are they?"), side=32) == ASKED
    assert len({each.picture for each in ASKED}) == 12 and {each.tokens for each in ASKED} <= set(range(4, 25))
    assert Image.open(io.BytesIO(ASKED[0].picture)).size == (32, 32)


def test_every_sound_request_is_answered(served, monkeypatch):
    monkeypatch.setattr(soaking, "_LEAVES_WITHIN", 0.01)
    told = asyncio.run(soaking.soak(served.port, os.getpid(), "tiny", ASKED, 150, bad=0.2, hang_up=0.1))
    assert told["lost"] == told["wrong_status"] == told["still_in_work"] == 0
    assert told["answered"] + told["refused_as_they_should_be"] + told["hung_up"] == told["sent"] == 150
    assert told["answered"] > 90 and told["refused_as_they_should_be"] > 15 and told["hung_up"] > 5
    counted = told["counted_by_the_server"]
    assert counted["200"] >= told["answered"] and counted["400"] >= told["refused_as_they_should_be"] - counted["404"]


def test_clients_count_what_they_meet(served):
    bodies = itertools.cycle([json.dumps(each.body("tiny")).encode() for each in ASKED])
    left = iter(range(20))
    load = asyncio.run(run_clients(served.port, 4, bodies, lambda: next(left, None) is not None))
    assert load.statuses == {200: 20} and len(load.seconds) == 20 and load.rate > 0
    wrong = asyncio.run(run_clients(served.port, 1, itertools.repeat(b"{"), iter([True, False]).__next__))
    assert wrong.statuses == {400: 1} and wrong.seconds == []
    nobody = asyncio.run(run_clients(1, 1, bodies, iter([True, False]).__next__))
    assert nobody.statuses == {0: 1}


def test_one_by_one_says_what_the_model_says(parts):  # noqa: F811
    model = Model(*parts)
    asked = ASKED[1]
    picture = Image.open(io.BytesIO(asked.picture))
    expected = model.ask(picture, asked.question, max_new_tokens=asked.tokens)
    assert OneByOne(model, ASKED).answer(asked) == expected.text


def test_the_table():
    load = Load([0.1] * 98 + [0.2, 0.4], 2.0)
    assert load.rate == 50 and load.percentile(0.5) == pytest.approx(0.1)
    row = {
        "per_second": 50,
        "ratio": 5,
        "ratio_least_and_greatest": [4, 6],
        "milliseconds": {"p50": 100, "p90": 100, "p99": 202},
        "failed": 0,
    }
    result = {
        "one_by_one_per_second": 10,
        "one_by_one_by_one_thread_per_second": 12.5,
        "ratio_16_clients_to_one_thread": 4,
        "machine": {"threads": 2},
    }
    text = format_text(result | {"clients": {16: row}, "requests": {"lost": 0}})
    assert "10 answers a second (2 threads)" in text and "by one thread 12.5; 16 clients have 4 of that" in text
    assert "| 16 | 50 | 5 (4 to 6) | 100 | 100 | 202 | 0 |" in text and "lost: 0" in text
