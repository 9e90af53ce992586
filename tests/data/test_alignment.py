"""Targets of the word-region alignment, by hand on small grids."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from skyeye.config.schema import PromptConfig
from skyeye.data.alignment import phrase_boxes, region_targets
from skyeye.data.formats.instructions.llava import read_turn, split_tag
from skyeye.data.record import Group, Record, Region, Turn
from skyeye.data.sequence import IGNORE_INDEX, SequenceBuilder, pack
from skyeye.models.tokenizer import train_tokenizer

NONE = [IGNORE_INDEX] * 4
WATER = Region((0.0, 0.0, 1.0, 1.0), "water")


@pytest.fixture(scope="module")
def learnt():
    return train_tokenizer(["a red plane", "two ships", "water", "where is the ?", "is there a"], vocab_size=700)


def group(*regions: Region, images: tuple[str, ...] = ("a.png",)) -> Group:
    turns = (Turn("[vqa] what is it?", "a ship"),)
    record = Record("r", "s", "vqa", "train", images, turns, regions=regions)
    return Group(images, (record, record))


def test_each_token_shows_the_smallest_region_around_its_centre(learnt):
    large, small = Region((0, 0, 0.7, 0.7), "two ships"), Region((0.25, 0.25, 0.5, 0.5), "a red plane")
    spell = {region: learnt.encode(region.phrase, add_special_tokens=False) for region in (WATER, large, small)}
    assert [len(ids) for ids in spell.values()] == [1, 2, 3]
    box = {WATER: NONE, large: [0, 0, 70, 70], small: [25, 25, 50, 50]}
    # cell centres at 1/8, 3/8, 5/8, 7/8: the large region covers three by three, the small one the second of them
    shown = [[large, large, large, WATER], [large, small, large, WATER], [large, large, large, WATER], [WATER] * 4]
    for order in ((WATER, large, small), (small, WATER, large)):
        words, boxes = region_targets(group(*order), learnt, (4, 4), max_words=2)
        assert words.tolist() == [(spell[region] + [IGNORE_INDEX])[:2] for line in shown for region in line]
        assert boxes.tolist() == [box[region] for line in shown for region in line]


def test_of_equally_small_regions_the_later_is_shown(learnt):
    (word,) = learnt.encode("plane", add_special_tokens=False)
    words, _ = region_targets(group(WATER, Region(WATER.box, "plane")), learnt, (1, 1), max_words=1)
    assert words.tolist() == [[word]]


def test_a_grid_of_joined_tokens_is_wider_than_high(learnt):
    (word,) = learnt.encode("water", add_special_tokens=False)
    words, boxes = region_targets(group(Region((0.5, 0, 1, 1), "water")), learnt, (4, 2), max_words=1)
    assert words.tolist() == [[IGNORE_INDEX], [word]] * 4
    assert boxes.tolist() == [NONE, [50, 0, 100, 100]] * 4


def test_groups_without_one_image_or_regions_show_nothing(learnt):
    for silent in (group(), group(WATER, images=("a.png", "b.png")), group(WATER, images=())):
        words, boxes = region_targets(silent, learnt, (2, 2), max_words=3)
        assert words.shape == (4 * len(silent.images), 3) and (words == IGNORE_INDEX).all()
        assert boxes.shape == (4 * len(silent.images), 4) and (boxes == IGNORE_INDEX).all()


def refer(question: str, answer: str, task: str = "refer") -> Record:
    regions = (WATER, Region((0.1, 0.2, 0.4, 0.7), "red plane"), Region((0.5, 0.5, 0.9, 0.9), "two ships"))
    return Record(
        question, "s", task, "train", ("a.png",), (read_turn(split_tag(question)[1], answer, task),), regions=regions
    )


def test_the_named_object_is_known_at_the_words_of_its_name(learnt):
    records = [
        refer("[refer] where is the red plane ?", "{<10><20><40><70>}"),
        refer("[refer] the ships", "{<50><50><90><90>}"),
        refer("[refer] where is the plane ?", "{<1><2><3><4>}"),  # the box of no known region
        refer("[vqa] is there a plane ?", "{<10><20><40><70>}", task="vqa"),
    ]
    sequence = SequenceBuilder(learnt, PromptConfig(), tokens_per_image=4).group(records)
    batch = pack([sequence], 0)
    targets = phrase_boxes([sequence], learnt, batch["input_ids"].shape[1])
    assert targets.shape == (*batch["input_ids"].shape, 4)
    found = (targets[0, :, 0] != IGNORE_INDEX).nonzero().flatten().tolist()
    words = [learnt.decode(batch["input_ids"][0, place].item()).strip() for place in found]
    assert words == ["red", "plane", "ships"]
    assert targets[0, found].tolist() == [[10, 20, 40, 70]] * 2 + [[50, 50, 90, 90]]
    assert batch["branch_ids"][0, found].tolist() == [1, 1, 2]
    assert (batch["labels"][0, found] == IGNORE_INDEX).all(), "the word stands in the question"


@pytest.mark.parametrize(
    ("question", "answer", "word", "box"),
    [
        ("[vqa] is there a red plane ?", "yes", "plane", [10, 20, 40, 70]),
        ("[vqa] is there a plane ?", "yes", "plane", [10, 20, 40, 70]),
        ("[vqa] is there a red water ?", "no", "water", [0, 0, 0, 0]),  # nowhere
        ("[vqa] is there a two ?", "yes", None, None),  # no region ends like that
    ],
)
def test_presence_questions_name_an_object_or_nothing(learnt, question, answer, word, box):
    record = replace(refer(question, answer, task="vqa"), references={"type": "presence", "answer": answer})
    sequence = SequenceBuilder(learnt, PromptConfig(), tokens_per_image=4).group([record])
    batch = pack([sequence], 0)
    targets = phrase_boxes([sequence], learnt, batch["input_ids"].shape[1])
    found = (targets[0, :, 0] != IGNORE_INDEX).nonzero().flatten().tolist()
    assert [learnt.decode(batch["input_ids"][0, place].item()).strip() for place in found] == ([word] if word else [])
    assert targets[0, found].tolist() == ([box] if word else [])


def test_presence_questions_of_sets_without_known_objects_are_left_alone(learnt):
    for question, regions in (("[vqa] is there a plane ?", ()), ("[vqa] ?", (WATER,))):
        record = replace(refer(question, "no", task="vqa"), references={"type": "presence"}, regions=regions)
        sequence = SequenceBuilder(learnt, PromptConfig(), tokens_per_image=4).group([record])
        assert (phrase_boxes([sequence], learnt, 64) == torch.tensor(IGNORE_INDEX)).all()


def test_two_boxes_or_text_name_no_single_object(learnt):
    records = [
        refer("[refer] the plane", "{<10><20><40><70>}<delim>{<50><50><90><90>}"),
        refer("[refer] a plane", "no"),
    ]
    sequence = SequenceBuilder(learnt, PromptConfig(), tokens_per_image=4).group(records)
    assert (phrase_boxes([sequence], learnt, 64) == torch.tensor(IGNORE_INDEX)).all()
