"""A skyeye model in lmms-eval (``--model skyeye --model_args pretrained=CHECKPOINT``), as one of its simple models.

Written for version 0.7.3 of lmms-eval, which finds it by its entry point group ``lmms_eval.models``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from lmms_eval.api.registry import register_model
from PIL import Image
from tqdm import tqdm

from skyeye.errors import SkyEyeError
from skyeye.serve.harness.backend import Backend, Question
from skyeye.serve.model import MAX_NEW_TOKENS


@register_model("skyeye")
class SkyEye(lmms):
    """A checkpoint that answers the requests of lmms-eval greedily.

    Args:
        pretrained: checkpoint directory.
        device: None: the GPU of this process when there is one.
        batch_size: questions decoded together.
        task: see :class:`~skyeye.serve.harness.backend.Backend`.

    Raises:
        SkyEyeError: unknown argument, task or checkpoint.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str,
        device: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        task: str = "",
        **unknown: Any,
    ):
        super().__init__()
        if unknown:
            raise SkyEyeError(
                f"unknown arguments {', '.join(sorted(unknown))}",
                where="--model_args",
                remedy="known: pretrained, task",
            )
        if not str(batch_size).isdigit() or int(batch_size) < 1:
            raise SkyEyeError(
                f"{batch_size!r} is no number of questions", where="--batch_size", remedy="give 1 or more"
            )
        self._backend: Backend | None = Backend.open(pretrained, device, int(batch_size), task)

    @property
    def device(self) -> torch.device:
        """Where the model is; lmms-eval puts its own tensors there."""
        return self._backend.model.network.device

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """One answer for each request (context, generation settings, visuals of a document, document, task, split)."""
        settings = [_Settings(request.args[1], request.task_name) for request in requests]

        def questions() -> Iterator[Question]:
            for request, setting in zip(requests, settings, strict=True):
                context, _, visuals, *document = request.args
                yield Question(context, _pictures(visuals(self._document(*document))), setting.max_new_tokens)

        said = []
        progress = tqdm(self._backend.answers(questions()), total=len(requests), disable=self.rank != 0, unit="answer")
        for request, setting, text in zip(requests, settings, progress, strict=True):
            said.append(setting.cut(text))
            self.cache_hook.add_partial("generate_until", request.args[:2], said[-1])
        return said

    def generate_until_multi_round(self, requests: list[Instance]) -> list[list[str]]:
        """The answers of all rounds of each request; what a round asks and shows depends on the answers before it.

        Every round is a question of its own: the task puts into its words what the model should know of the rounds
        before.
        """
        settings = [_Settings(request.args[1], request.task_name) for request in requests]
        said: list[list[str]] = [[] for _ in requests]
        states: list[Any] = [None] * len(requests)
        shown = [_pictures(request.args[2](self._document(*request.args[4:]))) for request in requests]
        asked = {number: (request.args[0], shown[number]) for number, request in enumerate(requests)}
        round_number = 0
        while asked:
            questions = (Question(*asked[number], settings[number].max_new_tokens) for number in asked)
            for number, text in zip(list(asked), self._backend.answers(questions), strict=True):
                said[number].append(settings[number].cut(text))
            round_number += 1
            following = {}
            for number in asked:
                next_round: Callable[..., tuple] = requests[number].args[3]
                visuals, context, ended, said_so_far, states[number] = next_round(
                    self._document(*requests[number].args[4:]),
                    previous_output=said[number],
                    round_idx=round_number,
                    previous_round_info=states[number],
                )
                said[number] = list(said_so_far)
                if not ended:
                    following[number] = (context, _pictures(visuals))
            asked = following
        return said

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Refused: lmms-eval documents log-probabilities here, of which its multiple-choice tasks take the smallest for
        the best (EvolvingLMMs-Lab/lmms-eval, issue 370), and version 0.7.3 fails on the values of every model.

        Raises:
            SkyEyeError: always.
        """
        raise SkyEyeError(
            "the task compares likelihoods, for which lmms-eval has no agreed meaning; this model answers in words",
            where=requests[0].task_name if requests else None,
            remedy="choose the generate_until form of the task",
        )

    def clean(self) -> None:
        """Free the memory of the model: what lmms-eval calls before it starts a judge."""
        self._backend = None
        super().clean()

    def _document(self, number: int, task: str, split: str) -> Any:
        return self.task_dict[task][split][number]


class _Settings:
    """What a task wants of an answer.

    Raises:
        SkyEyeError: it wants more than one greedy answer.
    """

    def __init__(self, given: dict[str, Any], task: str | None):
        temperature = float(given.get("temperature") or 0)
        if temperature > 0 and given.get("do_sample", True):
            raise SkyEyeError(
                f"the task samples its answers (temperature {temperature:g}), this model answers greedily",
                where=task,
                remedy="add --gen_kwargs temperature=0",
            )
        if int(given.get("num_beams") or 1) > 1:
            raise SkyEyeError("the task wants beam search", where=task, remedy="add --gen_kwargs num_beams=1")
        self.max_new_tokens = int(given.get("max_new_tokens") or MAX_NEW_TOKENS)
        until = given.get("until") or []
        self.stops = [until] if isinstance(until, str) else list(until)

    def cut(self, text: str) -> str:
        """The answer up to the first of the task's stop words."""
        for stop in filter(None, self.stops):
            text = text.split(stop)[0]
        return text


def _pictures(visuals: list[Any] | None) -> tuple[Image.Image, ...]:
    for visual in visuals or ():
        if not isinstance(visual, Image.Image):
            kind = "a video" if isinstance(visual, str) else "sound" if isinstance(visual, dict) else "no picture"
            raise SkyEyeError(f"the task shows {kind}; only pictures can be shown", remedy="leave the task out")
    return tuple(visuals or ())
