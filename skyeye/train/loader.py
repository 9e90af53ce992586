"""From the mixture to tensors: item i of :class:`StepPacks` is what this process computes in step i of a stage.

Everything is a function of the step's number, so a run starts in the middle by starting the count there, and any number
of loader workers gives the same packs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from skyeye.config.schema import VisionConfig
from skyeye.data.alignment import phrase_boxes, region_targets
from skyeye.data.images.load import load_image
from skyeye.data.mixture import Mixture
from skyeye.data.packing import fill, merge_same_images, nothing_to_learn, pack_step, single_rows, usable
from skyeye.data.record import MARK, Group, Record
from skyeye.data.sequence import IGNORE_INDEX, GroupSequence, SequenceBuilder, collate_rows, pack, separate_rows
from skyeye.errors import SkyEyeError
from skyeye.launch import processes_of_node
from skyeye.models.losses import places_of, targets_of
from skyeye.models.prefix_attention import FLEX_BLOCK
from skyeye.models.vision import PixelTransform

#: Pixel tensors kept on a machine, by all loader workers of all its processes together; a small data set is then
#: decoded once instead of once per epoch.
PIXEL_CACHE_BYTES = 2 << 30


def caption_of(records: Sequence[Record]) -> Record | None:
    """The first of some records whose answer says in words what the image shows; None: none does."""
    return next((r for r in records if r.images and r.turns[0].answer.strip() and MARK not in r.turns[0].answer), None)


@dataclass(frozen=True)
class StepBatch:
    """What one process computes in one step.

    Attributes:
        packs: micro-batches, each the tensors of a forward pass, and ``samples`` and ``broken``, the number of samples
            that are learnt from and that are not.
        tokens: tokens of the whole step, over all processes.
        places: tokens that all processes could compute while the longest pack of each round is; the rest is idle or
            padding.
        image_tokens: of ``tokens``, those of images.
        operations: floating-point operations of the whole step, for MFU; None: not known.
        samples: ids of the samples of this process.
        problems: (sample id, what is wrong) of those that cannot be learnt from.
    """

    packs: list[dict[str, torch.Tensor]]
    tokens: int
    places: int
    image_tokens: int
    operations: float | None
    samples: list[str]
    problems: list[tuple[str, str]]

    def pin_memory(self) -> StepBatch:
        """The same with its tensors where a GPU can fetch them while the processor goes on; the loader calls it."""
        packs = [{name: tensor.pin_memory() for name, tensor in pack.items()} for pack in self.packs]
        return replace(self, packs=packs)


@dataclass(frozen=True)
class StepDivision:
    """How the groups of a step become packs, and which of them are this process's.

    Attributes:
        images_per_step: over all processes and packs.
        accumulation: packs of a process, at least.
        rank, world: of this process, and how many there are.
        share_prefix: False gives every sample a row of its own, image included: the reference's way, to compare with.
        budget: longest pack in tokens; None: no limit.
    """

    images_per_step: int
    accumulation: int
    rank: int
    world: int
    share_prefix: bool = True
    budget: int | None = None


class PatchFeatures(Protocol):
    """What the frozen tower sees of every image of a stage (:mod:`skyeye.train.features.store`)."""

    def patches_of(self, images: Sequence[str]) -> torch.Tensor:
        """(N, patches, width) for image references."""


class StepPacks(Dataset):
    """The steps of one process.

    Step s takes the groups ``s * images_per_step`` and following, the same for every number of processes and every
    accumulation; all processes divide them in the same way and each computes its own packs.

    A record that gives no sequence, or one longer than the budget, is skipped before the division, by all processes
    alike. Of a group whose image cannot be read only its own process knows: a blank image takes its place, and nothing
    is learnt from it, so that the division stays what it is.

    Args:
        steps: of the stage.
        regions_grid: (rows, columns) of image tokens, where the word-region alignment is learnt.
        features: of every image of the stage; packs then hold ``patches``, not pixels.
        flops: tells the operations of some groups.
        caption_ids: captions -> (N, L) ids, where pictures and captions are compared.
    """

    def __init__(
        self,
        mixture: Mixture,
        builder: SequenceBuilder,
        vision: VisionConfig | list[VisionConfig],
        division: StepDivision,
        *,
        steps: int,
        regions_grid: tuple[int, int] | None = None,
        features: PatchFeatures | None = None,
        flops: Callable[[Sequence[GroupSequence]], float] | None = None,
        caption_ids: Callable[[list[str]], torch.Tensor] | None = None,
    ):
        self.mixture, self.builder, self.vision, self.division = mixture, builder, vision, division
        self.steps, self.regions_grid, self.features, self.flops = steps, regions_grid, features, flops
        self.caption_ids = caption_ids
        self.multiple = FLEX_BLOCK if torch.cuda.is_available() else 1
        self._load = PixelCache(lambda path: load_pixels(path, self.vision))

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> StepBatch:
        sequences, skipped = self._sequences(step)
        division = self.division
        processes = pack_step(
            sequences, division.world, division.accumulation, division.budget, padded=not division.share_prefix
        )
        rounds = zip(*([self._places(groups) for groups in packs] for packs in processes), strict=True)
        everything = [sequence for packs in processes for groups in packs for sequence in groups]
        own = processes[self.division.rank]
        packs, unreadable = zip(*map(self._tensors, own), strict=True)
        if self.division.rank > 0:  # what all know, one says
            skipped = []
        packs[0]["broken"] += len(skipped)
        return StepBatch(
            packs=list(packs),
            tokens=sum(self._rows(everything)),
            places=sum(max(round) * self.division.world for round in rounds),
            image_tokens=self.builder.tokens_per_image * sum(len(group.images) for group in everything),
            operations=None if self.flops is None else self.flops(everything),
            samples=[branch.record.id for groups in own for group in groups for branch in group.branches],
            problems=skipped + [problem for problems in unreadable for problem in problems],
        )

    def _rows(self, groups: Sequence[GroupSequence]) -> list[int]:
        """Tokens of the rows that a pack of these groups has: all of them in one, or a row for every sample."""
        if self.division.share_prefix:
            return [sum(map(len, groups))]
        return list(map(len, groups))

    def _places(self, groups: Sequence[GroupSequence]) -> int:
        """Places of a pack, padding included."""
        rows = self._rows(groups)
        if self.division.share_prefix:
            return -(-rows[0] // self.multiple) * self.multiple
        return len(rows) * max(rows)

    def longest(self, step: int) -> dict[str, torch.Tensor] | None:
        """A pack as long as the budget allows, of the groups of a step; None without a budget."""
        if self.division.budget is None:
            return None
        padded = not self.division.share_prefix
        tensors, _ = self._tensors(fill(self._sequences(step)[0], self.division.budget, padded=padded))
        del tensors["samples"], tensors["broken"]
        return tensors

    def _sequences(self, step: int) -> tuple[list[GroupSequence], list[tuple[str, str]]]:
        """The groups of a step over all processes, and what was skipped of them; one for each row that is computed."""
        first = step * self.division.images_per_step
        groups = [self.mixture.draw(n) for n in range(first, first + self.division.images_per_step)]
        sequences: list[GroupSequence] = []
        skipped: list[tuple[str, str]] = []
        for group in merge_same_images(groups):
            sequence, problems = usable(self.builder, group, self.division.budget)
            skipped += problems
            if sequence is not None:
                shared = self.division.share_prefix and self.builder.style.shares_prefix
                sequences += [sequence] if shared else single_rows([sequence])
        if skipped:  # every process needs something to compute, or the others wait for it
            missing = self.division.world * self.division.accumulation - sum(
                len(sequence.branches) for sequence in sequences
            )
            sequences += [nothing_to_learn(self.builder.pad_token_id) for _ in range(missing)]
        return sequences, skipped

    def _tensors(self, groups: Sequence[GroupSequence]) -> tuple[dict[str, torch.Tensor], list[tuple[str, str]]]:
        """The tensors of one micro-batch, and the samples whose images cannot be read."""
        unreadable: dict[int, str] = {}
        if self.division.share_prefix:
            batch = pack(groups, self.builder.pad_token_id, self.multiple)
        else:
            batch = collate_rows(separate_rows(groups), self.builder.pad_token_id)
        images = [image for group in groups for image in group.images]
        if self.features is not None:
            # Also without images, as (0, patches, width): under ZeRO-3 all processes run the tower or none.
            batch["patches"] = self.features.patches_of(images)
        elif images:
            batch["pixel_values"] = torch.stack(self._pictures(groups, unreadable))
            asked = [(len(group.images), group.branches[0].record.turns[0]) for group in groups if group.images]
            if (question_ids := self.builder.question_ids(asked)) is not None:  # a row for every question
                batch["question_ids"] = question_ids
        if self.regions_grid is not None:
            tokenizer, tokens = self.builder.tokenizer, self.builder.tokens_per_image
            shown = [Group(group.images, tuple(branch.record for branch in group.branches)) for group in groups]
            words, boxes = zip(*(region_targets(group, tokenizer, self.regions_grid) for group in shown), strict=True)
            batch["region_words"] = torch.cat(words).unflatten(0, (-1, tokens))
            batch["region_boxes"] = torch.cat(boxes).unflatten(0, (-1, tokens))
            batch["phrase_boxes"] = phrase_boxes(groups, tokenizer, batch["input_ids"].shape[1])
        if self.caption_ids is not None:
            batch |= self._pairs(groups, unreadable)
        for number in unreadable:
            self._learn_nothing(batch, groups, number)
        fine = [group for number, group in enumerate(groups) if number not in unreadable]
        problems = [(branch.record.id, why) for number, why in unreadable.items() for branch in groups[number].branches]
        batch["target_places"] = places_of(targets_of(batch["labels"]))
        batch["samples"] = torch.tensor(sum(not set(b.labels) <= {IGNORE_INDEX} for g in fine for b in g.branches))
        batch["broken"] = torch.tensor(len(problems))
        return batch, problems

    def _pairs(self, groups: Sequence[GroupSequence], unreadable: Mapping[int, str]) -> dict[str, torch.Tensor]:
        """A caption for every image of the pack; without one, and of a group of several images, nothing is compared."""
        captions, paired, seen = [], [], set()
        for number, group in enumerate(groups):
            found = caption_of([branch.record for branch in group.branches])
            whole = found is not None and len(group.images) == 1 and number not in unreadable
            whole = whole and group.images not in seen  # rows of one image with a copy of it each are one pair
            seen.add(group.images)
            captions += ["" if found is None else found.turns[0].answer] * len(group.images)
            paired += [whole] * len(group.images)
        if not captions:  # a pack of texts alone takes part with the others'
            captions, paired = [""], [False]
        return {"caption_ids": self.caption_ids(captions), "paired": torch.tensor(paired)}

    def _pictures(self, groups: Sequence[GroupSequence], unreadable: dict[int, str]) -> list[torch.Tensor]:
        """The pixels of all images in order; blank ones for a group that ``unreadable`` then names."""
        pictures = []
        for number, group in enumerate(groups):
            try:
                loaded = [self._load(image) for image in group.images]
            except SkyEyeError as error:
                unreadable[number] = str(error)
                loaded = [torch.zeros(PixelTransform.of(self.vision).shape) for _ in group.images]
            pictures += loaded
        return pictures

    def _learn_nothing(self, batch: dict[str, torch.Tensor], groups: Sequence[GroupSequence], number: int) -> None:
        """Take every target of a group out of a micro-batch."""
        if not self.division.share_prefix:
            batch["labels"][number] = IGNORE_INDEX
            return
        places = batch["group_ids"] == number
        batch["labels"][places] = IGNORE_INDEX
        if self.regions_grid is not None:
            first = sum(len(group.images) for group in groups[:number])
            for name in ("region_words", "region_boxes"):
                batch[name][first : first + len(groups[number].images)] = IGNORE_INDEX
            batch["phrase_boxes"][places] = IGNORE_INDEX


class PixelCache:
    """Pixels of image files, the latest kept up to this process's share of :data:`PIXEL_CACHE_BYTES`."""

    def __init__(self, load: Callable[[str], torch.Tensor]):
        self.load = load
        self._pixels: OrderedDict[str, torch.Tensor] = OrderedDict()

    def __call__(self, path: str) -> torch.Tensor:
        """Pixels of a file."""
        if path in self._pixels:
            self._pixels.move_to_end(path)
            return self._pixels[path]
        pixels = self.load(path)
        self._pixels[path] = pixels
        if len(self._pixels) * pixels.numel() * pixels.element_size() > PIXEL_CACHE_BYTES / keepers():
            self._pixels.popitem(last=False)
        return pixels


def keepers() -> int:
    """How many processes of this machine keep pixels: the loader workers of each training process, or that itself."""
    worker = get_worker_info()
    return processes_of_node() * (1 if worker is None else worker.num_workers)


def load_pixels(reference: str, vision: VisionConfig | list[VisionConfig]) -> torch.Tensor:
    """Pixels float32 of an image reference: the transform of training, the same each time.

    Their shape is (3, S, S), for several towers (values,); see :mod:`skyeye.models.vision.pixels`.
    """
    return PixelTransform.of(vision)(load_image(reference))


class _ErrorsAsItems(Dataset):
    """Hands an error of the user's over as an item: raised in a worker process it would arrive inside a traceback."""

    def __init__(self, dataset: StepPacks):
        self.dataset = dataset

    def __getitem__(self, step: int) -> StepBatch | SkyEyeError:
        try:
            return self.dataset[step]
        except SkyEyeError as error:
            return error


def step_batches(dataset: StepPacks, todo: Sequence[int], workers: int) -> Iterator[StepBatch]:
    """Iterate over the steps of the given numbers, decoded ahead by ``workers`` processes.

    Raises:
        SkyEyeError: a shard or a cache cannot be read; when its turn comes.
    """
    loader = DataLoader(
        _ErrorsAsItems(dataset),
        batch_size=None,
        sampler=todo,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    for item in loader:
        if isinstance(item, SkyEyeError):
            raise item
        yield item
