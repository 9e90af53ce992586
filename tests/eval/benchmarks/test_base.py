"""What becomes of missing images, and of prompts."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from skyeye.errors import SkyEyeError
from skyeye.eval.benchmarks import BENCHMARKS

SCENES = BENCHMARKS["synth.scene"]


@pytest.fixture
def damaged(world, tmp_path):
    """The synthetic scenes without one test image, and with another one cut off."""
    shutil.copytree(world, tmp_path / "world")
    images = sorted((tmp_path / "world" / "images").glob("test_0*.jpg"))
    images[0].unlink()
    images[1].write_bytes(images[1].read_bytes()[:200])
    return tmp_path / "world", len(images)


def test_records_without_a_sound_image_are_skipped_or_stop_everything_or_stay(damaged):
    folder, images = damaged
    records, problems = SCENES.load(folder)
    assert len(records) == images - 2 and {p.kind for p in problems} == {"missing image", "unusable image"}
    with pytest.raises(SkyEyeError, match=r"lacks images, 2 records at least.*--missing-images skip"):
        SCENES.load(folder, "stop")
    kept, problems = SCENES.load(folder, "keep")
    assert len(kept) == images and problems == []
    assert sum(record.images[0].startswith("absent:") for record in kept) == 1


def test_whole_data_pass_whatever_the_policy(world):
    everything = {policy: SCENES.load(world, policy)[0] for policy in ("skip", "stop", "keep")}
    assert everything["skip"] == everything["stop"] == everything["keep"] != []


@pytest.mark.parametrize(
    ("benchmark", "prompt", "begins", "ends"),
    [
        ("synth.vqa", "[vqa] {question} Answer in one word.", "[vqa] ", " Answer in one word."),
        ("synth.scene", "[vqa] One of {classes}: which {{one}}?", "[vqa] One of ", ": which {one}?"),
        ("synth.identify", "[identify] what is in {box}", "[identify] what is in {<", ">}"),
        ("synth.grounding", "[detection] all of {phrase}", "[detection] all of ", ""),
    ],
)
def test_a_prompt_takes_the_place_of_the_question(world, written, benchmark, prompt, begins, ends):
    own = [written(record) for record in BENCHMARKS[benchmark].load(world)[0]]
    asked = [written(record) for record in BENCHMARKS[benchmark].load(world, prompt=prompt)[0]]
    assert [record.id for record in own] == [record.id for record in asked]
    for before, after in zip(own, asked, strict=True):
        question = after.turns[0].question
        assert question.startswith(begins) and question.endswith(ends)
        between = question[len(begins) : len(question) - len(ends)]
        known = [before.turns[0].question, *before.references.get("classes", []), before.references.get("phrase", "")]
        assert all(word in " ".join(map(str, known)) for word in between.replace(",", " ").split())
        assert (after.references, after.images, after.turns[0].answer) == (
            before.references,
            before.images,
            before.turns[0].answer,
        )


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("[vqa] {phrase}", "wants phrase, which .* does not have .a prompt may hold {question}"),
        ("[vqa] {question", "cannot be read"),
        ("[vqa] {question.__class__}", "wants question.__class__"),
    ],
)
def test_a_prompt_that_cannot_be_filled_is_refused(world, prompt, words):
    with pytest.raises(SkyEyeError, match=words):
        BENCHMARKS["synth.vqa"].load(world, prompt=prompt)


def test_what_is_scored_fits_the_family():
    for benchmark in BENCHMARKS.values():
        assert (benchmark.output == "boxes") == (benchmark.family in ("refer", "phrase_grounding", "detection"))
    with pytest.raises(SkyEyeError, match="family refer with output text"):
        replace(BENCHMARKS["synth.refer"], output="text")
    with pytest.raises(SkyEyeError, match="family vqa with output boxes"):
        replace(BENCHMARKS["synth.vqa"], output="boxes")
