"""The model behind VLMEvalKit answers as ``skyeye eval`` does."""

import inspect
import sys

import pytest

from skyeye.errors import SkyEyeError


def message(question, files):
    """A message as ``ImageBaseDataset.build_prompt`` of ms-vlmeval 0.0.20 makes it."""
    return [{"type": "image", "value": file} for file in files] + [{"type": "text", "value": question}]


@pytest.mark.parametrize("shown", [1, 2, 0])
def test_answers_are_those_of_an_evaluation(vlmevalkit, checkpoint, files, expected, shown):
    model = vlmevalkit.SkyEye(str(checkpoint), max_new_tokens=5, device="cpu")
    said = [
        model.generate(message(question, images), dataset="RSVQA")
        for question in ("is there a plane ?", "where is the ship ?")
        for images in (files[:shown], files[1 : 1 + shown])
    ]
    assert said == [
        expected(question, images, 5)
        for question in ("is there a plane ?", "where is the ship ?")
        for images in (files[:shown], files[1 : 1 + shown])
    ]
    assert len(set(said)) >= (4 if shown else 2)


def test_words_in_several_parts_are_lines(vlmevalkit, checkpoint, files, expected):
    model = vlmevalkit.SkyEye(str(checkpoint), max_new_tokens=5, device="cpu")
    parts = [{"type": "text", "value": "is there"}, *message("a plane ?", files[:1])]
    assert model.generate(parts) == expected("is there\na plane ?", files[:1], 5)


def test_what_the_kit_cannot_show_is_refused(vlmevalkit, checkpoint, tmp_path):
    model = vlmevalkit.SkyEye(str(checkpoint), device="cpu")
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(AssertionError, match="Invalid input type: video"):
        model.generate([{"type": "video", "value": str(tmp_path / "a.mp4")}, {"type": "text", "value": "what ?"}])
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(SkyEyeError, match="broken.png"):
        model.generate(message("what ?", [str(tmp_path / "broken.png")]))
    with pytest.raises(SkyEyeError, match="unknown task"):
        vlmevalkit.SkyEye(str(checkpoint), device="cpu", task="vqq")


def test_a_checkpoint_is_registered_under_a_name(vlmevalkit, checkpoint, files, expected):
    known = sys.modules["vlmeval.config"].supported_VLM
    vlmevalkit.register("SkyEyeGPT-7B", str(checkpoint), max_new_tokens=4, device="cpu", task="vqa")
    try:
        model = known["SkyEyeGPT-7B"]()
    finally:
        del known["SkyEyeGPT-7B"]
    said = model.generate(message("is there a plane ?", files[:1]))
    assert said == expected("[vqa] is there a plane ?", files[:1], 4)
    assert not model.use_custom_prompt("RSVQA") and model.INTERLEAVE is False and not getattr(model, "is_api", False)


def test_the_stand_in_has_the_signatures_of_the_kit(stand_ins):
    base = pytest.importorskip("vlmeval.vlm.base", reason="VLMEvalKit is not installed", exc_type=ImportError)
    for name in ("__init__", "use_custom_prompt", "set_dump_image", "generate_inner", "generate"):
        real, ours = (inspect.signature(getattr(c, name)) for c in (base.BaseModel, stand_ins.BaseModel))
        assert real == ours, name
    assert base.BaseModel.allowed_types == stand_ins.BaseModel.allowed_types
    assert base.BaseModel.INTERLEAVE == stand_ins.BaseModel.INTERLEAVE
