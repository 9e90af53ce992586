"""The tools of agents, called by the protocol's own client."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from skyeye.serve.model import Model

pytest.importorskip("mcp")
from mcp import Client
from mcp.client import stdio

from skyeye.serve.mcp import mcp_server, read_number

EXAMPLE = Path(__file__).parents[2] / "docs/examples/two_scenes.py"


@pytest.fixture
def folder(tmp_path, picture) -> Path:
    """Two scenes that may be named, and one beside it that may not."""
    (allowed := tmp_path / "allowed").mkdir()
    picture.save(allowed / "first.png")
    picture.transpose(0).save(allowed / "second.png")
    picture.save(tmp_path / "secret.png")
    (allowed / "notes.png").write_text("no picture")
    return allowed


def calling(model: Model, folder: Path, *calls: tuple[str, dict]) -> list:
    """The results of tool calls."""

    async def run() -> list:
        async with Client(mcp_server(model, [folder])) as client:
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    return asyncio.run(run())


def test_tools_are_listed_with_their_arguments(model, folder):
    async def run():
        async with Client(mcp_server(model, [folder])) as client:
            return (await client.list_tools()).tools

    tools = {tool.name: tool for tool in asyncio.run(run())}
    assert set(tools) == {"describe", "ask", "locate", "classify", "count"}
    assert all(tool.description and tool.input_schema["required"][0] == "image" for tool in tools.values())
    assert tools["count"].output_schema["properties"]["count"]


def test_describe_and_ask(model, folder, says):
    given = says(["two white ships", "where are they? {<10><20><40><70>}"])
    described, asked = calling(
        model,
        folder,
        ("describe", {"image": "first.png"}),
        ("ask", {"image": str(folder / "first.png"), "question": "how many ships are there?"}),
    )
    assert described.structured_content == {"result": "two white ships"}
    assert asked.structured_content["text"] == "where are they? {<10><20><40><70>}"
    (place,) = asked.structured_content["places"]
    assert place["box"] == [4, 6, 16, 21] and place["polygon"] is None and place["longitude_latitude"] is None
    decode = model.processor.tokenizer.decode
    assert "[caption]" in decode([i for i in given[0][0] if i >= 0])
    assert "[vqa] how many ships are there?" in decode([i for i in given[1][0] if i >= 0])


def test_locate_and_count(model, folder, says):
    says(["{<0><0><50><100>}", "no place", "two", "there are many"])
    found, nothing, two, many = calling(
        model,
        folder,
        ("locate", {"image": "first.png", "what": "the ship"}),
        ("locate", {"image": "first.png", "what": "the ship"}),
        ("count", {"image": "first.png", "what": "ships"}),
        ("count", {"image": "first.png", "what": "ships"}),
    )
    assert found.structured_content["places"][0]["box"] == [0, 0, 20, 30]
    assert found.structured_content["places"][0]["label"] == "the ship"
    assert (found.structured_content["width"], found.structured_content["height"]) == (40, 30)
    assert nothing.structured_content["places"] == []
    assert two.structured_content == {"count": 2, "text": "two"}
    assert many.structured_content == {"count": None, "text": "there are many"}


def test_classify_ranks_by_loss(model, folder):
    (result,) = calling(model, folder, ("classify", {"image": "first.png", "classes": ["ships", "two", "white"]}))
    ranking = result.structured_content["ranking"]
    assert {each["name"] for each in ranking} == {"ships", "two", "white"}
    assert [each["loss"] for each in ranking] == sorted(each["loss"] for each in ranking)
    assert result.structured_content["name"] == ranking[0]["name"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../secret.png", "lies outside"),
        ("/etc/passwd", "lies outside"),
        ("missing.png", "no such file"),
        ("notes.png", "not an image"),
    ],
)
def test_files_that_are_none_or_not_allowed(model, folder, name, words):
    (result,) = calling(model, folder, ("describe", {"image": name}))
    assert result.is_error and words in result.content[0].text


def test_arguments_that_are_wrong(model, folder):
    results = calling(
        model,
        folder,
        ("classify", {"image": "first.png", "classes": []}),
        ("ask", {"image": "first.png"}),
        ("ask", {"image": "first.png", "question": "ship " * 10_000}),
        ("ask", {"image": "first.png", "question": ""}),
    )
    assert all(result.is_error for result in results)
    assert "the model reads 120" in results[2].content[0].text


@pytest.mark.parametrize(
    ("text", "number"),
    [("3", 3), ("There are Twelve ships.", 12), ("none", 0), ("no ships", 0), ("many", None), ("two or 3", None)],
)
def test_numbers_in_answers(text, number):
    assert read_number(text) == number


def test_the_example_of_an_agent(model, folder, says):
    says(["two", "zero", "{<0><0><50><100>}", "none", "two white ships"])
    spec = importlib.util.spec_from_file_location("two_scenes", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)

    async def run() -> str:
        async with Client(mcp_server(model, [folder])) as client:
            return await example.compare(client, ["first.png", "second.png"], "ships")

    assert asyncio.run(run()).splitlines() == [
        "first.png: 2 ships (1 located)",
        "second.png: 0 ships (0 located)",
        "first.png has more ships. It shows: two white ships",
    ]


def test_the_command_speaks_the_protocol_alone_and_ends_with_its_input(checkpoint, model, folder, monkeypatch):
    """As a client of agents starts it; `tee` keeps what was said on standard output, the shell how it ended."""
    monkeypatch.setattr(stdio, "PROCESS_TERMINATION_TIMEOUT", 120.0)  # a busy machine is no failure
    command = [sys.executable, "-m", "skyeye", "mcp", str(checkpoint), "--allow-folder", str(folder)]
    script = '{ "$@" 2> notes; echo $? > status; } | tee said'
    server = stdio.StdioServerParameters(
        command="sh", args=["-c", script, "sh", *command], env=dict(os.environ), cwd=folder.parent
    )

    async def run() -> tuple:
        async with Client(server) as client:
            tools = await client.list_tools()
            return tools.tools, await client.call_tool("describe", {"image": "first.png"})

    tools, answer = asyncio.run(run())
    assert {tool.name for tool in tools} == {"describe", "ask", "locate", "classify", "count"}
    expected = model.ask(folder / "first.png", "briefly describe the image", task="caption").text
    assert answer.structured_content == {"result": expected}
    assert (folder.parent / "status").read_text() == "0\n", (folder.parent / "notes").read_text()
    said = [json.loads(line) for line in (folder.parent / "said").read_text().splitlines()]
    assert said and all(each["jsonrpc"] == "2.0" for each in said)
