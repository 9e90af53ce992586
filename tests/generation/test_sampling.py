"""What a row says depends on its prompt, its seed and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import TopPLogitsWarper

from skyeye.errors import SkyEyeError
from skyeye.generation.engine import SharedGeneration, answer_groups, stream_groups
from skyeye.generation.plain_batches import PlainGeneration
from skyeye.generation.requests import PromptGroup, SharedAnswer, Token
from skyeye.generation.sampling import Choice, Sampling, next_tokens, uniform
from tests.generation.test_engine import ENDS, SHAPES, alone, lively, made


@pytest.fixture
def model(tiny_model):
    return lively(tiny_model)


def drawn(logits: list[float], count: int, **settings) -> torch.Tensor:
    """How often each token is drawn."""
    scores = torch.tensor([logits]).expand(count, -1)
    choices = {row: Choice(Sampling(**settings), seed=row, step=3) for row in range(count)}
    tokens, _ = next_tokens(scores, scores, choices)
    return torch.bincount(torch.tensor(tokens), minlength=len(logits)) / count


def test_tokens_are_drawn_as_often_as_their_probability_says():
    shares = torch.tensor([0.1, 0.5, 0.05, 0.35])
    assert torch.allclose(drawn(shares.log().tolist(), 6_000, temperature=1.0), shares, atol=0.025)
    squared = shares**2 / (shares**2).sum()
    assert torch.allclose(drawn(shares.log().tolist(), 6_000, temperature=0.5), squared, atol=0.025)


def test_top_p_leaves_the_tokens_that_transformers_leaves():
    shares = torch.tensor([0.1, 0.5, 0.05, 0.35])
    for top_p in (0.2, 0.5, 0.6, 0.86, 0.97):
        left = TopPLogitsWarper(top_p)(None, shares.log()[None])[0].isfinite()
        found = drawn(shares.log().tolist(), 6_000, temperature=1.0, top_p=top_p)
        assert torch.allclose(found, shares * left / (shares * left).sum(), atol=0.025)


def test_a_very_small_temperature_is_greedy():
    assert drawn([1.0, 900.0, 899.0], 50, temperature=1e-8).tolist() == [0, 1, 0]


def test_numbers_of_a_seed_are_even_and_of_their_own():
    numbers = torch.tensor([[uniform(seed, step) for step in range(100)] for seed in range(100)])
    assert abs(numbers.mean() - 0.5) < 0.01 and abs(numbers.std() - 12**-0.5) < 0.01
    assert numbers.unique().numel() > 9990 and uniform(1, 12) != uniform(11, 2)


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"top_p": 1.5}])
def test_numbers_outside_their_range_are_refused(wrong):
    with pytest.raises(SkyEyeError, match=next(iter(wrong))):
        Sampling(**wrong)


def sampled(groups: list[PromptGroup]) -> list[PromptGroup]:
    """The same groups, every second prompt with a temperature and a seed of its own."""
    numbers = iter(range(100))
    choose = [Sampling(), Sampling(1.5, 0.9, seed=5), Sampling(0.7, seed=8, log_probabilities=True)]
    return [replace(group, sampling=[choose[next(numbers) % 3] for _ in group.prompts]) for group in groups]


def answered(model, groups, rows, static=False) -> dict[tuple[int, int], SharedAnswer]:
    answers = answer_groups(model, groups, rows=rows, eos_token_id=ENDS, static=static)
    return {(answer.group, answer.prompt): answer for answer in answers}


@pytest.mark.parametrize("implementation", ["shared", "eager"])
@pytest.mark.parametrize("static", [False, True])
def test_an_answer_is_the_same_alone_and_among_others(model, static, implementation):
    model.language_model.set_attn_implementation(model.language_model.config._attn_implementation)
    if implementation == "eager":
        model.language_model.set_attn_implementation("eager")
    groups = sampled(made(model, SHAPES))
    together = answered(model, groups, 7, static)
    drawn_differently = 0
    for (number, prompt), answer in together.items():
        group = groups[number]
        own = replace(
            group,
            prompts=[group.prompts[prompt]],
            max_new_tokens=[group.max_new_tokens[prompt]],
            sampling=[group.sampling[prompt]],
        )
        assert answered(model, [own], 1)[0, 0].ids == answer.ids
        if group.sampling[prompt] == Sampling():
            assert answer.ids == alone(model, group, prompt)
        else:
            drawn_differently += answer.ids != alone(model, group, prompt)
    assert drawn_differently > 5


def test_without_a_seed_answers_differ(model):
    (group,) = made(model, [(1, 2, 0, [(6, 12)])])
    group = PromptGroup([group.prompts[0]] * 6, group.image_features, [12] * 6, [Sampling(2.0)] * 6)
    assert len({tuple(answer.ids) for answer in answered(model, [group], 6).values()}) > 3


@pytest.mark.parametrize("implementation", ["shared", "eager"])
def test_log_probabilities_are_those_of_a_forward_pass(model, implementation):
    if implementation == "eager":
        model.language_model.set_attn_implementation("eager")
    groups = [
        replace(group, sampling=[Sampling(temperature, seed=1, log_probabilities=True) for _ in group.prompts])
        for group, temperature in zip(made(model, SHAPES), (0.0, 1.5, 0.0, 0.8, 0.0), strict=True)
    ]
    for (number, prompt), answer in answered(model, groups, 5).items():
        group = groups[number]
        line = torch.tensor([[*group.prompts[prompt], *answer.ids]])
        with torch.no_grad():
            logits = model.language_model(inputs_embeds=model.embed(line, group.image_features)).logits[0]
        before = logits[len(group.prompts[prompt]) - 1 : -1].log_softmax(-1)
        expected = before.gather(1, torch.tensor(answer.ids)[:, None])[:, 0]
        assert torch.allclose(torch.tensor(answer.log_probabilities), expected, atol=1e-4)


def test_no_log_probabilities_where_none_are_asked(model):
    assert all(not answer.log_probabilities for answer in answered(model, made(model, SHAPES), 5).values())


@pytest.mark.parametrize("implementation", ["shared", "eager"])
def test_tokens_come_before_their_answer(model, implementation):
    if implementation == "eager":
        model.language_model.set_attn_implementation("eager")
    groups = sampled(made(model, SHAPES))
    expected = answered(model, groups, 3)
    said: dict[tuple[int, int], list[Token]] = {}
    for event in stream_groups(model, groups, rows=3, eos_token_id=ENDS):
        if isinstance(event, Token):
            said.setdefault((event.group, event.prompt), []).append(event)
        else:
            tokens = said.pop((event.group, event.prompt))
            assert [token.id for token in tokens] == event.ids == expected[event.group, event.prompt].ids
            told = [token.log_probability for token in tokens if token.log_probability is not None]
            assert told == event.log_probabilities
    assert not said


@pytest.mark.parametrize("generation", [SharedGeneration, PlainGeneration])
def test_prompts_enter_while_others_run_and_a_cancelled_one_leaves(model, generation):
    """A source that has nothing at first, one long prompt, then, when that has said three tokens, two more."""
    long, short = made(model, [(1, 2, 0, [(4, 40)]), (1, 3, 0, [(4, 3), (5, 2)])])
    work = generation(model, 2, set())
    asked: list[int] = []
    tokens: list[tuple[int, int]] = []

    def source():
        yield None
        yield long
        while len(tokens) < 3 and generation is SharedGeneration:
            asked.append(work.in_work)
            yield None
        yield short

    answers = {}
    for event in work.stream(source()):
        if isinstance(event, Token):
            tokens.append((event.group, event.prompt))
            if len(tokens) == 6:
                work.cancel(0, 0)
        else:
            answers[event.group, event.prompt] = event.ids
    assert answers == {(1, 0): alone(model, short, 0, ends=[]), (1, 1): alone(model, short, 1, ends=[])}
    assert work.in_work == 0
    if generation is SharedGeneration:
        assert asked == [1, 1, 1]
        assert tokens.count((0, 0)) < 8, "the cancelled prompt went on"


def test_a_cancelled_prompt_that_waits_does_not_enter(model):
    (group,) = made(model, [(1, 2, 0, [(4, 5), (5, 5), (6, 5)])])
    work = SharedGeneration(model, 1, set())
    said = []
    for event in work.stream([group]):
        if isinstance(event, Token):
            said.append(event.prompt)
            work.cancel(0, 1)
    assert sorted(set(said)) == [0, 2] and work.in_work == 0


def test_a_prompt_about_an_image_that_is_stored_joins_it(model, monkeypatch):
    """Its image is not computed again as long as its place is free, and the answers are those of prompts alone."""
    first, other = made(model, [(1, 2, 1, [(4, 6)]), (1, 2, 1, [(7, 3)])])
    place = max(n for n, token in enumerate(first.prompts[0]) if token == -1) + 1
    again = replace(first, prompts=[[*first.prompts[0][:place], *range(40, 47)]], max_new_tokens=[5])
    asked = [replace(group, key=key) for group, key in ((first, "a"), (again, "a"), (other, "b"), (again, "a"))]
    lines = []
    embed = model.embed
    monkeypatch.setattr(model, "embed", lambda ids, features: lines.append(ids.shape[1]) or embed(ids, features))
    answers = list(SharedGeneration(model, 1, set()).run(asked))
    entering = [line for line in lines if line > 1]
    assert entering == [len(first.prompts[0]), 7, len(other.prompts[0]), len(again.prompts[0])]
    assert [answer.stored_tokens for answer in answers] == [0, place, 0, 0]
    assert [answer.ids for answer in answers] == [alone(model, group, 0, ends=[]) for group in asked]


def test_a_prompt_that_joins_behind_another_image_keeps_its_answer(model):
    """All enter in one pass: the first and the third ask about the same image."""
    first, other, joining = made(model, [(1, 2, 1, [(4, 6)]), (1, 2, 1, [(7, 6)]), (1, 2, 1, [(5, 6)])])
    place = max(n for n, token in enumerate(first.prompts[0]) if token == -1) + 1
    prompt = [*first.prompts[0][:place], *joining.prompts[0][place:]]
    joining = replace(joining, prompts=[prompt], image_features=first.image_features)
    asked = [replace(group, key=key) for group, key in ((first, "a"), (other, "b"), (joining, "a"))]
    answers = {answer.group: answer.ids for answer in SharedGeneration(model, 3, set()).run(asked)}
    assert answers == {number: alone(model, group, 0, ends=[]) for number, group in enumerate(asked)}
