"""Batched greedy answers to the questions of records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from skyeye.data.record import Record
from skyeye.data.sequence import SequenceBuilder, collate_prompts
from skyeye.models.modeling_skyeyegpt import SkyEyeGPTForConditionalGeneration
from skyeye.models.processing_skyeyegpt import SkyEyeGPTProcessor

#: Batches that are laid out together: their images are encoded once, their prompts sorted by length.
WINDOW = 8
_READERS = 4  # threads that read and decode image files


@torch.inference_mode()
def answer(
    model: SkyEyeGPTForConditionalGeneration,
    processor: SkyEyeGPTProcessor,
    records: Sequence[Record],
    *,
    batch_size: int = 32,
    max_new_tokens: int = 20,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Answer the first question of every record, greedily and once.

    Questions about the same images are brought together, so that an image is encoded once however many questions it
    has; among them, prompts of like length share a batch, so that little is padded. The answers do not depend on
    ``batch_size`` (beyond the rounding of half precision).

    Args:
        model: in evaluation mode, on the device to use.
        batch_size: prompts decoded together.
        max_new_tokens: longest answer, in tokens.
        progress: called with the number of answers that have become ready.

    Returns:
        One answer for each record, in their order.
    """
    builder = processor.builder
    answers: dict[int, str] = {}
    with ThreadPoolExecutor(_READERS) as readers:
        for window in _windows(records, WINDOW * batch_size):
            prompts = {i: builder.prompt(len(records[i].images), records[i].turns[0].question) for i in window}
            features = _encode(
                model, processor, [path for i in window for path in records[i].images], batch_size, readers
            )
            window.sort(key=lambda i: len(prompts[i]))
            for start in range(0, len(window), batch_size):
                batch = window[start : start + batch_size]
                shown = [features[path] for i in batch for path in records[i].images]
                texts = _decode(model, processor, builder, [prompts[i] for i in batch], shown, max_new_tokens)
                answers.update(zip(batch, texts, strict=True))
                if progress:
                    progress(len(batch))
    return [answers[i] for i in range(len(records))]


def _windows(records: Sequence[Record], size: int) -> Iterator[list[int]]:
    """Indices of the records in pieces of ``size``, those that show the same images one after the other."""
    places: dict[tuple[str, ...], int] = {}
    order = sorted(range(len(records)), key=lambda i: places.setdefault(records[i].images, len(places)))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _encode(
    model: SkyEyeGPTForConditionalGeneration,
    processor: SkyEyeGPTProcessor,
    paths: Sequence[str],
    batch_size: int,
    readers: ThreadPoolExecutor,
) -> dict[str, torch.Tensor]:
    """Image file -> (tokens_per_image, hidden_size) image tokens; every file is read and encoded once."""
    distinct = list(dict.fromkeys(paths))
    pixels = readers.map(processor.pixels, distinct)
    features: dict[str, torch.Tensor] = {}
    for start in range(0, len(distinct), batch_size):
        chunk = distinct[start : start + batch_size]
        batch = torch.stack([next(pixels) for _ in chunk]).to(model.device)
        features.update(zip(chunk, model.encode_images(batch), strict=True))
    return features


def _decode(
    model: SkyEyeGPTForConditionalGeneration,
    processor: SkyEyeGPTProcessor,
    builder: SequenceBuilder,
    prompts: Sequence[list[int]],
    shown: Sequence[torch.Tensor],
    max_new_tokens: int,
) -> list[str]:
    batch = {name: tensor.to(model.device) for name, tensor in collate_prompts(prompts, builder.pad_token_id).items()}
    ids = model.generate(
        **batch,
        image_features=torch.stack(list(shown)) if shown else None,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        eos_token_id=processor.tokenizer.eos_token_id,
        pad_token_id=builder.pad_token_id,
    )
    return processor.batch_decode(ids)
