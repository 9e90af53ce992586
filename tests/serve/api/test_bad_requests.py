"""What a client sends wrongly is answered with the reason; the server goes on."""

from __future__ import annotations

import base64
import http.server
import io
import json
import socket
import struct
import threading
import time
import zlib
from pathlib import Path

import openai
import pytest
import requests
from PIL import Image

from skyeye.serve.api.limits import Limits, Sources
from tests.serve.api.conftest import about, data_url, noise

QUESTION = "how many ships are there?"


def refused(running, messages, status: int = 400, **settings) -> dict:
    """The error object of a request that is refused."""
    body = {"model": "tiny", "messages": messages, "max_tokens": 2} | settings
    response = requests.post(f"{running.url}/v1/chat/completions", json=body, timeout=30)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == ("invalid_request_error" if status == 400 else "not_found_error")
    return error


def answered(running) -> bool:
    """Whether the server still answers."""
    answer = running.client().chat.completions.create(model="tiny", messages=about("hello"), max_tokens=2)
    return answer.choices[0].message.role == "assistant" and running.service.worker.running == 0


def huge_png(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels, of which no row is there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def as_data(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def test_a_pdf_as_an_image(served):
    error = refused(served, about(QUESTION, as_data(b"%PDF-1.7\n1 0 obj\n")))
    assert "it is a PDF document" in error["message"] and error["code"] == "invalid_image"


def test_a_png_of_300_megapixels(served):
    error = refused(served, about(QUESTION, as_data(huge_png(20_000, 15_000))))
    assert "20000 x 15000 pixels" in error["message"] and error["code"] == "image_too_large"


def test_a_data_url_cut_in_half(served):
    whole = data_url(noise(1))
    for part in (whole[: len(whole) // 2 // 4 * 4 + 25], whole[: len(whole) // 2 // 4 * 4 + 26], whole[:10], "data:,"):
        error = refused(served, about(QUESTION, part))
        assert error["code"] == "invalid_image"
        assert any(word in error["message"] for word in ("cut off", "truncated", "comma", "empty"))


def test_a_path_outside_the_roots(served, tmp_path):
    (inside,) = served.service.reader.sources.folders
    noise(2).save(inside / "pier.png")
    noise(2).save(outside := tmp_path / "secret.png")
    (inside / "link.png").unlink(missing_ok=True)
    (inside / "link.png").symlink_to(outside)
    said = served.client().chat.completions.create(
        model="tiny", messages=about(QUESTION, str(inside / "pier.png")), max_tokens=3
    )
    by_url = served.client().chat.completions.create(
        model="tiny", messages=about(QUESTION, f"file://{inside}/pier.png"), max_tokens=3
    )
    assert said.choices[0].message.content == by_url.choices[0].message.content
    wrong = [outside, f"file://{outside}", inside / "link.png", f"{inside}/../{outside.parent.name}/secret.png"]
    wrong += ["/etc/passwd", "/nowhere/at/all.png", "file:///etc/%70asswd", "../secret.png", "\0"]
    for path in wrong:
        error = refused(served, about(QUESTION, str(path)))
        assert "lies outside" in error["message"] or "zero bytes" in error["message"]
        assert str(outside) in str(path) or str(outside) not in error["message"]
    for missing in (str(inside / "missing.png"), "missing.png", "~/x.png", "x" * 5000):
        assert "no such file" in refused(served, about(QUESTION, missing))["message"]
    by_name = served.client().chat.completions.create(model="tiny", messages=about(QUESTION, "pier.png"), max_tokens=3)
    assert by_name.choices[0].message.content == said.choices[0].message.content


def test_ten_thousand_tokens_of_question(served):
    for words in ("a ship " * 10_000, "x" * 3_000_000):
        error = refused(served, about(words, data_url(noise(1))))
        assert error["code"] == "context_length_exceeded" and "the model reads 120" in error["message"]


@pytest.mark.parametrize("kind", ["http", "https", "ftp", "javascript"])
def test_addresses_are_not_fetched_unless_allowed(served, kind):
    message = refused(served, about(QUESTION, f"{kind}://example.org/pier.png"))["message"]
    assert "data URL" in message


@pytest.fixture
def elsewhere():
    """A server with pictures, and a redirect to one."""

    class Pictures(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/tiles/away.png":
                self.send_response(302)
                self.send_header("Location", "/private/pier.png")
                self.end_headers()
                return
            buffer = io.BytesIO()
            noise(3).save(buffer, "PNG")
            self.send_response(200)
            self.end_headers()
            self.wfile.write(buffer.getvalue())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_allowed_addresses(serve, elsewhere):
    running = serve(sources=Sources(url_prefixes=(f"{elsewhere}/tiles/",), private_addresses=True))
    said = running.client().chat.completions.create(
        model="tiny", messages=about(QUESTION, f"{elsewhere}/tiles/a.png?x=1"), max_tokens=3
    )
    assert said.choices
    assert "redirects" in refused(running, about(QUESTION, f"{elsewhere}/tiles/away.png"))["message"]
    port = elsewhere.rsplit(":", 1)[1]
    for url in (
        f"{elsewhere}/private/pier.png",
        f"{elsewhere}/tiles/../private/pier.png",
        f"{elsewhere}/tiles/%2e%2e/private/pier.png",
        f"http://user@127.0.0.1:{port}/tiles/a.png",
        f"http://127.0.0.1:{port}0/tiles/a.png",
        f"http://127.0.0.1:{port}@evil.example/tiles/a.png",
        "http://127.0.0.1:99999/tiles/a.png",
    ):
        refused(running, about(QUESTION, url))
    careful = serve(sources=Sources(url_prefixes=(f"{elsewhere}/tiles/",)))
    assert "private network" in refused(careful, about(QUESTION, f"{elsewhere}/tiles/a.png"))["message"]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "messages"),
        ([{"role": "tool", "content": "x"}], "messages.0.role"),
        ([{"role": "user"}], "messages.0.content"),
        ([{"role": "user", "content": []}], "the question is empty"),
        ([{"role": "user", "content": "  "}], "the question is empty"),
        ([{"role": "assistant", "content": "x"}], "end with user"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "end with user"),
        ([{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "x"}}]}], "video_url"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}], "image_url"),
        ([{"role": "system", "content": "be kind"}, {"role": "user", "content": "x"}], "no place for a system message"),
        ([{"role": "user", "content": "where is <ImageHere> ?"}], "<ImageHere>"),
        (about("x", *["data:,"] * 17), "17 pictures"),
    ],
)
def test_messages_that_are_none(served, messages, words):
    assert words in refused(served, messages)["message"]


def test_pictures_behind_the_first_question(served):
    messages = [*about("x", data_url(noise(1))), {"role": "assistant", "content": "y"}, *about("z", data_url(noise(2)))]
    assert "first message" in refused(served, messages)["message"]


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 100}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ["a", ""]}, "stop"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"task": "dance"}, "task"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ],
)
def test_settings_outside_their_range(served, settings, param):
    assert refused(served, about("hello"), **settings)["param"] == param


def test_a_model_that_is_not_here(served):
    with pytest.raises(openai.NotFoundError, match="there is 'tiny'"):
        served.client().chat.completions.create(model="gpt-9", messages=about("hello"))
    with pytest.raises(openai.NotFoundError):
        served.client().models.retrieve("gpt-9")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"model": "tiny"}', b'"' + b"x" * 100])
def test_bodies_that_are_no_request(served, body):
    response = requests.post(f"{served.url}/v1/chat/completions", data=body, timeout=30)
    assert response.status_code == 400 and response.json()["error"]["type"] == "invalid_request_error"


def test_paths_and_methods_that_are_not_there(served):
    for method, path, status in (("GET", "/v1/embeddings", 404), ("GET", "/v1/chat/completions", 405)):
        response = requests.request(method, served.url + path, timeout=5)
        assert response.status_code == status and response.json()["error"]["message"]


def test_a_body_that_is_too_large(serve):
    running = serve(Limits(rows=2, body_bytes=20_000))
    body = json.dumps({"model": "tiny", "messages": about("x" * 30_000)})
    response = requests.post(f"{running.url}/v1/chat/completions", data=body, timeout=30)
    assert response.status_code == 413 and "20,000 bytes" in response.json()["error"]["message"]
    pieces = (piece.encode() for piece in ("x" * 15_000, "x" * 15_000))  # no length is told before
    response = requests.post(f"{running.url}/v1/chat/completions", data=pieces, timeout=30)
    assert response.status_code == 413
    assert answered(running)


def test_files_that_name_other_files_are_no_pictures(served, tmp_path):
    """GDAL would read a VRT, and whatever it names."""
    noise(1).save(secret := tmp_path / "secret.tif")
    vrt = f'<VRTDataset rasterXSize="4" rasterYSize="4"><SimpleSource><SourceFilename>{secret}</SourceFilename>'
    assert refused(served, about(QUESTION, as_data(vrt.encode())))["code"] == "invalid_image"


def test_nothing_is_written(served, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    buffer = io.BytesIO()
    Image.new("I;16", (20, 20), 700).save(buffer, "TIFF")
    for url in (as_data(buffer.getvalue(), "image/tiff"), data_url(noise(5), "JPEG"), data_url(noise(5), "WEBP")):
        assert served.client().chat.completions.create(model="tiny", messages=about(QUESTION, url), max_tokens=2)
    assert list(tmp_path.iterdir()) == []


def test_a_client_that_sends_nothing_and_one_that_stops(serve):
    running = serve(Limits(rows=2, seconds_to_send=0.3))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
    for sent in (b"", b"POST /v1/chat", head, head + b"Content-Length: 100\r\n\r\n{"):
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", running.port), timeout=5) as client:
            client.sendall(sent)
            said = client.recv(4096)
            assert said.startswith(b"HTTP/1.1 408")
        assert 0.2 < time.monotonic() - began < 4
    assert answered(running)


def test_the_server_goes_on(served):
    assert answered(served)
    assert not Path("/proc/self/fd").exists() or len(list(Path("/proc/self/fd").iterdir())) < 200
