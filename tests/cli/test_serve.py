"""Mistakes in the arguments of ``skyeye serve`` and ``skyeye mcp`` are answered before a model is opened."""

from __future__ import annotations

import socket

import pytest

from skyeye.cli import main, parse


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "x", "--allow-folder", "/nowhere/at/all"], "is no folder"),
        (["serve", "x", "--allow-url", "example.org/tiles"], "is no beginning of an address"),
        (["serve", "x", "--allow-url", "https://example.org"], "is no beginning of an address"),
        (["serve", "x", "--api-keys", "/nowhere/keys"], "No such file"),
        (["mcp", "x", "--allow-folder", "/nowhere/at/all"], "is no folder"),
    ],
)
def test_mistakes(capsys, arguments, words):
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_a_file_without_keys_would_let_everybody_in(tmp_path, capsys):
    (file := tmp_path / "keys").write_text("# none yet\n\n")
    assert main(["serve", "x", "--api-keys", str(file)]) == 2
    assert "everybody would be answered" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--port", "70000"], ["--port", "x"], ["--rows", "0"], ["--max-pixels", "-1"]])
def test_numbers(wrong, capsys):
    with pytest.raises(SystemExit):
        parse(["serve", "x", *wrong])
    assert "is no" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told_before_the_checkpoint_is_looked_for(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["serve", "/nowhere", "--port", str(port)]) == 2
    told = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1 port {port}" in told and "/nowhere" not in told


def test_a_checkpoint_that_is_not_there(capsys, tmp_path):
    assert main(["serve", str(tmp_path / "none")]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err
