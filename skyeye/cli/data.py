"""``skyeye data``: the verbs that make, look at and pack data."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from skyeye.cli.mosaic import mosaic_command
from skyeye.cli.paths import any_path, new_file, new_folder
from skyeye.cli.progress import Counter
from skyeye.errors import SkyEyeError

FOUND = 1  # exit code of a check that found errors in the data; a mistake of the user's is 2


def data_commands(group: Callable, command: Callable) -> None:
    """Add the group ``data`` to the command line.

    Args:
        group: adds a group of commands: ``group(name, summary)``.
        command: adds a command to it: ``command(group, name, run, summary)``.
    """
    data = group("data", "make data")
    _commands_that_show(data, command)
    _commands_that_write(data, command)
    _command_that_assembles(data, command)
    _command_that_converts(data, command)


def _commands_that_show(data: argparse._SubParsersAction, command: Callable) -> None:
    mosaic_command(data, command)
    synth = command(data, "synth", _synth, "draw synthetic aerial scenes, with everything asked about them")
    synth.add_argument("out", type=any_path, metavar="OUT", help="folder to write")
    synth.add_argument("--images", type=int, required=True, metavar="N", help="number of training images")
    synth.add_argument("--seed", type=int, default=1, metavar="S", help="same seed, same bytes (default 1)")
    synth.add_argument("--held-out", type=int, metavar="N", help="number of test images (default: a tenth)")
    synth.add_argument("--size", type=int, default=224, metavar="PIXELS", help="side of the pictures (default 224)")

    check = command(data, "check", _check, "say what is there, what is missing and what is wrong (exit code 1)")
    _target_arguments(check)
    check.add_argument("--json", type=new_file, metavar="FILE", help="write the whole report there")
    check.add_argument("--no-decode", action="store_true", help="of images, read the size only")
    check.add_argument("--workers", type=int, default=2, metavar="N", help="threads that decode images (default 2)")
    check.add_argument(
        "--threshold", type=int, metavar="BITS", help="of 64 in which hashes of similar images may differ (default 6)"
    )

    stats = command(data, "stats", _stats, "count tasks, turns, tokens, boxes and answers, in a table and in plots")
    _target_arguments(stats)
    _tokenizer_argument(stats)
    stats.add_argument("--json", action="store_true", help="print the numbers as JSON instead of a table")
    stats.add_argument("--out", type=new_folder, metavar="DIR", help="write stats.json, stats.html and the plots there")

    show = command(data, "show", _show, "write a page of samples: pictures, boxes, tokens, and what is learnt")
    _target_arguments(show)
    _tokenizer_argument(show)
    show.add_argument("--out", type=new_file, required=True, metavar="FILE.html", help="the page to write")
    show.add_argument("--samples", type=int, default=24, metavar="N", help="number of samples (default 24)")
    show.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, other samples (default 0)")
    show.add_argument("--task", metavar="TASK", help="samples of this task only")


def _commands_that_write(data: argparse._SubParsersAction, command: Callable) -> None:
    split = command(data, "split", _split, "divide data into train, val and test; no image is on two sides")
    _target_arguments(split)
    split.add_argument(
        "--out", type=new_folder, required=True, metavar="DIR", help="for train.jsonl, val.jsonl, test.jsonl"
    )
    split.add_argument(
        "--fractions", type=float, nargs=3, default=(0.8, 0.1, 0.1), metavar="F", help="default 0.8 0.1 0.1"
    )
    split.add_argument(
        "--by", choices=["image", "class", "prefix"], default="image", help="what stays together or in proportion"
    )
    split.add_argument("--prefix", metavar="REGEX", help="with --by prefix: what of a file's name says its group")
    split.add_argument("--near-duplicates", action="store_true", help="keep images that look alike on one side")
    split.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, another division (default 0)")
    split.add_argument("--workers", type=int, default=2, metavar="N", help="threads that decode images (default 2)")

    pack = command(data, "pack", _pack, "put images and everything asked about them into shards, for training")
    pack.add_argument(
        "targets",
        type=any_path,
        nargs="+",
        metavar="TARGET",
        help="recipes, folders or files of annotations, shard sets",
    )
    _reader_arguments(pack)
    _shard_arguments(pack)

    tile = command(data, "tile", _tile, "cut large pictures into overlapping tiles that carry their boxes along")
    tile.add_argument("target", type=any_path, metavar="SRC", help="a picture, a folder of them, or annotations")
    tile.add_argument("out", type=any_path, metavar="OUT", help="folder to write: images/*.png and tiles.jsonl")
    tile.add_argument("--size", type=int, default=512, metavar="PIXELS", help="side of the tiles (default 512)")
    tile.add_argument("--overlap", type=int, default=128, metavar="PIXELS", help="of neighbours (default 128)")
    tile.add_argument(
        "--keep", type=float, default=0.5, metavar="SHARE", help="of an object that must be inside (default 0.5)"
    )
    tile.add_argument("--bands", metavar="R,G,B", help="bands of a GeoTIFF, counted from 1")
    tile.add_argument("--stretch", metavar="LOW,HIGH", help="percentiles, or abs:LOW..HIGH values (default 2,98)")
    _reader_arguments(tile)
    tile.add_argument("--workers", type=int, default=1, metavar="N", help="processes; change nothing but speed")


def _command_that_assembles(data: argparse._SubParsersAction, command: Callable) -> None:
    assemble = command(data, "assemble", _assemble, "make shards of SkyEye-968k or UAVIT-1M from what is there")
    assemble.add_argument(
        "set",
        nargs="?",
        choices=("skyeye968k", "uavit"),
        default="skyeye968k",
        help="which of them (default skyeye968k)",
    )
    assemble.add_argument("tree", type=any_path, metavar="TREE", help="folder of the published annotations")
    assemble.add_argument(
        "--images",
        type=any_path,
        nargs="+",
        required=True,
        metavar="ROOT",
        help="folders that hold the image sets",
    )
    assemble.add_argument("--allow-missing", action="store_true", help="pack what is there")
    assemble.add_argument("--json", type=new_file, metavar="FILE", help="write the table and the counts there")
    _shard_arguments(assemble)


def _command_that_converts(data: argparse._SubParsersAction, command: Callable) -> None:
    convert = command(data, "convert", _convert, "write records as other trainers read them; what is lost is told")
    _target_arguments(convert)
    convert.add_argument("out", type=new_folder, metavar="OUT", help="new folder to write")
    convert.add_argument(
        "--to",
        required=True,
        metavar="FORMAT",
        help="llava, ms_swift, llama_factory, qwen_vl, qwen2_5_vl, qwen3_vl, hf_folder, hf_parquet, coco",
    )
    convert.add_argument("--boxes", metavar="NAME", help="notation of boxes in texts, instead of the format's own")
    convert.add_argument("--copy-images", action="store_true", help="write the images into OUT (tables), too")


def _shard_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=new_folder, required=True, metavar="DIR", help="folder of the shards")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), metavar="N", help="processes; change nothing but speed"
    )
    parser.add_argument("--shard-mb", type=int, default=256, metavar="MB", help="size of a shard, about (default 256)")
    parser.add_argument(
        "--re-encode", choices=["jpeg", "png", "webp"], metavar="FORMAT", help="jpeg, png or webp; default: bytes stay"
    )
    parser.add_argument("--quality", type=int, default=95, metavar="Q", help="of jpeg and webp (default 95)")
    parser.add_argument(
        "--max-side", type=int, metavar="PIXELS", help="with --re-encode: reduce larger images to this longer side"
    )


def _target_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=any_path, metavar="TARGET", help="a folder, a file of annotations, or a recipe")
    _reader_arguments(parser)


def _reader_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", metavar="NAME", help="format of the annotations, instead of recognising it")
    parser.add_argument(
        "--images", type=any_path, metavar="DIR", help="folder of the images, instead of looking for it"
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of the reader, as `options:` of a source; may be given several times (docs/data_formats.md lists them)",
    )


def _tokenizer_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tokenizer", type=any_path, metavar="PATH", help="file or folder of one; default: the recipe's"
    )


def _target(options: argparse.Namespace, path: Path | None = None):
    """What a command is about; files that fit no format are told."""
    target = _open_target(options, options.target if path is None else path)
    if target.unknown:
        first = ", ".join(str(file.relative_to(target.path)) for file in target.unknown[:3])
        more = " ..." if len(target.unknown) > 3 else ""
        print(f"{target.path}: {len(target.unknown)} files fit no known format: {first}{more}", file=sys.stderr)
    return target


def _open_target(options: argparse.Namespace, path: Path):
    from skyeye.curate.target import open_target

    return open_target(path, format=options.format, images=options.images, options=_reader_options(options.option))


def _reader_options(words: list[str]) -> dict:
    """``NAME=VALUE`` of the command line, each value read as YAML: ``test_fraction=0.1``, ``bands=[4,3,2]``."""
    import yaml

    options = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise SkyEyeError(
                f"{word!r} is not NAME=VALUE", where="--option", remedy="for example: --option unit=pixels"
            )
        try:
            options[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            what = f"{value!r} is no value: {' '.join(str(error).split())}"
            raise SkyEyeError(what, where=f"--option {name}", remedy="put it in quotes") from error
    return options


def _synth(options: argparse.Namespace) -> int:
    from skyeye.synth import write_scenes

    drawing = Counter("drawing")
    scenes = write_scenes(options.out, options.images, options.seed, options.held_out, options.size, progress=drawing)
    state = "is already there" if scenes["existed"] else "written"
    print(f"{options.out} {state}: {scenes['images']} training and {scenes['held_out']} held-out images")
    for file, records in scenes["counts"].items():
        print(f"  {file}: {records} records")
    return 0


def _check(options: argparse.Namespace) -> int:
    import json

    from skyeye.curate.check import check, format_text
    from skyeye.data.files import write_whole

    settings = {} if options.threshold is None else {"threshold": options.threshold}
    report = check(
        _open_target(options, options.target),
        decode=not options.no_decode,
        workers=options.workers,
        progress=Counter("looking at images"),
        **settings,
    )
    if options.json is not None:
        write_whole(options.json, json.dumps(report, indent=1) + "\n")
    print(format_text(report))
    return 0 if report["sound"] else FOUND


def _stats(options: argparse.Namespace) -> int:
    import json

    from skyeye.cli.tokens import open_counter
    from skyeye.curate.stats import format_text, measure, write_page

    target = _target(options)
    count, tokenizer = open_counter(target, options.tokenizer)
    stats = measure(target, count, tokenizer, progress=Counter("looking at images"))
    if options.out is not None:
        write_page(stats, options.out)
    print(json.dumps(stats, indent=1) if options.json else format_text(stats))
    return 0


def _split(options: argparse.Namespace) -> int:
    import yaml

    from skyeye.curate.split import split

    written = split(
        _target(options),
        options.out,
        options.fractions,
        by=options.by,
        prefix=options.prefix,
        near_duplicates=options.near_duplicates,
        seed=options.seed,
        workers=options.workers,
        progress=Counter("looking at images"),
    )
    for side, count in written["sides"].items():
        if count["images"]:
            print(f"{options.out / side}.jsonl: {count['records']} records, {count['images']} images")
        else:
            print(f"{side}: nothing; what belongs together cannot be divided so finely")
    if written["skipped"]:
        print(f"skipped: {written['skipped']} records without an image")
    entry = {"format": "jsonl", "path": str(options.out / "train.jsonl"), "images": str(written["images_folder"])}
    print(f"in a recipe: {yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, width=10**6).strip()}")
    return 0


def _show(options: argparse.Namespace) -> int:
    if options.samples < 1:
        raise SkyEyeError(f"{options.samples} samples show nothing", where="--samples", remedy="1 or more")
    from skyeye.cli.tokens import open_builder
    from skyeye.curate.show import show
    from skyeye.curate.target import records_of
    from skyeye.data.files import write_whole
    from skyeye.data.record import choose

    target = _target(options)
    records = choose(records_of(target), options.samples, options.seed, options.task)
    builder, tokenizer = open_builder(target, options.tokenizer, records)
    write_whole(options.out, show(records, builder, {"target": str(options.target), "tokenizer": tokenizer}))
    print(f"{options.out}: {len(records)} samples; tokenizer: {tokenizer}")
    return 0


def _pack(options: argparse.Namespace) -> int:
    from skyeye.data.shards.pack import pack

    sources = {}
    for place, path in enumerate(options.targets):
        if path.exists() and any(path.samefile(other) for other in options.targets[:place] if other.exists()):
            raise SkyEyeError("is named twice: all its samples would count double", where=str(path))
        target = _target(options, path)
        used = {entry.source for stage in target.recipe.stages for entry in stage.mixture} if target.recipe else None
        for name, source in target.sources.items():
            if used is not None and name not in used:  # a recipe may inherit sources from the one it extends
                continue
            unique, number = name, 2
            while unique in sources:
                unique, number = f"{name}-{number}", number + 1
            sources[unique] = source
    header = pack(sources, options.out, **_shard_settings(options))
    for source in header["sources"]:
        skipped = sum(source["skipped"].values())
        print(f"  {source['name']}: {source['samples']} samples of {source['groups']} images, {skipped} skipped")
    _say_packed(header, options.out)
    return 0


def _convert(options: argparse.Namespace) -> int:
    from skyeye.curate.convert import convert, format_text

    told = convert(
        _target(options),
        options.out,
        options.to,
        boxes=options.boxes,
        copy_images=options.copy_images,
        progress=Counter("writing records"),
    )
    print(format_text(told, options.out, options.to))
    return 0


def _assemble(options: argparse.Namespace) -> int:
    import json

    from skyeye.curate import assemble as skyeye968k
    from skyeye.curate import assemble_uavit as uavit
    from skyeye.data.files import write_whole

    make = uavit.assemble_uavit if options.set == "uavit" else skyeye968k.assemble
    report = make(
        options.tree, options.images, options.out, allow_missing=options.allow_missing, **_shard_settings(options)
    )
    if options.json is not None:
        write_whole(options.json, json.dumps(report, indent=1) + "\n")
    print((uavit if options.set == "uavit" else skyeye968k).format_text(report))
    if report["shards"] is None:
        return FOUND
    _say_packed(report["shards"], options.out)
    return 0


def _shard_settings(options: argparse.Namespace) -> dict:
    from skyeye.data.shards.encode import Encoding

    if options.shard_mb < 1 or options.workers < 1:
        raise SkyEyeError("must be 1 or more", where="--shard-mb, --workers")
    if options.max_side is not None and options.re_encode is None:
        raise SkyEyeError("reducing images writes them anew", where="--max-side", remedy="add --re-encode FORMAT")
    encoding = options.re_encode and Encoding(options.re_encode, options.quality, options.max_side)
    counters: dict[str, Counter] = {}

    def progress(what: str, done: int, total: int) -> None:
        counters.setdefault(what, Counter(what))(done, total)

    return {
        "workers": options.workers,
        "shard_bytes": options.shard_mb << 20,
        "encoding": encoding,
        "progress": progress,
    }


def _say_packed(header: dict, out: Path) -> None:
    size = sum(shard["bytes"] for shard in header["shards"]) / 1e6
    print(
        f"{out}: {header['samples']} samples, {header['images']} images, {len(header['shards'])} shards, {size:.0f} MB"
    )
    print(f"skipped: {header['skipped']}, listed in {out / 'skipped.txt'}\nfor a recipe: {out / 'sources.yaml'}")


def _tile(options: argparse.Namespace) -> int:
    from skyeye.curate.tile import FILE, Settings, tile
    from skyeye.data.formats.base.image_folder import IMAGE_SUFFIXES

    source = options.target
    if options.format is not None or source.suffix.lower() not in IMAGE_SUFFIXES:
        found = list(_target(options).sources.values())
        if len(found) > 1:
            remedy = f"choose one: --format {', '.join(sorted({one.format for one in found}))}"
            raise SkyEyeError(f"holds {len(found)} data sets", where=str(source), remedy=remedy)
        source = found[0] if found else source
    settings = Settings(options.size, options.overlap, options.keep, options.bands, options.stretch)
    told = tile(source, options.out, settings, options.workers, progress=Counter("cutting"))
    state = "already there" if told["existed"] else "written"
    print(f"{options.out / FILE} {state}: {told['tiles']} tiles of {told['pictures']} pictures")
    print(f"  {told['objects']} objects: {told['kept']} boxes in tiles, {told['cut']} parts marked difficult")
    print(f"  {told['lost']} objects in no tile; {told['phrases']} skipped: words about a whole picture")
    for kind, problems in sorted(_by_kind(told["problems"]).items()):
        print(f"  {len(problems)} x {kind}: {problems[0]}{' ...' if len(problems) > 1 else ''}")
    return FOUND if any(problem.kind == "unreadable image" for problem in told["problems"]) else 0


def _by_kind(problems: list) -> dict[str, list]:
    found: dict[str, list] = {}
    for problem in problems:
        found.setdefault(problem.kind, []).append(problem)
    return found
