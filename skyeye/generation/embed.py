"""Pictures and texts of records as vectors, for benchmarks that compare them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import torch

from skyeye.data.record import Record

_READERS = 4  # threads that read and decode image files


class Embedder(Protocol):
    """A model that compares pictures with texts."""

    device: torch.device

    def embed_images(self, pixel_values: torch.Tensor) -> torch.Tensor: ...

    def embed_texts(self, input_ids: torch.Tensor) -> torch.Tensor: ...


class CaptionProcessor(Protocol):
    """What makes its pixels and ids."""

    def pixels(self, picture: str) -> torch.Tensor: ...

    def caption_ids(self, texts: list[str]) -> torch.Tensor: ...


@torch.no_grad()
def embeddings_as_ready(
    model: Embedder, processor: CaptionProcessor, records: Sequence[Record], batch_size: int = 32
) -> Iterator[tuple[int, tuple[float, ...]]]:
    """(index of a record, its vector of length 1): of its picture, or where it has none, of its first question.

    Args:
        model: in evaluation mode, on the device to use.
        batch_size: changes speed and memory only.
    """
    pictures = [i for i, record in enumerate(records) if record.images]
    texts = [i for i, record in enumerate(records) if not record.images]
    with ThreadPoolExecutor(_READERS) as readers:
        for some in _batches(pictures, batch_size):
            pixels = torch.stack(list(readers.map(processor.pixels, (records[i].images[0] for i in some))))
            yield from _rows(some, model.embed_images(pixels.to(model.device)))
    for some in _batches(texts, batch_size):
        ids = processor.caption_ids([records[i].turns[0].question for i in some])
        yield from _rows(some, model.embed_texts(ids.to(model.device)))


def _batches(places: list[int], size: int) -> Iterator[list[int]]:
    return (places[first : first + size] for first in range(0, len(places), size))


def _rows(places: Sequence[int], vectors: torch.Tensor) -> Iterator[tuple[int, tuple[float, ...]]]:
    return zip(places, map(tuple, vectors.float().cpu().tolist()), strict=True)
