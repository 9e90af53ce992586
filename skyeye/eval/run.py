"""Evaluation of a checkpoint: benchmarks -> answers (seen, blind, deaf) -> predictions, scores and report."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from skyeye.data.files import write_whole
from skyeye.data.formats import summary
from skyeye.data.formats.common import Problem
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.eval import controls as control
from skyeye.eval.benchmarks import Benchmark, select
from skyeye.eval.captions import default_scorer
from skyeye.eval.files import fingerprint, origin, versions, write_jsonl
from skyeye.eval.metrics import Scores
from skyeye.eval.report import markdown, report

#: (records, longest answer in tokens, told how many more are done) -> one answer per record.
Answerer = Callable[[Sequence[Record], int, Callable[[int], None]], list[str]]


@dataclass(frozen=True)
class Task:
    """A benchmark with its records under every condition.

    Attributes:
        seen: the questions as they are.
        blind: the same with wrong images; None when all show the same image, or without controls.
        deaf: the questions that could be given the words of another object, with those words; None where words choose
            no object, or without controls.
        deaf_indices: which of ``seen`` they are.
        left_out: what could not be asked.
    """

    benchmark: Benchmark
    seen: list[Record]
    blind: list[Record] | None
    deaf: list[Record] | None
    deaf_indices: list[int]
    left_out: list[Problem]

    @property
    def conditions(self) -> dict[str, list[Record]]:
        every = {"seen": self.seen, "blind": self.blind, "deaf": self.deaf}
        return {name: records for name, records in every.items() if records}


def evaluate(
    checkpoint: str | Path,
    benchmarks: Sequence[str],
    data_root: str | Path,
    out_dir: str | Path,
    limit: int | None = None,
    batch_size: int = 32,
    controls: bool = True,
    max_new_tokens: int | None = None,
    seed: int = 0,
    device: str | None = None,
) -> dict[str, Any]:
    """Score a checkpoint directory on benchmarks and write everything into ``out_dir``.

    Args:
        checkpoint: directory that ``save_pretrained`` wrote, with the processor.
        benchmarks: names, or ``world.*`` for a family.
        data_root: folder of the made world, or the folder that holds the data sets.
        limit: records per benchmark at most, drawn with ``seed``; whole scenes where there is a deaf control.
        batch_size: changes speed and memory only.
        controls: also ask blind and deaf.
        max_new_tokens: longest answer; None: what each benchmark says.
        seed: of the permutations of the controls and of ``limit``.
        device: ``"cpu"``, ``"cuda"`` ...; None: a GPU when there is one.

    Returns:
        The content of ``scores.json``.

    Raises:
        SkyEyeError: unknown benchmark, data or checkpoint that cannot be used; nothing is asked before all are read.
    """
    checkpoint, chosen = Path(checkpoint), select(benchmarks)
    if not (checkpoint / "config.json").is_file():
        raise SkyEyeError(
            "holds no config.json, so it is no checkpoint directory",
            where=str(checkpoint),
            remedy="give a folder like runs/NAME/checkpoints/STAGE",
        )
    tasks = [prepare(benchmark, Path(data_root), limit, controls, seed) for benchmark in chosen]
    about = {
        "checkpoint": str(checkpoint),
        **origin(checkpoint),
        "fingerprint": fingerprint(checkpoint),
        "seed": seed,
        "limit": limit,
        "batch_size": batch_size,
        "data_root": str(data_root),
    }
    answerer, more = load_answerer(checkpoint, batch_size, device)
    return run_tasks(answerer, tasks, Path(out_dir), {**about, **more}, max_new_tokens)


def load_answerer(checkpoint: Path, batch_size: int, device: str | None) -> tuple[Answerer, dict[str, Any]]:
    """The model of a checkpoint as a function from questions to answers, and what to say about it."""
    import torch  # here, so that wrong names and missing data are told at once

    from skyeye.eval.generate import answer
    from skyeye.models.pretrained import open_checkpoint

    model, processor = open_checkpoint(checkpoint)
    model.eval()
    parameters = sum(p.numel() for p in model.parameters())
    if model.config.lora is not None and model.dtype == torch.float32:  # in half precision merging would round the base
        model.language_model.merge_adapter()
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def answerer(records: Sequence[Record], max_new_tokens: int, done: Callable[[int], None]) -> list[str]:
        return answer(model, processor, records, batch_size=batch_size, max_new_tokens=max_new_tokens, progress=done)

    return answerer, {
        "parameters": parameters,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "prompt_layout": processor.builder.prompt_config.evaluation_layout,
    }


def prepare(benchmark: Benchmark, data_root: Path, limit: int | None, controls: bool, seed: int) -> Task:
    """Load a benchmark and lay out its conditions."""
    records, problems = benchmark.load(data_root)
    seen = limited(records, limit, seed, by_scene=benchmark.chosen is not None)
    deaf_indices, deaf = [], None
    if controls and benchmark.chosen is not None:
        deaf_indices, deaf = control.deaf(seen, benchmark.chosen, f"{seed} {benchmark.name}")
    blind = control.blind(seen, f"{seed} {benchmark.name}") if controls else None
    return Task(benchmark, seen, blind, deaf or None, deaf_indices, problems)


def limited(records: list[Record], limit: int | None, seed: int, by_scene: bool) -> list[Record]:
    """At most ``limit`` records, drawn with the seed, in their old order; ``by_scene`` draws whole images."""
    if limit is None or limit >= len(records):
        return records
    rng = random.Random(f"limit {seed}")
    if by_scene:
        scenes = list(dict.fromkeys(record.images for record in records))
        rng.shuffle(scenes)
        rank = {scene: place for place, scene in enumerate(scenes)}
        order = sorted(range(len(records)), key=lambda i: rank[records[i].images])
    else:
        order = rng.sample(range(len(records)), len(records))
    return [records[i] for i in sorted(order[:limit])]


def run_tasks(
    answerer: Answerer, tasks: Sequence[Task], out_dir: Path, about: dict[str, Any], max_new_tokens: int | None = None
) -> dict[str, Any]:
    """Ask everything, write predictions as they come, then scores and report. Returns what ``scores.json`` holds."""
    started = time.time()
    scores: dict[str, Any] = {}
    predictions: dict[str, dict[str, list[dict[str, Any]]]] = {}
    total = sum(len(records) for task in tasks for records in task.conditions.values())
    with tqdm(total=total, unit="answer", smoothing=0.05, mininterval=0.5, dynamic_ncols=True) as bar:
        for task in tasks:
            name, longest = task.benchmark.name, max_new_tokens or task.benchmark.max_new_tokens
            if task.left_out:
                bar.write(summary(task.left_out, name))
                write_jsonl(out_dir / "predictions" / f"{name}.skipped.jsonl", [vars(p) for p in task.left_out])
            answers = {}
            for condition, records in task.conditions.items():
                bar.set_description(f"{name} ({condition})")
                answers[condition] = answerer(records, longest, bar.update)
            scores[name], predictions[name] = score_task(task, answers, longest)
            for condition, rows in predictions[name].items():
                suffix = "" if condition == "seen" else f".{condition}"
                write_jsonl(out_dir / "predictions" / f"{name}{suffix}.jsonl", rows)
    scores["about"] = {
        **about,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 1),
        "units": "percent, CIDEr x 100; count_error in objects (less is better)",
        "caption_tokenizer": default_scorer().tokenizer,
        "versions": versions(),
    }
    write_whole(out_dir / "scores.json", json.dumps(scores, indent=1, ensure_ascii=False) + "\n")
    write_whole(out_dir / "scores.md", markdown(scores))
    write_whole(out_dir / "report.html", report(scores, predictions))
    return scores


def score_task(
    task: Task, answers: dict[str, list[str]], max_new_tokens: int
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """The entry of one benchmark in ``scores.json``, and the rows of its prediction files by condition."""
    metric, conditions = task.benchmark.metric, task.conditions
    scored = {condition: metric(records, answers[condition]) for condition, records in conditions.items()}
    same = None  # the seen answers to the items that could be asked deaf: what deaf is compared with
    if task.deaf:
        same = metric([task.seen[i] for i in task.deaf_indices], [answers["seen"][i] for i in task.deaf_indices])
    entry: dict[str, Any] = {}
    for name in scored["seen"].metrics:
        entry[name] = {condition_key: _value(scored.get(condition), name) for condition_key, condition in _KEYS}
        if same is not None:
            entry[name]["value_on_deaf_items"] = _value(same, name)
    entry["counts"] = _counts(task, scored["seen"])
    entry["protocol"] = _protocol(task, scored["seen"], max_new_tokens)
    rows = {c: _rows(records, answers[c], scored[c]) for c, records in conditions.items()}
    return entry, rows


_KEYS = (("value", "seen"), ("blind", "blind"), ("deaf", "deaf"))


def _value(scores: Scores | None, metric: str) -> float | None:
    value = None if scores is None else scores.metrics.get(metric)
    return None if value is None else round(float(value), 4)


def _counts(task: Task, scores: Scores) -> dict[str, int]:
    kinds = Counter(problem.kind for problem in task.left_out)
    by_rule = sum(problem.by_rule for problem in task.left_out)
    return {
        "records": len(task.seen),
        "images": len({record.images for record in task.seen}),
        "deaf items": len(task.deaf_indices),
        "left out": len(task.left_out) - by_rule,
        "left out by rule": by_rule,
        **{f"left out: {kind}": number for kind, number in sorted(kinds.items())},
        **scores.counts,
    }


def _protocol(task: Task, scores: Scores, max_new_tokens: int) -> dict[str, Any]:
    benchmark = task.benchmark
    return {
        "title": benchmark.title,
        "family": benchmark.family,
        "main_metric": benchmark.main_metric,
        "question": task.seen[0].turns[0].question,
        "decoding": f"greedy, one beam, at most {max_new_tokens} new tokens, asked once",
        "metric": benchmark.metric_words,
        "blind": "images permuted among the questions, none keeps its own" if task.blind else None,
        "deaf": "words permuted among the objects of a scene, no object keeps its own" if task.deaf else None,
        "notes": scores.notes,
    }


def _rows(records: Sequence[Record], answers: Sequence[str], scores: Scores) -> list[dict[str, Any]]:
    return [
        {
            "id": record.id,
            "images": list(record.images),
            "question": record.turns[0].question,
            "answer": answer,
            **item,
        }
        for record, answer, item in zip(records, answers, scores.items, strict=True)
    ]
