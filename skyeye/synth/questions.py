"""Questions and answers about a scene, by rule.

Questions are short, use a small vocabulary and name what they ask for near their end. A constant answer or one that
does not look scores low: presence and comparison are "yes" half of the time for every word asked, the ground says
nothing about the objects, and no expression holds a word of position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skyeye.data.geometry.boxes import Box
from skyeye.data.record import MARK, Mention, Turn
from skyeye.synth.scene import COLOURS, GROUNDS, KINDS, BoxTuple, Clip, Scene, Thing

CAPTION_PROMPTS = (
    "briefly describe the image",
    "Can you briefly explain what you see in the image?",
    "Summarize this image in a few words.",
)
FRAMES_PROMPT = "briefly describe the video frame image"
DETAIL_PROMPT = "Describe this image in detail."
REFER_PROMPTS = ("where is the {} ?", "where can I locate the {} ?", "the {}")
REFER_SHARES = (0.6, 0.2, 0.2)
IDENTIFY_PROMPTS = ("what object is in this location {}", "this {} is")
GROUNDING_PROMPT = "briefly describe the image"
SCENE_PROMPTS = (
    f"Classify the image within one of the given classes: {', '.join(GROUNDS)}. Answer with one word or short phrase.",
    "what is the scene ?",
)
RURAL_URBAN_PROMPT = "Is it a rural or an urban area ?"

PLACES = {
    "farmland": "farmland",
    "forest": "a forest",
    "desert": "a desert",
    "river": "a river",
    "residential": "a residential area",
    "industrial": "an industrial area",
    "airport": "an airport",
    "harbor": "a harbor",
}
AT = {ground: f"in {place}" for ground, place in PLACES.items()} | {
    "river": "by a river",
    "airport": "at an airport",
    "harbor": "at a harbor",
}
STRIPS = {"plane": "a runway", "ship": "a canal", "vehicle": "a road"}
NUMBERS = ("zero", "one", "two", "three", "four")
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")


@dataclass(frozen=True)
class Sample:
    """Something asked: a task of :data:`skyeye.data.tasks.TASKS`, its turns, a kind of question (``presence``,
    ``count`` ...) and, for held-out samples, what is needed to score the answer."""

    task: str
    turns: tuple[Turn, ...]
    type: str | None = None
    references: dict[str, Any] = field(default_factory=dict)


def one(
    task: str,
    question: str,
    answer: str,
    references: dict[str, Any] | None = None,
    type: str | None = None,
    mentions: Sequence[Mention] = (),
) -> Sample:
    return Sample(task, (Turn(question, answer, task, tuple(mentions)),), type, references or {})


# --- captions ---------------------------------------------------------------------------------------------------------


def captions(scene: Scene) -> list[str]:
    """Five descriptions of a scene."""
    at, place, counts = AT[scene.ground], PLACES[scene.ground], _listing(_counts(scene))
    verb = "is" if _counts(scene)[0].startswith("a ") else "are"
    largest = sorted(scene.things, key=lambda thing: -_area(thing.box))[:2]
    where = _listing([f"a {thing.size} {thing.phrase} at the {position(thing.box)}" for thing in largest])
    return [
        f"{_listing(['a ' + thing.phrase for thing in scene.things])} {at}.",
        f"there {verb} {counts} {at}.",
        f"an aerial image of {place} with {counts}.",
        f"{where} of the image.",
        f"{counts} can be seen in this {scene.area} area, {place}.",
    ]


def clip_captions(clip: Clip) -> list[str]:
    """Five descriptions of a frame sequence."""
    at, place = AT[clip.ground], PLACES[clip.ground]
    still = clip.motion == "still"
    moves = "stays still" if still else f"moves {clip.motion}"
    return [
        f"a {clip.phrase} {moves} {at}.",
        f"the video shows a {clip.phrase} that {moves}.",
        f"the {clip.phrase} {'does not move' if still else 'is moving ' + clip.motion} on {STRIPS[clip.kind]}.",
        f"an aerial video of {place} where a {clip.kind} {moves}.",
        f"a {clip.phrase} {moves} on {STRIPS[clip.kind]}.",
    ]


def detail(scene: Scene) -> str:
    """A few sentences: the place, what there is, and every object with its size and position."""
    sentences = [f"this is an aerial image of {PLACES[scene.ground]}, a {scene.area} area."]
    sentences += [f"a {thing.size} {thing.phrase} is at the {position(thing.box)}." for thing in scene.things]
    return " ".join(sentences)


def position(box: BoxTuple) -> str:
    """``top left`` ... ``center`` ... ``bottom right``: the third of the image that holds the middle of the box."""
    row = ROWS[min(2, int((box[1] + box[3]) / 2 * 3))]
    column = COLUMNS[min(2, int((box[0] + box[2]) / 2 * 3))]
    return "center" if (row, column) == ("middle", "center") else f"{row} {column}"


# --- questions --------------------------------------------------------------------------------------------------------


def presence(scene: Scene, rng: np.random.Generator) -> list[Sample]:
    """As many kinds that are there as kinds that are not, at most two each; then the same with colours. A name that is
    not there shares its kind or its colour with one that is, so that both words count."""
    shown = [kind for kind in KINDS if scene.count(kind)]
    hidden = [kind for kind in KINDS if not scene.count(kind)]
    pairs = min(2, len(shown))
    names = [(kind, "yes") for kind in _some(rng, shown, pairs)]
    names += [(kind, "no") for kind in _some(rng, hidden, pairs)]
    phrases = {thing.phrase for thing in scene.things}
    for thing in _some(rng, scene.things, min(2, len(scene.things))):
        names.append((thing.phrase, "yes"))
        if rng.random() < 0.5:
            other = [f"{colour} {thing.kind}" for colour in COLOURS]
        else:
            other = [f"{thing.colour} {kind}" for kind in KINDS]
        names.append((_some(rng, [phrase for phrase in other if phrase not in phrases], 1)[0], "no"))
    return [_vqa(f"is there a {name} ?", answer, "presence") for name, answer in names]


def count(scene: Scene, rng: np.random.Generator) -> list[Sample]:
    """How many there are of every kind shown, and now and then of one that is not; single objects are asked about half
    of the time, because most kinds occur once."""
    asked = [kind for kind in KINDS if scene.count(kind) > 1 or (scene.count(kind) == 1 and rng.random() < 0.5)]
    if rng.random() < 0.35:
        asked += _some(rng, [kind for kind in KINDS if not scene.count(kind)], 1)
    return [_vqa(f"what is the number of {plural(kind)} ?", str(scene.count(kind)), "count") for kind in asked]


def comparison(scene: Scene, rng: np.random.Generator) -> list[Sample]:
    """More of one kind than of another? Two shown kinds of different number, where there are, and a shown kind against
    each of two hidden ones; which is named first is a coin toss."""
    shown = [kind for kind in KINDS if scene.count(kind)]
    hidden = [kind for kind in KINDS if not scene.count(kind)]
    pairs = [(a, b) for a in shown for b in shown if scene.count(a) > scene.count(b)]
    asked = _some(rng, pairs, min(1, len(pairs))) + [(_some(rng, shown, 1)[0], kind) for kind in _some(rng, hidden, 2)]
    samples = []
    for more, fewer in asked:
        first, second, answer = (more, fewer, "yes") if rng.random() < 0.5 else (fewer, more, "no")
        question = f"are there more {plural(first)} than {plural(second)} ?"
        samples.append(_vqa(question, answer, "comparison"))
    return samples


def rural_urban(scene: Scene) -> Sample:
    return _vqa(RURAL_URBAN_PROMPT, scene.area, "rural_urban")


def classification(scene: Scene, prompt: str = SCENE_PROMPTS[0]) -> Sample:
    return one("classification", prompt, scene.ground, {"answer": scene.ground, "classes": list(GROUNDS)}, "scene")


def expressions(scene: Scene, thing: Thing) -> list[str]:
    """Every expression that denotes this object and no other of the scene: the kind alone where it is unique, and
    colour with kind."""
    return ([thing.kind] if scene.count(thing.kind) == 1 else []) + [thing.phrase]


def refer(scene: Scene, thing: Thing, expression: str, prompt: str) -> Sample:
    """Expression -> box. The type says what the words must be good for: the ``only`` object of the scene; told by its
    ``kind``; by colour and kind where the kind would do (``both``); by colour among objects of the ``same kind``."""
    if len(scene.things) == 1:
        type = "only"
    elif scene.count(thing.kind) > 1:
        type = "same kind"
    else:
        type = "kind" if expression == thing.kind else "both"
    references = {"boxes": [list(thing.box)], "phrase": expression, "object": scene.things.index(thing)}
    return one("refer", prompt.format(expression), MARK, references, type, [Mention((Box(*thing.box),))])


def identify(scene: Scene, thing: Thing, prompt: str) -> Sample:
    """Box -> words."""
    answer = f"a {thing.phrase}"
    references = {
        "boxes": [list(thing.box)],
        "phrase": thing.phrase,
        "captions": [answer],
        "object": scene.things.index(thing),
    }
    return one("identify", prompt.format(MARK), answer, references, mentions=[Mention((Box(*thing.box),))])


def detection(scene: Scene, kind: str, prompt: str | None = None) -> Sample:
    """A phrase for all objects of a kind -> the phrase with their boxes, from left to right."""
    boxes = sorted(thing.box for thing in scene.things if thing.kind == kind)
    phrase = prompt or (f"the {NUMBERS[len(boxes)]} {plural(kind)}" if len(boxes) > 1 else f"the {kind}")
    references = {"boxes": [list(box) for box in boxes], "phrase": phrase}
    mention = Mention(tuple(Box(*box) for box in boxes), phrase)
    return one("detection", phrase, MARK, references, mentions=[mention])


def grounding(scene: Scene) -> Sample:
    """A caption in which every object carries its box, from left to right."""
    things = sorted(scene.things, key=lambda thing: thing.box)
    mentions = [Mention((Box(*thing.box),), f"a {thing.phrase}") for thing in things]
    answer = f"{_listing([MARK] * len(things))} {AT[scene.ground]}."
    return one("grounding", GROUNDING_PROMPT, answer, mentions=mentions)


def conversation(scene: Scene, rng: np.random.Generator) -> Sample:
    """Four turns that mix the tasks; the first describes the image, in a sentence or in detail."""
    if rng.random() < 0.5:
        first = Turn(DETAIL_PROMPT, detail(scene), "detail")
    else:
        first = Turn(CAPTION_PROMPTS[0], captions(scene)[int(rng.integers(5))], "caption")
    named, placed = _some(rng, scene.things, 1)[0], _some(rng, scene.things, 1)[0]
    choices = [
        _some(rng, presence(scene, rng), 1)[0],
        _some(rng, [rural_urban(scene), classification(scene, SCENE_PROMPTS[1]), *comparison(scene, rng)], 1)[0],
        refer(scene, named, _some(rng, expressions(scene, named), 1)[0], REFER_PROMPTS[0]),
        identify(scene, placed, IDENTIFY_PROMPTS[0]),
    ]
    return Sample("conversation", (first, *(sample.turns[0] for sample in _some(rng, choices, 3))))


# --- all of a scene ---------------------------------------------------------------------------------------------------


def training_samples(scene: Scene, rng: np.random.Generator) -> list[Sample]:
    """Everything asked about a training scene, about thirty samples."""
    samples = [one("caption", _some(rng, CAPTION_PROMPTS, 1)[0], caption) for caption in captions(scene)]
    samples += presence(scene, rng) + count(scene, rng) + comparison(scene, rng)
    samples += [rural_urban(scene), *(classification(scene, prompt) for prompt in SCENE_PROMPTS)]
    for thing in scene.things:
        for expression in expressions(scene, thing):
            samples.append(refer(scene, thing, expression, str(rng.choice(REFER_PROMPTS, p=REFER_SHARES))))
        samples.append(identify(scene, thing, IDENTIFY_PROMPTS[int(rng.random() < 0.3)]))
    for kind in sorted({thing.kind for thing in scene.things}):
        samples.append(detection(scene, kind, plural(kind) if rng.random() < 0.3 else None))
    return [*samples, grounding(scene), conversation(scene, rng)]


def held_out_samples(scene: Scene, rng: np.random.Generator) -> list[Sample]:
    """What is asked about a held-out scene: every task with one fixed prompt; every object referred to once, so that
    the expressions of a scene can be exchanged among its objects."""
    five = captions(scene)
    samples = [one("caption", CAPTION_PROMPTS[0], five[0], {"captions": five})]
    samples += presence(scene, rng) + count(scene, rng) + comparison(scene, rng)
    samples += [rural_urban(scene), classification(scene)]
    for thing in scene.things:
        samples.append(refer(scene, thing, _some(rng, expressions(scene, thing), 1)[0], REFER_PROMPTS[0]))
        samples.append(identify(scene, thing, IDENTIFY_PROMPTS[0]))
    samples += [detection(scene, kind) for kind in sorted({thing.kind for thing in scene.things})]
    return samples


def clip_samples(clip: Clip, held_out: bool) -> list[Sample]:
    five = clip_captions(clip)
    if held_out:
        return [one("video_caption", FRAMES_PROMPT, five[0], {"captions": five}, clip.motion)]
    return [one("video_caption", FRAMES_PROMPT, caption, type=clip.motion) for caption in five]


def plural(kind: str) -> str:
    return f"{kind}s"


def _vqa(question: str, answer: str, type: str) -> Sample:
    return one("vqa", question, answer, {"answer": answer}, type)


def _counts(scene: Scene) -> list[str]:
    numbers = [(kind, scene.count(kind)) for kind in dict.fromkeys(thing.kind for thing in scene.things)]
    return [f"a {kind}" if number == 1 else f"{NUMBERS[number]} {plural(kind)}" for kind, number in numbers]


def _listing(parts: Sequence[str]) -> str:
    """``a, b and c``"""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _area(box: BoxTuple) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _some(rng: np.random.Generator, items: Sequence[Any], number: int) -> list[Any]:
    """``number`` different items, in random order."""
    return [items[index] for index in rng.permutation(len(items))[:number]]
