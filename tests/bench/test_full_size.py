"""The full-size check: what a step took is written at once, and nothing that is skipped or ended is silent."""

from __future__ import annotations

import json

import pytest

from skyeye.bench.full_size import steps as running
from skyeye.bench.full_size.__main__ import BEGIN, END, main
from skyeye.bench.full_size.plans import cpu_steps, gpu_steps, write_recipe
from skyeye.bench.full_size.steps import Step, run_steps
from skyeye.config.load import load_recipe


def test_steps_are_measured_skipped_and_ended(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(running, "_has_gpu", lambda: False)
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


@pytest.mark.parametrize(("layers", "width"), [(2, 128), (32, 4096)])
def test_the_recipe_is_one_and_steps_follow_those_they_need(tmp_path, layers, width):
    path = write_recipe(tmp_path, layers, width)
    language = load_recipe(path).model.language.config
    assert (language["num_hidden_layers"], language["hidden_size"]) == (layers, width)
    names = [step.name for step in gpu_steps(tmp_path, str(path)) + cpu_steps(tmp_path, path)]
    assert len(set(names)) == len(names) and names[0] == "doctor"
    for step in cpu_steps(tmp_path, path):
        assert step.after is None or names.index(step.after) < names.index(step.name)


def test_the_table_of_a_result_is_put_into_a_page(tmp_path, capsys):
    page, result = tmp_path / "page.md", tmp_path / "r.json"
    entry = {"code": 0, "seconds": 3.5, "host_gib": 1.25, "written_gb": 0.5}
    about = {"layers": 2, "width": 128, "date": "2026-11-26", "machine": {"cores": 2}}
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
