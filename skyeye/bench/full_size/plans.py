"""Which steps there are: the whole way of a model on a CPU, and the measurements on a GPU, in order of value."""

from __future__ import annotations

from pathlib import Path

import yaml

from skyeye.bench.full_size.steps import Step

#: Published sizes: LLaMA-2-7B and EVA-CLIP ViT-g.
WIDTH, LAYERS, HEADS, TOWER_DEPTH = 4096, 32, 32, 39
BENCHES = ("rsvqa", "captions", "skyeye968k")


def write_recipe(folder: Path, layers: int, width: int) -> Path:
    """A recipe of the published shapes, ``layers`` deep and ``width`` wide, that trains two steps of two stages."""
    heads = min(HEADS, width // 16)
    language = {
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": width * 11008 // 4096,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": 4096,
    }
    small = width < WIDTH
    vision = {
        "architecture": "eva",
        "image_size": 56 if small else 448,
        "patch_size": 14,
        "width": max(16, width * 1408 // WIDTH // 16 * 16),
        "depth": min(TOWER_DEPTH, layers),
        "heads": min(16, max(1, width // 256)),
        "mlp_ratio": 4.0 if small else 4.3637,
    }
    stage = {"mixture": [{"source": "world"}], "steps": 2, "images_per_step": 4, "questions_per_image": 4}
    stage["optimizer"] = {"lr": 1e-4, "min_lr": 1e-5, "warmup_lr": 1e-6, "warmup_steps": 1}
    content = {
        "name": "full_size",
        "output_dir": str(folder / "run"),
        "seed": 1,
        "model": {
            "vision": vision,
            "projector": {"type": "linear", "join_tokens": 4},
            "language": {"config": language},
            "tokenizer": {"train_vocab_size": 1000, "box_tokens": True},
            "lora": {"r": min(64, width), "alpha": 16, "dropout": 0.05},
        },
        "sources": {"world": {"format": "synthetic", "path": str(folder / "scenes")}},
        "stages": [{"name": "first", **stage}, {"name": "second", **stage}],
        "run": {"precision": "fp32", "workers": 0, "log_every": 1, "checkpoint_every": 1},
    }
    path = folder / "recipe.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def cpu_steps(work: Path, recipe: Path) -> list[Step]:
    """Plan, data, two stages, what they left, one answer, going on, eight questions."""
    scenes, model = work / "scenes", str(work / "run" / "checkpoints" / "second")
    image = str(scenes / "images" / "scene_000000.jpg")
    asked = ["--benchmarks", "synth.vqa", "--data-root", str(scenes), "--limit", "8", "--no-controls"]
    plan = work / "plan.json"
    return [
        Step("scenes", ["skyeye", "data", "synth", str(scenes), "--images", "16", "--held-out", "4"], 300),
        Step("plan", ["skyeye", "plan", str(recipe), "--json", str(plan)], 600, plan, after="scenes"),
        Step("train", ["skyeye", "train", str(recipe)], 1800, after="scenes"),
        Step("resume", ["skyeye", "train", str(recipe), "--resume"], 900, after="train"),
        Step("show", ["skyeye", "checkpoint", "show", model], 300, after="train"),
        Step("chat", ["skyeye", "chat", model, "--image", image, "--ask", "what is it?"], 600, after="train"),
        Step("evaluate", ["skyeye", "eval", model, *asked, "--out", str(work / "eval")], 900, after="train"),
    ]


def gpu_steps(work: Path, recipe: str) -> list[Step]:
    """What a GPU is asked, the most valuable first. Speed is that of ``recipe``'s shapes with random weights."""
    bench, doctor = {}, work / "doctor.json"
    for kind in ("train", "generate"):
        for name in BENCHES:
            out = work / f"{kind}-{name}.json"
            words = ["skyeye", "bench", kind, recipe, "--distribution", name, "--json", str(out)]
            words += ["--device", "cuda", "--dtype", "bfloat16", "--seconds", "60"]
            bench[kind, name] = Step(f"bench-{kind}-{name}", words, 240, out, gpu=True)
    mask = ["pytest", "-q", "-m", "gpu", "tests/models/test_prefix_attention.py"]
    return [
        Step("doctor", ["skyeye", "doctor", "--out", str(work), "--json", str(doctor)], 60),
        Step("flex-attention", mask, 240, needs=["pytest", "hypothesis"], gpu=True),
        *(bench["train", name] for name in BENCHES),
        *(bench["generate", name] for name in BENCHES),
        Step("gpu-tests", ["pytest", "-q", "-m", "gpu", "tests"], 400, needs=["pytest", "hypothesis"], gpu=True),
    ]
