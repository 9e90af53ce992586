"""From the mixture to tensors: item i of :class:`MicroBatches` is the i-th micro-batch of this process in a stage.

Everything is a function of the item's number, so a run starts in the middle by starting the count there, and any number
of loader workers gives the same batches.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from skyeye.config.schema import VisionConfig
from skyeye.data.alignment import phrase_boxes, region_targets
from skyeye.data.images import load_image, to_pixels
from skyeye.data.mixture import Mixture
from skyeye.data.sequence import SequenceBuilder, collate
from skyeye.errors import SkyEyeError

#: Pixel tensors kept by each worker; a small data set is then decoded once instead of once per epoch.
PIXEL_CACHE_BYTES = 1 << 30


class MicroBatches(Dataset):
    """The micro-batches of one process.

    A step's ``groups_per_step`` groups are numbered ``step * groups_per_step + j``; micro-batch a of rank r takes the
    j's from ``(a * world + r) * size`` on, ``size`` of them, so that the union over ranks and micro-batches is the same
    set for every number of processes and every accumulation.
    """

    def __init__(
        self,
        mixture: Mixture,
        builder: SequenceBuilder,
        vision: VisionConfig,
        *,
        steps: int,
        groups_per_step: int,
        accumulation: int,
        rank: int,
        world: int,
        regions_grid: tuple[int, int] | None = None,
    ):
        self.mixture, self.builder, self.vision = mixture, builder, vision
        self.steps, self.groups_per_step, self.accumulation = steps, groups_per_step, accumulation
        self.rank, self.world, self.regions_grid = rank, world, regions_grid
        self.size = groups_per_step // (world * accumulation)
        self._pixels: OrderedDict[str, torch.Tensor] = OrderedDict()

    def __len__(self) -> int:
        return self.steps * self.accumulation

    def __getitem__(self, item: int) -> dict[str, torch.Tensor]:
        step, micro = divmod(item, self.accumulation)
        first = step * self.groups_per_step + (micro * self.world + self.rank) * self.size
        groups = [self.mixture.draw(n) for n in range(first, first + self.size)]
        sequences = [self.builder.group(group.records) for group in groups]
        batch = collate(sequences, self.builder.pad_token_id)
        images = [image for group in groups for image in group.images]
        if images:
            batch["pixel_values"] = torch.stack([self._load(image) for image in images])
        if self.regions_grid is not None:
            tokenizer = self.builder.tokenizer
            words, boxes = zip(*(region_targets(group, tokenizer, self.regions_grid) for group in groups), strict=True)
            tokens = self.builder.tokens_per_image
            batch["region_words"] = torch.cat(words).unflatten(0, (-1, tokens))
            batch["region_boxes"] = torch.cat(boxes).unflatten(0, (-1, tokens))
            batch["phrase_boxes"] = phrase_boxes(sequences, tokenizer, batch["input_ids"].shape[1])
        batch["samples"] = torch.tensor(sum(len(group.records) for group in groups))
        return batch

    def _load(self, path: str) -> torch.Tensor:
        if path in self._pixels:
            self._pixels.move_to_end(path)
            return self._pixels[path]
        pixels = to_pixels(load_image(path), self.vision.image_size, self.vision.mean, self.vision.std)
        self._pixels[path] = pixels
        if len(self._pixels) * pixels.numel() * pixels.element_size() > PIXEL_CACHE_BYTES:
            self._pixels.popitem(last=False)
        return pixels


class _ErrorsAsItems(Dataset):
    """Hands an error of the user's over as an item: raised in a worker process it would arrive inside a traceback."""

    def __init__(self, dataset: MicroBatches):
        self.dataset = dataset

    def __getitem__(self, item: int) -> dict[str, torch.Tensor] | SkyEyeError:
        try:
            return self.dataset[item]
        except SkyEyeError as error:
            return error


def micro_batches(dataset: MicroBatches, start_step: int, workers: int) -> Iterator[dict[str, torch.Tensor]]:
    """Iterate over the micro-batches from step ``start_step`` on, decoded ahead by ``workers`` processes.

    Raises:
        SkyEyeError: an image cannot be read, or a record gives no sequence; when its turn comes.
    """
    first = start_step * dataset.accumulation
    loader = DataLoader(
        _ErrorsAsItems(dataset),
        batch_size=None,
        sampler=range(first, len(dataset)),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    for item in loader:
        if isinstance(item, SkyEyeError):
            raise item
        yield item
