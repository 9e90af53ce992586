"""Pictures of the page for the docs: a trained model is opened, the page asked in Chromium, and what it shows kept.

    .venv/bin/python scripts/web_pictures.py            # of the demo's model (scripts/demo.sh), into docs/images

Takes two minutes. Look at every picture before it is committed: the answers are the model's own.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from skyeye.generation.opening import Opening
from skyeye.serve.web.run import Settings, launch

ROOT = Path(__file__).parents[1]
LIGHT, DARK = {"color_scheme": "light"}, {"color_scheme": "dark"}
WHOLE = ("#sk-title", "")
DESKTOP = {"viewport": {"width": 1280, "height": 960}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
_LARGEST = 200_000  # bytes of a picture


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?", default=ROOT / "runs/demo", help="folder of the demo's run")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images")
    parser.add_argument("--scenes", type=Path, help="folder of pictures (default: RUN/scenes/images)")
    options = parser.parse_args()
    scenes = options.scenes or options.run / "scenes/images"
    stages = [options.run / "checkpoints" / name for name in ("conversation", "single_task")]
    with sync_playwright() as running, tempfile.TemporaryDirectory() as temporary:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        with page_of(stages[:1], scenes, Path(temporary) / "one") as url:
            for name, look, question, scene, part in (
                ("web_desktop", LIGHT | DESKTOP, "[grounding] describe the image in detail", 0, WHOLE),
                ("web_desktop_dark", DARK | DESKTOP, "[refer] the green vehicle", 1, WHOLE),
                (
                    "web_phone",
                    LIGHT | PHONE,
                    "[grounding] describe the image in detail",
                    0,
                    ("#sk-title", "#sk-question"),
                ),
                (
                    "web_phone_dark",
                    DARK | PHONE,
                    "[refer] the green vehicle",
                    1,
                    ("#sk-task-conversation", "#sk-file-conversation-0"),
                ),
            ):
                write(ask(browser, url, look, question, scene, part), options.out / f"{name}.png")
        with page_of(stages, scenes, Path(temporary) / "two") as url:
            taken = ask(browser, url, LIGHT | DESKTOP, "[grounding] describe the image in detail", 0, WHOLE)
            write(taken, options.out / "web_two.png")
        browser.close()


@contextmanager
def page_of(checkpoints: list[Path], scenes: Path, folder: Path) -> Iterator[str]:
    """The page of checkpoints while it runs: its address. Its examples are six held-out scenes."""
    (examples := folder / "given").mkdir(parents=True)
    for number in range(6):
        shutil.copy(scenes / f"test_{number:06d}.jpg", examples / f"scene {number + 1}.jpg")
    running = launch([(path, Opening()) for path in checkpoints], Settings(port=0, examples=examples), folder)
    try:
        yield running.local_url
    finally:
        running.close(verbose=False)


def ask(browser: Browser, url: str, look: dict[str, Any], question: str, scene: int, part: tuple[str, str]) -> bytes:
    """The page after a question about an example has been answered, as a PNG.

    Args:
        part: selectors of the first thing and the last that it shows; an empty one: to the end.
    """
    tab = browser.new_context(**look).new_page()
    tab.set_default_timeout(120_000)
    tab.goto(url)
    tab.locator("#sk-examples button").nth(scene).click()
    tab.wait_for_selector("figure.sk-picture figcaption")
    tab.fill("#sk-question textarea", question)
    tab.click("#sk-ask")
    for number in range(tab.locator("[id^=sk-talk-]").count()):
        tab.wait_for_selector(f"#sk-file-coco-{number}:not([disabled])")
    width = look["viewport"]["width"]
    height = _settle(tab, width)
    first, last = (tab.locator(selector).bounding_box() if selector else None for selector in part)
    top = max(0, first["y"] - 12) if first else 0
    bottom = min(height, last["y"] + last["height"] + 12) if last else height
    taken = tab.screenshot(clip={"x": 0, "y": top, "width": width, "height": bottom - top})
    tab.context.close()
    return taken


def _settle(tab: Page, width: int) -> int:
    """Make the window as long as the page, take the keyboard's mark away, and wait until nothing moves."""
    tab.evaluate("document.activeElement?.blur()")
    tab.wait_for_timeout(500)
    height = tab.evaluate("document.documentElement.scrollHeight")
    tab.set_viewport_size({"width": width, "height": height})
    tab.wait_for_timeout(1500)
    return int(height)


def write(taken: bytes, path: Path) -> None:
    """Write a picture in 256 colours, smaller where it would take too many bytes."""
    picture = whole = Image.open(io.BytesIO(taken)).convert("RGB")
    for percent in range(100, 40, -5):
        picture = whole.resize((whole.width * percent // 100, whole.height * percent // 100), Image.Resampling.LANCZOS)
        picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size < _LARGEST:
            break
    print(f"{path}: {picture.width} x {picture.height} pixels, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
