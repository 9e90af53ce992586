"""From the mixture to pairs of a picture and a caption: what a contrastive stage learns from.

Every draw of the mixture is an image with at most ``questions_per_image`` of its records; the answer of the first of
them that is a plain text is its caption. Images that are drawn twice in a step are one pair.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from skyeye.data.mixture import Mixture
from skyeye.data.packing import merge_same_images
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.models.two_towers import TwoTowersProcessor
from skyeye.train.loader import PixelCache, StepBatch, caption_of


class StepPairs(Dataset):
    """The steps of one process; a step divides its pairs among the processes in turn.

    A picture that cannot be read is blank and takes no part in the loss, so that all processes have something to
    compute.

    Args:
        images_per_step: over all processes.
        rank, world: of this process, and how many there are.
        steps: of the stage.
    """

    def __init__(
        self,
        mixture: Mixture,
        processor: TwoTowersProcessor,
        *,
        images_per_step: int,
        rank: int,
        world: int,
        steps: int,
    ):
        self.mixture, self.processor = mixture, processor
        self.images_per_step, self.rank, self.world, self.steps = images_per_step, rank, world, steps
        self.pixels = PixelCache(processor.pixels)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> StepBatch:
        first = step * self.images_per_step
        groups = merge_same_images([self.mixture.draw(n) for n in range(first, first + self.images_per_step)])
        chosen = [(group, caption_of(group.records)) for group in groups]
        records = [record for _, record in chosen if record is not None]
        wordless = [(group.records[0].id, "has no caption") for group, record in chosen if record is None]
        pack, problems = self._tensors(records[self.rank :: self.world])
        problems += wordless if self.rank == 0 else []
        pack["broken"] = torch.tensor(len(problems))
        ids = pack["caption_ids"]
        return StepBatch(
            packs=[pack],
            tokens=ids.shape[1] * len(records),
            places=ids.shape[1] * len(records),
            image_tokens=0,
            operations=None,
            samples=[record.id for record in records[self.rank :: self.world]],
            problems=problems,
        )

    def longest(self, step: int) -> None:
        """Every step takes as much memory as any other."""

    def _tensors(self, records: Sequence[Record]) -> tuple[dict[str, torch.Tensor], list[tuple[str, str]]]:
        pixels, paired, problems = [], [], []
        for record in records:
            try:
                pixels.append(self.pixels(record.images[0]))
                paired.append(True)
            except SkyEyeError as error:
                pixels.append(self._blank())
                paired.append(False)
                problems.append((record.id, str(error)))
        captions = [record.turns[0].answer for record in records]
        if not records:  # fewer pairs than processes: the others wait for this one
            pixels, paired, captions = [self._blank()], [False], [""]
        return {
            "pixel_values": torch.stack(pixels),
            "caption_ids": self.processor.caption_ids(captions),
            "paired": torch.tensor(paired),
            "samples": torch.tensor(sum(paired)),
        }, problems

    def _blank(self) -> torch.Tensor:
        return torch.zeros(self.processor.transform.shape)
