"""Greedy answers to the questions of records."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path

import torch

from skyeye.config.schema import ModelConfig
from skyeye.data.record import Record
from skyeye.generation.answerers.base import Reply
from skyeye.generation.certainty import told_tokens
from skyeye.generation.engine import answer_groups
from skyeye.generation.limit import room_for_answer, tokens_read
from skyeye.generation.opening import Opening
from skyeye.generation.requests import PromptGroup
from skyeye.generation.sampling import GREEDY, Sampling
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.precision import resolve_precision
from skyeye.models.pretrained import open_checkpoint
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.quantized import BYTES
from skyeye.models.two_towers import TwoTowers, TwoTowersProcessor
from skyeye.models.two_towers.build import is_own_folder, open_two_towers

#: Encoded images that are kept for further records that show them.
KEPT_IMAGES = 256
_USUAL = Opening()
#: Boxes of all objects of a class are put in the order of their certainty (mAP).
_TOLD = Sampling(log_probabilities=True)
_READERS = 4  # threads that read and decode image files


def open_to_answer(
    checkpoint: str | Path, opening: Opening = _USUAL
) -> tuple[SkyEyeForConditionalGeneration, SkyEyeProcessor]:
    """Model and processor of a checkpoint, in evaluation mode, ready to be asked.

    Raises:
        SkyEyeError: as :func:`~skyeye.models.pretrained.open_checkpoint`.
    """
    device = opening.device or own_device()
    model, processor = open_checkpoint(
        checkpoint,
        base=opening.base,
        precision=lambda values: resolve_precision(opening.dtype, device, values),
        device=device,
        keep_adapters=opening.keep_adapters,
        family=opening.family,
        quantize=opening.dtype if opening.dtype in BYTES else None,
    )
    if opening.resize is not None:
        processor.image_resize = opening.resize
    return model, processor


def open_to_embed(checkpoint: str | Path, opening: Opening = _USUAL) -> tuple[TwoTowers, TwoTowersProcessor] | None:
    """Two towers and their processor, in evaluation mode, in float32; None: the checkpoint is of another model.

    Raises:
        SkyEyeError: as :func:`~skyeye.models.two_towers.build.open_two_towers`.
    """
    base = opening.base if isinstance(opening.base, ModelConfig) and opening.base.text is not None else None
    if base is None and not is_own_folder(Path(checkpoint)):
        return None
    return open_two_towers(checkpoint, base, opening.device or own_device())


def own_device() -> str:
    """The GPU of this process where there is one, else the CPU."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def answers_as_ready(
    model: SkyEyeForConditionalGeneration,
    processor: SkyEyeProcessor,
    records: Sequence[Record],
    *,
    batch_size: int = 32,
    max_new_tokens: int = 20,
) -> Iterator[tuple[int, Reply]]:
    """Answer the first question of every record, greedily and once.

    Questions about the same images are brought together: an image is encoded once however many questions it has, and
    they share its keys and values (:mod:`skyeye.generation.engine`). The answers do not depend on ``batch_size``
    (beyond the rounding of half precision). Those to ``detection`` tell their tokens (:attr:`Reply.told`).

    Args:
        model: in evaluation mode, on the device to use.
        batch_size: questions decoded together.
        max_new_tokens: longest answer, in tokens.

    Yields:
        (index of a record, its answer), in the order in which answers end.

    Raises:
        SkyEyeError: a prompt is longer than what the model reads; the longest questions are tried before any is asked.
    """
    _check_longest(model, processor, records, max_new_tokens)
    places: dict[object, list[int]] = {}
    for i, record in enumerate(records):
        places.setdefault(i if model.projector.reads_text else record.opening, []).append(i)
    groups = list(places.values())
    ends = processor.builder.end_token_ids
    with ThreadPoolExecutor(_READERS) as readers:
        ask = _ask_each if model.projector.reads_text else _ask
        asked = ask(model, processor, [[records[i] for i in group] for group in groups], batch_size, readers)
        prompts = (
            PromptGroup(
                prompts,
                features,
                [room_for_answer(tokens_read(model), ids, max_new_tokens, "eval") for ids in prompts],
                [_TOLD if records[i].task == "detection" else GREEDY for i in group],
            )
            for group, (prompts, features) in zip(groups, asked, strict=True)
        )
        for said in answer_groups(model, prompts, rows=batch_size, eos_token_id=ends):
            told = told_tokens(said.ids, said.log_probabilities, processor)
            ended = bool(set(said.ids) & set(ends))
            yield groups[said.group][said.prompt], Reply(processor.decode(said.ids), cut=not ended, told=told)


def answer(
    model: SkyEyeForConditionalGeneration,
    processor: SkyEyeProcessor,
    records: Sequence[Record],
    *,
    batch_size: int = 32,
    max_new_tokens: int = 20,
) -> list[str]:
    """All answers of :func:`answers_as_ready`, in the order of the records."""
    ready = answers_as_ready(model, processor, records, batch_size=batch_size, max_new_tokens=max_new_tokens)
    texts = {index: reply.text for index, reply in ready}
    return [texts[index] for index in range(len(records))]


def _check_longest(
    model: SkyEyeForConditionalGeneration, processor: SkyEyeProcessor, records: Sequence[Record], longest: int
) -> None:
    """Try the longest question of each number of images: an hour of answers must not end at a question too long."""
    found: dict[int, tuple[int, Record]] = {}
    for record in records:
        letters = len(record.turns[0].question) + len(record.turns[0].system or "")
        if letters > found.get(len(record.images), (-1, record))[0]:
            found[len(record.images)] = letters, record
    for images, (_, record) in found.items():
        prompt = processor.builder.prompt(images, record.turns[:1])
        room_for_answer(tokens_read(model), prompt, longest, f"record {record.id}")


def _ask(
    model: SkyEyeForConditionalGeneration,
    processor: SkyEyeProcessor,
    groups: Sequence[Sequence[Record]],
    batch_size: int,
    readers: ThreadPoolExecutor,
) -> Iterator[tuple[list[list[int]], torch.Tensor | None]]:
    """The prompts of each group and its images (images, tokens_per_image, hidden_size), encoded when they are needed.

    Images are encoded together for as many groups as fill a batch with questions; while these are answered, the files
    of the next are read.
    """
    builder = processor.builder
    encoded: dict[str, torch.Tensor] = {}
    pixels: dict[str, Future[torch.Tensor]] = {}

    def read(batch: Sequence[Sequence[Record]]) -> None:
        for path in _paths(batch):
            if path not in encoded and path not in pixels:
                pixels[path] = readers.submit(processor.pixels, path)

    batches = list(_batches(groups, batch_size))
    for batch, following in zip_longest(batches, batches[1:], fillvalue=()):
        shown = _paths(batch)
        for path in [path for path in encoded if path not in shown][: max(0, len(encoded) - KEPT_IMAGES)]:
            del encoded[path]
        read(batch)
        read(following)
        new = [path for path in shown if path not in encoded]
        for start in range(0, len(new), batch_size):
            chunk = new[start : start + batch_size]
            stacked = torch.stack([pixels.pop(path).result() for path in chunk]).to(model.device)
            # no inference mode: what a layer of the tower keeps for later passes has to serve training, too
            with torch.inference_mode(False), torch.no_grad():
                encoded.update(zip(chunk, model.encode_images(stacked), strict=True))
        for group in batch:
            images = group[0].images
            prompts = [builder.prompt(len(images), record.turns[:1]) for record in group]
            yield prompts, torch.stack([encoded[path] for path in images]) if images else None


def _ask_each(
    model: SkyEyeForConditionalGeneration,
    processor: SkyEyeProcessor,
    groups: Sequence[Sequence[Record]],
    batch_size: int,
    readers: ThreadPoolExecutor,
) -> Iterator[tuple[list[list[int]], torch.Tensor | None]]:
    """The same for a projector that reads the question: every record has image tokens of its own."""
    builder = processor.builder
    for batch in _batches(groups, batch_size):
        records = [record for group in batch for record in group]
        paths = [path for record in records for path in record.images]
        features: torch.Tensor | None = None
        if paths:
            asked = builder.question_ids((len(record.images), record.turns[0]) for record in records)
            pixels = torch.stack(list(readers.map(processor.pixels, paths))).to(model.device)
            with torch.no_grad():
                features = model.encode_images(pixels, None if asked is None else asked.to(model.device))
        start = 0
        for record in records:
            own = slice(start, start := start + len(record.images))
            shown = features[own] if features is not None and record.images else None
            yield [builder.prompt(len(record.images), record.turns[:1])], shown


def _batches(groups: Sequence[Sequence[Record]], size: int) -> Iterator[list[Sequence[Record]]]:
    """Groups in their order, as many at a time as have ``size`` records."""
    batch: list[Sequence[Record]] = []
    for group in groups:
        batch.append(group)
        if sum(map(len, batch)) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _paths(groups: Sequence[Sequence[Record]]) -> dict[str, None]:
    """The image files that groups show, each once, in order."""
    return dict.fromkeys(path for group in groups for path in group[0].images)
