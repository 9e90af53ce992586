"""Captions: RSICD, UCM-, Sydney- and NWPU-Captions, RSITMD, CapERA; all captions of a test image are its references."""

from __future__ import annotations

from pathlib import Path

from skyeye.config.schema import SourceConfig
from skyeye.eval import metrics
from skyeye.eval.benchmarks import paper, prompts
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.folders import DataPlace, annotation_file, images_near, locate
from skyeye.eval.benchmarks.published import PUBLISHED
from skyeye.eval.benchmarks.words import CAPTION, ONE_FRAME

_FILE_NAME = "file name of the image, as in the annotation (airport_1.jpg)"
_RSITMD_JSON, _RSITMD_LISTS = "dataset_RSITMD*.json", "*RSITMD*/{split}_filename.txt"


def rsitmd(data_root: Path) -> SourceConfig:
    """Published as a JSON; the same as parallel lists is in use too. The JSON is taken where both are there."""
    file = locate(data_root, (_RSITMD_JSON, _RSITMD_LISTS), "test")
    lists = file.suffix == ".txt"
    images = images_near(file, data_root, ("images",))
    return SourceConfig("rsitmd" if lists else "karpathy", str(file.parent if lists else file), images, "test")


def _benchmark(
    name: str,
    title: str,
    source: DataPlace,
    also: tuple[str, ...],
    quoted: str | None = None,
    prompt: str = prompts.CAPTION,
    words: str = CAPTION,
) -> Benchmark:
    return Benchmark(
        name,
        f"{title} (test)",
        "captions",
        source,
        metrics.captions,
        "CIDEr",
        64,
        words,
        also=also,
        prompt=prompt,
        published=PUBLISHED[name],
        quoted=quoted and (paper.CAPTIONS, quoted),
    )


def _karpathy(*patterns: str, images: tuple[str, ...] = ("images", "imgs")) -> DataPlace:
    return annotation_file("karpathy", patterns, _FILE_NAME, images=images)


BENCHMARKS = [
    _benchmark(
        "rsicd.caption",
        "RSICD captions",
        _karpathy("dataset_rsicd.json", "dataset_rsicd*.json", images=("RSICD_images", "images")),
        ("RSICD", "RSICD-Captions"),
        "RSICD",
    ),
    _benchmark(
        "ucm.caption",
        "UCM-Captions",
        _karpathy("UCM*/dataset*.json", "dataset_UCM*.json"),
        ("UCM-Captions", "UCM"),
        "UCM-captions",
    ),
    _benchmark(
        "sydney.caption",
        "Sydney-Captions",
        _karpathy("Sydney*/dataset*.json", "dataset_Sydney*.json"),
        ("Sydney-Captions", "Sydney"),
        "Sydney-captions",
    ),
    _benchmark(
        "nwpu.caption",
        "NWPU-Captions",
        annotation_file(
            "nwpu_captions",
            ("dataset_nwpu*.json",),
            _FILE_NAME,
            images=("images", "NWPU_images", "NWPU-RESISC45", "NWPU_RESISC45"),
        ),
        ("NWPU-Captions", "NWPU"),
    ),
    _benchmark(
        "rsitmd.caption",
        "RSITMD captions",
        DataPlace((_RSITMD_JSON, _RSITMD_LISTS.replace("{split}", "test")), _FILE_NAME, rsitmd),
        ("RSITMD", "RSITMD-Captions"),
    ),
    _benchmark(
        "capera.caption",
        "CapERA video captions",
        annotation_file(
            "capera",
            ("CapERA*{split}*.json",),
            "name of the video, as in the annotation (Baseball_001.mp4)",
            images=("SingleFrames/Test", "Videos/Test"),
        ),
        ("CapERA", "CapERA-Captions"),
        "CapERA",
        prompts.VIDEO,
        f"{CAPTION}; {ONE_FRAME}",
    ),
]
