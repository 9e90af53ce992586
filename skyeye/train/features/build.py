"""Compute what a feature cache lacks: digests first, then size and time, then batch after batch through the tower."""

from __future__ import annotations

import dataclasses
import platform
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from skyeye.config.schema import VisionConfig
from skyeye.errors import SkyEyeError
from skyeye.models.vision import JoinedTowers, VisionTower
from skyeye.train.features.contents import Contents, changed_meanwhile
from skyeye.train.features.key import DTYPES, MANIFEST, row_bytes, row_shape
from skyeye.train.features.store import ENTRY, NAMES, FeatureReader, FeatureWriter
from skyeye.train.loader import load_pixels

#: Pictures through the tower at once. Always as many (the last batch repeats a picture): some kernels round otherwise
#: for a batch of one, and a build that goes on after an interruption has to give the same bytes.
BATCH = 16
#: Units of :func:`in_bytes`.
_UNITS = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}
#: Left free on the disk.
RESERVE = 1 << 28


@dataclass(frozen=True)
class Extractor:
    """What computes rows: frozen towers and the pictures as they take them, a device, processes that decode them."""

    tower: VisionTower | JoinedTowers
    vision: VisionConfig | list[VisionConfig]
    device: torch.device
    workers: int


@dataclass(frozen=True)
class BuildPlan:
    """What there is to do.

    Attributes:
        references: names of pictures that were looked at.
        distinct: different pictures among them.
        missing: (digest, reference) of each picture that has no sound row yet.
        row_bytes: size of a row.
        cut_off: rows that ``rows.bin`` has lost at its end; their pictures are missing.
    """

    references: int
    distinct: int
    missing: list[tuple[bytes, str]]
    row_bytes: int
    cut_off: int

    @property
    def bytes(self) -> int:
        """What will be written."""
        return len(self.missing) * (self.row_bytes + ENTRY.itemsize)

    def format_text(self) -> str:
        """One line for people."""
        lost = f"; rows.bin was cut short by {self.cut_off} rows" if self.cut_off else ""
        return (
            f"{self.references} images, {self.distinct} different; {len(self.missing)} to compute,"
            f" {in_bytes(self.row_bytes)} each: {in_bytes(self.bytes)}{lost}"
        )


@dataclass(frozen=True)
class Progress:
    """How far a build is: ``done`` of ``total``, and seconds left at the pace so far (None: not known yet)."""

    what: str
    done: int
    total: int
    seconds_left: float | None = None


def build(
    folder: Path,
    made: dict[str, Any],
    references: Iterable[str],
    extractor: Extractor,
    *,
    tell: Callable[[str], None],
    verify: bool = False,
    limit: int | None = None,
) -> Iterator[Progress]:
    """Bring a cache up to all the pictures. An iteration that is left in the middle loses the batch it was in.

    Args:
        folder: of the cache; it need not exist.
        made: what the features are made from, see :func:`~skyeye.train.features.key.made_from`.
        references: the pictures; a name that comes twice counts once.
        tell: is given size and other facts as sentences.
        verify: read every row first; damaged ones are computed again.
        limit: compute so many pictures at most.

    Raises:
        SkyEyeError: the cache is made from something else or damaged, another process writes it, the disk is too
            small, a picture cannot be read, or the tower gives values that the type of the rows cannot hold.
    """
    contents = Contents(folder / NAMES)
    plan = yield from _plan(folder, made, references, contents, verify)
    tell(f"feature cache {folder}: {plan.format_text()}")
    if limit is not None:
        plan = dataclasses.replace(plan, missing=plan.missing[:limit])
    if not plan.missing:
        _remember(folder, made, extractor.device, contents, tell)
        return
    refuse_without_room(folder, plan)
    with FeatureWriter(folder, made, made_with(extractor.device)) as writer:
        writer.remember(contents)
        yield from _compute(writer, made, plan.missing, contents, extractor)


def _plan(
    folder: Path, made: dict[str, Any], references: Iterable[str], contents: Contents, verify: bool
) -> Generator[Progress, None, BuildPlan]:
    have: set[bytes] = set()
    cut_off = 0
    if (folder / MANIFEST).is_file():
        reader = FeatureReader(folder, made, repair=True)
        cut_off, rows = reader.cut_off, reader.rows()
        for number, row in enumerate(rows, start=1):
            if not verify or reader.is_sound(row):
                have.add(reader.content(row))
            if verify:
                yield Progress("checking rows", number, len(rows))
    names: dict[str, None] = {}
    for reference in references:
        names[reference] = None
        yield Progress("listing images", 0, 0)
    first: dict[bytes, str] = {}
    for number, reference in enumerate(names, start=1):
        first.setdefault(contents.digest(reference), reference)
        yield Progress("reading images", number, len(names))
    missing = [(content, reference) for content, reference in first.items() if content not in have]
    return BuildPlan(len(names), len(first), missing, row_bytes(made), cut_off)


def _remember(
    folder: Path, made: dict[str, Any], device: torch.device, contents: Contents, tell: Callable[[str], None]
) -> None:
    """Nothing is missing, so a cache that cannot be written now is as good; files are only read again each time."""
    if not contents.news:
        return
    try:
        with FeatureWriter(folder, made, made_with(device)) as writer:
            writer.remember(contents)
    except SkyEyeError as error:
        tell(f"the digests of {len(contents.news)} images are not kept, each use reads the file: {error}")


def refuse_without_room(folder: Path, plan: BuildPlan) -> None:
    """Raises :class:`SkyEyeError` when the disk of ``folder`` has too little room for what the plan would write."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if plan.bytes + RESERVE > free:
        raise SkyEyeError(
            f"the feature cache needs {in_bytes(plan.bytes)} more; the disk has {in_bytes(free)} free, of which"
            f" {in_bytes(RESERVE)} stay free",
            where=str(folder),
            remedy="choose a folder on another disk, a dtype of half the size, or fewer images (--limit)",
        )


def _compute(
    writer: FeatureWriter,
    made: dict[str, Any],
    missing: Sequence[tuple[bytes, str]],
    contents: Contents,
    extractor: Extractor,
) -> Iterator[Progress]:
    """Compute rows in their order; each step of the iteration is a batch on the disk."""
    tower = extractor.tower.to(extractor.device).eval()
    batches = [missing[at : at + BATCH] for at in range(0, len(missing), BATCH)]
    loader = DataLoader(_Batches(batches, extractor.vision, contents), batch_size=None, num_workers=extractor.workers)
    done, began, warm = 0, 0.0, 0
    for batch, pixels in zip(batches, loader, strict=True):
        if isinstance(pixels, SkyEyeError):
            raise pixels
        seen = encode_patches(tower, pixels.to(extractor.device), made["precision"])[: len(batch)].float().cpu()
        rows = seen.to(row_shape(made)[2])
        bad = ~torch.isfinite(rows).flatten(1).all(1)
        if bool(bad.any()):
            own = not bool(torch.isfinite(seen).all())
            raise SkyEyeError(
                "the tower gives infinite values" if own else f"the values do not fit into {made['row']['dtype']}",
                where=batch[int(bad.nonzero()[0])][1],
                remedy="check the tower's weights" if own else "use feature_dtype: bf16 or fp32, in a new folder",
            )
        writer.append([content for content, _ in batch], rows)
        done += len(batch)
        now = time.perf_counter()
        left = (now - began) / (done - warm) * (len(missing) - done) if warm else None
        if not warm:  # the first batch also starts processes and kernels: it says nothing of the pace
            warm, began = done, now
        yield Progress("computing features", done, len(missing), left)


def encode_patches(tower: VisionTower | JoinedTowers, pixels: torch.Tensor, precision: str) -> torch.Tensor:
    """What a training step under ``run.precision`` sees: ``encode_patches`` of a model, by the tower alone.

    Args:
        pixels: (N, 3, S, S), for several towers (N, values), on the tower's device.

    Returns:
        (N, patches, width).
    """
    kind, half = pixels.device.type, DTYPES[precision]
    with torch.no_grad(), torch.autocast(kind, None if precision == "fp32" else half, enabled=precision != "fp32"):
        return tower.patches(pixels.to(tower.dtype))


def in_bytes(number: int) -> str:
    """A size for people, ``2.88 MB``."""
    unit, size = next((unit, size) for unit, size in _UNITS.items() if number >= 0.1 * size or unit == "kB")
    return f"{number / size:.3g} {unit}"


def made_with(device: torch.device) -> dict[str, str]:
    """For people: what computed a cache. It takes no part in the key."""
    libraries = {name: version(name) for name in ("torch", "timm", "pillow")}
    return {**libraries, "device": device.type, "platform": platform.platform()}


class _Batches(Dataset):
    """Pixels of whole batches; an error of the user's comes as an item, as in the training loader."""

    def __init__(
        self,
        batches: Sequence[Sequence[tuple[bytes, str]]],
        vision: VisionConfig | list[VisionConfig],
        contents: Contents,
    ):
        self.batches, self.vision, self.contents = batches, vision, contents

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> torch.Tensor | SkyEyeError:
        try:
            pixels = [self._load(*member) for member in self.batches[number]]
        except SkyEyeError as error:
            return error
        return torch.stack(pixels + pixels[-1:] * (BATCH - len(pixels)))

    def _load(self, content: bytes, reference: str) -> torch.Tensor:
        pixels = load_pixels(reference, self.vision)
        # the digest was taken earlier: between the two the file may have been written
        if self.contents.digest(reference) != content:
            raise changed_meanwhile(reference)
        return pixels
