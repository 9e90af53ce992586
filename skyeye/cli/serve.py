"""``skyeye serve`` and ``skyeye mcp``: a model for other programs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from pathlib import Path

from skyeye.cli.checkpoints import checkpoint_arguments, opened_as
from skyeye.cli.loading import hide_loading_bars
from skyeye.cli.numbers import positive
from skyeye.cli.paths import any_path
from skyeye.errors import SkyEyeError

#: The variable that holds a key, where no file of keys is given.
KEY = "SKYEYE_API_KEY"
_MISSING = "pip install 'skyeye[{}]'"


def serve_commands(commands: argparse._SubParsersAction, command: Callable) -> None:
    """Insert ``serve CHECKPOINT`` and ``mcp CHECKPOINT``."""
    serve = command(commands, "serve", _serve, "answer other programs over HTTP, as OpenAI's servers do")
    checkpoint_arguments(serve)
    serve.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine only)"
    )
    serve.add_argument("--port", type=_port, default=8000, metavar="N", help="port (default 8000; 0: any that is free)")
    serve.add_argument("--name", help="what clients call the model (default: the checkpoint's last name)")
    serve.add_argument(
        "--log-level", choices=("info", "warning", "error"), default="info", help="info tells every request"
    )
    serve.add_argument(
        "--replicas",
        type=positive,
        default=1,
        metavar="N",
        help="processes that have the model and answer side by side (default 1): on as many GPUs, or cores",
    )
    _limit_arguments(serve)
    serve.add_argument(
        "--api-keys", type=any_path, metavar="FILE", help=f"keys, one a line; without it ${KEY} is one, if it is set"
    )
    serve.add_argument(
        "--allow-folder", type=any_path, action="append", default=[], metavar="DIR", help="files in it may be named"
    )
    serve.add_argument(
        "--allow-url", action="append", default=[], metavar="PREFIX", help="pictures from addresses that begin so"
    )
    serve.add_argument(
        "--allow-private",
        action="store_true",
        help="such addresses may lie in the own network (default: they must not)",
    )

    mcp = command(commands, "mcp", _mcp, "tools for agents (Model Context Protocol) on standard input and output")
    checkpoint_arguments(mcp)
    mcp.add_argument(
        "--allow-folder", type=any_path, action="append", required=True, metavar="DIR", help="images in it may be named"
    )


def _limit_arguments(serve: argparse.ArgumentParser) -> None:
    for name, usual, about in (
        ("rows", 32, "answers that are decoded together; memory grows with them"),
        ("queue", 256, "requests that may wait; further ones are told to come back"),
        ("max-tokens", 1024, "longest answer"),
        ("max-images", 16, "pictures of a request"),
        ("max-pixels", 1 << 26, "pixels of a picture"),
        ("max-megabytes", 32, "a request, its pictures included"),
        ("connections", 512, "of clients at a time"),
        ("timeout", 30, "seconds that a client may take to send a request, or stop reading its answer"),
        ("drain", 60, "seconds that requests in work get when the server is told to end"),
    ):
        about = f"{about} (default {usual})"
        serve.add_argument(f"--{name}", type=positive, default=usual, metavar="N", help=about)
    serve.add_argument("--max-prompt", type=positive, metavar="N", help="tokens of a prompt (default: what it reads)")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)


def _serve(options: argparse.Namespace) -> int:
    keys = _keys(options.api_keys)
    folders = _folders(options.allow_folder)
    prefixes = _prefixes(options.allow_url)
    from skyeye.serve.api.limits import MEBI, Limits, Sources
    from skyeye.serve.api.listening import take_address
    from skyeye.serve.api.model_start import StartedModel

    limits = Limits(
        rows=options.rows,
        queue=options.queue,
        body_bytes=options.max_megabytes * MEBI,
        pixels=options.max_pixels,
        images=options.max_images,
        prompt_tokens=options.max_prompt,
        answer_tokens=options.max_tokens,
        connections=options.connections,
        seconds_to_send=options.timeout,
        drain_seconds=options.drain,
    )
    checkpoint, how = opened_as(options)
    name = options.name or Path(options.checkpoint).resolve().name
    sources = Sources(folders, prefixes, private_addresses=options.allow_private)
    with take_address(options.host, options.port) as address, ExitStack() as processes:
        places = [(number, options.replicas) for number in range(options.replicas)]
        started = [processes.enter_context(StartedModel(checkpoint, how, limits, place)) for place in places]
        try:
            from skyeye.serve.api.model_process import ModelProcess
            from skyeye.serve.api.replicas import Replicas
            from skyeye.serve.api.server import serve
            from skyeye.serve.api.service import Service
        except ImportError as error:
            what = f"needs the package {error.name}"
            raise SkyEyeError(what, where="serve", remedy=_MISSING.format("serve")) from error
        models = [ModelProcess(each) for each in started]
        worker = models[0] if len(models) == 1 else Replicas(models)
        service = Service(worker, models[0].processor, name, sources, keys)
        serve(service, address, options.log_level)
    return 0


def _mcp(options: argparse.Namespace) -> int:
    folders = _folders(options.allow_folder)
    try:
        from skyeye.serve.mcp import mcp_server
    except ImportError as error:
        raise SkyEyeError(f"needs the package {error.name}", where="mcp", remedy=_MISSING.format("mcp")) from error
    from skyeye.generation.answer import open_to_answer
    from skyeye.serve.model import Model

    hide_loading_bars()
    checkpoint, how = opened_as(options)
    with redirect_stdout(sys.stderr):  # standard output belongs to the protocol
        model = Model(*open_to_answer(checkpoint, how))
    mcp_server(model, folders).run()
    return 0


def _keys(file: Path | None) -> list[str]:
    """The keys of a file, or of the environment.

    Raises:
        SkyEyeError: the file has none.
    """
    if file is None:
        return [os.environ[KEY]] if os.environ.get(KEY) else []
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise SkyEyeError("has no key: everybody would be answered", where=str(file), remedy="write one a line")
    return keys


def _folders(folders: list[Path]) -> tuple[Path, ...]:
    for folder in folders:
        if not folder.is_dir():
            raise SkyEyeError("is no folder", where=f"--allow-folder {folder}", remedy="name one that is there")
    return tuple(folder.resolve() for folder in folders)


def _prefixes(prefixes: list[str]) -> tuple[str, ...]:
    for prefix in prefixes:
        if not prefix.startswith(("http://", "https://")) or "/" not in prefix.split("://", 1)[1]:
            remedy = "e.g. https://example.org/tiles/"
            raise SkyEyeError("is no beginning of an address", where=f"--allow-url {prefix}", remedy=remedy)
    return tuple(prefixes)
