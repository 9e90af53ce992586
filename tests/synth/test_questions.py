from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np

from skyeye.data.prompts import MiniGPTv2
from skyeye.synth import questions as ask
from skyeye.synth.scene import KINDS, Clip, Scene, Thing, make_scene

SCENE = Scene(
    "desert",
    (
        Thing("plane", "red", "large", (0.50, 0.10, 0.90, 0.50)),
        Thing("plane", "blue", "small", (0.10, 0.10, 0.37, 0.37)),
        Thing("storage tank", "red", "small", (0.40, 0.60, 0.67, 0.87)),
    ),
)
STYLE = MiniGPTv2()
SCENES = [make_scene(np.random.default_rng([9, seed])) for seed in range(1500)]


def written(sample: ask.Sample) -> tuple[tuple[str, str], ...]:
    """Questions and answers in MiniGPT-v2's words."""
    return tuple((STYLE.question(turn), STYLE.answer(turn)) for turn in sample.turns)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_captions_of_a_known_scene() -> None:
    assert ask.captions(SCENE) == [
        "a red plane, a blue plane and a red storage tank in a desert.",
        "there are two planes and a storage tank in a desert.",
        "an aerial image of a desert with two planes and a storage tank.",
        "a large red plane at the top right and a small blue plane at the top left of the image.",
        "two planes and a storage tank can be seen in this rural area, a desert.",
    ]


def test_captions_of_a_known_clip() -> None:
    clip = Clip("harbor", "ship", "white", "left", False, ((0.1, 0.4, 0.4, 0.6),) * 4)
    captions = ask.clip_captions(clip)
    assert captions[0] == "a white ship moves left at a harbor." and len(set(captions)) == 5
    assert captions[2] == "the white ship is moving left on a canal."


def test_position_names_the_third_that_holds_the_middle() -> None:
    assert ask.position((0.0, 0.0, 0.3, 0.3)) == "top left"
    assert ask.position((0.3, 0.3, 0.7, 0.7)) == "center"
    assert ask.position((0.7, 0.4, 1.0, 0.6)) == "middle right"


def test_an_expression_denotes_one_object() -> None:
    assert ask.expressions(SCENE, SCENE.things[0]) == ["red plane"]  # two planes: the kind alone would not do
    assert ask.expressions(SCENE, SCENE.things[2]) == ["storage tank", "red storage tank"]


def test_refer_and_its_type() -> None:
    def type_of(thing: int, expression: str) -> str | None:
        return ask.refer(SCENE, SCENE.things[thing], expression, "where is the {} ?").type

    assert type_of(0, "red plane") == "same kind"
    assert type_of(2, "storage tank") == "kind"
    assert type_of(2, "red storage tank") == "both"
    alone = Scene("desert", SCENE.things[:1])
    sample = ask.refer(alone, alone.things[0], "plane", "where is the {} ?")
    assert sample.type == "only"
    assert written(sample) == (("[refer] where is the plane ?", "{<50><10><90><50>}"),)


def test_detection_lists_all_of_a_kind_from_left_to_right() -> None:
    question, answer = written(ask.detection(SCENE, "plane"))[0]
    assert question == "[detection] the two planes"
    assert answer == "<p>the two planes</p> {<10><10><37><37>}<delim>{<50><10><90><50>}"


def test_grounding_boxes_every_object() -> None:
    ((_, answer),) = written(ask.grounding(SCENE))
    found = {(phrase, tuple(round(v, 2) for v in boxes[0])) for phrase, boxes in STYLE.read_phrases(answer)}
    assert found == {(f"a {thing.phrase}", thing.box) for thing in SCENE.things}
    assert answer.endswith(" in a desert.")


def test_presence_is_yes_half_of_the_time_for_every_word() -> None:
    by_name: dict[str, Counter[str]] = defaultdict(Counter)
    for index, scene in enumerate(SCENES):
        samples = ask.presence(scene, rng(index))
        assert Counter(s.references["answer"] for s in samples)["yes"] * 2 == len(samples)
        for sample in samples:
            by_name[written(sample)[0][0].split("is there a ")[1]][sample.references["answer"]] += 1
    for kind in KINDS:
        answers = by_name[f"{kind} ?"]
        assert 0.4 < answers["yes"] / answers.total() < 0.6
    colours = [answers for name, answers in by_name.items() if name.removesuffix(" ?") not in KINDS]
    assert len(colours) == 30 and all(0.3 < a["yes"] / a.total() < 0.7 for a in colours)


def test_comparison_is_yes_half_of_the_time_whatever_is_named_first() -> None:
    first: dict[str, Counter[str]] = defaultdict(Counter)
    for index, scene in enumerate(SCENES):
        for sample in ask.comparison(scene, rng(index)):
            name = written(sample)[0][0].split("more ")[1].split(" than")[0]
            first[name][sample.references["answer"]] += 1
    assert len(first) == len(KINDS)
    assert all(0.42 < answers["yes"] / answers.total() < 0.58 for answers in first.values())


def test_counting_has_every_answer_and_no_majority() -> None:
    answers = Counter(s.references["answer"] for i, scene in enumerate(SCENES) for s in ask.count(scene, rng(i)))
    assert set(answers) == set("01234")
    assert answers.most_common(1)[0][1] < 0.5 * answers.total()


def test_a_conversation_mixes_tasks_and_every_turn_but_a_detailed_first_is_tagged() -> None:
    for seed in range(30):
        (first, _), *rest = written(ask.conversation(SCENE, rng(seed)))
        assert first in (ask.DETAIL_PROMPT, f"[caption] {ask.CAPTION_PROMPTS[0]}") and len(rest) == 3
        assert len({question.split("]")[0] for question, _ in rest}) >= 2
        assert all(question.startswith("[") for question, _ in rest)


def test_held_out_scenes_are_asked_once_about_every_object() -> None:
    for index, scene in enumerate(SCENES[:50]):
        refers = [s for s in ask.held_out_samples(scene, rng(index)) if s.task == "refer"]
        assert [s.references["object"] for s in refers] == list(range(len(scene.things)))
        assert all(len(STYLE.read_boxes(written(s)[0][1])) == 1 for s in refers)
