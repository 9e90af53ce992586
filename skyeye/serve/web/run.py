"""``skyeye web``: open the models and serve the page."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from skyeye.errors import SkyEyeError
from skyeye.generation.opening import Opening
from skyeye.serve.web.uploads import SUFFIXES, Example, Limits

_HERE = Path(__file__).parent
_EXAMPLES, _MOST_EXAMPLES = 6, 24


@dataclass(frozen=True)
class Settings:
    """How the page is served.

    Attributes:
        host: ``localhost`` is reached from this machine alone.
        port: 0: a free one.
        auth: names and passwords; empty: everyone may ask.
        examples: folder of pictures to choose from; None: a few synthetic scenes are drawn.
    """

    host: str = "localhost"
    port: int = 7860
    auth: Sequence[tuple[str, str]] = ()
    limits: Limits = field(default_factory=Limits)
    examples: Path | None = None


def serve_web(checkpoints: Sequence[tuple[str | Path, Opening]], settings: Settings) -> None:
    """Open the models and serve the page until Ctrl-C, or until the process is told to end (SIGTERM, SIGHUP).

    Raises:
        SkyEyeError: gradio is not installed, the port is taken, or a checkpoint cannot be opened.
    """
    _check_installed()
    check_port(settings)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # otherwise the page's folder would stay behind
    with tempfile.TemporaryDirectory(prefix="skyeye-web-") as folder:
        page = launch(checkpoints, settings, Path(folder))
        print(f"skyeye web: {page.local_url}  (Ctrl-C ends it)", flush=True)
        if settings.host not in ("localhost", "127.0.0.1", "::1") and not settings.auth:
            print("note: everyone who reaches this address may ask; --auth USER:PASSWORD closes it", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()
        finally:
            page.close(verbose=False)


def launch(checkpoints: Sequence[tuple[str | Path, Opening]], settings: Settings, folder: Path) -> Any:
    """Open the models and start the page in the background.

    Args:
        folder: everything is written in there.

    Returns:
        The running ``gradio.Blocks``.
    """
    _without_network(folder)
    from skyeye.generation.answer import open_to_answer
    from skyeye.serve.model import Model
    from skyeye.serve.web.visitor import NamedModel

    models = [NamedModel(_name(path), Model(*open_to_answer(path, opening))) for path, opening in checkpoints]
    return launch_models(models, settings, folder)


def launch_models(models: Sequence[Any], settings: Settings, folder: Path) -> Any:
    """Start the page of models that are open."""
    _without_network(folder)
    import skyeye.models  # noqa: F401  comes before gradio: it makes torchvision importable
    import gradio as gr  # isort: skip

    from skyeye.serve.web.page import Page

    page = Page(models, settings.limits, folder, find_examples(settings.examples, folder)).build()
    theme = gr.themes.Soft(
        primary_hue="blue",
        font=["ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    )
    page.queue(max_size=64).launch(
        server_name="127.0.0.1" if settings.host == "localhost" else settings.host,
        server_port=settings.port or _free_port(),
        auth=list(settings.auth) or None,
        max_file_size=settings.limits.bytes,
        head=f"<script>{(_HERE / 'page.js').read_text(encoding='utf-8')}</script>",
        css=(_HERE / "page.css").read_text(encoding="utf-8"),
        theme=theme,
        footer_links=[],
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        show_error=False,
        inbrowser=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        ssr_mode=False,
    )
    return page


def parse_auth(texts: Sequence[str]) -> list[tuple[str, str]]:
    """``USER:PASSWORD`` -> (user, password).

    Raises:
        SkyEyeError: one of the two is missing.
    """
    pairs = []
    for text in texts:
        user, colon, password = text.partition(":")
        if not (user and colon and password):
            raise SkyEyeError("is no name and password", where="--auth", remedy="--auth USER:PASSWORD")
        pairs.append((user, password))
    return pairs


def _without_network(folder: Path) -> None:
    """Gradio asks nobody, and puts what is uploaded into the page's folder; both are read when it is imported."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def _check_installed() -> None:
    """Look for gradio without importing it: it reads when it is imported where uploads go."""
    if find_spec("gradio") is None:
        raise SkyEyeError("the page needs gradio", remedy="pip install skyeye[web]")


def check_port(settings: Settings) -> None:
    """Refuse a port that cannot be listened on.

    Raises:
        SkyEyeError: it is taken, or not ours to take.
    """
    if not settings.port:
        return
    host = "127.0.0.1" if settings.host == "localhost" else settings.host
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, settings.port))
        except OSError as error:
            what = f"{settings.host}:{settings.port} cannot be used: {error.strerror or error}"
            raise SkyEyeError(what, where="--port", remedy="choose another port, or 0 for a free one") from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _name(path: str | Path) -> str:
    """What a checkpoint is called on the page: its last two folders, without those that all have."""
    parts = [part for part in Path(path).parts if part not in ("checkpoints", "/", "..", ".")]
    return "/".join(parts[-2:])


def find_examples(given: Path | None, folder: Path) -> list[Example]:
    """Pictures of a folder, those that cannot be read told; or synthetic scenes.

    Args:
        folder: of the page, for previews and scenes.

    Raises:
        SkyEyeError: the folder holds no pictures.
    """
    previews = folder / "previews"
    previews.mkdir()
    examples = []
    for file in _scenes(folder) if given is None else _pictures(given):
        try:
            examples.append(Example.of(file, previews))
        except SkyEyeError as error:
            print(f"note: example left out: {error}", flush=True)
    return examples


def _pictures(given: Path) -> list[Path]:
    found = sorted(path for path in given.iterdir() if path.suffix.lower() in SUFFIXES) if given.is_dir() else []
    if not found:
        remedy = "name a folder with PNG, JPEG or TIFF files"
        raise SkyEyeError("holds no pictures", where=f"--examples {given}", remedy=remedy)
    return found[:_MOST_EXAMPLES]


def _scenes(folder: Path) -> list[Path]:
    import numpy as np

    from skyeye.synth.render import draw_scene
    from skyeye.synth.scene import make_scene

    (folder / "examples").mkdir()
    drawn = []
    for number in range(1, _EXAMPLES + 1):
        rng = np.random.default_rng(number)
        drawn.append(folder / "examples" / f"scene {number}.png")
        draw_scene(make_scene(rng), rng, 224).save(drawn[-1])
    return drawn
