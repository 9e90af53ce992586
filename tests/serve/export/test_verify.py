"""An export beside the checkpoint that it was made of."""

from __future__ import annotations

import pytest
from safetensors.torch import load_file, save_file

from skyeye import cli
from skyeye.models.pretrained import open_checkpoint
from skyeye.serve.export.checksums import write_checksums
from skyeye.serve.export.formats import Exporting, export
from skyeye.serve.export.verify import LONGEST, compare
from skyeye.serve.model import Model


@pytest.fixture
def image(picture, tmp_path):
    picture.save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


@pytest.mark.parametrize("how", [Exporting(), Exporting(merged=True, dtype="fp16")])
def test_an_export_computes_what_the_checkpoint_computes(whole, image, tmp_path, how):
    """Bit by bit: the checkpoint is rounded, and merged, as the folder is."""
    out = tmp_path / "out"
    export(whole, out, how)
    found = list(compare(out, whole, [image], ["how many ships are there?", "where are they?"]))
    assert [(each.difference, each.answer == each.expected) for each in found] == [(0.0, True)] * 2


def test_a_plain_llava_folder_computes_it_within_the_rounding_of_float32(llava_shaped, image, tmp_path):
    export(llava_shaped, tmp_path / "out", Exporting("llava"))
    (found,) = compare(tmp_path / "out", llava_shaped, [image], ["Describe the image."])
    assert found.difference < 1e-3 and found.answer == found.expected
    (alone,) = compare(tmp_path / "out", None, [image], ["Describe the image."])
    assert alone.expected is None and isinstance(alone.answer, str)


def test_other_weights_are_found_out(whole, image, tmp_path, capsys):
    out = tmp_path / "out"
    export(whole, out, Exporting(merged=True, dtype="fp32"))
    verify = ["export", "verify", str(out), "--against", str(whole), "--image", str(image)]
    assert cli.main(verify) == 0
    assert capsys.readouterr().out.endswith("logits differ by at most 0 (allowed: 0.001)\nas it should be\n")
    held = load_file(out / "model.safetensors")
    name = "language_model.lm_head.weight"
    save_file(held | {name: held[name] + 0.01}, out / "model.safetensors", {"format": "pt"})
    assert cli.main(verify) == 1
    told = capsys.readouterr().out
    assert "WRONG: model.safetensors is not the file that was exported" in told and "not as it should be" in told
    write_checksums(out)  # the files agree again; the logits do not
    assert cli.main(verify) == 1
    assert "WRONG" not in (told := capsys.readouterr().out) and "logits differ by at most 0." in told


def test_mistakes(whole, image, tmp_path, capsys):
    assert cli.main(["export", "verify", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert cli.main(["export", "verify", str(whole)]) == 2
    assert "was not written by skyeye export" in capsys.readouterr().err
    assert cli.main(["export", "verify", str(whole), "--against", str(whole)]) == 2
    assert "name a picture, or several: --image FILE" in capsys.readouterr().err


def test_the_reference_s_file_on_the_frozen_parts_of_a_folder(whole, image, tmp_path):
    export(whole, tmp_path / "out", Exporting("minigpt_v2"))
    found = list(compare(tmp_path / "out", None, [image], ["where?"], base=whole))
    model = Model(*open_checkpoint(whole))
    assert [each.answer for each in found] == [model.ask(image, "where?", max_new_tokens=LONGEST).text]


def test_adapters_alone_with_the_recipe_of_their_base(based, image, tmp_path):
    trained, config = based
    export(trained, tmp_path / "out", Exporting("peft"))
    found = list(compare(tmp_path / "out", trained, [image], ["where?"], base=config))
    assert [each.difference for each in found] == [0.0]


def test_quantised_layers(whole, image, tmp_path):
    pytest.importorskip("bitsandbytes")
    export(whole, tmp_path / "out", Exporting(quantize="int4"))
    assert [each.difference for each in compare(tmp_path / "out", whole, [image])] == [0.0]
