"""Answers with shared prefixes are token for token those of ``generate`` for each prompt alone."""

from __future__ import annotations

import pytest
import torch

from skyeye.config.schema import LanguageConfig
from skyeye.data.sequence import IMAGE_TOKEN_ID
from skyeye.generation import engine as shared_generation
from skyeye.generation.engine import SharedGeneration, answer_groups, can_share
from skyeye.generation.passes import static_logits
from skyeye.generation.requests import PromptGroup
from skyeye.generation.stored_keys import Capacity, SharedKeys
from skyeye.models.build import build_model

ENDS = list(range(0, 130, 6))  # about one answer in six ends at each token
#: Images, common tokens before and behind them, and for each prompt its further tokens and its longest answer.
SHAPES = [
    (1, 3, 1, [(4, 6), (9, 6), (2, 1), (5, 3), (1, 6), (7, 9)]),
    (2, 1, 0, [(3, 5), (12, 5)]),
    (0, 0, 0, [(8, 6), (3, 6), (5, 2)]),
    (1, 2, 0, [(6, 12)]),
    (3, 4, 2, [(2, 4), (2, 4), (2, 4), (11, 4)]),
]


def lively(model):
    """Weights so large that answers differ from prompt to prompt and from image to image."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.5)
    return model.eval()


@pytest.fixture
def model(tiny_model):
    return lively(tiny_model)


@pytest.fixture
def groups(model) -> list[PromptGroup]:
    return made(model, SHAPES)


@torch.no_grad()
def made(model, shapes) -> list[PromptGroup]:
    def ids(count: int) -> list[int]:
        return torch.randint(10, 130, (count,)).tolist()

    found = []
    for images, before, behind, prompts in shapes:
        features = model.encode_images(torch.randn(images, 3, 28, 28)) if images else None
        begin = ids(before) + [IMAGE_TOKEN_ID] * (images * model.tokens_per_image) + ids(behind)
        rest = [[first, *ids(length - 1)] for first, (length, _) in zip(range(20, 120), prompts, strict=False)]
        found.append(PromptGroup([begin + row for row in rest], features, [longest for _, longest in prompts]))
    return found


def alone(model, group: PromptGroup, prompt: int, ends=ENDS, **kwargs) -> list[int]:
    """What ``generate`` answers to one prompt, up to its end token."""
    (ids,) = model.generate(
        torch.tensor([list(group.prompts[prompt])]),
        image_features=group.image_features,
        max_new_tokens=group.max_new_tokens[prompt],
        do_sample=False,
        eos_token_id=ends or None,
        pad_token_id=0,
        **kwargs,
    ).tolist()
    stops = [place for place, token in enumerate(ids) if token in ends]
    return ids[: stops[0] + 1] if stops else ids


def one_by_one(model, groups, **kwargs) -> dict[tuple[int, int], list[int]]:
    return {
        (number, prompt): alone(model, group, prompt, **kwargs)
        for number, group in enumerate(groups)
        for prompt in range(len(group.prompts))
    }


def shared(model, groups, rows: int = 4, ends=ENDS, **kwargs) -> dict[tuple[int, int], list[int]]:
    answers = list(answer_groups(model, groups, rows=rows, eos_token_id=ends, **kwargs))
    found = {(answer.group, answer.prompt): answer.ids for answer in answers}
    assert len(found) == len(answers), "a prompt was answered twice"
    return found


def test_prompts_that_end_with_their_image(model, groups):
    """As in the style ``plain``, which asks nothing: no row is left behind what the prompts share."""
    asked = next(group for group in groups if group.image_features is not None)
    end = max(place for place, token in enumerate(asked.prompts[0]) if token == IMAGE_TOKEN_ID) + 1
    bare = PromptGroup([list(asked.prompts[0])[:end]], asked.image_features, [4])
    several = [PromptGroup([], None, []), bare, bare]
    assert shared(model, several) == one_by_one(model, several)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 5, 100])
def test_equal_to_generate_for_each_prompt(model, groups, rows, static):
    expected = one_by_one(model, groups)
    ended = [ids[-1] in ENDS for ids in expected.values()]
    longest = [len(ids) == groups[g].max_new_tokens[p] for (g, p), ids in expected.items()]
    assert 3 < sum(ended) < len(ended) and any(longest) and len(set(map(tuple, expected.values()))) > 10
    assert any(end and not long for end, long in zip(ended, longest, strict=True)), "no answer ends early"
    assert shared(model, groups, rows, static=static) == expected


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {"num_attention_heads": 4, "num_key_value_heads": 2},
        {"num_attention_heads": 4, "num_key_value_heads": 1},
        {"model_type": "qwen2", "num_key_value_heads": 2},
        {"model_type": "mistral", "num_key_value_heads": 1, "sliding_window": None, "head_dim": 12},
        {"model_type": "gpt_neox", "rotary_pct": 0.5},
    ],
)
def test_other_language_models(tiny_config, changes, static):
    text = tiny_config().language.config | {"pad_token_id": None} | changes
    lora = tiny_config().lora
    lora.target_modules = ["query_key_value"] if text["model_type"] == "gpt_neox" else lora.target_modules
    model = lively(build_model(tiny_config(language=LanguageConfig(config=text), lora=lora)))
    assert can_share(model)
    groups = made(model, SHAPES)
    assert shared(model, groups, static=static) == one_by_one(model, groups)


@pytest.mark.parametrize(
    "changes",
    [
        {"attn_implementation": "eager"},
        {"model_type": "mistral", "num_key_value_heads": 1, "sliding_window": 8},
        {"model_type": "bloom", "n_head": 2, "n_layer": 2},
        {"model_type": "lfm2", "num_key_value_heads": 2, "layer_types": ["full_attention", "conv"]},
    ],
)
def test_a_language_model_that_cannot_share_answers_in_plain_batches(tiny_config, changes, monkeypatch):
    text = tiny_config().language.config | {"pad_token_id": None} | changes
    lora = tiny_config().lora
    lora.target_modules = ["query_key_value"] if text["model_type"] == "bloom" else lora.target_modules
    model = lively(build_model(tiny_config(language=LanguageConfig(config=text), lora=lora)))
    assert not can_share(model)
    monkeypatch.delattr(SharedGeneration, "run")
    groups = made(model, SHAPES)
    assert shared(model, groups, rows=3) == one_by_one(model, groups)
    assert shared(model, groups, rows=3, ends=None) == one_by_one(model, groups, ends=[])


@pytest.mark.parametrize("ends", [None, 7])
def test_no_end_token_and_a_single_one(model, groups, ends):
    expected = one_by_one(model, groups, ends=[] if ends is None else [ends])
    assert shared(model, groups, ends=ends) == expected


@pytest.mark.parametrize("implementation", ["shared", "eager"])
def test_repetition_penalty(model, groups, implementation):
    if implementation == "eager":
        model.language_model.set_attn_implementation("eager")
    expected = one_by_one(model, groups, repetition_penalty=1.8)
    assert expected != one_by_one(model, groups)
    assert shared(model, groups, repetition_penalty=1.8) == expected


def test_prompts_enter_over_several_passes_when_they_are_many(model, groups, monkeypatch):
    expected = one_by_one(model, groups)
    lines = []
    embed = model.embed
    monkeypatch.setattr(model, "embed", lambda ids, features: lines.append(ids.shape[1]) or embed(ids, features))
    largest = max(len(prompt) for group in groups for prompt in group.prompts)
    for tokens in (1, 10, 30):
        monkeypatch.setattr(shared_generation, "ENTERING_TOKENS", tokens)
        lines.clear()
        assert shared(model, groups, rows=6) == expected
        assert max(lines) <= max(tokens, largest) + 5  # the other rows go on with a token each


def test_a_single_prompt_and_equal_prompts(model, groups):
    group = groups[0]
    same = PromptGroup([group.prompts[0]] * 3, group.image_features, [6, 2, 6])
    expected = one_by_one(model, [same])
    assert same.common == len(group.prompts[0]) - 1
    assert shared(model, [same]) == expected
    assert expected[0, 1] == expected[0, 0][:2]


def test_nothing_to_answer(model, groups):
    assert shared(model, []) == {}
    empty = PromptGroup([], None, [])
    assert set(shared(model, [empty, groups[3], empty])) == {(1, 0)}


def test_an_image_behind_the_common_beginning_is_refused(model):
    with pytest.raises(ValueError, match="behind the common beginning"):
        shared(model, [PromptGroup([[1, IMAGE_TOKEN_ID, 2], [3, IMAGE_TOKEN_ID, 2]], None, [1, 1])])


def test_keys_of_a_prefix_are_stored_once(model):
    """Two layers of 16 numbers, keys and values in float32: 256 bytes a token."""
    groups = made(model, [(2, 3, 1, [(5, 3)] * 40)])
    generation = SharedGeneration(model, 40, set())
    assert len(list(generation.run(groups))) == 40
    assert generation.peak == (3 + 8 + 1) + 40 * (5 + 3)
    assert vars(generation.keys.capacity) == {"prefixes": 1, "prefix_tokens": 32, "rows": 40, "row_tokens": 32}
    assert generation.keys.bytes == 256 * (32 + 40 * 32)


def test_places_of_prefixes_are_used_again(model):
    groups = made(model, [(1, 2, 0, [(4, 3), (3, 5), (2, 2)])] * 12)
    generation = SharedGeneration(model, 3, set())
    assert len(list(generation.run(groups))) == 36
    assert generation.keys.capacity.prefixes <= 4 and generation.keys.capacity.rows <= 4


def test_groups_are_taken_when_there_is_room(model):
    taken = []

    def lazily():
        for number, group in enumerate(made(model, [(1, 2, 0, [(4, 3), (3, 3)])] * 6)):
            taken.append(number)
            yield group

    for answer in answer_groups(model, lazily(), rows=2, eos_token_id=None):
        assert len(taken) <= answer.group + 2


def test_an_answer_to_an_image_is_not_that_to_another(model, groups):
    """The test above would prove little if the image did not matter."""
    group = groups[0]
    other = PromptGroup(group.prompts, group.image_features.flip(1) * 2, group.max_new_tokens)
    assert shared(model, [group]) != shared(model, [other])


def test_decoding_is_one_graph_that_stays(model, groups):
    """Traced, not compiled: what CUDA graphs need of it, short of CUDA."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    generation = SharedGeneration(model, 4, set(ENDS), static=True)
    generation._decode = torch.compile(generation._decode, backend=backend, fullgraph=True, dynamic=False)
    same_size = made(model, [(1, 3, 0, [(4, 6), (5, 6), (6, 3)]), (1, 2, 0, [(7, 9), (2, 4)])])
    expected = one_by_one(model, same_size)
    found = {(answer.group, answer.prompt): answer.ids for answer in generation.run(same_size)}
    assert found == expected
    assert len(graphs) <= 2  # one for each size that the buffers have had


#: Twelve tasks as a suite of benchmarks has them: few images or many; beginnings, questions and answers of any length.
TASKS = [
    [(1, 3, 1, [(4 + n % 5, 6 + n % 7) for n in range(60)])],
    [(1, 3, 9, [(5, 20)])] * 30,
    [(1, 3, 1, [(9, 3 + n % 4) for n in range(20)])] * 3,
    [(1, 3, 1, [(20 + n, 5) for n in range(24)])],
    [(2, 3, 1, [(6, 8), (7, 9)])] * 12,
    [(1, 3, 40, [(4, 12 + n % 9) for n in range(40)])],
    [(1, 3, 1, [(3, 2 + n % 3) for n in range(50)])] * 2,
    [(1, 2, 2, [(30, 30)])] * 20,
    [(1, 3, 50, [(5, 10 + n % 12) for n in range(30)])],
    [(1, 3, 1, [(8, 16)])] * 33,
    [(1, 5, 3, [(4, 9 + n % 2) for n in range(8)])] * 6,
    [(0, 3, 0, [(12, 7 + n % 11) for n in range(40)])],
]


def test_many_tasks_take_few_graphs_and_most_steps_are_compiled(tiny_config, monkeypatch):
    """What a GPU compiles, traced: torch gives up after eight graphs, and everything after that would run without."""
    text = tiny_config().language.config | {"max_position_embeddings": 512}
    model = lively(build_model(tiny_config(language=LanguageConfig(config=text))))
    graphs, passes, real = [], {"static": 0, "mixed": 0}, static_logits

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(real, backend=backend, fullgraph=True, dynamic=False)

    def counting(*arguments):
        passes["static"] += 1
        return compiled(*arguments)

    mixed = SharedGeneration._mixed_pass
    monkeypatch.setattr(
        SharedGeneration, "_mixed_pass", lambda *a: passes.update(mixed=passes["mixed"] + 1) or mixed(*a)
    )
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        for task in TASKS:
            groups = made(model, task)
            generation = SharedGeneration(model, 32, set(), static=True)
            generation._decode = counting
            said = {(answer.group, answer.prompt): answer.ids for answer in generation.run(groups)}
            assert said[0, 0] == alone(model, groups[0], 0, ends=[])
            assert len(said) == sum(len(group.prompts) for group in groups)
    assert len(graphs) <= 4
    assert passes["static"] > passes["mixed"]


def test_rows_that_move_are_copied_by_one_index_for_all_buffers(model):
    keys = SharedKeys()
    keys.reserve(Capacity(1, 4, 5, 3))
    for layer in range(3):
        keys.of_layer(layer, torch.zeros(2, 1, 8), torch.zeros(2, 1, 8))
        for x in keys.rows[layer]:
            x.copy_(torch.arange(5.0).view(5, 1, 1, 1).expand_as(x))
    made_tensors, real = [], torch.tensor
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "tensor", lambda *a, **k: made_tensors.append(a) or real(*a, **k))
        keys.move_rows([3, 4], [0, 2])
    assert len(made_tensors) == 2
    assert all(x[:, 0, 0, 0].tolist() == [3, 1, 4, 3, 4] for pair in keys.rows.values() for x in pair)


def test_images_that_do_not_fill_the_places_of_their_prompts_are_refused(model, groups):
    group = groups[0]
    with pytest.raises(ValueError, match="prompts with 4 image tokens, images that give 8"):
        shared(model, [PromptGroup(group.prompts, group.image_features.repeat(2, 1, 1), group.max_new_tokens)])
