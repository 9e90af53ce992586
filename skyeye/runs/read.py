"""The files of a run folder as values. The run may still be writing them: what is not there yet is no error, and a line
that is not complete yet is left for later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from skyeye.errors import SkyEyeError
from skyeye.eval.results import EvalResults, scores_from_json
from skyeye.run_log import as_count, as_number, parse_json, read_log, read_objects

LARGEST_FILE = 8 << 20  # bytes of a file that is read as a whole
MOST_EVENTS = 1000  # of the last ones; a page with more could not be read
MOST_SKIPPED = 20  # records skipped that are listed; all are counted
MOST_SETTINGS = 20_000  # a recipe with more is none
PICTURE = re.compile(r"[0-9a-f]{16}\.jpg")  # of samples/pictures/, as written: no name leads out of the folder


@dataclass
class Run:
    """What was found.

    Attributes:
        stages: name -> steps as far as they are known, in the order of the recipe.
        lines: log lines in order, each with ``stage`` and ``step``; of repeated steps (after a resume) the last.
        finished: stages whose model is exported.
        samples: contents of ``samples/*.json``, in the order of ``stages`` and steps.
        settings: recipe flattened, ``stages.pretrain.optimizer.lr`` -> text.
        scores: path below the folder -> results in a scores.json.
        evaluations: benchmarks scored in training, by stage and step: ``scores`` is benchmark/metric -> value.
        skipped: how many records were skipped, and the first of them.
        notes: what could not be read, in words.
    """

    folder: Path
    stages: dict[str, int | None] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    recipe: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, EvalResults] = field(default_factory=dict)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    skipped: tuple[int, list[str]] = (0, [])
    notes: list[str] = field(default_factory=list)

    def of_stage(self, stage: str) -> list[dict[str, Any]]:
        """The log lines of one stage."""
        return [line for line in self.lines if line["stage"] == stage]


def read_run(folder: str | Path) -> Run:
    """Read a run folder.

    Raises:
        SkyEyeError: it is no folder, or none of a run's files is in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SkyEyeError("no such folder", where=str(folder), remedy="give the output_dir of a run")
    if not any((folder / name).is_file() for name in ("recipe.yaml", "log.jsonl", "environment.json")):
        raise SkyEyeError(
            "holds no run: neither recipe.yaml nor log.jsonl nor environment.json",
            where=str(folder),
            remedy="give the output_dir of a run, e.g. runs/demo",
        )
    run = Run(folder)
    run.recipe = _text(folder / "recipe.yaml", run.notes)
    _read_recipe(run)
    run.lines = read_log(folder / "log.jsonl", run.notes)
    for line in run.lines:
        known = run.stages.get(line["stage"])
        run.stages[line["stage"]] = known or as_count(line.get("steps"))
    run.finished = [name for name in run.stages if (folder / "checkpoints" / name / "manifest.json").is_file()]
    run.events = list(read_objects(folder / "events.jsonl", run.notes))[-MOST_EVENTS:]
    run.environment = _json(folder / "environment.json", run.notes)
    run.samples = _samples(run)
    for path in sorted([*folder.glob("eval/scores.json"), *folder.glob("checkpoints/*/eval*/scores.json")]):
        if content := _json(path, run.notes):
            try:
                run.scores[str(path.relative_to(folder))] = scores_from_json(content, str(path.relative_to(folder)))
            except SkyEyeError as error:
                run.notes.append(str(error))
    for path in sorted(folder.glob("eval/*.jsonl")):
        run.evaluations += _evaluations(path, run.notes)
    run.skipped = _skipped(folder / "skipped.txt")
    return run


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The settings of a recipe as (dotted name, text); members of a list by their name where they have one."""
    inner: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        inner = [(str(key), entry) for key, entry in value.items()]
    elif isinstance(value, list) and any(isinstance(entry, (dict, list)) for entry in value):
        inner = [(str(e["name"]) if isinstance(e, dict) and "name" in e else str(i), e) for i, e in enumerate(value)]
    if not inner:
        yield name, json.dumps(value, ensure_ascii=False, default=str)
    for key, entry in inner:
        yield from flatten(entry, f"{name}.{key}" if name else key)


def _evaluations(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    """The lines of ``eval/<stage>.jsonl`` with the numbers in them."""
    for entry in read_objects(path, notes):
        stage, step, scores = entry.get("stage"), as_count(entry.get("step")), entry.get("scores")
        if isinstance(stage, str) and step is not None and isinstance(scores, dict):
            yield {"stage": stage, "step": step, "scores": {str(k): as_number(v) for k, v in scores.items()}}
        else:
            notes.append(f"{path.name}: a line without stage, step and scores is skipped")


def _read_recipe(run: Run) -> None:
    try:
        content = yaml.safe_load(run.recipe) if run.recipe else None
        for name, text in flatten(content) if isinstance(content, dict) else ():
            run.settings[name] = text
            if len(run.settings) > MOST_SETTINGS:
                raise SkyEyeError(f"has more than {MOST_SETTINGS} settings")
    except (yaml.YAMLError, ValueError, RecursionError, SkyEyeError) as error:
        run.notes.append(f"recipe.yaml: {str(error).splitlines()[0] if str(error) else 'nested too deeply'}")
        run.settings = {}
        return
    stages = content.get("stages") if isinstance(content, dict) else None
    for stage in stages if isinstance(stages, list) else []:
        if isinstance(stage, dict) and isinstance(stage.get("name"), str):
            run.stages[stage["name"]] = as_count(stage.get("steps"))


def _samples(run: Run) -> list[dict[str, Any]]:
    """The contents of the sample files that have the shape of one."""
    found = []
    for path in sorted((run.folder / "samples").glob("*-*.json")):
        content = _json(path, run.notes)
        stage, step, rows = (content.get(name) for name in ("stage", "step", "samples"))
        if not isinstance(stage, str) or as_count(step) is None or not isinstance(rows, list):
            run.notes.append(f"samples/{path.name}: is no file of samples")
            continue
        texts = ("id", "source", "task", "question", "expected", "answer", "failed")
        kept = []
        for row in (row for row in rows if isinstance(row, dict)):
            pictures = row.get("pictures") if isinstance(row.get("pictures"), list) else []
            kept.append({name: str(row.get(name, "")) for name in texts})
            kept[-1]["pictures"] = [p for p in pictures if isinstance(p, str) and PICTURE.fullmatch(p)]
            boxes = row.get("boxes") if isinstance(row.get("boxes"), dict) else {}
            kept[-1]["boxes"] = {kind: _boxes(boxes.get(kind)) for kind in ("question", "expected", "answer")}
        about = {"stage": stage, "step": step, "held_out": content.get("held_out") is True}
        found.append({**about, "samples": kept})
    order = {name: place for place, name in enumerate(run.stages)}
    return sorted(found, key=lambda content: (order.get(content["stage"], len(order)), content["step"]))


def _boxes(value: Any) -> list[list[float]]:
    """What is a box of four finite numbers among the entries of a list."""
    entries = value if isinstance(value, list) else []
    return [box for box in entries if isinstance(box, list) and len(box) == 4 and None not in map(as_number, box)]


def _skipped(path: Path) -> tuple[int, list[str]]:
    if not path.is_file():
        return 0, []
    first, count = [], 0
    with open(path, encoding="utf-8", errors="replace") as file:
        for count, line in enumerate(file, 1):
            if count <= MOST_SKIPPED:
                first.append(line.rstrip("\n")[:500])
    return count, first


def _text(path: Path, notes: list[str]) -> str:
    if not path.is_file():
        return ""
    if path.stat().st_size > LARGEST_FILE:
        notes.append(f"{path.name}: is larger than {LARGEST_FILE >> 20} MiB and was not read")
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def _json(path: Path, notes: list[str]) -> dict[str, Any]:
    text = _text(path, notes)
    if not text:
        return {}
    content = parse_json(text)
    if not isinstance(content, dict):
        notes.append(f"{path.name}: is no JSON object")
        return {}
    return content
