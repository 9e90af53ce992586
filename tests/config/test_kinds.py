"""Sections that their ``type`` tells apart, and a section or a list of sections."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

import pytest

from skyeye.config import load
from skyeye.config.issue import Issue
from skyeye.config.kinds import describe, make_section, sections
from skyeye.config.load import RecipeError, load_recipe, recipe_to_yaml
from skyeye.config.rules import RULES, rule
from skyeye.config.schema import LinearProjectorConfig, MLPProjectorConfig, ProjectorConfig
from skyeye.config.validate import build
from skyeye.errors import SkyEyeError


@dataclass
class Round:
    type: Literal["round"] = "round"
    radius: int = 1
    colour: str = "red"


@dataclass
class Square:
    type: Literal["square"] = "square"
    side: int = 2
    colour: str = "red"
    corners: list[float] = field(default_factory=list)


@dataclass
class Tower:
    name: str | None = None
    width: int = 8
    depth: int = 1


@dataclass
class Toy:
    shape: Round | Square = field(default_factory=Round)
    other: Round | Square | None = None
    towers: Tower | list[Tower] = field(default_factory=Tower)
    shapes: Round | Square | list[Round | Square] = field(default_factory=Round)


@pytest.fixture
def rules_of_toys():
    """Rules on toys, for one test."""

    @rule(Round, Square)
    def colours_are_known(shape):
        if shape.colour not in ("red", "blue"):
            yield Issue("colour", f"{shape.colour} is no colour", ("colour",))

    @rule(Tower)
    def towers_are_wide(tower):
        if tower.width < tower.depth:
            yield Issue("width", f"{tower.width} is below depth", ("width", "depth"))

    @rule(Toy)
    def shapes_are_not_red(toy):
        if toy.shape.colour == "red":
            yield Issue("shape.colour", "red is for towers", ("shape.colour",))

    yield
    for section in (Round, Square, Tower, Toy):
        del RULES[section]


def toy(**data) -> Toy:
    value, issues = build(Toy, data)
    assert issues == []
    return value


def mistakes(**data) -> list[str]:
    return [str(issue) for issue in build(Toy, data)[1]]


class TestTyped:
    def test_the_type_picks_the_section(self):
        assert toy(shape={"type": "square", "side": 5}).shape == Square(side=5)
        assert toy(shape={"type": "round", "radius": 5}).shape == Round(radius=5)
        assert toy(shape={"radius": 5}).shape == Round(radius=5)  # the first
        assert toy(other={"type": "square"}).other == Square()
        assert toy(other=None).other is None and toy().other is None

    def test_an_unknown_type_names_those_allowed(self):
        assert mistakes(shape={"type": "hexagon", "sides": 6}) == [
            "shape.type: 'hexagon' is not allowed; allowed: round, square"
        ]
        assert mistakes(shape={"type": ["round"]})[0].startswith("shape.type: ['round'] is not allowed; allowed: round")
        assert mistakes(shape={"type": None})[0].startswith("shape.type: nothing (null) is not allowed; allowed: round")

    def test_nothing_is_judged_in_a_section_of_unknown_type(self, rules_of_toys):
        assert mistakes() == ["shape.colour: red is for towers"]
        assert len(mistakes(shape={"type": "hexagon", "colour": "pale"})) == 1

    def test_a_misspelt_type_is_looked_at_as_what_it_resembles(self, rules_of_toys):
        assert mistakes(shape={"type": "squar", "side": "x", "radius": 3, "colour": "pale", "sid": 1}) == [
            "shape.type: 'squar' is not allowed; allowed: round, square; did you mean 'square'?",
            "shape.sid: unknown key; did you mean 'side'? (keys here: type, side, colour, corners)",
            "shape.side: expected a whole number, got 'x'",
            "shape.colour: pale is no colour",
        ]

    def test_keys_of_another_type(self):
        assert mistakes(shape={"type": "round", "side": 3}) == [
            "shape.side: belongs to type: square, and this is type: round (keys here: type, radius, colour)"
        ]
        assert mistakes(shape={"side": 3}) == [
            "shape.side: belongs to type: square, and without type this is type: round"
            " (keys here: type, radius, colour)"
        ]
        found = mistakes(shape={"typ": "square", "side": 3})
        assert found == ["shape.typ: unknown key; did you mean 'type'? (keys here: type, radius, colour)"]

    def test_hints(self):
        assert mistakes(side=3) == [
            "side: unknown key; did you mean 'shape.side' or 'other.side' or 'shapes.side'?"
            " (keys here: shape, other, towers, shapes)"
        ]
        assert mistakes(shape=3) == [
            "shape: expected a section of type: round (keys type, radius, colour)"
            " or of type: square (keys type, side, colour, corners), got 3"
        ]
        assert describe(Round | None) == "a section with the keys type, radius, colour or null"

    def test_rules_of_the_section_that_was_picked(self, rules_of_toys):
        assert mistakes(shape={"type": "square", "colour": "pale"}) == ["shape.colour: pale is no colour"]
        assert mistakes(shape={"type": "square", "colour": 3}) == [
            "shape.colour: expected text, got 3; put it in quotes"
        ]


class TestListed:
    def test_one_or_several(self):
        assert toy(towers={"width": 3}).towers == Tower(width=3)
        assert toy(towers=[{"width": 3}, {}]).towers == [Tower(width=3), Tower()]
        assert toy(shapes=[{"type": "square"}, {}]).shapes == [Square(), Round()]
        assert toy(shapes={"type": "square"}).shapes == Square()

    def test_mistakes_have_the_path_of_their_entry(self, rules_of_toys):
        assert mistakes(
            shape={"colour": "blue"}, towers=[{"widht": 3}, {"width": 1, "depth": 2}, {"depth": "x"}, 4]
        ) == [
            "towers[0].widht: unknown key; did you mean 'width'? (keys here: name, width, depth)",
            "towers[1].width: 1 is below depth",
            "towers[2].depth: expected a whole number, got 'x'",
            "towers[3]: expected a section with the keys name, width, depth, got 4",
        ]
        assert mistakes(shapes=[{}, {"type": "squar"}])[0].startswith("shapes[1].type: 'squar' is not allowed")

    def test_hints(self):
        assert mistakes(towers=3) == [
            "towers: expected a section with the keys name, width, depth, or a list of such sections, got 3"
        ]
        assert mistakes(width=3)[0].startswith("width: unknown key; did you mean 'towers.width'?")


@pytest.mark.parametrize(
    "kind", [int | str, Round | Tower, Round | int, Round | list[Square], Tower | list[int], list[int] | list[str]]
)
def test_a_schema_that_cannot_be_told_apart(kind):
    with pytest.raises(TypeError, match="the schema uses"):
        sections(kind)


class TestFiles:
    """Merging and writing, with the toy in the place of a recipe."""

    @pytest.fixture(autouse=True)
    def _toys(self, monkeypatch):
        monkeypatch.setattr(load, "Recipe", Toy)

    @pytest.fixture
    def file(self, tmp_path):
        def write(text: str, name: str = "toy.yaml"):
            path = tmp_path / name
            path.write_text(text)
            return path

        return write

    def test_round_trip(self, file):
        for value in (
            Toy(),
            Toy(Square(side=4, corners=[0.5]), Round(), [Tower("a"), Tower(width=3)], [Square(), Round(radius=9)]),
            Toy(towers=[]),
        ):
            assert load_recipe(file(recipe_to_yaml(value))) == value

    def test_settings_of_a_type_that_is_replaced_go(self, file):
        file("shape: {type: square, side: 9, colour: blue}", "base.yaml")
        changed = file("extends: base.yaml\nshape: {type: round}")
        assert load_recipe(changed).shape == Round(colour="blue")
        assert load_recipe(changed, ["shape.type=square"]).shape == Square(colour="blue")
        assert load_recipe(file("extends: base.yaml\nshape: {side: 3}")).shape == Square(side=3, colour="blue")
        assert load_recipe(file("extends: base.yaml\nshape: {type: square}")).shape == Square(side=9, colour="blue")
        back = file("shape: {radius: 9, colour: blue}")  # without type it was the first
        assert load_recipe(back, ["shape.type=square", "shape.side=5"]).shape == Square(side=5, colour="blue")
        assert load_recipe(back, ["shape.type=round"]).shape == Round(radius=9, colour="blue")
        assert load_recipe(file("shapes: [{radius: 9}, {}]"), ["shapes.0.type=square"]).shapes == [Square(), Round()]

    def test_what_is_wrong_in_the_new_type_is_still_told(self, file):
        with pytest.raises(RecipeError, match="shape.side: belongs to type: square"):
            load_recipe(file("shape: {type: round, side: 9}"), ["shape.type=round"])
        path = file("shape: {type: square, side: 9, colr: blue}")
        for override in ("shape={type: round, side: 3}", "shape={side: 3, type: round}"):
            with pytest.raises(RecipeError) as refused:
                load_recipe(path, [override])
            assert [issue.path for issue in refused.value.issues] == ["shape.colr", "shape.side"]

    def test_overrides_of_one_and_of_several(self, file):
        one = file("towers: {name: a, width: 3}")
        assert load_recipe(one, ["towers.depth=2"]).towers == Tower("a", 3, 2)
        assert load_recipe(one, ["towers=[{width: 1},{}]", "towers.1.width=5"]).towers == [
            Tower(width=1),
            Tower(width=5),
        ]
        several = file("towers: [{name: a}, {name: b, width: 3}]")
        assert load_recipe(several, ["towers.b.depth=2", "towers[0].width=1"]).towers == [
            Tower("a", 1),
            Tower("b", 3, 2),
        ]
        replaced = file("extends: toy.yaml\ntowers: [{depth: 4}]", "top.yaml")
        assert load_recipe(replaced).towers == [Tower(depth=4)]
        with pytest.raises(RecipeError, match="towers.width: no such entry; allowed: 0 to 1 or a, b"):
            load_recipe(several, ["towers.width=2"])


class TestProjectors:
    def test_a_recipe_names_one(self, recipe):
        assert load_recipe(recipe()).model.projector == LinearProjectorConfig(join_tokens=4)
        assert load_recipe(recipe(), ["model.projector.type=mlp"]).model.projector == MLPProjectorConfig(join_tokens=4)
        with pytest.raises(RecipeError, match="model.projector.type: 'mpl' is not allowed; allowed: linear, mlp"):
            load_recipe(recipe(), ["model.projector.type=mpl"])
        with pytest.raises(RecipeError, match="model.projector.join_tokens: 0 is below 1"):
            load_recipe(recipe(), ["model.projector={type: mlp, join_tokens: 0}"])

    def test_one_comes_back_from_its_settings(self):
        for section in (LinearProjectorConfig(join_tokens=2), MLPProjectorConfig(join_tokens=2)):
            assert make_section(ProjectorConfig, dataclasses.asdict(section)) == section
        assert make_section(ProjectorConfig, {}) == LinearProjectorConfig()
        with pytest.raises(SkyEyeError, match="type: 'x' is not allowed; allowed: linear, mlp"):
            make_section(ProjectorConfig, {"type": "x"})
