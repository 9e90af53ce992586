from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.record import Record, Turn
from skyeye.eval.benchmarks import BENCHMARKS
from skyeye.eval.benchmarks.controls import derangement, shuffle_images, shuffle_phrases


def record(index: int, images: tuple[str, ...], thing: int = 0) -> Record:
    return Record(
        id=str(index),
        source="test",
        task="refer",
        split="test",
        images=images,
        turns=(Turn(f"[refer] where is {thing} ({index})", f"answer {index}"),),
        references={"object": thing},
    )


@given(st.integers(2, 60), st.integers())
def test_derangement_is_a_permutation_without_fixed_point(n, seed):
    order = derangement(n, random.Random(seed))
    assert sorted(order) == list(range(n))
    assert all(i != j for i, j in enumerate(order))


@pytest.mark.parametrize("n", [0, 1])
def test_one_thing_cannot_be_deranged(n):
    with pytest.raises(ValueError, match="permuted"):
        derangement(n, random.Random(0))


@given(st.lists(st.integers(0, 8), min_size=1, max_size=40), st.integers(0, 5))
def test_shuffled_images_show_every_question_another_image_and_keeps_the_rest(image_of, seed):
    records = [record(i, (f"{x}.png", f"{x}-b.png") if x % 2 else (f"{x}.png",)) for i, x in enumerate(image_of)]
    result = shuffle_images(records, seed)
    if len(set(image_of)) == 1:
        assert result is None
        return
    mapping = {}
    for before, after in zip(records, result, strict=True):
        assert before.images != after.images
        assert (
            mapping.setdefault(before.images, after.images) == after.images
        )  # a permutation of images, not of questions
        assert (before.id, before.turns, before.references) == (after.id, after.turns, after.references)
    assert set(mapping) == set(mapping.values())  # sequences stay whole


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=40), st.integers(0, 5))
def test_shuffled_phrases_ask_for_another_object_of_the_same_scene(places, seed):
    records = [record(i, (f"{scene}.png",), thing) for i, (scene, thing) in enumerate(places)]
    owner = {r.turns[0].question: (r.images, r.references["object"]) for r in records}
    indices, changed = shuffle_phrases(records, lambda r: r.references["object"], seed)
    objects = {scene: {t for s, t in places if s == scene} for scene, _ in places}
    assert indices == [i for i, (scene, _) in enumerate(places) if len(objects[scene]) > 1]
    for index, after in zip(indices, changed, strict=True):
        images, thing = owner[after.turns[0].question]
        assert images == after.images == records[index].images
        assert thing != records[index].references["object"]
        assert after.references == records[index].references
        assert after.turns[0].answer == records[index].turns[0].answer


def test_shuffled_phrases_permute_whole_objects():
    records = [record(i, ("a.png",), thing) for i, thing in enumerate([0, 1, 2])]
    _, changed = shuffle_phrases(records, lambda r: r.references["object"], seed=1)
    assert Counter(r.turns[0].question for r in changed) == Counter(r.turns[0].question for r in records)


def test_controls_depend_on_the_seed_only():
    records = [record(i, (f"{i}.png",)) for i in range(20)]
    assert shuffle_images(records, 3) == shuffle_images(list(records), 3)
    assert shuffle_images(records, 3) != shuffle_images(records, 4)


def test_the_permutations_are_those_of_published_numbers():
    """Scores printed in README and docs were measured with these; another seed would change them."""
    records = [record(i, (f"{i % 4}.png",), i) for i in range(16)]
    assert [r.images[0][0] for r in shuffle_images(records[:4], "0 world.refer")] == ["3", "2", "0", "1"]
    _, changed = shuffle_phrases(records, lambda r: r.references["object"], "0 world.refer")
    asked = [int(r.turns[0].question.split()[3]) for r in changed]
    assert asked == [4, 9, 6, 15, 12, 13, 10, 3, 0, 5, 14, 7, 8, 1, 2, 11]


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name.startswith("synth.")])
def test_a_renamed_benchmark_is_drawn_as_before(name):
    assert BENCHMARKS[name].drawn_as == name.replace("synth.", "world.")
