"""Boxes in the answer or the question: RSVG, DIOR-RSVG, RSVG-HR, phrase grounding (RSPG), expressions of boxes."""

from __future__ import annotations

from pathlib import Path

from skyeye.config.schema import SourceConfig
from skyeye.eval import metrics
from skyeye.eval.benchmarks import paper, prompts
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.folders import DataPlace, annotation_file, images_near, locate
from skyeye.eval.benchmarks.published import PUBLISHED
from skyeye.eval.benchmarks.words import IDENTIFY, PHRASE_GROUNDING, REFER

_LINE = "name of the file and number of the line or entry, from 1 (rsvg_test:12)"
_DIOR_RSVG = ("*DIOR*RSVG*/{split}.txt", "RSVGD/{split}.txt")
_DIOR_LISTS = ("DIOR*/ImageSets/Main/{split}.txt",)


def _rsvg(split: str) -> DataPlace:
    # lines first: who has written the saved lists out can do without opening them
    patterns = ("rsvg_{split}.txt", "rsvg_{split}.pth")
    return annotation_file("rsvg", patterns, _LINE, split=split, images=("images", "RSVG/images"))


def _dior_rsvg(task: str) -> DataPlace:
    ids = "number of the object, as in the published lists (1234)"
    images = ("JPEGImages", "DIOR")  # its pictures come from all parts of DIOR
    return annotation_file("dior_rsvg", _DIOR_RSVG, ids, whole_folder=True, images=images, task=task)


def dior(data_root: Path) -> SourceConfig:
    """DIOR as published: lists in ``ImageSets/Main``, XML files in ``Annotations``."""
    folder = locate(data_root, _DIOR_LISTS, "test").parents[2]
    images = images_near(folder / "Annotations", data_root, ("JPEGImages-test", "JPEGImages"))
    return SourceConfig("voc", str(folder), images, "test")


def _refer(
    name: str, title: str, source: DataPlace, also: tuple[str, ...], quoted: str | None = None, **more
) -> Benchmark:
    return Benchmark(
        name,
        f"{title}: words to box",
        "refer",
        source,
        metrics.refer,
        "accuracy@0.5",
        48,
        REFER,
        chosen=lambda record: tuple(record.references["boxes"][0]),
        also=also,
        prompt=prompts.REFER,
        output="boxes",
        published=PUBLISHED.get(name),
        quoted=quoted and (paper.GROUNDING, quoted),
        **more,
    )


def _phrases(name: str, title: str, source: DataPlace, also: tuple[str, ...], words: str) -> Benchmark:
    return Benchmark(
        name,
        f"{title}: a phrase to all its boxes",
        "phrase_grounding",
        source,
        metrics.phrase_grounding,
        "f1@0.5",
        160,
        f"{PHRASE_GROUNDING}; {words}",
        keep=lambda record: record.task == "detection",
        chosen=lambda record: record.references["phrase"],
        also=also,
        prompt=prompts.DETECTION,
        output="boxes",
    )


BENCHMARKS = [
    # the lines of RSVG say nothing about the size of an image
    _refer("rsvg.val", "RSVG (val)", _rsvg("val"), ("RSVG-val", "RSVG"), "RSVG-val", needs_images=True),
    _refer("rsvg.test", "RSVG (test)", _rsvg("test"), ("RSVG-test", "RSVG"), "RSVG-test", needs_images=True),
    _refer(
        "dior_rsvg.test", "DIOR-RSVG (test)", _dior_rsvg("refer"), ("DIOR-RSVG", "DIOR-RSVG-test"), "DIOR-RSVG-test"
    ),
    _refer(
        "rsvg_hr.test",
        "RSVG-HR (test)",
        annotation_file("rsvg", ("rsvg_hr_{split}.txt",), _LINE, images=("images", "RSVG/images", "RSVG-HR/images")),
        ("RSVG-HR", "RSVG-HR-test"),
        needs_images=True,
    ),
    _phrases(
        "rspg",
        "RSPG (test)",
        annotation_file(
            "skyeye968k",
            ("diorpg_{split}.json", "RSPG_{split}.json"),
            "name of the JSON file and number of the record, from 0 (diorpg_test:12)",
            images=("JPEGImages-test", "JPEGImages-trainval", "DIOR"),
            task="detection",
            source="RSPG",
        ),
        ("RSPG", "RSPG-test"),
        "no test file of RSPG is published; the form is that of the training file",
    ),
    _phrases(
        "rspg.boxes",
        "Phrase grounding on DIOR (test)",
        DataPlace(
            tuple(pattern.replace("{split}", "test") for pattern in _DIOR_LISTS),
            "name of the XML file, 'detection', class (11726:detection:ship)",
            dior,
        ),
        ("RSPG-boxes", "DIOR-PG"),
        "phrases in the form of RSPG ('The three airplanes') made by rule from the boxes of DIOR, not RSPG's own",
    ),
    Benchmark(
        "dior.identify",
        "DIOR-RSVG (test): box to expression",
        "identify",
        _dior_rsvg("identify"),
        metrics.identify,
        "CIDEr",
        32,
        f"{IDENTIFY}; the expressions are long, so CIDEr is the number to look at",
        chosen=lambda record: tuple(record.references["boxes"][0]),
        also=("DIOR-RSVG-identify", "DIOR-REG"),
        prompt=prompts.IDENTIFY,
        published=PUBLISHED["dior.identify"],
    ),
]
