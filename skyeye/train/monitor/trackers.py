"""Trackers beside the log: wandb and TensorBoard. Both get the same names, ``<stage>/<key of log.jsonl>``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from skyeye.config.schema import RunConfig
from skyeye.errors import SkyEyeError


@dataclass(frozen=True)
class Shown:
    """One validation answer as a tracker shows it: a picture with the boxes drawn (None without images) and a text."""

    picture: Image.Image | None
    text: str


class Tracker(Protocol):
    """What a tracker can do."""

    def numbers(self, stage: str, step: int, values: dict[str, float]) -> None:
        """Write numbers of a step, counted from 1 within its stage."""

    def samples(self, stage: str, step: int, shown: Sequence[Shown]) -> None:
        """Write validation answers after a step."""

    def finish(self) -> None:
        """Write what is left."""


class Wandb:
    """wandb, offline by default since an unreachable server blocks for minutes. A resumed run goes on under its id."""

    def __init__(self, run: RunConfig, name: str, folder: Path, config: dict[str, Any]):
        import wandb

        kept = folder / "wandb_id.txt"
        self._wandb = wandb
        self._run = wandb.init(
            project=run.wandb_project,
            name=name,
            id=kept.read_text(encoding="utf-8").strip() if kept.is_file() else None,
            resume="allow",
            dir=str(folder),
            mode=run.wandb,
            config=config,
        )
        kept.write_text(self._run.id, encoding="utf-8")
        self._stages: set[str] = set()

    def numbers(self, stage: str, step: int, values: dict[str, float]) -> None:
        self._log(stage, step, values)

    def samples(self, stage: str, step: int, shown: Sequence[Shown]) -> None:
        pictures = [self._wandb.Image(s.picture, caption=s.text) for s in shown if s.picture is not None]
        self._log(stage, step, {"samples": pictures})

    def _log(self, stage: str, step: int, values: dict[str, Any]) -> None:
        if stage not in self._stages:  # drawn over the steps of the stage, not over wandb's own count of calls
            self._stages.add(stage)
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
        self._run.log({f"{stage}/step": step, **{f"{stage}/{key}": value for key, value in values.items()}})

    def finish(self) -> None:
        self._run.finish()


class TensorBoard:
    """Event files in ``folder/tensorboard``."""

    def __init__(self, folder: Path):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def numbers(self, stage: str, step: int, values: dict[str, float]) -> None:
        for key, value in values.items():
            self._writer.add_scalar(f"{stage}/{key}", value, step)
        self._writer.flush()  # a run that is killed has its numbers in the file

    def samples(self, stage: str, step: int, shown: Sequence[Shown]) -> None:
        for number, sample in enumerate(shown):
            if sample.picture is not None:
                pixels = np.asarray(sample.picture.convert("RGB"))
                self._writer.add_image(f"{stage}/samples/{number}", pixels, step, dataformats="HWC")
            # a code block: answers are not Markdown
            indented = "".join(f"    {line}\n" for line in sample.text.splitlines())
            self._writer.add_text(f"{stage}/samples/{number}", indented, step)
        self._writer.flush()

    def finish(self) -> None:
        self._writer.close()


class Trackers:
    """All trackers of a run as one."""

    def __init__(self, trackers: Sequence[Tracker]):
        self.trackers = list(trackers)

    def numbers(self, stage: str, step: int, values: dict[str, float]) -> None:
        for tracker in self.trackers:
            tracker.numbers(stage, step, values)

    def samples(self, stage: str, step: int, shown: Sequence[Shown]) -> None:
        for tracker in self.trackers:
            tracker.samples(stage, step, shown)

    def finish(self) -> None:
        for tracker in self.trackers:
            tracker.finish()


def check_trackers(run: RunConfig) -> None:
    """Refuse a tracker that is not installed, before any data is read.

    Raises:
        SkyEyeError: ``run.tensorboard`` without the package tensorboard.
    """
    if run.tensorboard and find_spec("tensorboard") is None:
        raise SkyEyeError(
            "the package tensorboard is not installed",
            where="run.tensorboard",
            remedy="pip install tensorboard, or set run.tensorboard=false",
        )


def start_trackers(run: RunConfig, name: str, folder: Path, config: dict[str, Any]) -> Trackers:
    """The trackers that the recipe asks for; to be called by the process that writes."""
    trackers: list[Tracker] = []
    if run.wandb != "off":
        trackers.append(Wandb(run, name, folder, config))
    if run.tensorboard:
        trackers.append(TensorBoard(folder))
    return Trackers(trackers)
