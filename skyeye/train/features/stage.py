"""Before a stage: the cache it reads is checked, and what it lacks is computed, by the first process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import torch
from accelerate import Accelerator
from tqdm import tqdm

from skyeye.config.schema import StageConfig
from skyeye.data.mixture import Mixture
from skyeye.errors import SkyEyeError
from skyeye.models.vision import JoinedTowers, VisionTower, build_tower
from skyeye.train.context import RunContext
from skyeye.train.features.build import Extractor, Progress, build
from skyeye.train.features.key import made_from, refuse_inexact
from skyeye.train.features.store import FeatureReader

#: Seconds after which all processes meet while the first one computes: none waits into the time limit of its backend.
MEETING = 20.0


def stage_features(
    accelerator: Accelerator, context: RunContext, stage: StageConfig, mixture: Mixture
) -> FeatureReader | None:
    """The cache of ``stage.feature_cache``, holding every image the stage draws; None when asked to stop before that.

    To be called on all processes, before the model is prepared for the strategy. A request to stop that reached one of
    them is known to ``context.interrupt`` on all of them then.

    Raises:
        SkyEyeError: the stage trains the tower, the cache is made from something else, the disk is too small, an image
            cannot be read; on all processes.
    """
    run, vision, interrupt = context.setup.run, context.setup.model.vision, context.interrupt
    refuse_inexact(stage, context.model.vision_tower)
    tower = whole_tower(context.model)
    made = made_from(tower, vision, run.precision, stage.feature_dtype)
    folder = Path(stage.feature_cache)
    steps = _shown(
        build(
            folder,
            made,
            images_of(mixture),
            Extractor(tower, vision, accelerator.device, run.workers),
            tell=lambda sentence: print(sentence, flush=True),
        )
    )
    error: SkyEyeError | None = None
    with closing(steps):  # left early, it hands the writer's lock back
        while True:
            left, until = False, time.monotonic() + MEETING
            if accelerator.is_main_process:
                try:
                    left = any(time.monotonic() > until or interrupt.asked for _ in steps)
                except SkyEyeError as raised:
                    error = raised
            states = [left, error is not None, interrupt.asked, interrupt.requeue]
            states = torch.tensor(states, dtype=torch.float32, device=accelerator.device)
            going_on, failed, stopping, requeue = accelerator.reduce(states, "sum").tolist()
            if failed:
                raise error or SkyEyeError("the first process could not build the feature cache", where=str(folder))
            if stopping:
                interrupt.asked, interrupt.requeue = True, interrupt.requeue or requeue > 0
                return None
            if not going_on:
                return FeatureReader(folder, made)


def whole_tower(model: torch.nn.Module) -> VisionTower | JoinedTowers:
    """The model's tower or towers; where ZeRO-3 has shared its weights out in an earlier stage, a whole copy.

    The tower itself would then meet the other processes in every layer, and they are not there.
    """
    tower = model.vision_tower
    if not any(hasattr(parameter, "ds_id") for parameter in tower.parameters()):
        return tower
    import deepspeed

    with deepspeed.zero.GatheredParameters(list(tower.parameters())):
        weights = {name: tensor.detach().cpu().clone() for name, tensor in tower.state_dict().items()}
    copy = build_tower(model.config.vision).requires_grad_(False).eval()
    copy.load_state_dict(weights, strict=True, assign=True)  # in the precision they are held in
    return copy


def images_of(mixture: Mixture) -> Iterator[str]:
    """The images a stage draws, in a fixed order."""
    return (image for group in mixture.drawn() for image in group.images)


def _shown(steps: Iterator[Progress]) -> Iterator[Progress]:
    """The same, with a line on the terminal for each part."""
    bar = None
    for progress in steps:
        if progress.total:
            if bar is None or bar.desc != progress.what:
                bar = tqdm(total=progress.total, desc=progress.what, unit="image", mininterval=0.5, dynamic_ncols=True)
            bar.update(progress.done - bar.n)
            if progress.done == progress.total:
                bar.close()
        yield progress
