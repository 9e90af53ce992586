"""The command line from outside: what it says, what it returns, and what it does not load to say so."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

import skyeye
from skyeye import cli
from skyeye.errors import SkyEyeError

#: Runs the command line, then tells on the last line of stderr which heavy libraries were imported for it.
PROBE = """
import sys
from skyeye.cli import main
try:
    code = main()
except SystemExit as end:
    code = end.code
heavy = ("torch", "transformers", "numpy", "PIL", "omegaconf")
print(*[name for name in heavy if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""
RECIPE = """
name: t
output_dir: runs/t
sources: {made: {format: skyeye968k, path: world}}
model: {language: {config: {model_type: llama}}, tokenizer: {train_vocab_size: 900}}
stages: [{name: one, steps: 2000, mixture: [{source: made}]}]
"""


def skyeye_command(*arguments: str, cwd: Path) -> tuple[int, str, str, list[str]]:
    """Exit code, stdout, stderr and the heavy libraries imported."""
    path = str(Path(skyeye.__file__).parents[1])
    result = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        timeout=600,
    )
    said, _, heavy = result.stderr.removesuffix("\n").rpartition("\n")
    return result.returncode, result.stdout, said, heavy.split()


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path / "recipe.yaml"


def test_help_names_every_command_and_loads_nothing(tmp_path):
    code, out, said, heavy = skyeye_command("--help", cwd=tmp_path)
    assert (code, said, heavy) == (0, "", [])
    for command in ("data", "train", "eval", "chat", "checkpoint", "config"):
        assert f"\n    {command}" in out
    result = subprocess.run([sys.executable, "-m", "skyeye", "--version"], capture_output=True, text=True)
    assert result.stdout == f"skyeye {skyeye.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tain"], "invalid choice: 'tain'"),
        ([], "arguments are required: COMMAND"),
        (["checkpoint"], "arguments are required: COMMAND"),
        (["data", "synth", "out", "--images", "many"], "invalid int value: 'many'"),
        (["chat", "folder"], "arguments are required: --image"),
        (["train", "recipe.yaml", "--qick"], "unrecognized arguments: --qick"),
        (["eval", "folder", "more"], "unrecognized arguments: more"),
        (["eval", "folder", "--limit", "0"], "--limit: '0' is no whole number above 0"),
        (["eval", "folder", "--limit", "-5"], "--limit: '-5' is no whole number above 0"),
        (["eval", "folder", "--batch-size", "-1"], "--batch-size: '-1' is no whole number above 0"),
        (["eval", "folder", "--max-new-tokens", "few"], "--max-new-tokens: 'few' is no whole number above 0"),
    ],
)
def test_a_wrong_command_line_is_answered_with_usage(tmp_path, arguments, message):
    code, out, said, heavy = skyeye_command(*arguments, cwd=tmp_path)
    assert (code, out, heavy) == (2, "", [])
    assert message in said and said.startswith("usage: skyeye")


def test_a_bad_recipe_is_refused_before_torch_is_loaded(recipe):
    (recipe.parent / "world").mkdir()
    wrong = ["run.precison=bf16", "stages.one.steps=few", "output_dir=recipe.yaml/x"]
    code, out, said, heavy = skyeye_command("train", "recipe.yaml", "--resume", *wrong, cwd=recipe.parent)
    assert (code, out) == (2, "") and not {"torch", "transformers"} & set(heavy)
    first, *mistakes = said.splitlines()
    assert first == "error: recipe.yaml: 3 mistakes"
    assert "output_dir: recipe.yaml is a file, not a folder" in mistakes[2]  # told with the others
    assert "stages[0].steps: expected a whole number, got 'few'" in mistakes[0]
    assert "run.precison: unknown key; did you mean 'precision'?" in mistakes[1]
    assert not (recipe.parent / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "recpe.yaml"], "did you mean 'recipe.yaml'?"),
        (["config", "show", "recipe.yaml", "seed"], "an override is key=value"),
        (["eval", "nowhere", "--benchmarks", "synth.vqa"], "nowhere: does not say where the benchmarks' data lie"),
        (["chat", "nowhere", "--image", "gone.png"], "gone.png: the image is missing"),
        (["checkpoint", "show", "nowhere"], "nowhere: no such checkpoint"),
        (["checkpoint", "convert", "nowhere", "recipe.yaml"], "recipe.yaml: exists already"),
        (["data", "synth", "out", "--images", "-3"], "images"),
    ],
)
def test_a_mistake_is_one_line(recipe, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(recipe.parent)
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ") and message in captured.err
    assert captured.err.count("\n") == 1
    with pytest.raises(SkyEyeError):
        cli.main([*arguments, "--debug"])
    with pytest.raises(SkyEyeError):
        cli.main(["--debug", *arguments])
    assert sorted(path.name for path in recipe.parent.iterdir()) == ["recipe.yaml"]


#: Commands that write, where ``held`` is a file: said before there is any work, and before the input is looked at.
WRITING = [
    "eval list --json held/x",
    "eval score p --benchmark rsvqa_lr --data-root d --json held/x",
    "eval score p --benchmark rsvqa_lr --data-root d --out held",
    "eval compare a b --out held/x",
    "eval questions rsvqa_lr --data-root d --out held/x",
    "eval . --benchmarks synth.vqa --data-root d --out held/x",
    "data check d --json held/x",
    "data show d --out held/x.html",
    "data stats d --out held",
    "data split d --out held",
    "data pack d --out held",
    "data assemble d --images i --out held",
    "data synth held/x --images 2",
    "runs show d --out held/x",
    "runs compare d d --out held/x",
    "checkpoint convert d held/x",
    "cache build recipe.yaml --out held",
    "plan recipe.yaml --json held/x",
    "doctor --json held/x",
    "bench train --json held/x",
    "bench generate --json held/x",
    "bench data --json held/x",
    "bench data --keep held",
    "chat d --image i --out held",
]


@pytest.mark.parametrize("command", WRITING)
def test_a_place_that_cannot_be_written_to_is_said_first(recipe, monkeypatch, capsys, command):
    monkeypatch.chdir(recipe.parent)
    (recipe.parent / "held").touch()
    assert cli.main(command.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "held" in said and "choose another place" in said
    assert said.count("\n") == 1
    assert sorted(path.name for path in recipe.parent.iterdir()) == ["held", "recipe.yaml"]


@pytest.mark.parametrize("command", ["eval list --json=~/x.json", "eval list --json=$PLACE/x.json"])
def test_paths_of_arguments_are_expanded(recipe, monkeypatch, capsys, command):
    monkeypatch.setenv("HOME", str(recipe.parent))
    monkeypatch.setenv("PLACE", str(recipe.parent))
    assert cli.main(command.split()) == 0
    assert (recipe.parent / "x.json").is_file()
    assert cli.main(["data", "check", "$NOT_SET_ANYWHERE/x"]) == 2
    assert capsys.readouterr().err.startswith("error: $NOT_SET_ANYWHERE/x: $NOT_SET_ANYWHERE is not set (export ")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
def test_what_the_system_refuses_is_one_line(recipe, monkeypatch, capsys, number):
    def refused(options):
        raise OSError(number, os.strerror(number), "ro/run")

    monkeypatch.setattr(cli, "_config_show", refused)
    assert cli.main(["config", "show", str(recipe)]) == 2
    assert capsys.readouterr().err.startswith(f"error: ro/run: {os.strerror(number)} (")
    with pytest.raises(OSError, match="ro/run"):
        cli.main(["config", "show", str(recipe), "--debug"])


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_an_output_that_is_full_is_no_traceback():
    command = [sys.executable, "-m", "skyeye", "eval", "list"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: No space left on device (make room")
    assert done.stderr.count("\n") == 1


def test_the_traceback_comes_with_debug_only(recipe):
    without = skyeye_command("config", "show", "recipe.yaml", "seed=x", cwd=recipe.parent)
    debug = skyeye_command("config", "show", "recipe.yaml", "seed=x", "--debug", cwd=recipe.parent)
    assert "Traceback" not in without[2] and "Traceback" in debug[2]


def test_config_show_prints_a_recipe_that_loads(recipe, monkeypatch, capsys):
    monkeypatch.chdir(recipe.parent)
    assert cli.main(["config", "show", "recipe.yaml", "seed=7"]) == 0
    shown = capsys.readouterr().out
    assert "\nseed: 7\n" in shown and "  lora:\n" in shown
    (recipe.parent / "again.yaml").write_text(shown)
    assert cli.main(["config", "show", "again.yaml"]) == 0
    assert capsys.readouterr().out == shown


def test_training_is_handed_its_options_and_its_end_is_the_exit_code(recipe, monkeypatch):
    from skyeye.train import run

    monkeypatch.chdir(recipe.parent)
    (recipe.parent / "world").mkdir()
    calls = []
    monkeypatch.setattr(run, "train", lambda *args, **kwargs: calls.append((args, kwargs)) or ends.pop())
    ends = [recipe, None, recipe]
    assert cli.main(["train", str(recipe), "--quick", "seed=3", "--resume", "name=u"]) == 0
    assert calls == [((recipe, ["seed=3", "name=u"]), {"resume": True, "quick": True, "evaluator": None})]
    assert cli.main(["train", str(recipe)]) == 130  # interrupted, with its state saved
    assert calls[1] == ((recipe, []), {"resume": False, "quick": False, "evaluator": None})
    assert cli.main(["train", str(recipe), "--no-cache"]) == 0
    assert calls[2][0] == (recipe, ["run.source_index=false"])


def test_ctrl_c_is_no_traceback(recipe, monkeypatch, capsys):
    def stop(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_config_show", stop)
    assert cli.main(["config", "show", str(recipe)]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_eval_takes_what_is_not_said_from_the_checkpoints_recipe(recipe, monkeypatch, capsys):
    from skyeye.eval import evaluate as module
    from skyeye.eval.results import EvalResults

    calls = []

    def evaluate(checkpoint, benchmarks, data_root, out, settings, suite):
        calls.append((benchmarks, str(data_root), out.name, {"suite": suite, **asdict(settings)}))
        out.mkdir(parents=True, exist_ok=True)
        (out / "scores.md").write_text("| a table |")
        return EvalResults({}, {})

    monkeypatch.setattr(module, "evaluate", evaluate)
    settings = "benchmarks: [synth.vqa], data_root: world, limit: 5, prompts: {synth.vqa: '[vqa] {question}'}"
    recipe.write_text(f"{RECIPE}eval: {{{settings}}}\n")
    assert cli.main(["eval", str(recipe.parent)]) == 0
    given = ["--benchmarks", "a", "b", "--data-root", "d", "--limit", "2", "--batch-size", "1", "--no-controls"]
    given += ["--prompt", "a=[vqa] {question} = ?", "--missing-images", "stop", "--max-new-tokens", "9", "--out"]
    assert cli.main(["eval", str(recipe.parent), *given, str(recipe.parent / "o")]) == 0
    assert cli.main(["eval", str(recipe.parent), "--suite", "paper"]) == 0
    usual = {"suite": None, "limit": 5, "batch_size": 32, "controls": True, "max_new_tokens": None, "prompts": {}}
    opening = {"base": None, "dtype": "auto", "device": None, "keep_adapters": False, "family": None, "resize": None}
    usual |= {
        "images": True,
        "missing_images": "skip",
        "opening": opening,
        "seed": 0,
        "recipe_prompts": {"synth.vqa": "[vqa] {question}"},
        "boxes": None,
        "server": {"concurrency": 8, "timeout": 120.0, "first_wait": 1.0},
    }
    said = {"limit": 2, "batch_size": 1, "controls": False, "max_new_tokens": 9, "missing_images": "stop"}
    assert calls == [
        (["synth.vqa"], "world", "eval", usual),
        (["a", "b"], "d", "o", {**usual, **said, "prompts": {"a": "[vqa] {question} = ?"}}),
        ([], "world", "eval", {**usual, "suite": "paper"}),
    ]
    assert cli.main(["eval", str(recipe.parent), "--prompt", "nothing"]) == 2
    assert "| a table |" in capsys.readouterr().out


def test_a_world_is_drawn_and_then_found(tmp_path, capsys):
    arguments = ["data", "synth", str(tmp_path / "world"), "--images", "2", "--seed", "3"]
    assert cli.main(arguments) == 0
    first = capsys.readouterr()
    assert "written: 2 training" in first.out and "drawing" in first.err
    assert cli.main(arguments) == 0
    assert "is already there: 2 training" in capsys.readouterr().out


def test_progress_ends_with_all_of_it(capsys):
    from skyeye.cli.progress import Counter

    count = Counter("looking")
    for done in (1, 3, 4):
        count(done, 4)
    told = capsys.readouterr().err
    assert "looking:" in told and told.rstrip().splitlines()[-1].count("4/4") == 1


def test_nothing_is_written_over_what_is_read(tmp_path, capsys, monkeypatch):
    """``data show my.jsonl --out my.jsonl`` put a page in the place of the annotations."""
    monkeypatch.chdir(tmp_path)
    line = '{"image": "a.png", "question": "is it ?", "answer": "yes"}\n'
    (tmp_path / "my.jsonl").write_text(line)
    (tmp_path / "link.html").symlink_to("my.jsonl")
    for command in (
        ["data", "show", "my.jsonl", "--out", "my.jsonl"],
        ["data", "show", "my.jsonl", "--out", "./link.html"],
        ["data", "check", "my.jsonl", "--json", "my.jsonl"],
        ["eval", "score", "my.jsonl", "--benchmark", "rsvqa_lr", "--data-root", ".", "--json", "my.jsonl"],
    ):
        assert cli.main(command) == 2, command
        assert "is what the command reads, too (write to another file)" in capsys.readouterr().err
    assert (tmp_path / "my.jsonl").read_text() == line and len(list(tmp_path.iterdir())) == 2
