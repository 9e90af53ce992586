"""What a person sees of a run: a line in the terminal, a JSON-lines log, a picture of the loss, wandb when asked."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from skyeye.config.schema import RunConfig, StageConfig


class Monitor:
    """Collects the steps of one stage. Only the process that ``writes`` prints and keeps a log."""

    def __init__(
        self, folder: Path, run: RunConfig, stage: StageConfig, *, start_step: int, writes: bool, tracker: Any = None
    ):
        self.folder, self.run, self.stage, self.writes, self.tracker = folder, run, stage, writes, tracker
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

    def step(
        self,
        step: int,
        *,
        loss: torch.Tensor,
        learning_rate: float,
        gradient_norm: Any,
        samples: int,
        targets: int,
        tokens: int,
        places: int,
        seconds: float,
        waited: float,
    ) -> None:
        """Count one finished step; every ``log_every`` steps, write a line.

        Args:
            step: 0-based number of the step within its stage.
            loss: loss of the global batch, on this process's device.
            samples, targets: questions and supervised tokens of the global batch.
            tokens, places: tokens of the global batch, and what the processes compute or wait for in that time.
            seconds, waited: time of the step, and the part of it spent waiting for data.
        """
        self._samples += samples
        self._targets += targets
        self._tokens += tokens
        self._places += places
        self._waited += waited
        if self.wants(step) and self.writes:
            elapsed = time.perf_counter() - self._since
            line = {
                "stage": self.stage.name,
                "step": step + 1,
                "loss": float(loss),
                "learning_rate": learning_rate,
                "gradient_norm": None if gradient_norm is None else float(gradient_norm),
                "samples_per_second": round(self._samples / elapsed, 2),
                "supervised_tokens_per_second": round(self._targets / elapsed, 1),
                "tokens_per_second": round(self._tokens / elapsed, 1),
                "padding_share": round(1 - self._tokens / self._places, 4),
                "data_wait_share": round(self._waited / elapsed, 4),
                "step_seconds": round(seconds, 4),
            }
            with open(self.folder / "log.jsonl", "a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            if self.tracker is not None:
                self.tracker.log({f"{self.stage.name}/{key}": value for key, value in line.items() if key != "stage"})
            self._bar.set_postfix_str(
                f"loss {line['loss']:.3f}, lr {learning_rate:.1e}, {line['samples_per_second']:.0f} samples/s",
                refresh=False,
            )
            self._clear()
        self._bar.update(1)

    def _clear(self) -> None:
        self._since, self._waited = time.perf_counter(), 0.0
        self._samples = self._targets = self._tokens = self._places = 0

    def close(self) -> None:
        """End the terminal line and draw the loss so far."""
        self._bar.close()
        if self.writes:
            draw_loss_curve(self.folder)


def draw_loss_curve(folder: Path) -> None:
    """Draw ``loss.png`` from ``log.jsonl``: the loss over all stages, a colour each."""
    path = folder / "log.jsonl"
    if not path.exists():
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4))
    stages: dict[str, list[tuple[int, float]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        stages.setdefault(entry["stage"], []).append((entry["step"], entry["loss"]))
    offset = 0
    for name, points in stages.items():
        axes.plot(
            [offset + step for step, _ in points],
            [loss if math.isfinite(loss) else math.nan for _, loss in points],
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


def start_tracker(run: RunConfig, name: str, folder: Path, config: dict[str, Any]) -> Any:
    """A wandb run when the recipe asks for one; offline by default, since an unreachable server blocks for minutes."""
    if run.wandb == "off":
        return None
    import wandb

    return wandb.init(project=run.wandb_project, name=name, dir=str(folder), mode=run.wandb, config=config)
