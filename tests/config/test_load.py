"""A recipe file becomes a Recipe, or every mistake in it is named at once, without importing anything heavy."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyeye.config.load import RecipeError, load_recipe, quick_recipe, recipe_to_yaml
from skyeye.config.schema import (
    EvalConfig,
    LanguageConfig,
    MixtureEntry,
    ModelConfig,
    OptimizerConfig,
    Recipe,
    RunConfig,
    SourceConfig,
    StageConfig,
)
from skyeye.config.validate import build
from skyeye.errors import SkyEyeError

BASE = """
name: t
output_dir: runs/t
sources:
  made: {format: skyeye_968k, path: world}
model:
  language: {config: {model_type: llama, hidden_size: 8}}
stages:
  - name: pretrain
    steps: 100
    mixture: [{source: made}]
    optimizer: {lr: 1e-3, warmup_steps: 10}
  - name: conversation
    steps: 50
    mixture: [{source: made, weight: 2}]
    optimizer: {warmup_steps: 5}
"""


def write(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return [str(issue) for issue in caught.value.issues]


def test_values_types_and_defaults(tmp_path):
    recipe = load_recipe(write(tmp_path, BASE))
    assert recipe.stages[0].optimizer.lr == 1e-3  # 1e-3 without a dot is text to plain YAML
    assert recipe.stages[1].mixture[0].weight == 2.0 and isinstance(recipe.stages[1].mixture[0].weight, float)
    assert recipe.stages[0].optimizer.betas == (0.9, 0.999)
    assert recipe.model.language.config == {"model_type": "llama", "hidden_size": 8}
    assert recipe.seed == 42 and recipe.run.strategy == "single"


def test_overrides_by_index_name_and_list(tmp_path):
    path = write(tmp_path, BASE)
    overrides = [
        "stages.0.steps=60",
        "stages.conversation.optimizer.betas=[0.8,0.98]",
        "stages[1].mixture[0].weight=3",
        "run.wandb=off",
        "seed=1e3",
        "eval.benchmarks=[vqa,scene]",
        "eval.data_root=a=b",
    ]
    recipe = load_recipe(path, overrides)
    assert recipe.stages[0].steps == 60
    assert recipe.stages[1].optimizer.betas == (0.8, 0.98)
    assert recipe.stages[1].mixture[0].weight == 3.0
    assert recipe.run.wandb == "off"  # YAML reads a bare off as false
    assert recipe.seed == 1000 and isinstance(recipe.seed, int)
    assert recipe.eval.benchmarks == ["vqa", "scene"]
    assert recipe.eval.data_root == "a=b"


def test_extends_merges_and_amends_a_stage_by_name(tmp_path):
    (tmp_path / "bases").mkdir()
    write(tmp_path / "bases", BASE, "base.yaml")
    write(tmp_path, "extends: bases/base.yaml\nseed: 7\nstages: {pretrain: {steps: 30}}", "middle.yaml")
    top = write(tmp_path, "extends: middle.yaml\nname: top\nmodel: {language: {config: {hidden_size: 16}}}", "top.yaml")
    recipe = load_recipe(top, ["stages.pretrain.questions_per_image=2"])
    assert (recipe.name, recipe.seed) == ("top", 7)
    assert [stage.steps for stage in recipe.stages] == [30, 50]
    assert recipe.stages[0].questions_per_image == 2 and recipe.stages[0].optimizer.warmup_steps == 10
    assert recipe.model.language.config == {"model_type": "llama", "hidden_size": 16}
    stages = "stages: [{name: x, steps: 2000, mixture: [{source: made}]}]"
    replaced = write(tmp_path, f"extends: bases/base.yaml\n{stages}", "list.yaml")
    assert [stage.name for stage in load_recipe(replaced).stages] == ["x"]


def test_interpolation_is_resolved_after_merging(tmp_path):
    path = write(tmp_path, BASE.replace("runs/t", "runs/${name}-${seed}"))
    assert load_recipe(path, ["seed=5"]).output_dir == "runs/t-5"


def test_all_mistakes_at_once(tmp_path):
    text = BASE + "seed: many\nrun: {stratgy: ddp, precision: bf8, gradient_checkpointing: 1}\nlr: 1e-4\n"
    found = mistakes(
        write(tmp_path, text),
        "stages.pretrain.mixture.0.source=mad",
        "stages.pretrain.vision=lora",
        "stages.conversation.optimizer.betas=[0.9]",
        "stages.conversation.optimizer.lr=.inf",
        "model.vision.heads=[1]",
        "model.vision.mean=3",
        "model.language.pretrained=null",
        "model.tokenizer=x",
        "sources.made.path=null",
        "eval.benchmarks=vqa",
        "stages.pretain.steps=1",
        "stages.5.steps=1",
    )
    text = "\n".join(found)
    expected = [
        "lr: unknown key",
        "seed: expected a whole number, got 'many'",
        "run.stratgy: unknown key; did you mean 'strategy'?",
        "run.precision: 'bf8' is not allowed; allowed: auto, fp32, bf16, fp16",
        "run.gradient_checkpointing: expected true or false, got 1",
        "stages[0].mixture[0].source: no source 'mad'; known: made",
        "stages[0].vision: the tower has no adapters here",
        "stages[1].optimizer.betas: expected a list of 2 values, each a number, got [0.9]",
        "stages[1].optimizer.lr: expected a number, got inf",
        "model.vision.heads: expected a whole number, got [1]",
        "model.vision.mean: expected a list of 3 values",
        "model.tokenizer: expected a section with the keys path, train_vocab_size, box_tokens, got 'x'",
        "sources.made.path: expected text, got nothing (null)",
        "eval.benchmarks: expected a list, each entry text, got 'vqa'",
        "stages.pretain: no such entry; allowed: 0 to 1 or pretrain, conversation; did you mean 'pretrain'?",
        "stages.5: no such entry; allowed: 0 to 1 or pretrain, conversation",
    ]
    for start in expected:
        assert any(line.startswith(start) for line in found), f"{start}\nnot in\n{text}"
    assert len(found) == len(expected), text


def test_rules_between_fields(tmp_path):
    path = write(tmp_path, BASE)
    found = mistakes(path, "stages.1.name=pretrain", "model.vision.width=100", "stages.0.optimizer.warmup_steps=100")
    assert found == [
        "stages[0].optimizer.warmup_steps: 100 leaves nothing of 100 steps",
        "model.vision.heads: width 100 is not a multiple of heads 16",
        "stages: the name 'pretrain' is used more than once",
    ]
    assert mistakes(path, "model.language.pretrained=x")[0].startswith("model.language: give either pretrained")


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("{depth: 4, layers: []}", "model.vision.layers: names no level"),
        ("{depth: 4, layers: [2, 5]}", "model.vision.layers: there is no level 5 in a tower of depth 4"),
        ("{depth: 4, layers: [-6]}", "model.vision.layers: there is no level -6 in a tower of depth 4"),
        ("{depth: 4, layers: 2}", "model.vision.layers: expected a list, each entry a whole number, got 2"),
        ("{architecture: timm, name: x, level_norm: true}", "model.vision.level_norm: is only used with layers"),
        ("{layers: [1], level_norm: true}", "model.vision.level_norm: the eva tower has no final norm"),
        ("[{width: 16, heads: 2}]", "model.vision: a list holds two towers or more"),
        ("[]", "model.vision: a list holds two towers or more"),
        ("[{width: 16, heads: 2}, {width: 16, heads: 3}]", "model.vision[1].heads: width 16 is not a multiple"),
        ("[{width: 16, heads: 2}, 3]", "model.vision[1]: expected a section"),
    ],
)
def test_rules_of_towers(tmp_path, section, expected):
    assert "\nmodel:\n" in BASE
    found = mistakes(write(tmp_path, BASE.replace("\nmodel:\n", f"\nmodel:\n  vision: {section}\n")))
    assert len(found) == 1 and found[0].startswith(expected), found


def test_towers(tmp_path):
    one = load_recipe(write(tmp_path, BASE)).model
    assert one.towers == [one.vision] and one.vision_norm and one.vision.layers is None
    vision = "[{image_size: 28}, {architecture: timm, name: x, layers: [-2, 3], level_norm: true}]"
    several = load_recipe(
        write(tmp_path, BASE.replace("\nmodel:\n", f"\nmodel:\n  vision: {vision}\n")), ["model.vision.0.depth=3"]
    )
    assert several.model.towers is several.model.vision
    assert [tower.layers for tower in several.model.towers] == [None, [-2, 3]]
    assert several.model.towers[0].depth == 3


def test_a_misspelling_is_reported_once(tmp_path):
    # warmup_steps falls back to 1000 of 100 steps, which would be a second complaint about the same slip.
    assert len(mistakes(write(tmp_path, BASE.replace("warmup_steps: 10}", "warmup_stps: 10}")))) == 1
    assert len(mistakes(write(tmp_path, BASE.replace("steps: 100", "stepz: 100")))) == 1


def test_a_key_one_level_too_high_is_sent_down(tmp_path):
    found = mistakes(write(tmp_path, BASE.replace("steps: 100", "steps: 100\n    lr: 1e-4")))
    assert found[0].startswith("stages[0].lr: unknown key; did you mean 'optimizer.lr'?")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("# nothing yet\n", "the file is empty"),
        ("- a\n", "found a list"),
        ("3\n", "found a single value"),
        ("name: a\nseed: 1\nname: b\n", "line 3, column 1: not valid YAML: found duplicate key name"),
        ("name: a\nmodel: [1\n", "line 3, column 1: not valid YAML"),
        ("name: ${nowhere}\n", "name: Interpolation key 'nowhere' not found"),
        ("name: !!python/object/apply:os.getcwd []\n", "line 1, column 7: not valid YAML"),
        ("extends: gone.yaml\n", "extends: there is no file"),
        ("extends: [a]\n", "extends: expected the name of one file"),
        ("extends: recipe.yaml\n", "extends itself"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(SkyEyeError) as caught:
        load_recipe(path)
    assert message in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_binary_and_bad_overrides(tmp_path):
    path = write(tmp_path, BASE)
    with pytest.raises(SkyEyeError, match="no such recipe file .*did you mean 'recipe.yaml'"):
        load_recipe(tmp_path / "recipes.yaml")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(SkyEyeError, match="not a text file"):
        load_recipe(tmp_path / "image.png")
    for bad in ("seed", "=3", "a..b=1", "seed=[1", "a b=1"):
        with pytest.raises(SkyEyeError) as caught:
            load_recipe(path, [bad])
        assert bad in str(caught.value) and "\n" not in str(caught.value)
    assert mistakes(path, "seed.x=1") == ["seed: expected a whole number, got {'x': 1}"]


def test_quick_is_a_tenth_that_still_passes_the_rules(tmp_path):
    path = write(tmp_path, BASE + "run: {checkpoint_every: 25, log_every: 4}\n")
    recipe = load_recipe(path, ["stages.0.optimizer.warmup_steps=90", "stages.1.steps=6"])
    small = quick_recipe(recipe)
    assert [(stage.steps, stage.optimizer.warmup_steps) for stage in small.stages] == [(10, 5), (1, 0)]
    assert (small.run.checkpoint_every, small.run.log_every) == (2, 1)
    assert recipe.stages[0].steps == 100  # the recipe itself is untouched
    assert build(Recipe, dataclasses.asdict(small))[1] == []


def test_nothing_heavy_is_imported(tmp_path):
    path = write(tmp_path, BASE)
    code = f"import sys; from skyeye.config.load import load_recipe; load_recipe({str(path)!r}); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "transformers", "PIL", "timm"} & set(loaded)


FIELDS = [
    (cls, field.name)
    for cls in (Recipe, StageConfig, OptimizerConfig, RunConfig, EvalConfig)
    for field in dataclasses.fields(cls)
    if len(field.name) > 3
]


@given(choice=st.sampled_from(FIELDS), data=st.data())
def test_any_small_typo_names_the_key_that_was_meant(choice, data):
    cls, name = choice
    at = data.draw(st.integers(0, len(name) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz"))
    kind = data.draw(st.sampled_from(["drop", "double", "replace", "swap"]))
    typo = {
        "drop": name[:at] + name[at + 1 :],
        "double": name[: at + 1] + name[at:],
        "replace": name[:at] + letter + name[at + 1 :],
        "swap": name[:at] + name[at : at + 2][::-1] + name[at + 2 :],
    }[kind]
    known = [field.name for field in dataclasses.fields(cls)]
    if typo in known:
        return
    complaint = next(line for line in map(str, build(cls, {typo: 1})[1]) if line.startswith(f"{typo}: unknown key"))
    hint, _, keys = complaint.partition("(keys here: ")
    assert f"{name!r}" in hint
    assert keys == ", ".join(known) + ")"


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\x85\u2028\u2029\ufeff\ufffe\uffff"))
TRICKY = st.sampled_from(
    ["off", "1e5", "1_000", "0x1f", "1:30", "null", "~", "2024-01-01", "${a}", "\\${a}", "???", "#", "- a"]
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT | TRICKY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | TRICKY, inner, max_size=3),
    max_leaves=6,
)
SMALL = st.floats(1e-12, 1e6)
FRACTION = st.floats(0, 1, exclude_max=True)


#: Where a home folder and variables of the environment are put in, what stands for them does not come back.
PATHS = (TEXT | TRICKY).filter(lambda text: "$" not in text and not text.startswith("~"))


@settings(max_examples=60)
@given(
    name=TEXT | TRICKY,
    place=PATHS,
    options=st.dictionaries(TEXT | TRICKY, PLAIN, max_size=3),
    betas=st.tuples(FRACTION, FRACTION),
    precision=st.sampled_from(["fp32", "bf16", "fp16"]),
    weights=st.none() | st.dictionaries(TEXT | TRICKY, SMALL, min_size=1, max_size=3),
)
def test_round_trip(tmp_path_factory, name, place, options, betas, precision, weights):
    recipe = Recipe(
        name=name,
        output_dir=place,
        sources={"s": SourceConfig(format=name, path=place, options=options)},
        stages=[StageConfig("one", [MixtureEntry("s", tasks=weights)], 2000, optimizer=OptimizerConfig(betas=betas))],
        model=ModelConfig(language=LanguageConfig(config=options)),
        run=RunConfig(precision=precision),
    )
    path = tmp_path_factory.mktemp("round") / "recipe.yaml"
    path.write_text(recipe_to_yaml(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe


def test_a_folder_given_for_the_run_is_taken_as_it_is(recipe):
    written = load_recipe(recipe(), ["run.dir=somewhere/a"])
    assert written.folder == quick_recipe(written).folder == "somewhere/a"
    plain = load_recipe(recipe())
    assert plain.folder == plain.output_dir and quick_recipe(plain).folder == f"{plain.output_dir}-quick"


def test_a_folder_is_no_recipe(tmp_path):
    """The folder of a run holds one."""
    with pytest.raises(SkyEyeError, match="is a folder, not a recipe .give the YAML file in it"):
        load_recipe(tmp_path)
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(SkyEyeError, match=f"is a folder, not a recipe .give {tmp_path}/recipe.yaml"):
        load_recipe(tmp_path)
