"""What a benchmark is: data (a source below the data root), protocol (how it is asked), metric."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from pathlib import Path

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_with_problems
from skyeye.data.formats.common import Problem
from skyeye.data.images import load_image
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.eval.metrics import Metric


@dataclass(frozen=True)
class Benchmark:
    """One test set with its way of asking and scoring.

    Attributes:
        name: ``"rsvqa_lr"``, as given on the command line.
        title: a line for tables and reports.
        family: what kind of answer is scored; the report and the verdict go by it.
        source: data root -> where the records are.
        metric: (records, answers) -> scores.
        main_metric: the one that tables and the verdict look at.
        max_new_tokens: longest answer asked for.
        metric_words: how the metric is computed, for the protocol.
        keep: which records of the source belong to the benchmark.
        chosen: what the words of a record choose among the objects of its scene; None: the words choose no object, and
            there is no ``deaf`` control.
    """

    name: str
    title: str
    family: str  # captions | vqa | refer | phrase_grounding | classification | identify
    source: Callable[[Path], SourceConfig]
    metric: Metric
    main_metric: str
    max_new_tokens: int
    metric_words: str
    keep: Callable[[Record], bool] = lambda record: True
    chosen: Callable[[Record], Hashable] | None = None

    def load(self, data_root: Path) -> tuple[list[Record], list[Problem]]:
        """The records that can be asked, and what had to be left out (missing or broken images, unreadable records).

        Every image is decoded once here: a broken file is known before the first answer, not after an hour of them.

        Raises:
            SkyEyeError: the data are not there, or nothing of them can be used.
        """
        records, problems = read_with_problems(self.source(data_root), self.name)
        wanted = [record for record in records if self.keep(record)]
        broken = {path: what for path in dict.fromkeys(p for r in wanted for p in r.images) if (what := _broken(path))}
        for record in wanted:
            problems += [
                Problem("unusable image", record.where or record.id, broken[p]) for p in record.images if p in broken
            ]
        usable = [record for record in wanted if not broken.keys() & set(record.images)]
        if not usable:
            first = f"; the first: {problems[0]}" if problems else f" among {len(records)} records of the source"
            raise SkyEyeError(
                f"no record of benchmark {self.name} can be used{first}",
                where=str(data_root),
                remedy="check the data root (--data-root)",
            )
        return _with_unique_ids(usable), problems


def find(data_root: Path, *patterns: str) -> Path:
    """The first file or folder below the data root that one of the patterns names.

    Raises:
        SkyEyeError: none is there; says what was looked for.
    """
    for pattern in patterns:
        found = sorted(data_root.glob(pattern))
        if found:
            return found[0]
    raise SkyEyeError(
        f"nothing here is named {' or '.join(patterns)}",
        where=str(data_root),
        remedy="--data-root is the folder that holds the data sets",
    )


def _broken(path: str) -> str | None:
    """Why an image cannot be used, or None."""
    try:
        load_image(path)
    except SkyEyeError as error:
        return str(error)
    return None


def _with_unique_ids(records: list[Record]) -> list[Record]:
    """Prediction files are joined by id: a second record of the same id gets ``#2`` behind it."""
    seen: dict[str, int] = {}
    result = []
    for record in records:
        seen[record.id] = seen.get(record.id, 0) + 1
        result.append(record if seen[record.id] == 1 else replace(record, id=f"{record.id}#{seen[record.id]}"))
    return result
