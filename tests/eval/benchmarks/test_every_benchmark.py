"""Every benchmark there is, on a small folder in its published layout: perfect answers score the best of its metric,
those of other records and one answer to everything what arithmetic gives, written here by hand.

A new benchmark without its case fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path

import pytest

from skyeye.data.record import Record
from skyeye.eval.benchmarks import BENCHMARKS
from skyeye.eval.results import Answer
from skyeye.eval.score_predictions import answers_of
from tests.eval.benchmarks.field_sets import field_sets
from tests.eval.benchmarks.paper_sets import PICTURES, QUESTIONS, SCENES, caption, paper_sets

pytest.importorskip("pyarrow")

A, B = "{<10><10><30><30>}", "{<50><50><70><70>}"
BOTH = f"{A}<delim>{B}"
NEWS = ["this harbor holds many boats", "two green fields beside roads"]
#: Classes that are asked of a picture, and in which place ships and planes stand.
CLASSES = {"dota": 15, "dior": 20, "fair1m": 34}


@dataclass(frozen=True)
class Case:
    """What is asked and what comes of it.

    Attributes:
        said: the true answers in the order of the questions; or of a record.
        other: main metric where each question gets the answer to the next one, the last that to the first.
        constant: what is answered to everything, and ``value`` its main metric.
        best: main metric of the true answers.
        more: other metrics of the constant answer.
    """

    said: Sequence[str] | Callable[[Record], str]
    other: float
    constant: str
    value: float
    best: float = 100
    more: dict[str, float] = field(default_factory=dict)


def found(record: Record) -> str:
    """The boxes of a class in the pictures of the detection sets."""
    name = record.references["class"]
    first = Path(record.images[0]).stem.endswith("1")
    ship, plane = name in ("ship", "warship"), name in ("plane", "airplane", "boeing747")
    return (A if first else BOTH) if ship else B if plane and first else "none"


def counted(record: Record) -> str:
    first, question = Path(record.images[0]).stem.endswith("1"), record.turns[0].question
    ship, plane = "many ships" in question or "warship" in question, "many planes" in question
    plane = plane or "airplane" in question or "boeing747" in question
    return ("1" if first else "2") if ship else "1" if plane and first else "0"


def captions_case(number: int, best: float = 1000, said: Sequence[str] | None = None) -> Case:
    """CIDEr x 100 of captions that share no word: 1,000 where it is the reference, 0 where it is another's."""
    said = said or [caption(n) for n in range(number)]
    return Case(said, 0, said[0], best / number, best)


def detection_case(value: float) -> Case:
    """The same box to all: of the ships both are right and 2 of 3 are found, of the plane none."""
    return Case(found, 0, A, 100 * value / 2, more={"mAP (VOC 2007)": 100 * 7 / 11 / 2, "mAP (VOC)": 100 / 3})


def counting_case(name: str) -> Case:
    """Counts are 1, 2 (ships), 1 (a plane) and 0; next to the two ships of the second picture are classes with none."""
    asked = 2 * CLASSES[name]
    errors = {"accuracy": 100 * (asked - 3) / asked, "mae": 4 / asked, "rmse": sqrt(6 / asked)}
    return Case(counted, 100 * (asked - 2) / asked, "0", 100 * (asked - 1) / asked, more=errors)


LETTERS = Case(["B", "C"], 0, "B", 50, more={"chance": 25})
NOT_THERE = Case(["There is no ship.", "No car is there."], 100, "red", 0)
#: Each of two questions is asked five times, its options turned: one letter is right once.
CROPS = Case(
    ["rice", "corn"],
    0,
    "A",
    20,
    more={"chance": 20, "circular_accuracy": 0, "circular_chance": 100 / 5**5, "voted_accuracy": 0},
)
#: "yes" twice, one after the other; then three others.
RSVQA = Case([answer for _, _, answer in QUESTIONS], 20, "yes", 40)
REFER = Case([A, B], 0, A, 50)
#: The truth is both boxes and one of them. Each other's: 2 pairs, 3 found, 3 true; the first to both: 1 of 2, of 3.
PHRASES = Case([BOTH, B], 100 * 2 * 2 / 6, A, 100 * 2 * 1 / 5)

CASES: dict[str, Case] = {
    "synth.scene": Case(["farm", "port"], 0, "port", 50),
    "synth.vqa": Case(["yes", "2"], 0, "yes", 50),
    "synth.refer": REFER,
    "synth.grounding": PHRASES,
    "synth.identify": Case(["a ship", "a court"], 0, "a ship", 50),
    "synth.caption": captions_case(2),
    "synth.frames": captions_case(2),
    **{f"{name}.caption": captions_case(PICTURES) for name in ("rsicd", "ucm", "sydney", "rsitmd")},
    "nwpu.caption": captions_case(2),
    "capera.caption": captions_case(2),
    **dict.fromkeys(("rsvqa_lr", "rsvqa_hr.test1", "rsvqa_hr.test2"), RSVQA),
    "rsivqa": Case(["4", "yes"], 0, "yes", 50),
    "era.vqa": Case(["fire", "flood"], 0, "fire", 50),
    **dict.fromkeys(("rsvg.val", "rsvg.test", "rsvg_hr.test", "dior_rsvg.test", "vehicles.refer"), REFER),
    "rspg": PHRASES,
    # a ship, a plane, two ships: 0, 1 and 1 pairs with the next, of 4 and 4 boxes; A: 1, 0 and 1 of 3 and 4
    "rspg.boxes": Case([A, B, BOTH], 100 * 2 * 2 / 8, A, 100 * 2 * 2 / 7),
    "dior.identify": captions_case(2, said=NEWS),
    # of the first picture a ship and a plane, of the second the leftmost, topmost; rightmost, bottommost ship
    "dota.refer": Case([A, B, A, A, B, B], 100 * 2 / 6, A, 50),
    **{f"{name}.scene": Case(lambda r: Path(r.images[0]).parent.name, 0, of[0], 100 / len(of))
       for name, (_, of) in SCENES.items()},
    "vrsbench.caption": captions_case(2, said=NEWS),
    "vrsbench.refer": Case([A, "{<50><50><90><90>}"], 0, A, 50),
    "vrsbench.vqa": Case(["yes", "3", "red", "harbor"], 0, "yes", 25),
    # 4 + 2 times asked; a letter is right once of each
    "xlrs_lite": Case(
        ["right", "road"], 0, "A", 100 * 2 / 6, more={"chance": 100 * 2 / 6, "circular_chance": 50 * (1 / 4**4 + 1 / 4)}
    ),
    "geobench_vlm": CROPS,
    "geobench_vlm.temporal": CROPS,
    # the main metric wants all three turns right
    "lhrs_bench": Case(
        ["a plane", "1"], 0, "A", 0, more={"chance": 100 / 3, "circular_chance": 100 / 27, "accuracy": 100 / 3}
    ),
    "vhm.presence": Case(["yes", "no"], 0, "yes", 50, more={"chance": 50, "said_yes": 100}),
    # half of one and all of nothing: "red" is one of two colours of the first
    "vhm.color": Case(["red, white", "blue"], 0, "red", 25, more={"accuracy": 0}),
    "vhm.position": LETTERS,
    "vhm.relation": LETTERS,
    "vhm.counting": Case(["4", "10"], 0, "5", 50, more={"accuracy": 0, "mae": 3, "rmse": sqrt((1 + 25) / 2)}),
    "vhm.image_type": Case(["A", "C"], 0, "A", 50, more={"chance": 100 / 3}),
    "vhm.gsd": Case(
        ["0.5", "4"], 0, "0.52", 50, more={"mae": (0.02 + 3.48) / 2, "mape": 100 * (0.02 / 0.5 + 3.48 / 4) / 2}
    ),
    "vhm.size": Case(
        ["20, 10", "40 and 30"], 0, "20 by 10", 50, more={"mae": 10, "mape": 100 * (20 / 40 + 20 / 30) / 4}
    ),
    **{f"vhm.scene.{name}": Case(["farm", "port"], 0, "port", 50)
       for name in ("aid", "meter_ml", "nwpu", "siri_whu", "whu_rs19")},
    **{f"vhm.honesty.color_{how}": NOT_THERE for how in ("popular", "adversarial", "random", "grey")},
    **{f"vhm.honesty.{name}_{how}": LETTERS
       for name in ("position", "relation") for how in ("popular", "adversarial", "random")},
    "rsieval.caption": captions_case(2, said=NEWS),
    "rsieval.vqa": Case(["day", "3"], 0, "day", 50),
    "dota.detect": detection_case(7 / 11),
    "dior.detect": detection_case(2 / 3),
    "fair1m.detect": detection_case(7 / 11),
    **{f"{name}.count": counting_case(name) for name in CLASSES},
    # one of two captions each, which share no word
    "levir_cc": captions_case(2, 500, ["nothing has changed here today", "long rows of houses appear"]),
    **dict.fromkeys(
        ("cdvqa.test1", "cdvqa.test2"), Case(["yes", "10 to 20", "low vegetation"], 0, "10 to 20", 100 / 3)
    ),
    "uavbench.img_cls": Case(["fire", "flood", "bike"], 0, "fire", 100 / 3, more={"mean_over_units": 25}),
    "uavbench.deta_cls": Case(["forest fire", "red truck"], 0, "red truck", 50),
    "uavbench.img_cap": captions_case(2, said=NEWS),
    "uavbench.deta_cap": captions_case(2, said=NEWS),
    "uavbench.vqa": Case(["yes", "grass"], 0, "yes", 50),
    "uavbench.count": Case(["4", "9"], 0, "5", 50, more={"mae": 2.5, "rmse": sqrt((1 + 16) / 2)}),
    "uavbench.det": PHRASES,
    "uavbench.vg": REFER,
    "uavbench.reg_cls": Case(["car", "bus"], 0, "bus", 50),
    "uavbench.reg_cap": captions_case(2, said=NEWS),
    "uavbench.reg_vqa": Case(["red", "sand"], 0, "red", 50),
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """All sets below one data root: none is taken for another."""
    folder = tmp_path_factory.mktemp("every_set")
    field_sets(folder)
    paper_sets(folder)
    return folder


def loaded(name: str, root: Path) -> list[Record]:
    records, problems = BENCHMARKS[name].load(root, "stop")
    assert not [problem for problem in problems if not problem.by_rule]
    return records


def values(name: str, records: Sequence[Record], said: Sequence[str]) -> dict[str, float]:
    given, _ = answers_of(said, records, BENCHMARKS[name], None)
    return BENCHMARKS[name].metric(records, given).metrics


def answers(case: Case, records: Sequence[Record], later: int) -> list[str]:
    """To each record the true answer to the question so many later; a question asked several times is one."""
    if callable(case.said):
        said = [case.said(record) for record in records]
        return said[later:] + said[:later]
    questions = list(dict.fromkeys(record.references.get("asked", record.id) for record in records))
    assert len(questions) == len(case.said)
    place = {name: number for number, name in enumerate(questions)}
    numbers = [place[record.references.get("asked", record.id)] + later for record in records]
    return [case.said[number % len(questions)] for number in numbers]


OF_WORDS = [name for name, benchmark in BENCHMARKS.items() if benchmark.output != "embedding"]


@pytest.mark.parametrize("name", OF_WORDS)
def test_perfect_answers_those_of_others_and_one_to_all(root, name, without_java):
    case, main, records = CASES[name], BENCHMARKS[name].main_metric, loaded(name, root)
    assert values(name, records, answers(case, records, 0))[main] == pytest.approx(case.best)
    assert values(name, records, answers(case, records, 1))[main] == pytest.approx(case.other, abs=1e-6)
    constant = values(name, records, [case.constant] * len(records))
    assert constant[main] == pytest.approx(case.value)
    assert {name: constant[name] for name in case.more} == pytest.approx(case.more)
    assert ("chance" in constant) == ("chance" in case.more)


def vectors(pictures: Sequence[int], texts: Sequence[int], size: int) -> list[Answer]:
    """For each number the vector of that axis."""
    return [Answer(embedding=tuple(float(axis == own) for axis in range(size))) for own in (*pictures, *texts)]


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if BENCHMARKS[name].family == "retrieval"])
def test_pictures_and_captions_that_find_each_other(root, name):
    """Twelve pictures with two captions each, on twelve axes."""
    pictures = loaded(name, root)
    texts = BENCHMARKS[name].texts(pictures, None)
    places = [record.id for record in pictures]
    own, of = list(range(PICTURES)), [places.index(record.references["of"]) for record in texts]

    def recall(axes: Sequence[int], captions: Sequence[int]) -> dict[str, float]:
        given = vectors(axes, captions, PICTURES)
        return BENCHMARKS[name].metric([*pictures, *texts], given).metrics

    assert len(pictures) == PICTURES and len(texts) == 2 * PICTURES
    assert recall(own, of)["mean_recall"] == 100
    # the captions of the next are nearer than the own, and 20 others as near: place 2 + 10; of the pictures 1 + 5
    shifted = recall(own[1:] + own[:1], of)
    assert [shifted[f"{way} R@{k}"] for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)] == [0] * 5 + [
        100
    ]
    # all alike: 22 captions of others count half, place 11; 11 other pictures, place 5.5
    alike = recall([0] * PICTURES, [0] * len(of))
    assert alike["text_to_image R@5"] == 0 and alike["text_to_image R@10"] == 100
    assert alike["mean_recall"] == pytest.approx(100 / 6)


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if BENCHMARKS[name].family == "zero_shot"])
def test_classes_by_their_texts(root, name):
    pictures = loaded(name, root)
    texts = BENCHMARKS[name].texts(pictures, None)
    classes = list(dict.fromkeys(record.references["class"] for record in texts))
    of = [classes.index(record.references["class"]) for record in texts]
    own = [classes.index(record.references["answer"]) for record in pictures]
    size = len(SCENES[name.removesuffix(".zero_shot")][1])

    def accuracy(axes: Sequence[int]) -> float:
        return BENCHMARKS[name].metric([*pictures, *texts], vectors(axes, of, size)).metrics["accuracy"]

    assert len(classes) == len(pictures) == size and len(texts) == 2 * size  # two templates
    assert accuracy(own) == 100 and accuracy(own[1:] + own[:1]) == 0
    assert accuracy([3] * size) == pytest.approx(100 / size)


def test_no_case_without_its_benchmark():
    assert CASES.keys() == set(OF_WORDS)
    assert {benchmark.family for benchmark in BENCHMARKS.values() if benchmark.output == "embedding"} == {
        "retrieval",
        "zero_shot",
    }
