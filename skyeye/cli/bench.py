"""``skyeye bench``: speed against the plain form of the same work, in one process."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from skyeye.cli.bench_annotate import bench_annotate_command
from skyeye.cli.bench_serve import serve_bench
from skyeye.cli.checkpoints import checkpoint_arguments
from skyeye.cli.numbers import positive
from skyeye.cli.paths import any_path, new_file, new_folder
from skyeye.errors import SkyEyeError
from skyeye.serve.opening import base_of

DISTRIBUTIONS = ("rsvqa", "captions", "skyeye968k")


def bench_commands(group: Callable, command: Callable, recipe_arguments: Callable) -> None:
    """Add the group ``bench`` to the command line.

    Args:
        group: adds a group of commands: ``group(name, summary)``.
        command: adds a command to it: ``command(group, name, run, summary)``.
        recipe_arguments: adds RECIPE and its overrides: ``recipe_arguments(parser, optional)``.
    """
    bench = group("bench", "measure speed against the plain form of the same work")
    train = command(bench, "train", _train, "training steps with shared prefixes against a row for every sample")
    recipe_arguments(train, optional=True)
    _common_arguments(train)
    train.add_argument("--images", type=int, metavar="N", help="images of a step (default: a few, by distribution)")
    train.add_argument("--tokens-per-pack", type=int, default=4096, metavar="N", help="of a micro-batch (default 4096)")
    train.add_argument("--baseline-samples", type=int, metavar="N", help="that the baseline computes in a step")
    train.add_argument("--attention", choices=("sdpa", "eager"), help="additive mask (default: ours, by device)")
    train.add_argument("--peak-tflops", type=float, metavar="X", help="of the device, for MFU (known for some GPUs)")

    generate = command(bench, "generate", _generate, "answers with shared prefixes against a whole prompt for each")
    recipe_arguments(generate, optional=True)
    _common_arguments(generate)
    generate.add_argument("--images", type=int, metavar="N", help="images asked about (default: by the distribution)")
    generate.add_argument("--rows", type=int, default=64, metavar="N", help="questions in work together (default 64)")
    generate.add_argument(
        "--baseline-rows", type=int, default=12, metavar="N", help="of the baseline's batch, at most (default 12)"
    )

    parts = command(bench, "parts", _parts, "a part by itself: tower, attention, decode; bf16 against fp16")
    parts.add_argument("what", choices=("tower", "attention", "decode", "precisions"), help="which part, or what of it")
    recipe_arguments(parts, optional=True)
    _common_arguments(parts)
    parts.add_argument("--images", type=int, metavar="N", help="images asked about or trained on (default 6)")

    data = command(bench, "data", _data, "a made SkyEye-968k, assembled and read: memory, start-up, decoding")
    data.add_argument("--full", action="store_true", help="968 thousand records of 70 thousand images (10 minutes)")
    data.add_argument("--records", type=int, metavar="N", help="default 20,000")
    data.add_argument("--images", type=int, metavar="N", help="default 1,500")
    data.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default 2)")
    data.add_argument("--keep", type=new_folder, metavar="DIR", help="keep what is made there")
    data.add_argument("--json", type=new_file, metavar="FILE", help="write the result there as well")

    start = command(bench, "start", _start, "start-up and memory from JSON, index and shards against json.load")
    start.add_argument("--records", type=int, metavar="N", help="default 520,000")
    start.add_argument("--images", type=int, metavar="N", help="default: one for 14 records")
    start.add_argument("--layout", choices=("llava", "uavit"), default="llava", help="of the list (default llava)")
    start.add_argument("--json", type=new_file, metavar="FILE", help="write the result there as well")

    serve_bench(bench, command)

    bench_annotate_command(bench, command)
    _dtype_command(bench, command)


def _dtype_command(bench: argparse._SubParsersAction, command: Callable) -> None:
    dtype = command(bench, "dtype", _dtype, "a checkpoint in each precision: memory, speed, answers beside fp32")
    checkpoint_arguments(dtype)
    dtype.add_argument(
        "--data", type=any_path, required=True, metavar="PATH", help="annotations whose questions are asked"
    )
    dtype.add_argument("--format", default="synthetic", metavar="NAME", help="of --data (default synthetic)")
    dtype.add_argument("--images", type=any_path, metavar="DIR", help="pictures of --data (default: beside it)")
    dtype.add_argument("--split", default="test", help="of --data (default test)")
    dtype.add_argument("--questions", type=positive, default=64, metavar="N", help="asked, spread evenly (default 64)")
    dtype.add_argument("--max-new-tokens", type=positive, default=32, metavar="N", help="longest answer (default 32)")
    dtype.add_argument("--json", type=new_file, metavar="FILE", help="write the result there as well")


def _dtype(options: argparse.Namespace) -> int:
    from skyeye.bench.dtypes import KINDS, bench_dtypes, format_text
    from skyeye.config.schema import SourceConfig
    from skyeye.data.files import write_json
    from skyeye.data.formats import read_source
    from skyeye.generation.opening import Opening

    images = None if options.images is None else str(options.images)
    records = read_source(SourceConfig(options.format, str(options.data), images, options.split), "--data")
    if not records:
        raise SkyEyeError(f"holds no question of split {options.split}", where=str(options.data), remedy="see --split")
    chosen = records[:: max(1, len(records) // options.questions)][: options.questions]
    opening = Opening(base_of(options.base), device=options.device, keep_adapters=options.keep_adapters)
    kinds = KINDS if options.dtype == "auto" else (KINDS[0], options.dtype)
    result = bench_dtypes(options.checkpoint, chosen, opening, kinds, options.max_new_tokens)
    print(format_text(result))
    if options.json:
        write_json(options.json, result, indent=1)
        print(f"written: {options.json}")
    return 0


def _common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--distribution",
        choices=DISTRIBUTIONS,
        help="made questions of these numbers and lengths (default: rsvqa, or the data of RECIPE)",
    )
    parser.add_argument(
        "--questions-per-image", type=int, metavar="N", help="made questions about an image, at most (default: all)"
    )
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the result there as well")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of weights and products")
    parser.add_argument("--seconds", type=float, default=100.0, help="time for the pairs (default 100)")


def _train(options: argparse.Namespace) -> int:
    import torch

    from skyeye.bench.model import VOCABULARY
    from skyeye.bench.planned import memory_beside_plan
    from skyeye.bench.train import TrainingStep, bench_train
    from skyeye.plan.workloads import made_groups

    dtype = getattr(torch, options.dtype)
    # small steps: more pairs fit into the time, and their median is the sounder
    model, groups, pixels = _model_and_groups(options, {"rsvqa": 1, "captions": 6, "skyeye968k": 12, None: 8})
    if options.attention:
        model.language_model.set_attn_implementation(options.attention)
    checked = groups
    if options.distribution:  # several images, whatever the step holds
        tokens = model.tokens_per_image
        checked = made_groups(options.distribution, 3, tokens_per_image=tokens, vocabulary=VOCABULARY, seed=1)
    autocast = None if dtype == torch.float32 else dtype
    step = TrainingStep(model, groups, budget=options.tokens_per_pack, autocast=autocast, pixels=pixels)
    result = bench_train(
        step,
        baseline_samples=options.baseline_samples or (12 if options.distribution == "skyeye968k" else 6),
        seconds=options.seconds,
        peak_tflops=options.peak_tflops,
        checked=checked,
    )
    if model.device.type == "cuda":
        result["memory"] = memory_beside_plan(step)
    return _tell({**result, "attention": model.language_model.config._attn_implementation}, options)


def _generate(options: argparse.Namespace) -> int:
    import torch

    from skyeye.bench.generate import bench_generate, with_openings

    if min(options.rows, options.baseline_rows) < 1:
        raise SkyEyeError("must be 1 or more", where="--rows, --baseline-rows")
    model, groups, pixels = _model_and_groups(options, {"rsvqa": 2, "captions": 6, "skyeye968k": 12, None: 4})
    if options.distribution:
        groups = with_openings(groups)
    if model.config.lora is not None and options.dtype == "float32":  # as evaluation does
        model.language_model.merge_adapter()
    with torch.autocast(model.device.type, torch.bfloat16, enabled=options.dtype != "float32"):
        result = bench_generate(
            model,
            groups,
            rows=options.rows,
            baseline_rows=options.baseline_rows,
            seconds=options.seconds,
            pixels=pixels,
        )
    return _tell(result, options)


def _parts(options: argparse.Namespace) -> int:
    import torch

    from skyeye.bench.generate import with_openings
    from skyeye.bench.parts import bench_attention, bench_decode, bench_precisions, bench_tower

    options.distribution = options.distribution or "captions"
    model, groups, _ = _model_and_groups(options, dict.fromkeys(DISTRIBUTIONS, 6))

    def again(dtype: torch.dtype):
        options.dtype = str(dtype).removeprefix("torch.")
        return _model_and_groups(options, dict.fromkeys(DISTRIBUTIONS, 6))[0]

    if options.what == "tower":
        result = bench_tower(model, options.seconds)
    elif options.what == "attention":
        result = bench_attention(model, groups, options.seconds)
    elif options.what == "decode":
        result = bench_decode(model, with_openings(groups), options.seconds)
    else:
        del model
        result = bench_precisions(again, groups, options.seconds)
    return _written({**result, "recipe": str(options.recipe) if options.recipe else None}, options)


def _data(options: argparse.Namespace) -> int:
    from skyeye.bench.common import machine
    from skyeye.bench.data import FULL, SMALL, bench_data, format_text
    from skyeye.data.files import write_json

    size = FULL if options.full else SMALL
    records, images = options.records or size["records"], options.images or size["images"]
    if min(records, images, options.workers) < 1:
        raise SkyEyeError("must be 1 or more", where="--records, --images, --workers")
    result = bench_data(records, images, options.workers, folder=options.keep)
    print(format_text(result))
    if options.json:
        import torch

        write_json(options.json, {**result, "machine": machine(torch.device("cpu"))}, indent=1)
        print(f"written: {options.json}")
    return 0


def _start(options: argparse.Namespace) -> int:
    import torch

    from skyeye.bench.common import machine
    from skyeye.bench.start import RECORDS, RECORDS_PER_PICTURE, bench_start, format_text
    from skyeye.data.files import write_json

    records = RECORDS if options.records is None else options.records
    images = max(1, round(records / RECORDS_PER_PICTURE)) if options.images is None else options.images
    if not 1 <= images <= records:
        raise SkyEyeError("must be 1 or more, and no more images than records", where="--records, --images")
    result = bench_start(records, images, options.layout)
    print(format_text(result))
    if options.json:
        write_json(options.json, {**result, "machine": machine(torch.device("cpu"))}, indent=1)
        print(f"written: {options.json}")
    return 0


def _model_and_groups(options: argparse.Namespace, images: dict[str | None, int]):
    """The model on its device, the groups that are asked, and their pictures (None: random ones).

    Args:
        images: how many, by distribution; None: the data of the recipe.
    """
    import torch

    from skyeye.bench.model import VOCABULARY, bench_model
    from skyeye.models.precision import in_precision
    from skyeye.plan.workloads import made_groups

    if options.questions_per_image is not None and options.questions_per_image < 1:
        raise SkyEyeError("must be 1 or more", where="--questions-per-image")
    device, dtype, pixels = _device(options.device), getattr(torch, options.dtype), None
    if options.recipe is None:
        options.distribution = options.distribution or "rsvqa"
    count = options.images or images[options.distribution]
    if options.recipe is None:
        model, _ = bench_model()
    else:
        from skyeye.bench.recipe import made_model, run_groups
        from skyeye.config.load import load_recipe
        from skyeye.train.setup import setup_run

        recipe = load_recipe(options.recipe, options.overrides)
        if options.distribution:
            with device:
                model = made_model(recipe.model, recipe.stages[-1], recipe.seed, VOCABULARY, dtype)
        else:
            model, groups, pixels = run_groups(setup_run(recipe), count)
    model = in_precision(model.to(device), dtype)
    if options.distribution:
        tokens = model.tokens_per_image
        most = options.questions_per_image
        groups = made_groups(
            options.distribution, count, tokens_per_image=tokens, vocabulary=VOCABULARY, questions_per_image=most
        )
    return model, groups, pixels


def _device(name: str):
    import torch

    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SkyEyeError("no CUDA GPU is available", where="--device", remedy="use --device cpu")
    return device


def _tell(result: dict, options: argparse.Namespace) -> int:
    """Print the result, its ratio first, and write it where asked."""
    result = {**result, "distribution": options.distribution, "recipe": str(options.recipe) if options.recipe else None}
    ratio = result["ratio_samples_per_second"]
    spread = f"{ratio['min']} to {ratio['max']}, {ratio['pairs']} pairs"
    told = f"{ratio['median']} x the samples per second of the baseline ({spread})"
    return _written(result, options, told)


def _written(result: dict, options: argparse.Namespace, told: str | None = None) -> int:
    import json

    from skyeye.data.files import write_json

    print(json.dumps(result, indent=1))
    if told:
        print(told)
    if options.json:
        write_json(options.json, result, indent=1)
        print(f"written: {options.json}")
    return 0
