"""The styles of LLaVA and of families made from it, and RSGPT's; golden ids are in tests/models/test_golden_*.py."""

from __future__ import annotations

import pytest

from skyeye.config.schema import PromptConfig
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.prompts import BEGIN, IMAGE, Segment, prompt_style
from skyeye.data.prompts.llava import DIALECTS
from skyeye.data.record import MARK, Mention, Record, Turn
from skyeye.data.sequence import IGNORE_INDEX, IMAGE_TOKEN_ID, SequenceBuilder, separate_rows
from skyeye.data.tasks import TASKS
from skyeye.errors import SkyEyeError
from skyeye.models.tokenizer import train_tokenizer

SHIP, PIER = Box(0.12, 0.2, 0.45, 0.3), Box(0.5, 0.5, 0.75, 1.0)
TURNS = [
    Turn("where is it ?", MARK, "refer", (Mention((SHIP,)),)),
    Turn("and beside it?", f"see {MARK}.", "grounding", (Mention((PIER, SHIP), "a pier"),)),
]
SPOKEN = [*DIALECTS, "rsgpt"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["where is it and beside see a pier USER ASSISTANT", "</s>"], 700)


def builder(tokenizer, style: str, **settings) -> SequenceBuilder:
    return SequenceBuilder(tokenizer, PromptConfig(style=style, pad_token=None, **settings), 3)


def test_geochat_is_trained_with_a_user_and_asked_with_a_human():
    style = prompt_style(PromptConfig(style="geochat"))
    system = "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    system += "detailed, and polite answers to the user's questions."
    assert style.training(1, TURNS) == [
        BEGIN,
        Segment(f"{system} USER: "),
        IMAGE,
        Segment("\n[refer] where is it ? ASSISTANT:"),
        Segment("{<12><20><45><30>|<0>}</s>", learnt=True),
        Segment("USER: [grounding] and beside it? ASSISTANT:"),
        Segment("see <p> a pier </p> {<50><50><75><100>|<0>}{<12><20><45><30>|<0>}.</s>", learnt=True),
    ]
    asked = style.asking(1, TURNS)
    assert asked[1] == Segment(f"{system.replace('user', 'human')} USER: ") and not any(one.learnt for one in asked)
    assert [segment.text for segment in asked[3:]] == [
        "\n[refer] where is it ? ASSISTANT:",
        "{<12><20><45><30>|<0>}</s>",
        "USER: [grounding] and beside it? ASSISTANT:",
    ]


@pytest.mark.parametrize(
    ("style", "question", "answer"),
    [
        ("llava_v1", "where is it ?", "[0.12, 0.20, 0.45, 0.30]"),
        ("uavit", "[vg] where is it ?", "{<12><20><45><30>}"),
        ("vhm", "{VG} where is it ?", "[120,200,450,300]"),
        ("lhrs", "[VG] where is it ?", "[0.12, 0.20, 0.45, 0.30]"),
        ("lhrs_nova", "[VG] where is it ?", "<bbox>[0.12,0.20,0.45,0.30]</bbox>"),
    ],
)
def test_each_family_has_its_tags_and_boxes(style, question, answer):
    words = prompt_style(PromptConfig(style=style))
    assert (words.question(TURNS[0]), words.answer(TURNS[0])) == (question, answer)


@pytest.mark.parametrize("style", SPOKEN)
def test_every_family_reads_the_boxes_it_writes(style):
    words = prompt_style(PromptConfig(style=style))
    found = [box for _, boxes in words.read_phrases(words.answer(TURNS[1])) for box in boxes]
    upright = [box.upright() if isinstance(box, OrientedBox) else box for box in found]
    assert [tuple(box) for box in upright] == [pytest.approx(tuple(box), abs=0.006) for box in (PIER, SHIP)]
    assert set(words.tags) <= set(TASKS)


def test_a_phrase_is_read_with_and_without_blanks():
    words = prompt_style(PromptConfig(style="geochat"))
    for text in ("<p> a pier </p> {<50><50><75><100>|<0>}", "<p>a pier</p>{<50><50><75><100>|<0>}"):
        assert [phrase for phrase, _ in words.read_phrases(text)] == ["a pier"]


@pytest.mark.parametrize("style", SPOKEN)
@pytest.mark.parametrize("images", [(), ("a.png",), ("a.png", "b.png")])
def test_groups_hold_the_rows(tokenizer, style, images):
    made = builder(tokenizer, style)
    records = [Record(str(n), "", "vqa", "train", images, (turn,)) for n, turn in enumerate(TURNS)]
    records = records if images else records[:1]
    group = made.group(records)
    expected = [made.row(len(images), record.turns).input_ids for record in records]
    assert [row.input_ids for row in separate_rows([group])] == expected
    assert group.prefix_ids.count(IMAGE_TOKEN_ID) == 3 * len(images)
    assert all(branch.labels[0] == IGNORE_INDEX for branch in group.branches)


@pytest.mark.parametrize("style", SPOKEN)
def test_what_is_asked_is_what_was_learnt_up_to_the_answer(tokenizer, style):
    made = builder(tokenizer, style, evaluation_layout="training")
    row = made.row(1, TURNS)
    last = max(place for place, label in enumerate(row.labels) if label == IGNORE_INDEX)
    assert made.prompt(1, TURNS) == row.input_ids[: last + 1]


def test_words_of_the_system():
    own = prompt_style(PromptConfig(style="geochat", system="be brief"))
    assert own.training(1, TURNS)[1] == own.asking(1, TURNS)[1] == Segment("be brief USER: ")
    told = [Turn("where?", "here", system="be kind"), TURNS[1]]
    assert own.training(1, told)[1] == Segment("be kind USER: ")
    assert prompt_style(PromptConfig(style="geochat", system="")).training(1, TURNS)[1] == Segment("USER: ")


def test_plain_is_the_image_and_its_caption(tokenizer):
    made = builder(tokenizer, "plain")
    row = made.row(1, [Turn("not written", "a pier")])
    assert row.input_ids[:4] == [tokenizer.bos_token_id, *[IMAGE_TOKEN_ID] * 3]
    assert row.labels[4:] == row.input_ids[4:] == tokenizer.encode("a pier\n", add_special_tokens=False)
    assert not made.style.shares_prefix
    with pytest.raises(SkyEyeError, match="a.json, record 3: a conversation of 2 turns has no place in the style"):
        made.row(1, TURNS, "a.json, record 3")
