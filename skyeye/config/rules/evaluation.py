"""Rules of ``eval``."""

from __future__ import annotations

from collections.abc import Iterator

from skyeye.config.issue import Issue
from skyeye.config.rules.registry import below, rule
from skyeye.config.schema import EvalConfig


@rule(EvalConfig)
def counts_of_an_evaluation_are_at_least_one(evaluation: EvalConfig) -> Iterator[Issue]:
    yield from below(evaluation, 1, "batch_size", "limit", "every", "every_limit")


@rule(EvalConfig)
def scores_in_training_have_benchmarks_and_data(evaluation: EvalConfig) -> Iterator[Issue]:
    if evaluation.every is not None and (not evaluation.benchmarks or evaluation.data_root is None):
        yield Issue("every", "needs benchmarks and data_root", ("every", "benchmarks", "data_root"))


@rule(EvalConfig)
def the_best_model_is_chosen_by_scores_in_training(evaluation: EvalConfig) -> Iterator[Issue]:
    if evaluation.choose is not None and evaluation.every is None:
        message = "needs every: without scores in training there is nothing to choose by"
        yield Issue("choose", message, ("choose", "every"))


@rule(EvalConfig)
def the_choice_names_a_metric(evaluation: EvalConfig) -> Iterator[Issue]:
    if evaluation.choose is not None and "/" not in evaluation.choose:
        message = f"{evaluation.choose!r} is not benchmark/metric, e.g. synth.vqa/accuracy"
        yield Issue("choose", message, ("choose",))
