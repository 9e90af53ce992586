"""``skyeye eval``: score a checkpoint; and list, score, compare and ask the benchmarks without one."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from skyeye.cli.answerers import OTHERS, answerer, answerer_arguments, recipe_of
from skyeye.cli.checkpoints import checkpoint_arguments
from skyeye.cli.loading import hide_loading_bars
from skyeye.cli.numbers import positive
from skyeye.cli.paths import any_path, check_usual, new_file, new_folder
from skyeye.errors import SkyEyeError

if TYPE_CHECKING:
    from skyeye.config.schema import EvalConfig
    from skyeye.eval.settings import EvalSettings
    from skyeye.generation.opening import Opening

#: Second words of ``skyeye eval``; anything else there is a checkpoint directory.
VERBS = ("list", "score", "compare", "questions")


def eval_commands(commands: argparse._SubParsersAction, command: Callable) -> None:
    """Insert ``eval CHECKPOINT`` and its verbs."""
    _evaluate_command(command(commands, "eval", _eval, "score a checkpoint on benchmarks and write a report"))

    show = command(commands, "eval list", _list, "the benchmarks; of one: prompt, protocol, metric, files looked for")
    show.add_argument("name", nargs="?", metavar="NAME", help="one of them, in full; default: a line of each")
    show.add_argument("--json", type=new_file, metavar="FILE", help="write the list there as well")
    show.add_argument("--data-root", type=any_path, metavar="DIR", help="say which of them the data there can run")

    score = command(commands, "eval score", _score, "score answers that are on disk, ours or another system's")
    score.add_argument(
        "predictions", type=any_path, metavar="PREDICTIONS", help="see docs/evaluation.md for what is read"
    )
    score.add_argument("--benchmark", required=True, metavar="NAME", help="see skyeye eval list")
    score.add_argument("--data-root", type=any_path, required=True, metavar="DIR", help="folder of the data")
    score.add_argument(
        "--json", type=new_file, metavar="FILE", help="write everything there, each id that did not fit too"
    )
    score.add_argument(
        "--missing-images",
        choices=("keep", "skip"),
        default="keep",
        help="records without an image (default keep)",
    )
    score.add_argument(
        "--out", type=new_folder, metavar="DIR", help="write tables and report there, as for a checkpoint"
    )
    score.add_argument("--answer-key", metavar="NAME", help="key of the answers, where the truth has another")
    _notation(score)

    compare = command(commands, "eval compare", _compare, "two results side by side, with paired significance")
    compare.add_argument("a", type=any_path, metavar="A", help="folder that skyeye eval wrote, or a prediction file")
    compare.add_argument("b", type=any_path, metavar="B", help="the same of another model")
    compare.add_argument("--benchmark", metavar="NAME", help="of prediction files")
    compare.add_argument("--data-root", type=any_path, metavar="DIR", help="folder of the data; default: that of A")
    compare.add_argument("--out", type=new_folder, required=True, metavar="DIR", help="for compare.json, .md and .html")
    _notation(compare)

    questions = command(commands, "eval questions", _questions, "write a benchmark's questions for another system")
    questions.add_argument("benchmark", metavar="NAME", help="see skyeye eval list")
    questions.add_argument("--data-root", type=any_path, required=True, metavar="DIR", help="folder of the data")
    questions.add_argument("--out", type=new_file, required=True, metavar="FILE", help="JSON lines to write")
    questions.add_argument(
        "--missing-images",
        choices=("keep", "skip", "stop"),
        default="keep",
        help="records without an image (default keep: the image is named as in the annotation)",
    )


def _evaluate_command(evaluate: argparse.ArgumentParser) -> None:
    checkpoint_arguments(evaluate, answerer, OTHERS)
    answerer_arguments(evaluate)
    evaluate.add_argument(
        "--benchmarks", nargs="+", metavar="NAME", help="default: those named in the checkpoint's recipe"
    )
    evaluate.add_argument("--suite", metavar="NAME", help="a list of benchmarks, e.g. paper; what is not there is told")
    evaluate.add_argument("--data-root", type=any_path, metavar="DIR", help="folder of the data; default: the recipe's")
    evaluate.add_argument(
        "--out", type=new_folder, metavar="DIR", help="for scores and report (default CHECKPOINT/eval)"
    )
    evaluate.add_argument("--limit", type=positive, metavar="N", help="at most N samples of each benchmark")
    evaluate.add_argument("--batch-size", type=positive, metavar="N", help="changes speed, not scores")
    evaluate.add_argument(
        "--max-new-tokens", type=positive, metavar="N", help="longest answer; default: the benchmark's"
    )
    evaluate.add_argument(
        "--no-images",
        action="store_true",
        help="ask without the images: what the words alone answer",
    )
    evaluate.add_argument("--no-controls", action="store_true", help="shuffle no images or phrases: half the work")
    evaluate.add_argument(
        "--prompt", action="append", default=[], metavar="NAME=TEXT", help="ask this instead of a benchmark's prompt"
    )
    evaluate.add_argument(
        "--missing-images", choices=("skip", "stop"), help="records without an image (default skip, told)"
    )


def _notation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--boxes",
        metavar="NOTATION",
        help="how boxes are written in the answers, e.g. geochat; auto: as fifty answers tell",
    )


def _eval(options: argparse.Namespace) -> int:
    from skyeye.eval.evaluate import evaluate

    hide_loading_bars()
    asked, opening, settings = recipe_of(options)
    data_root = options.data_root or settings.data_root
    if data_root is None:
        remedy = "give --data-root: the folder of the synthetic scenes, or the one that holds the data sets"
        raise SkyEyeError("does not say where the benchmarks' data lie", where=str(asked), remedy=remedy)
    out = options.out or _usual_folder(asked)
    benchmarks = options.benchmarks or ([] if options.suite else settings.benchmarks)
    how = _settings(options, settings, opening)
    if evaluate(asked, benchmarks, data_root, out, how, suite=options.suite) is not None:
        print((out / "scores.md").read_text(encoding="utf-8"))
        print(f"scores: {out / 'scores.json'}\nreport: {out / 'report.html'}")
    return 0


def _usual_folder(checkpoint: Path) -> Path:
    """Where the scores of a checkpoint go without ``--out``."""
    from skyeye.data.files import check_new_folder

    out = checkpoint.with_name(f"{checkpoint.stem}-eval") if checkpoint.is_file() else checkpoint / "eval"
    if checkpoint.exists():
        check_usual(check_new_folder, out)
    return out


def _settings(options: argparse.Namespace, settings: EvalConfig, opening: Opening) -> EvalSettings:
    """How benchmarks are asked: as the arguments say, else as the recipe does."""
    from skyeye.eval.settings import EvalSettings
    from skyeye.generation.answerers import ServerSettings

    usual = ServerSettings()
    return EvalSettings(
        limit=settings.limit if options.limit is None else options.limit,
        batch_size=settings.batch_size if options.batch_size is None else options.batch_size,
        images=not options.no_images,
        controls=not options.no_controls,
        max_new_tokens=options.max_new_tokens,
        prompts=dict(_prompt(text) for text in options.prompt),
        recipe_prompts=settings.prompts,
        missing_images=options.missing_images or settings.missing_images,
        opening=opening,
        boxes=options.boxes,
        server=ServerSettings(options.concurrency or usual.concurrency, options.timeout or usual.timeout),
    )


def _prompt(text: str) -> tuple[str, str]:
    name, sign, prompt = text.partition("=")
    if not sign or not prompt.strip():
        raise SkyEyeError(f"{text!r} is no prompt", where="--prompt", remedy="write NAME=TEXT")
    return name, prompt


def _list(options: argparse.Namespace) -> int:
    from skyeye.data.files import write_json
    from skyeye.eval.benchmarks import BENCHMARKS, SUITES, available, describe, select

    chosen = BENCHMARKS.values() if options.name is None else select([options.name])
    rows = [describe(benchmark) for benchmark in chosen]
    if options.data_root is not None:
        for row in rows:
            error = available(BENCHMARKS[row["name"]], options.data_root)
            row["here"] = error is None
            row["why_not"] = None if error is None else error.what
    if options.json:
        write_json(options.json, rows, indent=1)
    if options.name is not None:
        print("\n\n".join(map(_details, rows)))
        return 0
    here = options.data_root is not None
    cells = [(*(["HERE"] if here else []), "NAME", "FAMILY", "METRIC", "PUBLISHED", "ALSO CALLED")]
    for row in rows:
        size = f"{row['published']['records']:,}" if row["published"] else "-"
        told = ["yes" if row["here"] else "no"] if here else []
        cells.append((*told, row["name"], row["family"], row["main_metric"], size, ", ".join(row["also"])))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
    print("\nPUBLISHED: records of the published test set. Prompt, ids and files of one: skyeye eval list NAME.\n")
    for suite, members in SUITES.items():
        print(f"suite {suite}: {', '.join(members)}")
    if here:
        print(f"\n{sum(row['here'] for row in rows)} of {len(rows)} have their data in {options.data_root}")
    return 0


def _details(row: dict) -> str:
    """What :func:`skyeye.eval.benchmarks.describe` says of a benchmark, for a person."""
    published, embeds = row["published"], row["output"] == "embedding"
    lines = {
        "also called": ", ".join(row["also"]),
        "in suites": ", ".join(row["suites"]),
        "asked": row["prompt"] or ("nothing: vectors are compared" if embeds else "the question of the record"),
        "decoding": f"greedy, at most {row['max_new_tokens']} new tokens" if row["max_new_tokens"] else "",
        "controls": "shuffled images, shuffled phrases" if row["shuffled_phrases"] else "shuffled images",
        "scored": row["output"],
        "metric": row["metric"],
        "main metric": row["main_metric"],
        "looked for": " or ".join(row["looked_for"]),
        "images": "needed for scoring, too" if row["needs_images"] else "not needed for scoring",
        "ids": row["ids"],
        "published": f"{published['records']:,} records: {published['source']}" if published else "",
        "here": "" if "here" not in row else "yes" if row["here"] else f"no: {row['why_not']}",
    }
    shown = [f"  {what + ':':<12} {said}" for what, said in lines.items() if said]
    return "\n".join([f"{row['name']}: {row['title']}", *shown])


def _score(options: argparse.Namespace) -> int:
    from skyeye.data.files import write_json
    from skyeye.eval.benchmarks import select
    from skyeye.eval.report.to_text import format_text
    from skyeye.eval.score_predictions import PredictionFile, score_file

    benchmark = _one(select([options.benchmark]), options.benchmark)
    file = PredictionFile(options.predictions, options.boxes, options.answer_key)
    scores = score_file(file, benchmark, options.data_root, out_dir=options.out, missing_images=options.missing_images)
    if options.json:
        write_json(options.json, asdict(scores), indent=1)
    print(format_text(scores))
    for what, path in (("scores", options.json), ("report", options.out and options.out / "report.html")):
        if path:
            print(f"{what}: {path}")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from skyeye.eval.compare import answered, compare

    a, b = (answered(path, options.benchmark, options.boxes) for path in (options.a, options.b))
    data_root = options.data_root or a.data_root
    if data_root is None:
        raise SkyEyeError("it is not known where the data lie", where=str(options.a), remedy="give --data-root")
    content = compare(a, b, Path(data_root), options.out)
    print((options.out / "compare.md").read_text(encoding="utf-8"))
    for note in [note for part in content.values() for note in part.get("notes", [])]:
        print(f"note: {note}")
    print(f"page: {options.out / 'compare.html'}")
    return 0


def _questions(options: argparse.Namespace) -> int:
    from skyeye.data.formats.base.image_folder import ABSENT
    from skyeye.eval.benchmarks import select
    from skyeye.eval.files import write_jsonl
    from skyeye.eval.question import asked

    benchmark = _one(select([options.benchmark]), options.benchmark)
    records, skipped = benchmark.load(options.data_root, options.missing_images)
    rows = []
    for record in records:
        images = [image.removeprefix(ABSENT) for image in record.images]
        image = images[0] if len(images) == 1 else images
        rows.append({"question_id": record.id, "image": image, "question": asked(record)})
    write_jsonl(options.out, rows)
    print(f"{len(rows):,} questions of {benchmark.name}: {options.out}")
    if skipped:
        print(f"{len(skipped):,} skipped; the first: {skipped[0]}")
    return 0


def _one(chosen: Sequence, name: str):
    if len(chosen) > 1:
        names = ", ".join(benchmark.name for benchmark in chosen)
        raise SkyEyeError(f"{name} is {len(chosen)} benchmarks: {names}", where="benchmark", remedy="name one")
    return chosen[0]
