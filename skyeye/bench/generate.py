"""``skyeye bench generate``: answers per second with shared prefixes against plain generation, in one process.

The weights are random, so no answer would end by itself: every answer has a given length, that of the distribution, and
there is no end token. Questions of one kind open with the same tokens, as they do in real data.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from statistics import median
from typing import Any

import torch

from skyeye.bench.common import alternate, machine, ratios
from skyeye.bench.model import sizes
from skyeye.data.sequence import IGNORE_INDEX, GroupSequence, collate_prompts
from skyeye.errors import SkyEyeError
from skyeye.generation.engine import SharedGeneration, can_share
from skyeye.generation.requests import PromptGroup
from skyeye.models.modeling import SkyEyeForConditionalGeneration

#: Tokens that all questions about an image open with: ``</Img> [vqa]`` in LLaMA-2 tokens, and what is common to all
#: questions of each image in the test splits of RSVQA-LR and RSVQA-HR.
OPENING = 7


def bench_generate(
    model: SkyEyeForConditionalGeneration,
    groups: Sequence[GroupSequence],
    *,
    rows: int = 64,
    baseline_rows: int = 12,
    pairs: int = 7,
    seconds: float = 120.0,
    pixels: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, Any]:
    """Measure shared prefixes and plain generation in alternating pairs.

    The baseline is the reference's way: a batch of whole prompts, the image encoded for each of them. Its batch takes
    no more memory for keys and values than the shared buffers. Its time grows with its samples, so a round answers only
    one batch of them, other ones each time; both are compared by samples per second. A second ratio gives the baseline
    what this project had before: each image is encoded once for all its questions, only the prompts are computed anew.

    Args:
        groups: what is asked; branches hold question and answer, of which only the length is used.
        rows: rows in work at the same time.
        baseline_rows: rows of the baseline's batch, at most.
        pairs, seconds: see :func:`skyeye.bench.common.alternate`.
        pixels: (3, S, S) by image; None: random ones.

    Raises:
        SkyEyeError: the language model's attention cannot share prefixes, so both would be the same.
    """
    if not can_share(model):
        raise SkyEyeError("this language model cannot share prefixes: there is nothing to compare")
    work = Answering(model, groups, rows, baseline_rows, pixels)
    ours, baseline = alternate(work.shared, work.plain, pairs, seconds)
    encoded_once = work.encoded_once[-len(ours) :]  # without the round that warms up
    return {
        "benchmark": "generate",
        "ratio_samples_per_second": ratios(ours, baseline),
        "ratio_images_encoded_once": ratios(ours, encoded_once),
        "ratio_by_language_tokens": round(work.plain_tokens() / work.shared_tokens(), 2),
        "shared": _shared_result(work, ours),
        "baseline": _baseline_result(work, baseline, encoded_once),
        "equality": {"answers_compared": work.compared, "answers_differing": work.differing},
        "sizes": _sizes(work),
        "machine": machine(model.device),
    }


def _shared_result(work: Answering, rates: list[float]) -> dict[str, Any]:
    return {
        "samples_per_second": round(median(rates), 3),
        "language_tokens_per_sample": round(work.shared_tokens() / len(work.places), 1),
        "vision_share_of_time": round(work.spent["shared vision"] / work.spent["shared"], 4),
        "cores_used": round(work.spent["shared processor"] / work.spent["shared"], 2),
        "cache": work.cache,
    }


def _baseline_result(work: Answering, rates: list[float], encoded_once: list[float]) -> dict[str, Any]:
    """Of whole prompts.

    Args:
        encoded_once: the rates that it would have if each image were encoded once for all its questions.
    """
    return {
        "samples_per_second": round(median(rates), 3),
        "samples_per_second_images_encoded_once": round(median(encoded_once), 3),
        "language_tokens_per_sample": round(work.plain_tokens() / len(work.places), 1),
        "vision_share_of_time": round(work.spent["plain vision"] / work.spent["plain"], 4),
        "cores_used": round(work.spent["plain processor"] / work.spent["plain"], 2),
        "cache": {
            "bytes": work.together * work.longest * work.bytes_per_token,
            "rows": work.together,
            "tokens_per_row": work.longest,
            "rows_that_fit_in_the_bytes_of_shared": work.fitting,
        },
    }


def _sizes(work: Answering) -> dict[str, Any]:
    """What was answered with what."""
    samples = len(work.places)
    common = [group.common for group in work.prompts]
    behind = [prompt[group.common :] for group in work.prompts for prompt in group.prompts]
    return {
        **sizes(work.model),
        "images": len(work.prompts),
        "samples": samples,
        "rows": work.rows,
        "shared_prefix_tokens": round(sum(common) / len(common), 1),
        "tokens_of_a_question_behind_it": round(sum(map(len, behind)) / samples, 1),
        "answer_tokens": round(sum(sum(group.max_new_tokens) for group in work.prompts) / samples, 2),
        "answers": "of given lengths, no end token: the weights are random",
        "dtype": str(work.model.language_model.dtype).removeprefix("torch."),
    }


class Answering:
    """What both sides answer, and what they said and spent."""

    def __init__(
        self,
        model: SkyEyeForConditionalGeneration,
        groups: Sequence[GroupSequence],
        rows: int,
        baseline_rows: int,
        pixels: Mapping[str, torch.Tensor] | None,
    ):
        self.model, self.rows, self.baseline_rows = model.eval(), rows, baseline_rows
        generator = torch.Generator().manual_seed(0)
        if pixels is None:
            names = dict.fromkeys(name for group in groups for name in group.images)
            pixels = {name: torch.randn(model.config.pixel_shape, generator=generator) for name in names}
        self.images = [[pixels[name] for name in group.images] for group in groups]
        self.prompts = [prompts_of(group) for group in groups]
        self.places = [(g, p) for g, group in enumerate(self.prompts) for p in range(len(group.prompts))]
        self.longest = max(self._tokens(*place) for place in self.places)
        self.said: dict[tuple[int, int], list[int]] = {}
        self.cache: dict[str, int] = {}
        self.bytes_per_token = self.compared = self.differing = self.rounds = 0
        sides = ("shared", "plain")
        self.spent = dict.fromkeys((f"{side}{part}" for side in sides for part in ("", " vision", " processor")), 0.0)
        self.encoded_once: list[float] = []

    def shared(self) -> float:
        """All questions with shared prefixes; samples per second."""
        began, processor = time.perf_counter(), time.process_time()
        generation = SharedGeneration(self.model, self.rows, set())
        for said in generation.run(self._encoded()):
            self.said[said.group, said.prompt] = said.ids
        spent = time.perf_counter() - began
        self.spent["shared"] += spent
        self.spent["shared processor"] += time.process_time() - processor
        keys, have = generation.keys, generation.keys.capacity
        self.bytes_per_token = keys.bytes // (have.prefixes * have.prefix_tokens + have.rows * have.row_tokens)
        self.cache = {"bytes": keys.bytes, "tokens_stored_at_most": generation.peak, **vars(have)}
        return len(self.places) / spent

    def _encoded(self) -> Iterator[PromptGroup]:
        for group, images in zip(self.prompts, self.images, strict=True):
            features, spent = self._encode(images)
            self.spent["shared vision"] += spent
            yield replace(group, image_features=features)

    @property
    def fitting(self) -> int:
        """Rows of the baseline whose keys and values take the bytes that the shared ones have taken."""
        return self.cache["bytes"] // (self.bytes_per_token * self.longest)

    @property
    def together(self) -> int:
        """Rows of the baseline's batch."""
        return max(1, min(self.fitting, self.baseline_rows, len(self.places)))

    @torch.inference_mode()
    def plain(self) -> float:
        """One batch of whole prompts, each with its image encoded for it; samples per second."""
        step = len(self.places) / self.together
        chosen = [
            self.places[int(n * step + self.rounds % max(1, int(step))) % len(self.places)]
            for n in range(self.together)
        ]
        self.rounds += 1
        processor = time.process_time()
        features, seeing = self._encode([image for g, _ in chosen for image in self.images[g]])
        began = time.perf_counter()
        batch = collate_prompts([self.prompts[g].prompts[p] for g, p in chosen], 0)
        longest = [self.prompts[g].max_new_tokens[p] for g, p in chosen]
        answers = self.model.generate(
            **{name: tensor.to(self.model.device) for name, tensor in batch.items()},
            image_features=features,
            max_new_tokens=max(longest),
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        ).tolist()
        speaking = time.perf_counter() - began
        self.spent["plain processor"] += time.process_time() - processor
        for place, ids, length in zip(chosen, answers, longest, strict=True):
            self.compared += 1
            self.differing += ids[:length] != self.said[place]
        self.spent["plain"] += seeing + speaking
        self.spent["plain vision"] += seeing
        shares = sum(1 / len(self.prompts[g].prompts) for g, _ in chosen) / len(chosen)
        self.encoded_once.append(len(chosen) / (speaking + seeing * shares))
        return len(chosen) / (seeing + speaking)

    @torch.inference_mode()
    def _encode(self, images: Sequence[torch.Tensor]) -> tuple[torch.Tensor, float]:
        began = time.perf_counter()
        features = self.model.encode_images(torch.stack(list(images)).to(self.model.device))
        if features.is_cuda:
            torch.cuda.synchronize()
        return features, time.perf_counter() - began

    def _tokens(self, group: int, prompt: int) -> int:
        """Tokens of a prompt and its answer."""
        return len(self.prompts[group].prompts[prompt]) + self.prompts[group].max_new_tokens[prompt]

    def plain_tokens(self) -> int:
        """Tokens that the language model reads, each prompt alone. The last of an answer is not read."""
        return sum(self._tokens(*place) - 1 for place in self.places)

    def shared_tokens(self) -> int:
        """The same with shared prefixes."""
        return self.plain_tokens() - sum(group.common * (len(group.prompts) - 1) for group in self.prompts)


def prompts_of(group: GroupSequence) -> PromptGroup:
    """The first question of each branch behind the prefix, and the length of its answer."""
    prompts, longest = [], []
    for branch in group.branches:
        question = list(
            takewhile(lambda pair: pair[1] == IGNORE_INDEX, zip(branch.input_ids, branch.labels, strict=True))
        )
        answer = takewhile(lambda label: label != IGNORE_INDEX, branch.labels[len(question) :])
        prompts.append(group.prefix_ids + [token for token, _ in question])
        longest.append(sum(1 for _ in answer))
    return PromptGroup(prompts, None, longest)


def with_openings(groups: Sequence[GroupSequence]) -> list[GroupSequence]:
    """The first tokens of every question made equal to those of the first question about its image."""
    return [
        replace(
            group,
            branches=[
                replace(branch, input_ids=group.branches[0].input_ids[:OPENING] + branch.input_ids[OPENING:])
                for branch in group.branches
            ],
        )
        for group in groups
    ]
