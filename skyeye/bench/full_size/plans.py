"""Which steps there are: the whole way of a model on a CPU, and the measurements on a GPU, in order of value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skyeye.bench.full_size.shapes import POCKET, published, smaller, write_shapes
from skyeye.bench.full_size.sizes import Size
from skyeye.bench.full_size.steps import Step

BENCHES = ("rsvqa", "captions", "skyeye968k")
#: Of the benchmarks' weights and products.
DTYPE = ("--dtype", "bfloat16")


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


def gpu_steps(work: Path, gpu: bool) -> list[Step]:
    """What a GPU is asked, the most valuable first; speed is that of published shapes with random weights.

    Args:
        gpu: False: what can be run without one, at small sizes.
    """
    doctor, shapes = work / "doctor.json", _shapes(work, gpu)
    how = ["--device", "cuda" if gpu else "cpu", "--seconds", "60" if gpu else "1"]
    few = [] if gpu else ["--images", "1", *DTYPE]
    questions = ["--distribution", "rsvqa"]
    short = ["--device", how[1], "--seconds", "5" if gpu else "0.5", *(few or DTYPE)]
    plan = work / "plan-7b.json"
    steps = [
        Step("doctor", ["skyeye", "doctor", "--out", str(work), "--json", str(doctor)], 60, may_fail=True),
        _tests("flex-attention", "tests/models/test_prefix_attention.py", 240),
        _into_file(
            work, "attention", ["skyeye", "bench", "parts", "attention", shapes["published"], *questions, *short]
        ),
        Step("plan-7b", ["skyeye", "plan", shapes["published"], "--gpus", "1", "--json", str(plan)], 240, plan),
    ]
    for kind in ("train", "generate"):
        for name in BENCHES if gpu else BENCHES[1:2]:
            words = ["skyeye", "bench", kind, shapes["published"], "--distribution", name, *how, *(few or DTYPE)]
            steps.append(_into_file(work, f"bench-{kind}-{name}", words))
    words = ["skyeye", "bench", "train", shapes["pocket"], "--distribution", "captions", *how, *(few or DTYPE)]
    steps.append(_into_file(work, "pocket-train", words))
    for what, which in (("tower", "published"), ("decode", "published"), ("precisions", "pocket")):
        words = ["skyeye", "bench", "parts", what, shapes[which], *how, *(few or DTYPE)]
        steps.append(_into_file(work, what, words))
    return [*steps, _tests("gpu-tests", "tests", 400)]


def zero2_step(work: Path) -> Step:
    """ZeRO-2 with one process, on the small model of the CPU steps."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node=1", "-m", "skyeye.train"]
    settings = [str(work / "train.yaml"), "run.strategy=zero2", f"output_dir={work / 'zero2'}"]
    return Step("zero2", [*launcher, *settings], 300, needs=["deepspeed"], after="scenes")


def _shapes(work: Path, gpu: bool) -> dict[str, str]:
    """Recipes by name."""
    models = {"published": published(Size() if gpu else Size(2, 128, 2)), "pocket": POCKET if gpu else smaller(POCKET)}
    return {name: write_shapes(work / f"{name}.yaml", model) for name, model in models.items()}


def _into_file(work: Path, name: str, words: Sequence[str]) -> Step:
    out = work / f"{name}.json"
    return Step(name, [*words, "--json", str(out)], 240, out)


def _tests(name: str, place: str, seconds: float) -> Step:
    return Step(name, ["pytest", "-q", "-m", "gpu", place], seconds, needs=["pytest", "hypothesis"], gpu=True)
