"""Prompt styles: what each writes, what it reads back, and that rows, groups and prompts of each agree."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.config.schema import PromptConfig
from skyeye.data.geometry.box_text import NOTATIONS
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.prompts import BEGIN, IMAGE, ChatTemplate, MiniGPTv2, Segment, prompt_style
from skyeye.data.record import MARK, Mention, Record, Turn
from skyeye.data.sequence import IGNORE_INDEX, IMAGE_TOKEN_ID, SequenceBuilder, separate_rows
from skyeye.data.tasks import TASKS
from skyeye.errors import SkyEyeError
from skyeye.models.tokenizer import train_tokenizer

#: In the manner of ChatML, with the tokenizer's own last token behind an answer.
TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}"
    "{{ '</s>\n' if message.role == 'assistant' else '\n' }}{% endfor %}"
    "{{ 'assistant: ' if add_generation_prompt }}"
)
SHIP, PIER = Box(0.1234, 0.2, 0.4567, 0.3), Box(0.5, 0.5, 0.75, 1.0)
TURNS = [
    Turn(f"what is at {MARK}?", "a ship", "identify", (Mention((SHIP,)),)),
    Turn("and beside it?", f"see {MARK}.", "grounding", (Mention((PIER, SHIP), "a pier"),)),
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["what is at user assistant and beside it see a ship pier how many", "</s>"], 700)


def chat(tokenizer, **settings) -> SequenceBuilder:
    settings = {"style": "chat_template", "chat_template": TEMPLATE, **settings}
    return SequenceBuilder(tokenizer, PromptConfig(**settings), tokens_per_image=3)


def test_minigpt_v2_writes_tags_boxes_and_marks():
    style = MiniGPTv2()
    assert [style.question(turn) for turn in TURNS] == [
        "[identify] what is at {<12><20><45><30>}?",
        "[grounding] and beside it?",
    ]
    assert style.answer(TURNS[1]) == "see <p>a pier</p> {<50><50><75><100>}<delim>{<12><20><45><30>}."
    assert style.training(2, TURNS) == [
        BEGIN,
        Segment("[INST] <Img>"),
        IMAGE,
        Segment("</Img><Img>"),
        IMAGE,
        Segment("</Img> [identify] what is at {<12><20><45><30>}?  [/INST]"),
        Segment("a ship</s>", learnt=True),
        BEGIN,
        Segment("[INST] [grounding] and beside it?  [/INST]"),
        Segment("see <p>a pier</p> {<50><50><75><100>}<delim>{<12><20><45><30>}.</s>", learnt=True),
    ]


def test_a_chat_template_writes_the_images_first_and_boxes_in_its_notation(tokenizer):
    style = ChatTemplate(tokenizer, template=TEMPLATE, system="be brief")
    assert style.training(1, TURNS) == [
        Segment("system: be brief\nuser: "),
        IMAGE,
        Segment("\nwhat is at [123, 200, 457, 300]?\nassistant: "),
        Segment("a ship</s>", learnt=True),
        Segment("\n"),
        Segment("user: and beside it?\nassistant: "),
        Segment("see a pier [500, 500, 750, 1000], [123, 200, 457, 300].</s>", learnt=True),
        Segment("\n"),
    ]
    assert style.asking(1, TURNS) == [
        *style.training(1, TURNS)[:3],
        Segment("a ship</s>"),
        Segment("\n"),
        Segment("user: and beside it?\nassistant: "),
    ]
    assert style.ends() == ["</s>"]


def test_words_of_the_system_of_a_conversation_go_before_those_of_the_recipe(tokenizer):
    style = ChatTemplate(tokenizer, template=TEMPLATE, system="be brief")
    turns = [replace(TURNS[0], system="count ships"), TURNS[1]]
    assert style.training(1, turns)[0] == style.asking(1, turns)[0] == Segment("system: count ships\nuser: ")
    assert MiniGPTv2().training(1, turns) == MiniGPTv2().training(1, TURNS)
    assert style.has_system and not MiniGPTv2().has_system


def test_what_is_asked_is_what_was_learnt_up_to_the_answer(tokenizer):
    builder = chat(tokenizer)
    row, prompt = builder.row(1, TURNS), builder.prompt(1, TURNS)
    assert row.input_ids[: len(prompt)] == prompt
    assert row.labels[len(prompt) - 1] == IGNORE_INDEX != row.labels[len(prompt)]
    assert builder.end_token_ids == [tokenizer.eos_token_id]
    # the line break behind the last answer is no target: nothing generates it
    assert [label for label in row.labels if label != IGNORE_INDEX][-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("images", [(), ("a.png",), ("a.png", "b.png")])
def test_groups_of_a_chat_template_hold_the_rows(tokenizer, images):
    builder = chat(tokenizer)
    records = [Record(str(n), "", "vqa", "train", images, (turn,)) for n, turn in enumerate(TURNS)]
    records = records if images else records[:1]  # text-only samples stay alone
    group = builder.group(records)
    assert [row.input_ids for row in separate_rows([group])] == [
        builder.row(len(images), record.turns).input_ids for record in records
    ]
    assert group.prefix_ids.count(IMAGE_TOKEN_ID) == 3 * len(images)
    assert group.prefix_ids and all(branch.labels[0] == IGNORE_INDEX for branch in group.branches)


def test_a_template_that_rewrites_what_it_wrote_is_refused(tokenizer):
    forgetful = "{% for m in messages[-2:] %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    with pytest.raises(SkyEyeError, match="writes earlier turns in another way.*keeps what it has written"):
        chat(tokenizer, chat_template=forgetful).row(1, TURNS)


def test_a_tokenizer_without_a_template_and_a_template_without_a_system(tokenizer):
    with pytest.raises(SkyEyeError, match="model.prompt.style: the tokenizer has no chat template"):
        prompt_style(PromptConfig(style="chat_template"), tokenizer)
    strict = "{{ raise_exception('no system here') if messages[0].role == 'system' }}"
    with pytest.raises(SkyEyeError, match="cannot write this conversation: no system here"):
        chat(tokenizer, chat_template=strict, system="be brief").row(1, TURNS)


def test_the_mark_of_an_image_in_a_question_is_refused(tokenizer):
    for builder in (chat(tokenizer), SequenceBuilder(tokenizer, PromptConfig(), 3)):
        with pytest.raises(SkyEyeError, match="a.json, record 3: the question contains <ImageHere>"):
            builder.row(1, [Turn("what is <ImageHere>?", "a")], "a.json, record 3")


@pytest.mark.parametrize("name", ["skyeye", "geochat", "fractions", "thousandths", "qwen", "braces_1000"])
@given(sides=st.tuples(*[st.integers(0, 100)] * 4), turned=st.booleans())
def test_every_style_reads_the_boxes_it_writes(name, sides, turned):
    x1, x2, y1, y2 = *sorted(sides[:2]), *sorted(sides[2:])
    box = Box(x1 / 100, y1 / 100, x2 / 100, y2 / 100)
    style = MiniGPTv2(NOTATIONS[name])
    text = style.answer(Turn("", f"there: {MARK}", mentions=(Mention((box, box), "a ship"),)))
    ((phrase, found),) = [entry for entry in style.read_phrases(text) if entry[0]]
    assert phrase == "a ship" and len(found) == 2
    for read in found:
        upright = read.upright() if isinstance(read, OrientedBox) else read
        assert tuple(upright) == pytest.approx(tuple(box), abs=0.0101)


def test_a_box_that_leaves_the_image_is_clipped_by_the_style():
    turn = Turn("", MARK, mentions=(Mention((Box(0.5, -0.1, 1.2, 0.5),)),))
    assert prompt_style(PromptConfig()).answer(turn) == "{<50><0><100><50>}"
    assert prompt_style(PromptConfig(clip_boxes=False)).answer(turn) == "{<50><-10><120><50>}"


def test_every_tag_is_that_of_a_task():
    assert set(MiniGPTv2.tags) <= set(TASKS)
    without = {task.name for task in TASKS.values() if task.name not in MiniGPTv2.tags and task.like is None}
    assert without == {"detail", "conversation"}
    assert all(task.like in MiniGPTv2.tags for task in TASKS.values() if task.like is not None)


def test_a_task_without_a_tag_of_its_own_has_that_of_the_task_it_is_like():
    asked = {task: MiniGPTv2().question(Turn("how many ships?", "", task)) for task in ("counting", "vqa")}
    assert asked == dict.fromkeys(asked, "[vqa] how many ships?")
    assert prompt_style(PromptConfig(style="vhm")).question(Turn("how many?", "", "counting")) == "{VQA} how many?"
    assert prompt_style(PromptConfig(style="llava_v1")).question(Turn("how many?", "", "counting")) == "how many?"


def test_all_eleven_tags_of_uavit_are_those_of_tasks():
    for style in ("minigpt_v2_uav", "uavit"):
        words = prompt_style(PromptConfig(style=style))
        assert len(set(words.tags.values())) == len(words.tags) == 11 and set(words.tags) <= set(TASKS)
        assert words.question(Turn("how many cars?", "", "counting")) == "[count] how many cars?"
    opening = prompt_style(PromptConfig(style="minigpt_v2_uav")).asking(1, [Turn("where?", "", "refer")])
    assert "".join(segment.text for segment in opening) == "[INST] <Img></Img> [vg] where? [/INST]"


@pytest.mark.parametrize("style", ["minigpt_v2", "llava_v1", "chat_template"])
def test_of_a_pair_the_style_says_which_came_first(style):
    words = prompt_style(PromptConfig(style=style))
    assert words.question(Turn("what changed?", "", "change_vqa")).endswith(
        "The first image was taken before, the second after. what changed?"
    )
    assert "before" not in words.question(Turn("what is it?", "", "vqa"))


@pytest.mark.parametrize(
    "name", sorted(NOTATIONS.keys() - {"hundredths"})
)  # which is read for scores and no model writes
def test_every_box_is_read_where_it_is_placed(name):
    style, size = MiniGPTv2(), (200, 100)
    style.boxes = NOTATIONS[name]
    boxes = [Box(0.1, 0.2, 0.5, 0.4), Box(0.3, 0.3, 0.8, 0.9)]
    text = f"a ship {style.boxes.write_list(boxes, size)} , a boat {style.boxes.write_list(boxes[1:], size)}."
    placed = style.placed_boxes(text, size)
    assert [box for box, _ in placed] == style.read_boxes(text, size) and len(placed) == 3
    for box, (first, last) in placed:
        assert box in style.read_boxes(text[first:last], size)
