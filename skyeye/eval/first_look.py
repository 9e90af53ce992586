"""A first look at the boxes of a model: some answers are asked for before all others, and the detective reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tqdm import tqdm

from skyeye.data.images.smart_resize import SmartResize
from skyeye.errors import SkyEyeError
from skyeye.eval.answers.store import AnswerFunction, AnswerStore
from skyeye.eval.benchmarks.conditions import BenchmarkRun, limited
from skyeye.eval.box_detective import LOOKED_AT, Verdict, detect
from skyeye.eval.other_style import OtherStyle
from skyeye.eval.report.to_text import on_a_line

_SHOWN = 80  # characters of an example


@dataclass(frozen=True)
class FirstLook:
    """How a model writes boxes, found out from answers to questions that are asked anyway.

    Attributes:
        style: of the model; learns what is found.
        resized: how the model brings images to the size that it reads, where that is known.
        seed: draws the questions.
    """

    style: OtherStyle
    resized: SmartResize | None
    seed: int

    def __call__(
        self, store: AnswerStore, answer: AnswerFunction, runs: Sequence[BenchmarkRun], patience: float
    ) -> Verdict | None:
        """What the detective says; None where no benchmark asks for boxes. Every process comes to the same.

        Raises:
            SkyEyeError: it cannot tell.
        """
        looked = [run for run in runs if run.benchmark.output == "boxes"]
        if not looked:
            return None
        each = -(-LOOKED_AT // len(looked))
        records, texts = [], []
        for run in looked:
            some = limited(run.seen, each, self.seed, by_scene=False)
            store.ask(answer, some, run.max_new_tokens, lambda _: None)
            records += some
            texts += [given.text for given in store.collect(some, run.max_new_tokens, patience)]
        verdict = detect(records, texts, self.resized)
        if verdict.frame is None:
            raise SkyEyeError(
                f"{verdict}; {records[0].id} is answered '{on_a_line(texts[0].strip(), _SHOWN)}'",
                where="--boxes auto",
                remedy="name the family, e.g. --boxes norm1000, or leave out the benchmarks that ask for boxes:"
                f" {', '.join(run.benchmark.name for run in looked)}",
            )
        self.style.learn(verdict)
        if store.process.rank == 0:
            tqdm.write(f"from {verdict.answers} answers: {verdict}")
        return verdict
