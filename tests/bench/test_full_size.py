"""The full-size check: what a step took is written at once, and nothing that is skipped or ended is silent."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from transformers import AutoConfig

from skyeye.bench.full_size import processor, sizes
from skyeye.bench.full_size import steps as running
from skyeye.bench.full_size.__main__ import BEGIN, END, main
from skyeye.bench.full_size.make import WEIGHTS, make_weights, write_recipes
from skyeye.bench.full_size.plans import cpu_steps, gpu_steps, zero2_step
from skyeye.bench.full_size.sizes import Size, needs, refuse_too_little
from skyeye.bench.full_size.steps import Step, line_of, planned, run_steps
from skyeye.config.load import load_model, load_recipe
from skyeye.errors import SkyEyeError
from skyeye.models.build import build_model
from skyeye.models.inspection import describe_checkpoint
from skyeye.models.pretrained import open_checkpoint


def test_steps_are_measured_skipped_and_ended(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(running, "has_gpu", lambda: False)
    work, out, written = tmp_path / "work", tmp_path / "result.json", tmp_path / "work" / "made.json"
    steps = [
        Step(
            "writes",
            ["timeit", "-n1", "-r1", f"open({str(written)!r}, 'w').write('{{\"peak_memory_gib\": 3}}')"],
            30,
            written,
        ),
        Step("fails", ["json.tool", str(tmp_path / "none")], 30),
        Step("hangs", ["timeit", "-n1", "-r1", "import time; time.sleep(60)"], 0.5),
        Step("depends", ["this"], 30, after="fails"),
        Step("lacks", ["this"], 30, needs=["no_such_package"]),
        Step("on a gpu", ["this"], 30, gpu=True),
    ]
    found = run_steps(steps, work, out, seconds=100, about={"layers": 2})["steps"]
    assert json.loads(out.read_text()) == {"layers": 2, "steps": found}
    assert found["writes"]["code"] == 0 and found["writes"]["device_gib"] == 3 and found["writes"]["host_gib"] > 0
    assert found["fails"]["code"] not in (0, None) and "none" in found["fails"]["said"]
    assert found["hangs"]["ended"] == "after its 0 s" and found["hangs"]["seconds"] < 20
    reasons = [found[name]["skipped"] for name in ("depends", "lacks", "on a gpu")]
    assert reasons == ["needs fails", "not installed: no_such_package", "no NVIDIA GPU"]
    assert capsys.readouterr().out.count("skipped: ") == 3


def test_what_does_not_fit_into_the_time_is_skipped(tmp_path):
    found = run_steps([Step("late", ["this"], 30)], tmp_path, tmp_path / "r.json", seconds=0, about={})
    assert found["steps"]["late"]["skipped"] == "the time is up"


def test_a_step_that_is_meant_to_be_killed_is_done_then(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "has_gpu", lambda: False)
    work, there = tmp_path / "work", tmp_path / "work" / "there"
    code = f"open({str(there)!r}, 'w'); import time; time.sleep(60)"
    steps = [
        Step("killed", ["timeit", "-n1", "-r1", code], 30, kill_at=there),
        Step("goes on", ["timeit", "-n1", "-r1", "1"], 30, after="killed", clears=work / "whole"),
        Step("large", ["this"], 30, disk=1 << 60),
    ]
    (work / "whole").mkdir(parents=True)
    found = run_steps(steps, work, tmp_path / "r.json", seconds=100, about={})["steps"]
    assert found["killed"]["killed"] == "killed when there was there" and found["killed"]["seconds"] < 20
    assert found["goes on"]["code"] == 0 and not (work / "whole").exists()
    assert found["large"]["skipped"].startswith("needs 1152921504.6 GB of disk; free: ")


def test_memory_stands_beside_what_plan_said_and_the_interpreter():
    rows = [{"strategy": "single", "checkpointing": on, "total": (9 - on) * 2**30} for on in (False, True)]
    plan = {"strategy": "single", "gradient_checkpointing": True, "stages": [{"stage": "one", "strategies": rows}]}
    done = {"plan": {"result": plan}, "load": {"result": {"start_gib": 0.5}}}
    assert planned(done, "one") == {"plan_gib": 8.5} and planned({"plan": {}}, "one") == {}
    entry = {"code": 0, "seconds": 1.0, "host_gib": 9.35, "written_gb": 0.0, "plan_gib": 8.5}
    assert line_of("train", entry) == "| train | 1.0 | 9.35 |  | 0.0 | done, plan: 8.5 GiB (+10.0%) |"
    result = {
        "memory": {"measured_gib": 9.0, "planned_gib": 10.0},
        "milliseconds": {"forward": {"split": 2.0, "flex": 1.0}},
    }
    said = line_of("x", {"code": 0, "seconds": 1.0, "host_gib": 1.0, "written_gb": 0.0, "result": result})
    assert said.endswith(
        "done, 9.0 GiB of the device in a step, plan: 10.0 (-10.0%), forward: split 2.0 ms, flex 1.0 ms |"
    )


def test_steps_follow_those_they_need(tmp_path):
    steps = cpu_steps(tmp_path, Size(2, 128, 2), 0)
    names = [step.name for step in [*gpu_steps(tmp_path, gpu=False), *steps, zero2_step(tmp_path)]]
    assert len(set(names)) == len(names) and names[0] == "doctor"
    for step in steps:
        assert step.after is None or names.index(step.after) < names.index(step.name)


def test_files_of_the_published_layouts_are_opened_as_such(tmp_path):
    size = Size(layers=6, width=128, trained_layers=4)
    assert make_weights(tmp_path / WEIGHTS, size) and not make_weights(tmp_path / WEIGHTS, size)
    write_recipes(tmp_path, size)
    files = sorted(path.name for path in (tmp_path / WEIGHTS / "llama").glob("*.safetensors"))
    assert files == [f"model-{n:05d}-of-00003.safetensors" for n in (1, 2, 3)]
    with safe_open(tmp_path / WEIGHTS / "llama" / files[0], "pt") as file:
        weight = file.get_tensor("model.layers.3.mlp.up_proj.weight")
    assert weight.dtype == torch.float16 and 0.019 < weight.float().std() < 0.021
    released = tmp_path / WEIGHTS / "SkyEyeGPT.pth"
    assert "rank 64" in describe_checkpoint(released)
    model, processor = open_checkpoint(released, base=load_model(tmp_path / "released.yaml"))
    assert len(processor.tokenizer) == 32_000 and len(model.vision_tower.backbone.blocks) == 6
    recipe = load_recipe(tmp_path / "train.yaml")
    assert AutoConfig.from_pretrained(recipe.model.language.pretrained).num_hidden_layers == 4
    shallow = build_model(recipe.model, processor.tokenizer)
    ours = shallow.language_model.base_model.model.model.layers[3].mlp.up_proj.weight
    assert torch.equal(ours, weight.float())


def test_needs_are_those_of_the_shapes_and_too_little_is_refused(tmp_path, monkeypatch, capsys):
    needed = needs(Size())
    assert abs(needed.weights / 15.6e9 - 1) < 0.01 and abs(needed.files / 16.2e9 - 1) < 0.01  # trained: 56,627,200
    assert needed.disk + 1e9 < 20e9 and needed.memory < 20e9
    monkeypatch.setattr(sizes.psutil, "virtual_memory", lambda: SimpleNamespace(available=11.2e9))
    with pytest.raises(SkyEyeError, match=r"needs 1\d\.\d GB of memory; free: 11\.2 GB"):
        refuse_too_little(needed, tmp_path / "none")


def test_where_bf16_is_slow_fewer_layers_are_trained(monkeypatch):
    rates = {torch.bfloat16: 1e11, torch.float32: 4e10}
    monkeypatch.setattr(processor, "products_per_second", rates.__getitem__)
    assert processor.trained_layers(32, 4096, 60) == 32
    # half an hour of 1e10 operations a second, 12 x 4096^2 weights x 3500 tokens x 6 of them a layer: 4.3 layers
    rates[torch.bfloat16] = 1e10
    assert processor.trained_layers(32, 4096, 60) == 4 and processor.trained_layers(2, 4096, 60) == 2


def test_the_table_of_a_result_is_put_into_a_page(tmp_path, capsys):
    page, result = tmp_path / "page.md", tmp_path / "r.json"
    entry = {"code": 0, "seconds": 3.5, "host_gib": 1.25, "written_gb": 0.5}
    about = {"layers": 2, "trained_layers": 2, "width": 128, "date": "2026-11-26"}
    about["machine"] = {"cores": 2, "processor": "some"}
    result.write_text(json.dumps({**about, "steps": {"chat": entry, "x": {"skipped": "no NVIDIA GPU"}}}))
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    for _ in range(2):
        assert main(["--report", str(result), "--page", str(page)]) == 0
    text = page.read_text()
    assert "| chat | 3.5 | 1.25 |  | 0.5 | done |" in text and "skipped: no NVIDIA GPU" in text
    assert text.startswith("above\n") and text.endswith("below\n") and "old" not in text
    page.write_text("nothing")
    assert main(["--report", str(result), "--page", str(page)]) == 2
    assert "has no place for the table" in capsys.readouterr().err
