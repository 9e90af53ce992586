"""Many clients at once, clients that leave, a model that fails, and the end of a server."""

from __future__ import annotations

import concurrent.futures
import json
import threading
import time

import pytest
import requests

from skyeye.serve.api.limits import Limits
from skyeye.serve.model import Model
from tests.serve.api.conftest import about, data_url, noise
from tests.serve.api.test_server import metrics


def until(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


def post(running, wait: float = 30, **settings) -> requests.Response:
    body = {"model": "tiny", "messages": about("hello"), "max_tokens": 40} | settings
    return requests.post(f"{running.url}/v1/chat/completions", json=body, timeout=wait)


def test_clients_share_batches_and_get_their_own_answers(served, parts, monkeypatch):
    asked = [(number % 5, f"how many {word}?") for number in range(8) for word in ("ships", "two", "white")]
    answers = Model(*parts).ask_many([(noise(seed), text) for seed, text in asked], max_new_tokens=12)
    client = served.client()

    def ask(seed: int, text: str) -> str:
        said = client.chat.completions.create(
            model="tiny", messages=about(text, data_url(noise(seed))), max_tokens=12, temperature=0
        )
        return said.choices[0].message.content

    with concurrent.futures.ThreadPoolExecutor(12) as threads:
        assert list(threads.map(ask, *zip(*asked, strict=True))) == [answer.text for answer in answers]


def test_a_full_queue_says_when_to_come_back(serve, scripted):
    scripted("two white ships two white ships", seconds=0.05)
    running = serve(Limits(rows=1, queue=1))
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: post(running), range(8)))
    statuses = [response.status_code for response in found]
    assert set(statuses) == {200, 429} and statuses.count(200) >= 2
    late = next(response for response in found if response.status_code == 429)
    assert int(late.headers["retry-after"]) >= 1
    assert late.json()["error"]["type"] == "rate_limit_error" and late.json()["error"]["code"] == "queue_full"
    assert post(running).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_row(serve, scripted, stream):
    scripted("two white ships " * 20, seconds=0.03)
    running = serve(Limits(rows=1))
    if stream:
        response = requests.post(
            f"{running.url}/v1/chat/completions",
            json={"model": "tiny", "messages": about("hello"), "max_tokens": 60, "stream": True},
            timeout=10,
            stream=True,
        )
        next(response.iter_content(8))
        response.close()
    else:
        with pytest.raises(requests.ReadTimeout):
            post(running, wait=0.15, max_tokens=60)
    until(lambda: running.service.worker.running == 0)
    until(lambda: metrics(running).get('skyeye_requests_total{status="499"}') == 1)


def test_a_client_that_leaves_while_it_waits_is_never_answered(serve, scripted):
    scripted("two white ships", seconds=0.05)
    running = serve(Limits(rows=1))
    first = threading.Thread(target=post, args=(running,))
    first.start()
    until(lambda: running.service.worker.running == 1)
    with pytest.raises(requests.ReadTimeout):
        post(running, wait=0.1)
    first.join()
    until(lambda: running.service.worker.waiting == running.service.worker.running == 0)
    assert metrics(running)["skyeye_request_seconds_count"] == 1


def test_a_pass_that_fails_is_told_and_the_next_request_is_answered(serve, parts, monkeypatch):
    from skyeye.serve.api import worker

    running, real, failures = serve(), worker.Worker._token, [RuntimeError("out of memory")]

    def failing(self, token, generation):
        if failures:
            raise failures.pop()
        real(self, token, generation)

    monkeypatch.setattr(worker.Worker, "_token", failing)
    response = post(running)
    assert response.status_code == 500 and "out of memory" in response.json()["error"]["message"]
    assert response.json()["error"]["type"] == "server_error"
    assert post(running).status_code == 200 and requests.get(f"{running.url}/health", timeout=5).status_code == 200


def test_pictures_that_cannot_be_encoded_are_told(serve, parts, monkeypatch):
    running = serve()
    monkeypatch.setattr(parts[0], "encode_images", lambda *_: 1 / 0)
    response = post(running, messages=about("hello", data_url(noise(30))))
    assert response.status_code == 500 and "cannot be encoded" in response.json()["error"]["message"]
    assert post(running).status_code == 200


def test_the_end_of_a_server_waits_for_requests_in_work(serve, scripted):
    scripted("two white ships", seconds=0.05)
    running = serve(Limits(rows=1))
    found: list[requests.Response] = []
    clients = [threading.Thread(target=lambda: found.append(post(running))) for _ in range(2)]
    for client in clients:
        client.start()
    until(lambda: running.service.worker.running + running.service.worker.waiting == 2)
    running.server.handle_exit(15, None)  # what SIGTERM does
    for client in clients:
        client.join()
    assert [response.status_code for response in found] == [200, 200]
    assert all(json.loads(response.text)["choices"][0]["message"]["content"] for response in found)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{running.url}/health", timeout=5)


def test_models_that_cannot_share_prefixes_are_served(serve, parts, monkeypatch):
    monkeypatch.setattr("skyeye.serve.api.worker.can_share", lambda _: False)
    running = serve()
    text = Model(*parts).ask(noise(40), "two ships?", max_new_tokens=9).text
    for stream in (False, True):
        settings = {"model": "tiny", "messages": about("two ships?", data_url(noise(40))), "max_tokens": 9}
        said = running.client().chat.completions.create(**settings, stream=stream)
        if stream:
            assert "".join(chunk.choices[0].delta.content or "" for chunk in said) == text
        else:
            assert said.choices[0].message.content == text
