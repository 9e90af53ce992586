"""Every rule: what it refuses, and by which settings it judges."""

from __future__ import annotations

import dataclasses
import re
from functools import reduce

import pytest

from skyeye.config.rules import RULES, check
from skyeye.config.schema import (
    AdapterConfig,
    AlignmentConfig,
    EvalConfig,
    GuardsConfig,
    LanguageConfig,
    LinearProjectorConfig,
    LoraConfig,
    MixtureEntry,
    MLPProjectorConfig,
    ModelConfig,
    NovaPoolerProjectorConfig,
    OptimizerConfig,
    PoolerProjectorConfig,
    PromptConfig,
    QFormerProjectorConfig,
    Recipe,
    RetrievalConfig,
    RunConfig,
    SourceConfig,
    StageConfig,
    TextConfig,
    TokenizerConfig,
    VisionConfig,
)


def stage(name: str = "a", source: str = "s", **settings) -> StageConfig:
    length = {} if "epochs" in settings else {"steps": 2000}
    return StageConfig(name, settings.pop("mixture", [MixtureEntry(source)]), **(length | settings))


def recipe(*stages: StageConfig, **settings) -> Recipe:
    return Recipe("r", "out", list(stages) or [stage()], {"s": SourceConfig("f", "p")}, **settings)


LLAMA = LanguageConfig(pretrained="x")
TOWERS = ModelConfig(text=TextConfig())
PAIRS = {"answers": False, "language": "frozen", "contrastive": 1.0}
DORA = ModelConfig(lora=LoraConfig(variant="dora"))
NF4 = ModelConfig(language=LanguageConfig(pretrained="x", quantize="nf4"))

CASES = [
    (recipe(seed=2**63), ["seed: 9223372036854775808 is no number of 64 bits"]),
    (VisionConfig(depth=0), ["depth: 0 is below 1"]),
    (VisionConfig(patch_size=0, heads=0), ["patch_size: 0 is below 1", "heads: 0 is below 1"]),
    (VisionConfig("timm"), ["name: architecture 'timm' needs the name of a timm model"]),
    (VisionConfig(stem="conv"), ["stem: 'conv' belongs to architecture: timm"]),
    (VisionConfig(image_size=15), ["image_size: 15 is not a multiple of patch_size 14"]),
    (VisionConfig(width=15), ["heads: width 15 is not a multiple of heads 16"]),
    (VisionConfig(layers=[]), ["layers: names no level"]),
    (VisionConfig(layers=[-40, 39, 40]), ["layers: there is no level 40 in a tower of depth 39"]),
    (VisionConfig("timm", "x", level_norm=True), ["level_norm: is only used with layers"]),
    (VisionConfig(layers=[-2], level_norm=True), ["level_norm: the eva tower has no final norm"]),
    (ModelConfig(vision=[VisionConfig()], language=LLAMA), ["vision: a list holds two towers or more"]),
    (LinearProjectorConfig(join_tokens=0), ["join_tokens: 0 is below 1"]),
    (MLPProjectorConfig(join_tokens=0), ["join_tokens: 0 is below 1"]),
    (LanguageConfig(config={}, quantize="nf4"), ["quantize: fresh weights have to be trained"]),
    (PoolerProjectorConfig(queries=[]), ["queries: give a number of at least 1 for each level"]),
    (NovaPoolerProjectorConfig(heads=0, selected=5), ["heads: 0 is below 1", "selected: 5 of 4 experts cannot be"]),
    (QFormerProjectorConfig(heads=5), ["heads: width 768 is not a multiple of heads 5"]),
    (QFormerProjectorConfig(longest_question=600), ["longest_question: 600 is not in 3 <="]),
    (ModelConfig(), ["language: give either pretrained (a directory or hub name) or config"]),
    (ModelConfig(text=TextConfig(), language=LLAMA), ["language: two towers (model.text) have no language model"]),
    (
        ModelConfig(text=TextConfig(), vision=[VisionConfig()] * 2, retrieval=RetrievalConfig()),
        ["vision: beside a text side one tower sees", "retrieval: is a part of a language model"],
    ),
    (
        ModelConfig(text=TextConfig(), vision=VisionConfig(layers=[-2])),
        ["vision.layers: of two towers the last output is compared"],
    ),
    (TextConfig(width=15, heads=2), ["heads: width 15 is not a multiple of heads 2"]),
    (TextConfig(context=2), ["context: 2 is below 3"]),
    (RetrievalConfig(embedding=0), ["embedding: 0 is below 1"]),
    (AdapterConfig(bottleneck=0, dropout=1.0), ["bottleneck: 0 is below 1", "dropout: 1.0 is not in 0 <= dropout < 1"]),
    (stage(contrastive=-1.0), ["contrastive: -1.0 is below 0"]),
    (
        stage(contrastive=1.0, accumulation=2, images_per_step=1, loss_normalisation="micro_batch"),
        ["accumulation: pairs of a step", "loss_normalisation: is the reference's", "images_per_step: a single pair"],
    ),
    (stage(language="full", trainable=["lora"]), ["trainable: chooses what language: lora trains; language is full"]),
    (stage(trainable=["norm"]), ["trainable: names no lora"]),
    (
        recipe(stage(contrastive=1.0, text="full")),
        ["stages[0].contrastive: compares pictures with captions", "stages[0].text: full, but there is no text side"],
    ),
    (
        recipe(stage(feature_cache="x", projector="lora"), model=TOWERS),
        [
            "stages[0].contrastive: two towers learn from pairs",
            "stages[0].answers: two towers give no answers",
            "stages[0].feature_cache: holds no class tokens, which two",
            "stages[0].projector: the projections of two towers have no adapters",
            "stages[0].projector: lora, but the projector has none",
        ],
    ),
    (recipe(stage(**PAIRS, projector="frozen"), model=TOWERS), ["stages[0]: vision, projector and text are frozen"]),
    (
        recipe(stage(**PAIRS), model=TOWERS, run=RunConfig(strategy="zero2", compile=True, tokens_per_pack=1000)),
        [
            "run.strategy: zero2, but stages with contrastive run under single and ddp",
            "run.tokens_per_pack: cuts a step into packs",
            "run.compile: is for language models",
        ],
    ),
    (
        LanguageConfig(config={"num_attention_heads": 4, "num_key_value_heads": 3}),
        ["config: num_attention_heads 4 is not a multiple of num_key_value_heads 3"],
    ),
    (ModelConfig(language=LanguageConfig("x", {})), ["language: give either pretrained (a directory or hub name)"]),
    (LoraConfig(r=-1, alpha=0, dropout=1.0), ["r: -1 is below 0", "alpha: 0 is below 1", "dropout: 1.0 is not in"]),
    (LoraConfig(target_modules=[]), ["target_modules: names no layer"]),
    (TokenizerConfig("x", 100), ["give either path or train_vocab_size"]),
    (PromptConfig(max_txt_len=0), ["max_txt_len: 0 is below 1"]),
    (PromptConfig(template="{} {}"), ["template: must hold {} exactly once"]),
    (PromptConfig(chat_template="x"), ["chat_template: is only used with style: chat_template"]),
    (PromptConfig(system="be brief"), ["system: style: minigpt_v2 has no place for it"]),
    (OptimizerConfig(lr=-1.0), ["lr: -1.0 is below 0"]),
    (OptimizerConfig(betas=(1.0, -0.5)), ["betas: 1.0 is not in", "betas: -0.5 is not in"]),
    (OptimizerConfig(clip_norm=0.0), ["clip_norm: 0.0 is not above 0 (null: no clipping)"]),
    (OptimizerConfig(part_lr={"lm": -1.0}), ["part_lr: 'lm' is no part; there are vision, projector, language"]),
    (OptimizerConfig(part_lr={"vision": 0.0}), ["part_lr: 0.0 for vision is not above 0"]),
    (OptimizerConfig(ema_decay=1.0), ["ema_decay: 1.0 is not between 0 and 1"]),
    (stage(questions_per_image=0, steps=0), ["questions_per_image: 0 is below 1", "steps: 0 is below 1"]),
    (stage(box_token_smoothing=-1.0), ["box_token_smoothing: -1.0 is below 0"]),
    (stage(steps=None), ["give either steps or epochs (the other as null), not none"]),
    (stage(steps=2000, epochs=1.0), ["give either steps or epochs (the other as null), not both"]),
    (stage(epochs=0.0), ["epochs: 0.0 is not above 0"]),
    (stage(temperature=0.0, sampling="temperature"), ["temperature: 0.0 is not above 0"]),
    (stage(temperature=2.0), ["temperature: 2.0 is only used with sampling: temperature"]),
    (stage(vision="lora"), ["vision: the tower has no adapters here"]),
    (stage(vision="full", feature_cache="x"), ["feature_cache: holds what a frozen tower sees"]),
    (stage(answers=False, language="frozen"), ["answers: without answers, alignment.words"]),
    (stage(answers=False, alignment=AlignmentConfig(1.0)), ["language: lora, but without answers"]),
    (stage(box_token_noise=2.0), ["box_token_noise: 2.0 is not a share between 0 and 1"]),
    (stage(steps=1000), ["optimizer.warmup_steps: 1000 leaves nothing of 1000 steps"]),
    (MixtureEntry("s", -1.0, tasks={"vqa": -1.0}), ["weight: -1.0 is below 0", "tasks: -1.0 for vqa is below 0"]),
    (MixtureEntry("s", tasks={}), ["tasks: nothing is asked"]),
    (MixtureEntry("s", tasks={"vqa": 0.0}), ["tasks: nothing is asked"]),
    (MixtureEntry("s", start=0.5, end=0.5), ["start 0.5 and end 0.5 enclose nothing"]),
    (stage(mixture=[]), ["mixture: is empty; name a source"]),
    (stage(mixture=[MixtureEntry("s", 0.0), MixtureEntry("t", 0.0)]), ["mixture: all weights are 0"]),
    (
        stage(mixture=[MixtureEntry("s", end=0.2), MixtureEntry("t", 0.0), MixtureEntry("s", start=0.75)]),
        ["mixture: nothing is drawn between 20% and 75% of the stage"],
    ),
    (GuardsConfig(window=0, lead=-1), ["window: 0 is below 1", "lead: -1 is below 0"]),
    (GuardsConfig(loss_factor=1.0), ["loss_factor: 1.0 is not above 1 (null: no limit)"]),
    (GuardsConfig(max_broken=2.0), ["max_broken: 2.0 is not a share between 0 and 1"]),
    (GuardsConfig(hang_seconds=0.0), ["hang_seconds: 0.0 is not above 0 (null: nothing is watched)"]),
    (RunConfig(workers=-1, keep_every=0), ["workers: -1 is below 0", "keep_every: 0 is below 1"]),
    (RunConfig(timeout_minutes=0.0), ["timeout_minutes: 0.0 is not above 0"]),
    (RunConfig(frozen="fp16", precision="bf16"), ["frozen: fp16 weights are computed with in that precision"]),
    (RunConfig(peak_tflops=0.0), ["peak_tflops: 0.0 is not above 0"]),
    (RunConfig(samples_every=1, strategy="zero3"), ["samples_every: under zero3 no process holds the whole model"]),
    (RunConfig(samples_source="s"), ["samples_source: is only used with samples_every"]),
    (EvalConfig(batch_size=0, limit=0), ["batch_size: 0 is below 1", "limit: 0 is below 1"]),
    (EvalConfig(["b"], every=1), ["every: needs benchmarks and data_root"]),
    (EvalConfig(choose="a/b"), ["choose: needs every: without scores in training"]),
    (EvalConfig(["b"], "d", every=1, choose="a"), ["choose: 'a' is not benchmark/metric"]),
    (recipe(stage(), stage()), ["stages: the name 'a' is used more than once"]),
    (
        recipe(stage(optimizer=OptimizerConfig(ema_decay=0.9)), stage("a-ema")),
        ["stages: a-ema is the name of the averages that a exports"],
    ),
    (
        recipe(stage(), stage("a-best"), eval=EvalConfig(choose="b/c")),
        ["stages: a-best is the name of the best model that a exports"],
    ),
    (recipe(model=ModelConfig(lora=LoraConfig(0))), ["stages[0].language: lora, but model.lora.r is 0"]),
    (recipe(stage(projector="lora")), ["stages[0].projector: lora, but the projector has none"]),
    (
        recipe(stage(box_token_noise=0.1), model=ModelConfig(tokenizer=TokenizerConfig(train_vocab_size=9))),
        ["stages[0].box_token_noise: needs numbers of boxes that are tokens"],
    ),
    (recipe(stage(source="x")), ["stages[0].mixture[0].source: no source 'x'; known: s"]),
    (recipe(run=RunConfig(samples_source="x")), ["run.samples_source: no source 'x'; known: s"]),
    (recipe(run=RunConfig(samples_source="s")), ["run.samples_source: 's' is trained on in stages[0]"]),
    (recipe(stage(language="full"), model=NF4), ["stages[0].language: weights in 4 bits"]),
    (recipe(stage(), stage("b"), model=NF4), ["model.language.quantize: the next stage would begin with"]),
    (recipe(model=NF4, run=RunConfig(strategy="zero3")), ["model.language.quantize: reads whole weights"]),
    (recipe(model=DORA, run=RunConfig(strategy="zero3")), ["model.lora.variant: reads whole weights"]),
    (recipe(stage(language="full"), model=DORA), ["stages[0].language: DoRA keeps the lengths"]),
    (
        recipe(stage(alignment=AlignmentConfig(phrases=1.0)), run=RunConfig(share_prefix=False)),
        ["stages[0].alignment: is learnt on shared prefixes only"],
    ),
    (
        recipe(stage(feature_cache="x"), model=ModelConfig(projector=QFormerProjectorConfig())),
        ["stages[0].feature_cache: holds no class tokens"],
    ),
    (
        recipe(eval=EvalConfig(every=1), run=RunConfig(strategy="zero3")),
        ["eval.every: under zero3 no process holds the whole model"],
    ),
]


@pytest.mark.parametrize(("section", "expected"), CASES, ids=lambda value: "" if isinstance(value, list) else None)
def test_what_is_refused(section, expected):
    found = [str(issue) for issue in check(section)]
    assert len(found) == len(expected), found
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True)), found


@pytest.mark.parametrize(
    "section",
    [
        VisionConfig(),
        ModelConfig(vision=[VisionConfig()] * 2, language=LLAMA),
        TOWERS,
        TextConfig(adapter=AdapterConfig()),
        recipe(stage(**PAIRS, vision="full"), model=TOWERS),
        PromptConfig(),
        OptimizerConfig(),
        stage(),
        RunConfig(),
        recipe(),
    ],
)
def test_what_is_not(section):
    assert check(section) == []


def test_no_rule_is_without_a_case():
    for section, rules in RULES.items():
        for rule in rules:
            assert any(list(rule(case)) for case, _ in CASES if type(case) is section), f"{rule.__name__}({section})"


class Read:
    """A section, or a list or mapping in one, that notes the paths of what is read from it."""

    def __init__(self, value, path: str, paths: set[str]):
        self.value, self.path, self.paths = value, path, paths

    def _inner(self, value, path: str):
        self.paths.add(path)
        if dataclasses.is_dataclass(value):
            return Read(value, f"{path}.", self.paths)
        return (
            Entries([self._inner(entry, f"{path}[{i}]") for i, entry in enumerate(value)])
            if _sections(value)
            else value
        )

    def __getattr__(self, name):
        if name in {f.name for f in dataclasses.fields(self.value)}:
            return self._inner(getattr(self.value, name), f"{self.path}{name}")
        return getattr(type(self.value), name).__get__(self)  # a method reads, too


class Entries(list):
    """A list of sections that are watched."""


def _sections(value) -> bool:
    return isinstance(value, list) and all(map(dataclasses.is_dataclass, value))


def test_an_issue_depends_on_settings_that_its_rule_read():
    """And it names some: one that depended on nothing would never be withheld."""
    for section, _ in CASES:
        for rule in RULES[type(section)]:
            paths: set[str] = set()
            for issue in rule(Read(section, "", paths)):
                assert issue.depends_on, rule.__name__
                for setting in issue.depends_on:
                    # a name in a mapping is judged by the mapping, a number in a list by the list
                    outer = re.sub(r"^(part_lr|sources|tasks)\..*|^(betas|layers)\[\d\]$", r"\1\2", setting)
                    assert outer in paths, f"{rule.__name__} did not read {setting}"
                _resolve(section, issue.path)


def _resolve(section, path: str):
    """The setting at a path; an error where there is none."""
    steps = re.findall(r"\w+", path)
    return reduce(lambda at, step: at[int(step)] if step.isdecimal() else getattr(at, step), steps, section)
