"""Pictures in memory are asked about as files are, and each is encoded once."""

import subprocess
import sys

import pytest
from PIL import Image

from skyeye.errors import SkyEyeError
from skyeye.serve.harness import backend
from skyeye.serve.harness.backend import Backend, Question

WORDS = ("is there a plane ?", "where is the ship ?", "no")


@pytest.mark.parametrize("batch_size", [1, 4, 32])
@pytest.mark.parametrize("window", [1, 4, 256])
def test_answers_are_those_of_an_evaluation_for_any_batch(checkpoint, files, expected, batch_size, window, monkeypatch):
    monkeypatch.setattr(backend, "WINDOW", window)
    questions = [
        Question(words, tuple(Image.open(file) for file in shown), longest)
        for shown in ([files[0]], [files[1]], [files[0]], files[:2], [])
        for words, longest in zip(WORDS, (6, 3, 6), strict=True)
    ]
    said = list(Backend.open(checkpoint, "cpu", batch_size).answers(iter(questions)))
    shown = [[picture.filename for picture in question.pictures] for question in questions]
    assert said == [expected(q.text, paths, q.max_new_tokens) for q, paths in zip(questions, shown, strict=True)]
    assert len(set(said)) > 8, "the model says the same to everything: the test would prove nothing"


def test_a_picture_is_encoded_once_in_a_window_and_not_held(checkpoint, files, monkeypatch):
    asked = Backend.open(checkpoint, "cpu")
    encoded, alive = [], []
    network = asked.model.network
    encode_images = network.encode_images
    monkeypatch.setattr(
        network, "encode_images", lambda pixels, _: encoded.append(len(pixels)) or encode_images(pixels)
    )

    def questions():
        for number in range(12):
            picture = Image.open(files[number % 3])
            alive.append(number)
            yield Question(WORDS[number // 4], (picture,), 1)

    answers = asked.answers(questions())
    next(answers)
    assert encoded == [3] and len(alive) == 12
    monkeypatch.setattr(backend, "WINDOW", 6)
    encoded.clear(), alive.clear()
    answers = asked.answers(questions())
    next(answers)
    assert len(alive) == 6, "a window is asked before the next is read"
    assert len(list(answers)) == 11 and encoded == [], "the last pictures are kept"


def test_the_task_opens_the_question_and_markers_of_other_models_go(checkpoint, files, expected):
    asked = Backend.open(checkpoint, "cpu", task="vqa")
    picture = Image.open(files[0])
    questions = [Question(text, (picture,), 5) for text in (WORDS[0], f"<image>\n{WORDS[0]} ")]
    assert list(asked.answers(questions)) == [expected(f"[vqa] {WORDS[0]}", files[:1], 5)] * 2
    assert expected(f"[vqa] {WORDS[0]}", files[:1], 5) != expected(WORDS[0], files[:1], 5)
    with pytest.raises(SkyEyeError, match="unknown task 'vqq'.*did you mean 'vqa'"):
        Backend.open(checkpoint, "cpu", task="vqq")
    with pytest.raises(SkyEyeError, match="no such checkpoint"):
        Backend.open(checkpoint / "gone")


def test_pictures_of_any_kind_are_shown_as_their_files_are(checkpoint, files, expected, tmp_path):
    """Palette, grey, 16 bits, transparency; the same pixels in another file are the same picture."""
    rgb = Image.open(files[0])
    kinds = {"P": rgb.quantize(20), "L": rgb.convert("L"), "RGBA": rgb.convert("RGBA"), "I;16": rgb.convert("I;16")}
    asked = Backend.open(checkpoint, "cpu")
    for name, picture in kinds.items():
        path = tmp_path / f"{name[:1]}.png"
        picture.save(path)
        (said,) = asked.answers([Question(WORDS[0], (picture,), 4)])
        assert said == expected(WORDS[0], [str(path)], 4), name


def test_pictures_that_differ_in_their_palette_alone_are_two(checkpoint, files, expected, tmp_path):
    first = Image.open(files[0]).quantize(20)
    second = first.copy()
    second.putpalette([255 - value for value in first.getpalette()])
    for number, picture in enumerate((first, second)):
        picture.save(tmp_path / f"{number}.png")
    asked = Backend.open(checkpoint, "cpu")
    said = list(asked.answers([Question(WORDS[0], (picture,), 4) for picture in (first, second)]))
    assert said == [expected(WORDS[0], [str(tmp_path / f"{number}.png")], 4) for number in (0, 1)]
    assert said[0] != said[1]


def test_no_questions_no_answers(checkpoint):
    assert list(Backend.open(checkpoint, "cpu").answers([])) == []


def test_importing_skyeye_needs_neither_kit():
    code = (
        "import sys; import skyeye.serve.harness.backend, skyeye.serve.harness, skyeye.eval.evaluate;"
        "assert not {'lmms_eval', 'vlmeval'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)
