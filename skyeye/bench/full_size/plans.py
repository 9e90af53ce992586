"""Which steps there are: the whole way of a model on a CPU, and the measurements on a GPU, in order of value."""

from __future__ import annotations

from pathlib import Path

from skyeye.bench.full_size.sizes import Size
from skyeye.bench.full_size.steps import Step

BENCHES = ("rsvqa", "captions", "skyeye968k")


def cpu_steps(work: Path, size: Size, merged: int) -> list[Step]:
    """The whole way, from files of the published layouts to a whole export.

    Args:
        merged: bytes of the whole export.
    """
    weights, scenes, run, train = work / "weights", work / "scenes", work / "run", str(work / "train.yaml")
    released, model = str(weights / "SkyEyeGPT.pth"), str(run / "checkpoints" / "second")
    base = ["--base", str(work / "released.yaml")]
    image = str(scenes / "images" / "scene_000000.jpg")
    sizes = ["--layers", size.layers, "--width", size.width, "--trained-layers", size.trained_layers]
    plan, load, adapters, whole = work / "plan.json", work / "load.json", work / "adapters", work / "merged"
    ask = ["--image", image, "--ask", "what is it?", "--dtype", "bf16", "--max-new-tokens", "4"]
    asked = ["--benchmarks", "synth.vqa", "--data-root", str(scenes), "--limit", "8", "--no-controls"]
    asked += ["--dtype", "bf16", "--max-new-tokens", "4", "--out", str(work / "eval")]
    export = ["skyeye", "export", model, str(whole), "--merged"]
    made, trained = {"after": "weights"}, {"after": "resume"}
    return [
        Step("weights", ["skyeye.bench.full_size.make", str(work), *map(str, sizes)], 900),
        Step("scenes", ["skyeye", "data", "synth", str(scenes), "--images", "16", "--held-out", "4"], 300),
        Step("show", ["skyeye", "checkpoint", "show", released], 300, **made),
        Step("plan", ["skyeye", "plan", train, "--gpus", "1", "--json", str(plan)], 600, plan, **made),
        Step("load", ["skyeye.bench.full_size.load", released, *base, "--json", str(load)], 900, load, **made),
        Step("chat", ["skyeye", "chat", released, *base, *ask], 900, **made),
        Step("export-adapters", ["skyeye", "checkpoint", "convert", released, str(adapters), *base], 300, **made),
        Step("train", ["skyeye", "train", train], 1800, **made, kill_at=run / "checkpoints" / "first", stage="first"),
        Step(
            "second-stage",
            ["skyeye", "train", train, "--resume"],
            1800,
            after="train",
            kill_at=run / "states" / "second-0000001",
            stage="second",
        ),
        Step("resume", ["skyeye", "train", train, "--resume"], 1800, after="second-stage", stage="second"),
        Step("evaluate", ["skyeye", "eval", model, *asked], 1800, **trained),
        Step("export-merged", export, 900, **trained, disk=merged, clears=whole),
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
