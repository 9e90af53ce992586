"""What a person sees of a run: a line in the terminal, a JSON-lines log, a picture of the loss, the trackers."""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from skyeye.config.schema import RunConfig
from skyeye.data.files import append_line
from skyeye.run_log import read_log
from skyeye.train.monitor.background import CHORES
from skyeye.train.monitor.trackers import Tracker
from skyeye.train.setup import PlannedStage

#: Numbers of a line that say where it stands rather than how the training goes; trackers do without them.
_PLACES = ("stage", "step", "steps", "time", "seconds_left")


@dataclass(frozen=True)
class StepReport:
    """What a finished step was like, over the global batch.

    Attributes:
        loss: on this process's device.
        samples, targets: questions and supervised tokens.
        tokens, places: tokens, and what the processes compute or wait for in that time.
        seconds, waited: time of the step, and the part of it spent waiting for data.
        packs: micro-batches of a process.
        image_tokens: of ``tokens``, those of images.
        operations: floating-point operations; None: not known.
    """

    loss: float
    learning_rate: float
    gradient_norm: float | None
    samples: int
    targets: int
    tokens: int
    places: int
    seconds: float
    waited: float
    packs: int = 1
    image_tokens: int = 0
    operations: float | None = None


class Monitor:
    """Collects the steps of one stage. Only the process that ``writes`` prints and keeps a log.

    Args:
        start_step: finished steps of the stage.
        peak: floating-point operations per second of all devices together, for MFU; None: not known.
        device: whose memory is told; on a CPU it is that of this process.
    """

    def __init__(
        self,
        folder: Path,
        run: RunConfig,
        stage: PlannedStage,
        *,
        start_step: int,
        writes: bool,
        tracker: Tracker | None = None,
        peak: float | None = None,
        device: torch.device | None = None,
    ):
        self.folder, self.run, self.stage, self.writes, self.tracker = folder, run, stage, writes, tracker
        self.peak, self.device = peak, device or torch.device("cpu")
        self._began, self._done = time.perf_counter(), 0
        self._clear()
        self._bar = tqdm(
            total=stage.steps,
            initial=start_step,
            desc=stage.name,
            unit="step",
            disable=not writes,
            mininterval=0.5 if sys.stderr.isatty() else 15.0,
            dynamic_ncols=True,
        )

    def wants(self, step: int) -> bool:
        """Whether the loss of this step is written down (and so has to be summed over the processes)."""
        return (step + 1) % self.run.log_every == 0 or step + 1 == self.stage.steps

    def step(self, step: int, report: StepReport) -> None:
        """Count one finished step; every ``log_every`` steps, write a line.

        Rates are those of the time spent in steps; what lies between them (saving, validation answers) is told apart.

        Args:
            step: 0-based number of the step within its stage.

        Raises:
            SkyEyeError: the line cannot be written.
        """
        self._samples += report.samples
        self._targets += report.targets
        self._tokens += report.tokens
        self._image_tokens += report.image_tokens
        self._operations += math.nan if report.operations is None else report.operations
        self._places += report.places
        self._waited += report.waited
        self._spent += report.seconds
        self._done += 1
        if self.wants(step) and self.writes:
            line = self._line(step, report)
            append_line(self.folder / "log.jsonl", json.dumps(line, allow_nan=False))
            if self.tracker is not None:
                numbers = {key: v for key, v in line.items() if key not in _PLACES and v is not None}
                self.tracker.numbers(self.stage.name, step + 1, numbers)
            self._bar.set_postfix_str(_postfix(line), refresh=False)
            self._clear()
        self._bar.update(step + 1 - self._bar.n)  # a run that went back has fewer steps behind it

    def _line(self, step: int, report: StepReport) -> dict[str, Any]:
        """The line of ``log.jsonl`` about a step and those before it that have none."""
        waiting = time.perf_counter()
        # the reference's normalisation sums the means of the packs, and their mean is told
        packs = report.packs if self.stage.settings.loss_normalisation == "micro_batch" else 1
        loss = float(report.loss) / packs
        norm = None if report.gradient_norm is None else _finite(float(report.gradient_norm))
        now = time.perf_counter()
        spent = self._spent + now - waiting  # a GPU may still be busy with what was asked of it
        return {
            "stage": self.stage.name,
            "step": step + 1,
            "steps": self.stage.steps,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "loss": _finite(loss),
            "learning_rate": report.learning_rate,
            "gradient_norm": norm,
            "samples_per_second": round(self._samples / spent, 2),
            "tokens_per_second": round(self._tokens / spent, 1),
            "supervised_tokens_per_second": round(self._targets / spent, 1),
            "image_tokens_per_second": round(self._image_tokens / spent, 1),
            "mfu": _finite(round(self._operations / spent / self.peak, 4)) if self.peak else None,
            "padding_share": round(1 - self._tokens / self._places, 4),
            "data_wait_share": round(self._waited / spent, 4),
            "memory_peak_gib": round(memory_peak(self.device) / 2**30, 3),
            "step_seconds": round(report.seconds, 4),
            "pause_seconds": round(max(0.0, now - self._since - spent), 3),
            "seconds_left": round((now - self._began) / self._done * (self.stage.steps - step - 1), 1),
        }

    def _clear(self) -> None:
        self._since, self._waited, self._spent, self._operations = time.perf_counter(), 0.0, 0.0, 0.0
        self._samples = self._targets = self._tokens = self._places = self._image_tokens = 0

    def close(self) -> None:
        """End the terminal line and draw the loss so far."""
        self._bar.close()
        if self.writes:
            CHORES.add("drawing loss.png", draw_loss_curve, self.folder)


def memory_peak(device: torch.device) -> int:
    """Most bytes so far: what torch held on a GPU, or the resident memory of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def draw_loss_curve(folder: Path) -> None:
    """Draw ``loss.png`` from ``log.jsonl``: the loss over all stages, a colour each."""
    lines = read_log(folder / "log.jsonl")
    if not lines:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4))
    offset = 0
    for name in dict.fromkeys(line["stage"] for line in lines):
        points = [(line["step"], line.get("loss")) for line in lines if line["stage"] == name]
        axes.plot(
            [offset + step for step, _ in points],
            [math.nan if loss is None else loss for _, loss in points],
            label=name,
        )
        offset += points[-1][0]
    axes.set_xlabel("step")
    axes.set_ylabel("loss per supervised token")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(folder / "loss.png", dpi=110)
    pyplot.close(figure)


def _postfix(line: dict[str, Any]) -> str:
    """The short form of a line for the terminal; the bar itself tells the time left."""
    loss = math.nan if line["loss"] is None else line["loss"]
    words = [f"loss {loss:.3f}", f"lr {line['learning_rate']:.1e}", f"{line['samples_per_second']:.0f} samples/s"]
    words.append(f"{line['tokens_per_second']:.0f} tokens/s")
    if line["mfu"] is not None:
        words.append(f"MFU {line['mfu']:.0%}")
    return ", ".join([*words, f"data wait {line['data_wait_share']:.0%}", f"{line['memory_peak_gib']:.1f} GiB"])


def _finite(value: float) -> float | None:
    """JSON knows no NaN and no infinity."""
    return value if math.isfinite(value) else None
