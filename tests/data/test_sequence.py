"""Rows, groups and prompts: equal to the reference's batches, and prefix + branch equal to the row."""

from __future__ import annotations

import copy
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from skyeye.config.schema import PromptConfig
from skyeye.data.record import Record, Turn
from skyeye.data.sequence import (
    IGNORE_INDEX,
    IMAGE_TOKEN_ID,
    Row,
    SequenceBuilder,
    collate_rows,
    pack,
    pad_token_id,
    separate_rows,
)
from skyeye.errors import SkyEyeError
from skyeye.models.tokenizer import load_tokenizer

GOLDEN = Path(os.environ.get("SKYEYE_GOLDEN") or Path(__file__).parents[1] / "golden")
SIZES = json.loads((GOLDEN / "sizes.json").read_text())
BATCHES = json.loads((GOLDEN / "batches.json").read_text())
TOKENS_PER_IMAGE = (SIZES["vision"]["image_size"] // SIZES["vision"]["patch"]) ** 2 // SIZES["projector"]["join_tokens"]
MARKUP = "<Img><ImageHere></Img>"


def prompt_config(settings: dict) -> PromptConfig:
    return PromptConfig(
        template=SIZES["prompt_template"] if settings.get("chat_template", True) else "{}",
        end_symbol=SIZES["end_symbol"],
        pad_token=SIZES["pad_token"],
        max_txt_len=settings.get("max_txt_len", SIZES["max_txt_len"]),
        max_context_len=settings.get("max_context_len", SIZES["max_context_len"]),
        cut_images=True,
    )


def samples(texts: dict) -> list[tuple[int, list[Turn]]]:
    """(number of images, turns) of each row, taken back out of the reference's finished instructions."""
    if "conv_q" in texts:
        questions = [text.split(sign) for text, sign in zip(texts["conv_q"], texts["connect_sym"], strict=True)]
        answers = [text.split(sign) for text, sign in zip(texts["conv_a"], texts["connect_sym"], strict=True)]
    else:
        questions, answers = [[text] for text in texts["instruction_input"]], [[text] for text in texts["answer"]]
    rows = []
    for asked, given_back in zip(questions, answers, strict=True):
        n_images = asked[0].count("<ImageHere>")
        plain = [text.removesuffix(" ") for text in asked] if n_images else asked
        plain[0] = plain[0].removeprefix(MARKUP * n_images).removeprefix(" ")
        rows.append((n_images, [Turn(q, a) for q, a in zip(plain, given_back, strict=True)]))
    return rows


def record(n_images: int, turns, number: int = 0) -> Record:
    images = tuple(f"{i}.png" for i in range(n_images))
    return Record(f"r{number}", "s", "vqa", "train", images, tuple(turns), where="train.json, record 17")


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(GOLDEN / "tiny_llama")


@pytest.mark.golden
@pytest.mark.parametrize("name", BATCHES)
def test_rows_equal_the_reference(name, tokenizer):
    batch = BATCHES[name]
    builder = SequenceBuilder(tokenizer, prompt_config(batch["settings"]), TOKENS_PER_IMAGE)
    rows = [builder.row(n_images, turns) for n_images, turns in samples(batch["texts"])]
    expected = load_file(GOLDEN / f"batch_{name}.safetensors")
    padding = {"input_ids": builder.pad_token_id, "labels": IGNORE_INDEX, "attention_mask": 0}
    for key, values in collate_rows(rows, builder.pad_token_id).items():
        # the reference pads prompts and answers apart, so its batches end in columns of nothing but padding
        width = expected[key].shape[1] - values.shape[1]
        assert torch.equal(torch.nn.functional.pad(values, (0, width), value=padding[key]), expected[key]), key
    assert [len(row.input_ids) for row in rows] == batch["lengths"]
    assert [sum(label != IGNORE_INDEX for label in row.labels) for row in rows] == batch["n_target_tokens"]


@pytest.mark.golden
@pytest.mark.parametrize("name", BATCHES)
def test_prefix_and_branch_are_the_row_of_the_reference(name, tokenizer):
    batch = BATCHES[name]
    builder = SequenceBuilder(tokenizer, prompt_config(batch["settings"]), TOKENS_PER_IMAGE)
    expected = load_file(GOLDEN / f"batch_{name}.safetensors")
    for row, (n_images, turns) in enumerate(samples(batch["texts"])):
        length = batch["lengths"][row]
        if (expected["input_ids"][row] == IMAGE_TOKEN_ID).sum() < n_images * TOKENS_PER_IMAGE:
            with pytest.raises(SkyEyeError, match="no token of the question"):  # the limit has cut into the images
                builder.group([record(n_images, turns)])
            continue
        group = builder.group([record(n_images, turns)])
        (branch,) = group.branches
        assert group.prefix_ids + branch.input_ids == expected["input_ids"][row, :length].tolist()
        assert [IGNORE_INDEX] * len(group.prefix_ids) + branch.labels == expected["labels"][row, :length].tolist()
        assert group.prefix_ids.count(IMAGE_TOKEN_ID) == n_images * TOKENS_PER_IMAGE


@pytest.mark.golden
@pytest.mark.parametrize("chat", ["first turn", "second turn"])
def test_prompts_equal_the_reference(chat, tokenizer):
    generation = json.loads((GOLDEN / "generation.json").read_text())
    # the reference's chat has a template and an end symbol of its own, which training need not share
    before, after = generation["prompts"][0].removeprefix("<s>").split(f"{MARKUP} {generation['questions'][0]}")
    config = replace(prompt_config({}), template=f"{before}{{}}{after}")
    if chat == "first turn":
        cases = [
            (prompt, question, [])
            for prompt, question in zip(generation["prompts"], generation["questions"], strict=True)
        ]
    else:
        prompt = generation["chat"]["turn2_prompt_streaming_demo"]
        first, second = (text.removeprefix(before).split(after) for text in prompt.removeprefix("<s>").split("<s>"))
        questions, config = [first[0], second[0]], replace(config, end_symbol=first[1])
        # the reference's demo forgets its answer, hence the empty one
        cases = [(prompt, questions[1], [Turn(questions[0].removeprefix(f"{MARKUP} "), "")])]
    builder = SequenceBuilder(tokenizer, config, TOKENS_PER_IMAGE)
    for prompt, question, history in cases:
        expected = [tokenizer.bos_token_id]  # a second one: the reference's tokenizer adds it to the <s> of the text
        for place, segment in enumerate(prompt.split("<ImageHere>")):
            expected += [IMAGE_TOKEN_ID] * TOKENS_PER_IMAGE * (place > 0)
            expected += tokenizer.encode(segment, add_special_tokens=False)
        assert builder.prompt(1, [*history, Turn(question, "")]) == expected


words = st.text(alphabet="ab[]{}<>/ 1?", min_size=1, max_size=12).filter(
    lambda text: "<s>" not in text and text.strip()
)
turns_of_any_kind = st.lists(st.builds(Turn, words, words), min_size=1, max_size=3)


@settings(max_examples=50)
@given(
    records=st.lists(turns_of_any_kind, min_size=1, max_size=4),
    n_images=st.integers(0, 3),
    max_txt_len=st.integers(1, 60),
    max_context_len=st.integers(1, 60),
    template=st.sampled_from(["[INST] {} [/INST]", "{}", "USER: {} ASSISTANT:"]),
)
def test_prefix_and_branch_are_the_row(tokenizer, records, n_images, max_txt_len, max_context_len, template):
    config = PromptConfig(template, max_txt_len=max_txt_len, max_context_len=max_context_len)
    builder = SequenceBuilder(tokenizer, config, tokens_per_image=5)
    try:
        group = builder.group([record(n_images, turns, number) for number, turns in enumerate(records)])
    except SkyEyeError as error:
        assert "max_context_len" in str(error)
        return
    for branch, turns in zip(group.branches, records, strict=True):
        row = builder.row(n_images, turns)
        assert group.prefix_ids + branch.input_ids == row.input_ids
        assert [IGNORE_INDEX] * len(group.prefix_ids) + branch.labels == row.labels
        assert all(label in (IGNORE_INDEX, token) for label, token in zip(row.labels, row.input_ids, strict=True))
        assert row.input_ids.count(IMAGE_TOKEN_ID) == 5 * n_images
        assert branch.labels[0] == IGNORE_INDEX and any(label != IGNORE_INDEX for label in branch.labels)


@settings(max_examples=50)
@given(
    groups=st.lists(st.lists(turns_of_any_kind, min_size=1, max_size=3), min_size=1, max_size=3),
    n_images=st.integers(0, 2),
    multiple=st.sampled_from([1, 8]),
)
def test_a_pack_holds_every_row(tokenizer, groups, n_images, multiple):
    builder = SequenceBuilder(tokenizer, PromptConfig(), tokens_per_image=3)
    sequences = [builder.group([record(n_images, turns) for turns in records]) for records in groups]
    packed = pack(sequences, 7, multiple)
    assert {name: values.dtype for name, values in packed.items()} == dict.fromkeys(packed, torch.int64)
    ids, labels, positions, group_ids, branch_ids = (
        packed[name][0] for name in ("input_ids", "labels", "position_ids", "group_ids", "branch_ids")
    )
    assert len(ids) % multiple == 0 and group_ids.max() == len(groups) - 1
    rows = [builder.row(n_images, turns) for records in groups for turns in records]
    assert [Row(row.input_ids, row.labels) for row in separate_rows(sequences)] == rows
    taken = iter(rows)
    for number, records in enumerate(groups):
        for branch in range(1, len(records) + 1):
            seen = (group_ids == number) & ((branch_ids == 0) | (branch_ids == branch))
            row = next(taken)
            assert ids[seen].tolist() == row.input_ids
            assert labels[seen].tolist() == row.labels
            assert positions[seen].tolist() == list(range(len(row.input_ids)))
    padding = group_ids == -1
    assert padding.sum() == len(ids) - sum(map(len, sequences)) < multiple
    assert (branch_ids[padding] == -1).all() and (ids[padding] == 7).all() and (positions[padding] == 0).all()
    assert (labels[padding] == IGNORE_INDEX).all()


def test_an_empty_answer_names_the_record(tokenizer):
    builder = SequenceBuilder(tokenizer, PromptConfig(), tokens_per_image=3)
    broken = record(1, [Turn("[vqa] how many?", "2"), Turn("where?", " \n")], number=4)
    with pytest.raises(SkyEyeError, match="^train.json, record 17, r4: the answer of turn 2 is empty"):
        builder.group([broken])
    with pytest.raises(SkyEyeError, match="^train.json, record 17, r5: the sample has no turns"):
        builder.group([record(1, [], number=5)])


def test_a_limit_without_room_for_an_answer_names_the_record(tokenizer):
    builder = SequenceBuilder(tokenizer, PromptConfig(max_txt_len=0), tokens_per_image=3)
    with pytest.raises(SkyEyeError, match="record 17, r0: max_txt_len 0 leaves no token"):
        builder.group([record(1, [Turn("[vqa] how many?", "2")])])


def test_an_image_is_not_cut_unless_the_reference_is_asked_for(tokenizer):
    turns = [Turn("[vqa] how many?", "2")]
    config = PromptConfig(max_context_len=8)
    whole = SequenceBuilder(tokenizer, PromptConfig(), tokens_per_image=5).row(1, turns)
    last_image_token = len(whole.input_ids) - 1 - whole.input_ids[::-1].index(IMAGE_TOKEN_ID)
    assert last_image_token > 8
    with pytest.raises(SkyEyeError, match="record 17, r0: max_context_len 8 would cut into the images"):
        SequenceBuilder(tokenizer, config, tokens_per_image=5).group([record(1, turns)])
    cut = SequenceBuilder(tokenizer, replace(config, cut_images=True), tokens_per_image=5).row(1, turns)
    targets = [token for token, label in zip(whole.input_ids, whole.labels, strict=True) if label != IGNORE_INDEX]
    assert cut == Row(whole.input_ids[:9] + targets, [IGNORE_INDEX] * 9 + targets)
    with pytest.raises(SkyEyeError, match="no token of the question stands before the answer"):
        SequenceBuilder(tokenizer, PromptConfig(max_context_len=1, cut_images=True), 50).group([record(1, turns)])


def test_a_question_cut_away_whole_is_refused_in_a_group(tokenizer):
    turns = [Turn("[vqa] how many?", "2")]
    whole = SequenceBuilder(tokenizer, PromptConfig(), tokens_per_image=5).row(1, turns)
    to_the_image = len(whole.input_ids) - whole.input_ids[::-1].index(IMAGE_TOKEN_ID) - 1  # without <s>
    builder = SequenceBuilder(tokenizer, PromptConfig(max_context_len=to_the_image), tokens_per_image=5)
    with pytest.raises(SkyEyeError, match="no token of the question stands before the answer"):
        builder.group([record(1, turns)])
    builder.prompt_config.max_context_len += 1
    (branch,) = builder.group([record(1, turns)]).branches
    assert branch.labels[0] == IGNORE_INDEX and IGNORE_INDEX not in branch.labels[1:]


def test_a_placeholder_in_a_question_is_refused(tokenizer):
    builder = SequenceBuilder(tokenizer, PromptConfig(), tokens_per_image=3)
    with pytest.raises(SkyEyeError, match="r0: the question contains <ImageHere>"):
        builder.group([record(1, [Turn("what is <ImageHere> ?", "a ship")])])


def test_records_of_different_images_make_no_group(tokenizer):
    builder = SequenceBuilder(tokenizer, PromptConfig(), tokens_per_image=3)
    turns = [Turn("[vqa] how many?", "2")]
    with pytest.raises(ValueError, match="the same images"):
        builder.group([record(1, turns), record(2, turns)])


def test_the_evaluation_prompt_is_a_setting(tokenizer):
    history, question = [Turn("how many ships?", "2")], "where?"
    trained = SequenceBuilder(tokenizer, PromptConfig(evaluation_layout="training"), tokens_per_image=3)
    row = trained.row(1, [*history, Turn(question, "there")])
    prompt = trained.prompt(1, [*history, Turn(question, "")])
    assert row.input_ids[: len(prompt)] == prompt
    assert IGNORE_INDEX not in row.labels[len(prompt) :] and row.labels[len(prompt) - 1] == IGNORE_INDEX
    reference = SequenceBuilder(tokenizer, PromptConfig(), tokens_per_image=3).prompt(1, [*history, Turn(question, "")])
    bos = tokenizer.bos_token_id
    assert reference[:2] == [bos, bos] and prompt[:2].count(bos) == 1
    assert len(reference) == len(prompt) + 1 - 2  # one <s> more, one space fewer for each of the two questions


def test_a_tokenizer_without_a_beginning_writes_none(tokenizer):
    without = copy.deepcopy(tokenizer)
    without.bos_token = None
    rows = [
        SequenceBuilder(t, PromptConfig(), 3).row(1, [Turn("a", "b"), Turn("c", "d")]) for t in (tokenizer, without)
    ]
    assert rows[0].input_ids.count(tokenizer.bos_token_id) == 2
    assert rows[1].input_ids == [token for token in rows[0].input_ids if token != tokenizer.bos_token_id]


def test_a_pad_token_outside_the_vocabulary_is_refused(tokenizer):
    assert pad_token_id(tokenizer, "<unk>") == tokenizer.unk_token_id
    with pytest.raises(SkyEyeError, match="model.prompt.pad_token: .*'<pad>'"):
        pad_token_id(tokenizer, "<pad>")
