"""The official client, curl and geoai's way of asking, against a server on the loopback interface."""

from __future__ import annotations

import json
import shutil
import subprocess

import openai
import pytest
import requests

from skyeye import __version__
from skyeye.data.record import Turn
from skyeye.serve.model import Model
from tests.serve.api.conftest import about, data_url, noise

QUESTION = "how many ships are there?"


def test_the_official_client_gets_what_the_model_says(served, parts):
    picture = noise(1)
    answer = served.client().chat.completions.create(
        model="tiny", messages=about(QUESTION, data_url(picture)), max_tokens=20
    )
    expected = Model(*parts).ask(picture, QUESTION, max_new_tokens=20)
    assert answer.choices[0].message.content == expected.text
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == ("stop" if expected.ended else "length")
    assert answer.usage.prompt_tokens == expected.prompt_tokens
    assert answer.usage.completion_tokens == expected.tokens
    assert answer.usage.total_tokens == expected.prompt_tokens + expected.tokens
    assert answer.object == "chat.completion" and answer.model == "tiny"


def test_a_conversation_and_text_alone(served, parts):
    messages = [*about(QUESTION, data_url(noise(2))), {"role": "assistant", "content": "two"}]
    messages.append({"role": "user", "content": "where are they?"})
    answer = served.client().chat.completions.create(model="tiny", messages=messages, max_tokens=6)
    model = Model(*parts)
    request = model.request(noise(2), "where are they?", before=[Turn(QUESTION, "two")])
    ((_, expected),) = model.answers([request], max_new_tokens=6)
    assert answer.choices[0].message.content == expected.text
    alone = served.client().chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "hello"}], max_tokens=6
    )
    assert alone.choices[0].message.content == model.ask(None, "hello", max_new_tokens=6).text


def test_a_streamed_answer_is_the_whole_one_in_pieces(served):
    settings = {"model": "tiny", "messages": about(QUESTION, data_url(noise(3))), "max_tokens": 24}
    whole = served.client().chat.completions.create(**settings)
    chunks = list(
        served.client().chat.completions.create(**settings, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[0].object == "chat.completion.chunk"
    told = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(each.delta.content or "" for each in told) == whole.choices[0].message.content
    assert sum(bool(each.delta.content) for each in told) > 1, "it came at once"
    assert [each.finish_reason for each in told[:-1]] == [None] * (len(told) - 1)
    assert told[-1].finish_reason == whole.choices[0].finish_reason
    last = chunks[-1]
    assert last.choices == [] and last.usage.completion_tokens == whole.usage.completion_tokens
    assert last.usage.prompt_tokens == whole.usage.prompt_tokens
    assert last.usage.prompt_tokens_details.cached_tokens > 0, "the image had been computed for the first request"


def test_the_events_end_with_done(served):
    settings = {"model": "tiny", "messages": about(QUESTION), "max_tokens": 3, "stream": True}
    response = requests.post(f"{served.url}/v1/chat/completions", json=settings, timeout=30)
    events = response.text.split("\n\n")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(json.loads(event.removeprefix("data: "))["id"].startswith("chatcmpl-") for event in events[:-2])


def test_several_drawn_answers_and_their_seeds(served):
    settings = {"model": "tiny", "messages": about(QUESTION, data_url(noise(4))), "max_tokens": 12, "temperature": 1.5}
    first = served.client().chat.completions.create(**settings, n=4, seed=3)
    again = served.client().chat.completions.create(**settings, n=4, seed=3)
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in again.choices] and len(set(texts)) > 1
    assert [choice.index for choice in first.choices] == [0, 1, 2, 3]
    assert served.client().chat.completions.create(**settings, seed=3).choices[0].message.content == texts[0]
    assert served.client().chat.completions.create(**settings, seed=4).choices[0].message.content != texts[0]
    narrow = served.client().chat.completions.create(**settings, seed=4, top_p=1e-6)
    greedy = served.client().chat.completions.create(**{**settings, "temperature": 0})
    assert narrow.choices[0].message.content == greedy.choices[0].message.content


def test_log_probabilities_are_told(served):
    settings = {"model": "tiny", "messages": about(QUESTION), "max_tokens": 5, "logprobs": True}
    whole = served.client().chat.completions.create(**settings)
    told = whole.choices[0].logprobs.content
    assert told and all(each.logprob <= 0 for each in told)
    chunks = served.client().chat.completions.create(**settings, stream=True)
    streamed = [each for chunk in chunks if chunk.choices[0].logprobs for each in chunk.choices[0].logprobs.content]
    assert [each.logprob for each in streamed] == pytest.approx([each.logprob for each in told], abs=1e-5)


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_text_ends_an_answer_and_is_no_part_of_it(serve, scripted, stream):
    scripted("two white ships and a harbor")
    client = serve().client()
    settings = {"model": "tiny", "messages": about(QUESTION), "max_tokens": 60, "stop": ["and a", "never"]}
    answer = client.chat.completions.create(**settings, stream=stream)
    if not stream:
        answer = [answer]
        assert answer[0].choices[0].message.content == "two white ships "
    else:
        answer = list(answer)
        assert "".join(each.choices[0].delta.content or "" for each in answer) == "two white ships "
    assert answer[-1].choices[0].finish_reason == "stop"


def test_state_of_the_server(served):
    models = served.client().models.list()
    (model,) = models.data
    assert (model.id, model.object, model.max_model_len) == ("tiny", "model", 120)
    assert served.client().models.retrieve("tiny").id == "tiny"
    assert requests.get(f"{served.url}/health", timeout=5).content == b""
    assert requests.get(f"{served.url}/version", timeout=5).json() == {"version": __version__}
    before = metrics(served)
    served.client().chat.completions.create(model="tiny", messages=about("hello"), max_tokens=2)
    after = metrics(served)
    assert after['skyeye_requests_total{status="200"}'] == before.get('skyeye_requests_total{status="200"}', 0) + 1
    assert after["skyeye_answer_tokens_total"] - before["skyeye_answer_tokens_total"] in (1, 2)
    assert after["skyeye_requests_running"] == 0


def metrics(running) -> dict[str, float]:
    lines = requests.get(f"{running.url}/metrics", timeout=5).text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_an_image_asked_about_twice_is_encoded_once(serve, parts, monkeypatch):
    model, _ = parts
    encoded, real = [], model.encode_images
    monkeypatch.setattr(model, "encode_images", lambda pixels, *a: encoded.append(len(pixels)) or real(pixels, *a))
    running = serve()
    for question in ("how many ships?", "where are they?", "two white ships"):
        running.client().chat.completions.create(model="tiny", messages=about(question, data_url(noise(7))))
    assert encoded == [1]
    assert (running.service.reader.misses, running.service.reader.hits) == (1, 2)
    running.client().chat.completions.create(
        model="tiny", messages=about("both?", data_url(noise(7)), data_url(noise(8))), max_tokens=3
    )
    assert encoded == [1, 1]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(served):
    body = json.dumps({"model": "tiny", "messages": about(QUESTION, data_url(noise(5))), "max_tokens": 4})
    command = ["curl", "-sS", f"{served.url}/v1/chat/completions", "-H", "Content-Type: application/json", "-d", "@-"]
    said = subprocess.run(command, input=body, capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(said.stdout)["choices"][0]["message"]["role"] == "assistant"
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"{served.url}/nowhere"]
    assert subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout == "404"


def test_geoai_sends_tiles_and_reads_boxes(serve, scripted):
    """As geoai.VLLMGeo does (vllm_geo.py): a PNG tile, its words, and a JSON list of boxes in 0..1 expected."""
    scripted("{<10><20><40><70>}")
    running = serve()
    prompt = (
        "Detect all instances of 'white ship' in this image. Respond ONLY with a JSON array of bounding boxes with"
        " coordinates normalized to the 0-1 range, in this exact format:"
        ' [{"x_min": 0.1, "y_min": 0.2, "x_max": 0.3, "y_max": 0.4}]. If no objects are found, respond with [].'
    )
    payload = {
        "model": "tiny",
        "messages": about(prompt, data_url(noise(6, 200, 100))),
        "max_tokens": 512,
        "temperature": 0.0,
    }
    headers = {"Content-Type": "application/json", "Authorization": "Bearer EMPTY"}
    response = requests.post(f"{running.url}/v1/chat/completions", json=payload, headers=headers, timeout=30)
    response.raise_for_status()
    boxes = json.loads(response.json()["choices"][0]["message"]["content"])
    assert boxes == [{"x_min": 0.1, "y_min": 0.2, "x_max": 0.4, "y_max": 0.7}]


def test_what_geoai_asks_is_asked_in_the_words_of_the_model(served):
    from skyeye.serve.api.conversation import read_conversation
    from skyeye.serve.api.schemas import ChatRequest

    words = "Detect all instances of 'white ship' in this image. ONLY a JSON array, 0-1 range: [{\"x_min\": 0.1}]."
    request = ChatRequest(model="tiny", messages=[{"role": "user", "content": words}])
    asked = read_conversation(request, served.service.builder.style)
    assert asked.wants_list and served.service.builder.style.question(asked.turns[0]) == "[detection] white ship"


def test_a_task_writes_its_tag(served, parts):
    answer = served.client().chat.completions.create(
        model="tiny", messages=about("the ship", data_url(noise(9))), max_tokens=8, extra_body={"task": "refer"}
    )
    expected = Model(*parts).ask(noise(9), "the ship", task="refer", max_new_tokens=8)
    assert answer.choices[0].message.content == expected.text


def test_unknown_fields_are_accepted_and_named(served):
    answer = served.client().chat.completions.with_raw_response.create(
        model="tiny", messages=about("hello"), max_tokens=2, frequency_penalty=0.5, presence_penalty=0
    )
    assert answer.headers["x-skyeye-ignored"] == "frequency_penalty"


def test_keys(serve):
    running = serve(keys=["first-key", "second-key"])
    for key in ("first-key", "second-key"):
        assert running.client(key).models.list().data[0].id == "tiny"
    for key in ("other", "first-key2"):
        with pytest.raises(openai.AuthenticationError, match="one of the server's keys"):
            running.client(key).chat.completions.create(model="tiny", messages=about("hello"))
    assert requests.post(f"{running.url}/v1/chat/completions", json={}, timeout=5).status_code == 401
    assert requests.get(f"{running.url}/health", timeout=5).status_code == 200
