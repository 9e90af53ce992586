"""A scene, or many, in numbers."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from skyeye.data.images.georeference import name_of
from skyeye.serve.scenes.findings import Findings
from skyeye.serve.scenes.place import place, scene_outline


def summary_of(found: Findings) -> dict[str, Any]:
    """What was asked and found: windows, objects and their area by label, answers by question."""
    scene = found.scene
    objects, tiles = found.of_kind("object"), found.of_kind("tile")
    areas = place(objects, scene.place, scene.size).areas
    labels = Counter(feature.properties["label"] for feature in objects)
    by_label: dict[str, float] = defaultdict(float)
    for feature, area in zip(objects, areas, strict=False):
        by_label[feature.properties["label"]] += area
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for tile in tiles:
        answers[tile.properties["question"]][tile.properties["answer"]] += 1
    told: dict[str, Any] = {
        "scene": found.path,
        "width": scene.size[0],
        "height": scene.size[1],
        "coordinates": scene.place if isinstance(scene.place, str) else name_of(scene.place.crs),
        "area_km2": None,
        "windows": {"asked": found.asked, "empty": found.empty, "unreadable": len(found.unreadable)},
        "objects": dict(sorted(labels.items())),
        "objects_area_m2": {label: round(area, 1) for label, area in sorted(by_label.items())},
        "answers": {question: dict(each.most_common(20)) for question, each in sorted(answers.items())},
        "boxes": dict(sorted(found.counts.items())),
    }
    if not isinstance(scene.place, str):
        told["area_km2"] = round(place([scene_outline(scene.size)], scene.place, scene.size).areas[0] / 1e6, 6)
    return told


def format_text(found: Findings) -> str:
    """The same in a few lines."""
    told = summary_of(found)
    windows = told["windows"]
    place_words = "pixels" if told["area_km2"] is None else f"{told['area_km2']:,.4g} km2, {told['coordinates']}"
    lines = [f"{told['scene']}: {told['width']} x {told['height']} pixels, {place_words}"]
    skipped = f", {windows['empty']} without data skipped" if windows["empty"] else ""
    lines.append(f"  {windows['asked']} windows asked{skipped}")
    if found.unreadable:
        index, why = found.unreadable[0]
        first = f"the first at {scene_window(found, index)}: {why}"
        lines.append(f"  {windows['unreadable']} windows could not be read and say nothing; {first}")
    for label, number in told["objects"].items():
        area = told["objects_area_m2"].get(label)
        lines.append(f"  {number} x {label}" + ("" if area is None else f", {area:,.0f} m2"))
    for question, answers in told["answers"].items():
        shown = ", ".join(f"{answer[:40]!r} {number}" for answer, number in list(answers.items())[:6])
        lines.append(f"  {question}: {shown}" + (" ..." if len(answers) > 6 else ""))
    counts = found.counts
    left_out = [f"{counts[key]} {words}" for key, words in _LEFT_OUT.items() if counts[key]]
    if left_out:
        lines.append(f"  boxes left out: {', '.join(left_out)}")
    if isinstance(found.scene.place, str):
        lines.append(f"  the layer is in columns and rows of the scene: {found.scene.place}")
    return "\n".join(lines)


_LEFT_OUT = {
    "unusable": "without area",
    "unconfirmed": "where the condition is not answered with yes",
    "unsure": "below the least score",
    "unsupported": "that too few of their windows have found (--min-support)",
}


def scene_window(found: Findings, index: int) -> str:
    """Where a window lies, for messages."""
    return "column {}, row {}".format(*found.scene.tiles[index].window[:2])
