"""Files of an answer that a visitor may take away; they lie in the page's own temporary folder."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from skyeye.errors import SkyEyeError
from skyeye.serve.answer import Answer
from skyeye.serve.box_files import to_coco, to_csv
from skyeye.serve.web.render import Exchange

#: What may be downloaded, and what its button is called.
FILES = {"picture": "Picture", "geojson": "GeoJSON", "coco": "COCO", "csv": "CSV", "conversation": "Conversation"}
_KEPT = 64  # answers whose files are kept


def write_files(
    folder: Path, name: str, answer: Answer | None, shown: Sequence[int], exchanges: Sequence[Exchange]
) -> Mapping[str, Path]:
    """Write what there is of :data:`FILES`; none of what there is not.

    Args:
        folder: of the page.
        name: of the picture.
        shown: places of the boxes that are switched on.
    """
    stem = re.sub(r"[^\w.-]+", "_", Path(name).stem)[:60] or "picture"
    place = _place(folder)
    files: dict[str, Path] = {}
    if exchanges:
        files["conversation"] = place / f"{stem}-conversation.json"
        files["conversation"].write_text(_conversation(name, exchanges), encoding="utf-8")
    if answer is None or answer.image is None:
        return files
    chosen = replace(answer, boxes=tuple(answer.boxes[n] for n in shown if n < len(answer.boxes)))
    files["picture"] = place / f"{stem}-boxes.png"
    chosen.draw().save(files["picture"])
    if not chosen.boxes:
        return files
    files["coco"] = place / f"{stem}-coco.json"
    files["coco"].write_text(json.dumps(to_coco(chosen, name), indent=1, ensure_ascii=False), encoding="utf-8")
    files["csv"] = place / f"{stem}-boxes.csv"
    files["csv"].write_text(to_csv(chosen), encoding="utf-8")
    try:
        written = json.dumps(chosen.to_geojson(), indent=1, ensure_ascii=False)
    except SkyEyeError:  # the picture has no coordinates: its button says so
        return files
    files["geojson"] = place / f"{stem}.geojson"
    files["geojson"].write_text(written, encoding="utf-8")
    return files


def _place(folder: Path) -> Path:
    """A new folder; the oldest go."""
    downloads = folder / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    kept = sorted(downloads.iterdir(), key=lambda path: path.stat().st_mtime)
    for old in kept[: max(0, len(kept) - _KEPT)]:
        shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(dir=downloads))


def _conversation(name: str, exchanges: Sequence[Exchange]) -> str:
    turns = []
    for exchange in exchanges:
        answer = exchange.answer
        turn: dict[str, object] = {"question": exchange.question, "answer": exchange.text}
        if exchange.error:
            turn["error"] = exchange.error
        if answer is not None:
            turn |= {"prompt": answer.prompt, "notes": list(answer.notes)}
            turn["boxes"] = [{"label": box.label, "corners": box.corners, "marks": box.marks} for box in answer.boxes]
        turns.append(turn)
    return json.dumps({"picture": name, "turns": turns}, indent=1, ensure_ascii=False)
