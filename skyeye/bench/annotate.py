"""``skyeye bench annotate``: a scene asked as ``skyeye annotate`` does, against tile by tile with plain ``generate``.

The baseline reads a window, and for each of its questions makes the prompt, encodes the picture and calls the model's
own ``generate``, one after the other, as a script of a few lines would. Both answer the same windows of the same scene
in one process; the answers are compared.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from skyeye.bench.common import alternate, machine, ratios
from skyeye.data.images.windowed import open_windows
from skyeye.generation.limit import room_for_answer, tokens_read
from skyeye.serve.scenes.annotate import Asking, answer_chunk, chunks_of
from skyeye.serve.scenes.ask import ModelAnswerer
from skyeye.serve.scenes.questions import turns_of
from skyeye.serve.scenes.scene import Read, Scene, open_scene, read_ahead


def bench_annotate(
    answerer: ModelAnswerer,
    path: str,
    asking: Asking,
    *,
    windows: int = 64,
    baseline_windows: int = 8,
    pairs: int = 5,
    seconds: float = 120.0,
) -> dict[str, Any]:
    """Measure both in alternating pairs.

    Args:
        path: the scene.
        windows: that a round of ours answers; ``baseline_windows``: one of the baseline, other ones each time.
        pairs, seconds: see :func:`skyeye.bench.common.alternate`.

    Raises:
        SkyEyeError: the scene cannot be read.
    """
    work = _Work(answerer, open_scene(path, asking.cutting, answerer.side), asking, windows, baseline_windows)
    ours, baseline = alternate(work.ours, work.tile_by_tile, pairs, seconds)
    pixels = work.pixels_a_window / 1e6
    place = work.scene.place
    square = None if isinstance(place, str) else pixels * place.metres(work.scene.size) ** 2
    return {
        "benchmark": "annotate",
        "ratio_windows_a_minute": ratios(ours, baseline),
        "ours": _rates(ours, pixels, square) | {"waiting_for_pixels": round(work.waited / work.spent, 4)},
        "tile_by_tile": _rates(baseline, pixels, square),
        "equality": {"answers_compared": work.compared, "answers_differing": work.differing},
        "sizes": {
            "scene": list(work.scene.size),
            "windows": len(work.scene.tiles),
            "questions_a_window": len(turns_of(asking.questions)),
            "windows_together": asking.chunk,
        },
        "machine": machine(answerer.model.device),
    }


def _rates(rates: Sequence[float], megapixels: float, square_kilometres: float | None) -> dict[str, float | None]:
    """The middle of some rates, in windows, megapixels and square kilometres of the scene a minute."""
    middle = sorted(rates)[len(rates) // 2]
    area = None if square_kilometres is None else round(middle * square_kilometres, 4)
    return {
        "windows_a_minute": round(middle, 1),
        "megapixels_a_minute": round(middle * megapixels, 3),
        "square_kilometres_a_minute": area,
    }


class _Work:
    """What both sides answer."""

    def __init__(self, answerer: ModelAnswerer, scene: Scene, asking: Asking, windows: int, baseline_windows: int):
        self.answerer, self.scene, self.asking = answerer, scene, asking
        self.turns = turns_of(asking.questions)
        self.chunks = chunks_of(scene, asking.chunk)[: max(1, -(-windows // asking.chunk))]
        self.asked = [index for _, indices in self.chunks for index in indices]
        self.few = min(baseline_windows, len(self.asked))
        self.said: dict[tuple[int, int], str] = {}
        self.waited = self.spent = 0.0
        self.compared = self.differing = self.rounds = 0

    @property
    def pixels_a_window(self) -> float:
        """Of the scene: what overlaps counts once."""
        cells = [self.scene.tiles[index].cell for index in self.asked]
        return sum((right - left) * (bottom - top) for left, top, right, bottom in cells) / len(cells)

    def ours(self) -> float:
        """Windows a minute."""
        began = last = time.perf_counter()
        for read in read_ahead(self.scene, self.chunks, self.answerer.prepare):
            self.waited += time.perf_counter() - last
            self._keep(read)
            last = time.perf_counter()
        spent = time.perf_counter() - began
        self.spent += spent
        return 60 * len(self.asked) / spent

    def _keep(self, read: Read) -> None:
        for index, answers in answer_chunk(read, self.asking.questions, self.answerer).answers.items():
            self.said.update({(index, number): said.text for number, said in enumerate(answers)})

    @torch.inference_mode()
    def tile_by_tile(self) -> float:
        """Windows a minute."""
        first = self.rounds * self.few
        chosen = [self.asked[(first + number) % len(self.asked)] for number in range(self.few)]
        self.rounds += 1
        began = time.perf_counter()
        with open_windows(self.scene.reference) as reader:
            answers = [self._one(reader, index) for index in chosen]
        spent = time.perf_counter() - began
        for index, texts in zip(chosen, answers, strict=True):
            known = [self.said.get((index, number)) for number in range(len(texts))]
            self.compared += sum(text is not None for text in known)
            self.differing += sum(text is not None and text != other for text, other in zip(known, texts, strict=True))
        return 60 * len(chosen) / spent

    def _one(self, reader: Any, index: int) -> list[str]:
        model, processor = self.answerer.model, self.answerer.processor
        builder, tile = processor.builder, self.scene.tiles[index]
        picture = reader.read(tile.window, tile.every).image
        texts = []
        for turn in self.turns:
            inputs = processor(images=picture, text=builder.style.question(turn)).to(model.device)
            longest = self.answerer.max_new_tokens
            room = room_for_answer(tokens_read(model), inputs["input_ids"][0], longest, "bench")
            ids = model.generate(**inputs, max_new_tokens=room, do_sample=False, eos_token_id=builder.end_token_ids)
            texts.append(processor.decode(ids[0]))
        return texts


def format_text(result: dict[str, Any]) -> str:
    """The result in two lines."""
    ratio, ours, plain = result["ratio_windows_a_minute"], result["ours"], result["tile_by_tile"]
    area = ours["square_kilometres_a_minute"]
    words = "" if area is None else f", {area} km2"
    return (
        f"{ratio['median']} x as fast as tile by tile ({ratio['min']} to {ratio['max']}, {ratio['pairs']} pairs): "
        f"{ours['megapixels_a_minute']} megapixels{words} a minute against {plain['megapixels_a_minute']} megapixels\n"
        f"{ours['waiting_for_pixels']:.1%} of the time waits for pixels; "
        f"{result['equality']['answers_differing']} of {result['equality']['answers_compared']} answers differ"
    )
