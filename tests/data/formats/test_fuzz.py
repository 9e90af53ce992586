"""Damaged annotation files: a reader raises SkyEyeError, or every unit of the file is a record or is reported.

Units are counted here from the files, without the readers. ``SKYEYE_FUZZ=5000`` sets the number of damaged files per
reader and kind of file. The seeds are fixed: a suite meets the same ones every time, so more of them are for a reader
that has changed.
"""

import json
import math
import os
import random
import re
import signal
import tarfile
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import pytest

from skyeye.curate.detect.folder import detect_formats
from skyeye.data.formats import READERS
from skyeye.data.formats.base.image_folder import ImageLookup
from skyeye.data.formats.base.problems import Problem
from skyeye.data.images.reference import parse_reference
from skyeye.data.record import Record
from skyeye.data.tasks import TASKS
from skyeye.errors import SkyEyeError

CASES = int(os.environ.get("SKYEYE_FUZZ", "500"))
SECONDS = 5  # for one file; a sound one takes milliseconds
SENTENCES = [{"raw": "A field .", "tokens": ["A"]}, {"raw": "Two ships ."}, {"raw": "Grass ."}]


# --- what is made -----------------------------------------------------------------------------------------------------


def karpathy():
    images = [
        {"filename": f"{n}.png", "split": s, "sentences": SENTENCES} for n, s in enumerate(("train", "val", "test"))
    ]
    return {"x.json": {"dataset": "UCM", "images": images}}


def nwpu_captions():
    entry = {"filename": "0.png", "raw": "a ship", "raw_1": "a boat", "raw_2": "water", "imgid": 1}
    return {
        "x.json": {"a": [{**entry, "split": "train"}, {**entry, "split": "val"}], "b": [{**entry, "split": "test"}]}
    }


def capera():
    videos = [{"video_id": f"{n}.mp4", "annotation": {"English_caption": ["a field", "grass"]}} for n in range(3)]
    return {"x_train.json": {"ERA_caption": videos}}


def llava():
    turns = [{"from": "human", "value": "<image>\n[refer] where is it?"}, {"from": "gpt", "value": "{<1><2><30><40>}"}]
    items = [{"id": n, "image": f"{n}.png", "conversations": turns} for n in range(3)]
    items += [{"image": "1", "text": "[vqa] how many?", "ground_truth": "3"}]
    return {"x.json": items}


def others():
    """The same in the layouts of other trainers, with what ``data convert`` puts beside a record."""
    said = [{"role": "user", "content": "<image>where is <ref-object>?"}, {"role": "assistant", "content": "<bbox>"}]
    objects = {"ref": ["it"], "bbox": [[1, 2, 30, 40]], "bbox_type": "real", "image_id": [0]}
    beside = {
        "id": "a",
        "task": "refer",
        "tasks": ["refer"],
        "regions": [{"box": [0, 0, 1, 1], "phrase": "a", "polygon": None}],
    }
    shown = [{"from": "user", "value": "Picture 1: <img>1.png</img>\nwhat?"}, {"from": "assistant", "value": "this"}]
    items = [
        {"messages": said, "images": ["0.png"], "objects": objects, "skyeye": json.dumps(beside)},
        {
            "messages": said,
            "file_names": ["2.png"],
            "objects": {**objects, "bbox": [[0, 0, 1, 1]], "bbox_type": "norm1"},
        },
        {"conversations": shown, "skyeye": json.dumps({"references": {"answer": "this"}})},
        {"file_name": "0.png", "messages": [{**said[0], "content": "why?"}, {**said[1], "content": "so"}]},
    ]
    return {"x.json": items}


def synthetic():
    item = {"image": "0.png", "task": "vqa", "objects": 1, "type": "count", "references": {"answer": "3"}}
    item["conversations"] = [{"from": "human", "value": "[vqa] how many?"}, {"from": "gpt", "value": "3"}]
    regions = {"image": "0.png", "ground": "grass", "objects": [{"box": [0, 0, 1, 1], "phrase": "a ship"}]}
    return {"vqa/a_train.json": [item, {**item, "id": "b"}], "regions.jsonl": json.dumps(regions) + "\n"}


def rsvqa():
    questions = [
        {"id": n, "img_id": n % 3, "type": "comp", "question": "more?", "answers_ids": [n], "active": n != 1}
        for n in range(5)
    ]
    answers = [{"id": n, "answer": "yes", "question_id": n, "active": True} for n in range(5)]
    images = [{"id": n, "active": True} for n in range(3)]
    return {
        f"LR_split_test_{k}.json": {k: v}
        for k, v in zip(("questions", "answers", "images"), (questions, answers, images), strict=True)
    }


def coco():
    images = [{"id": n, "file_name": f"{n}.png", "width": 64, "height": 64} for n in range(3)]
    boxes = [{"image_id": n % 3, "category_id": n % 2, "bbox": [n, n, 20, 20], "iscrowd": 0} for n in range(6)]
    return {
        "x.json": {"images": images, "annotations": boxes, "categories": [{"id": n, "name": "ship"} for n in (0, 1)]}
    }


def voc():
    box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>40</xmax><ymax>50.5</ymax></bndbox>"
    thing = f"<object><name>ship</name><difficult>0</difficult>{box}<description>A ship.</description></object>"
    size = "<size><width>64</width><height>64</height></size>"
    one = "<?xml version='1.0' encoding='utf-8'?>\n<annotation>\n<filename>{}.png</filename>\n{}\n{}\n</annotation>\n"
    return {f"{n}.xml": one.format(n, size if n else "", "\n".join([thing] * n)) for n in range(3)}


def fair1m():
    points = "".join(f"<point>{p}</point>" for p in ("1,1", "40,2", "41,30", "0,28", "1,1"))
    thing = f"<object><possibleresult><name>Cargo Ship</name></possibleresult><points>{points}</points></object>"
    one = "<annotation>\n<source><filename>{}.png</filename></source>\n<objects>\n{}\n</objects>\n</annotation>\n"
    return {f"{n}.xml": one.format(n, "\n".join([thing] * (n + 1))) for n in range(2)}


MADE = {
    "karpathy": karpathy,
    "nwpu_captions": nwpu_captions,
    "capera": capera,
    "llava": llava,
    "skyeye968k": lambda: {"vqa/UCMvqa.json": llava()["x.json"], "caption/caption_UCM_train.json": llava()["x.json"]},
    "synthetic": synthetic,
    "rsvqa": rsvqa,
    "coco": coco,
    "voc": voc,
    "fair1m": fair1m,
    "dior_rsvg": lambda: voc() | {"train.txt": "0\n2\n", "test.txt": "1\n"},
    "rsitmd": lambda: {
        "train_filename.txt": "0.png\n1.png\n",
        "train_caps.txt": "a ship\nwater\ngrass\na field\n",
        "test_filename.txt": "2.png\n2.png\n0.png\n",
        "test_caps.txt": "one\ntwo\nthree\n",
    },
    "rsvg": lambda: {"x_train.txt": "".join(f"{n}.png,1,2,{30 + n},40.5,the ship, on the left\n" for n in range(3))},
    "rsivqa": lambda: {"x_vqa.txt": "".join(f"{n}.png:how many ships are there?{n}\n" for n in range(3))},
    "nwpu_vhr10": lambda: {f"{n}.txt": "( 1, 2),(30,40),1 \n(5,5),(60,60),10\n\n" for n in range(3)},
    "dota": lambda: {
        f"{n}.txt": "imagesource:X\ngsd:1\n1 2 30 2 30 40 1 40 ship 0\n5 5 9 5 9 9 5 9 a-b 1\n" for n in range(3)
    },
    "jsonl": lambda: {
        "x.jsonl": "".join(
            json.dumps(line) + "\n"
            for line in (
                {"image": "0.png", "question": "how many?", "answer": "2", "id": "a"},
                {"image": "1.png", "captions": ["a ship", "water"], "split": "test"},
                {"image": "2.png", "unit": "pixels", "boxes": [{"box": [1, 2, 30, 40], "label": "ship"}]},
                {"image": "0", "conversation": [{"question": "a", "answer": "b"}], "meta": {"a": 1}},
            )
        )
    },
    "yolo": lambda: {f"{n}.txt": "0 0.5 0.5 0.2 0.2\n1 .1 .1 .9 .1 .9 .9 .1 .9\n" for n in range(3)},
}
ONE_FILE = {"karpathy", "nwpu_captions", "capera", "llava", "coco", "jsonl"}
OPTIONS = {"yolo": {"names": ["ship", "car"]}, "capera": {"video_length": 9, "frames": 2}}


# --- the units of a file, counted without the readers -----------------------------------------------------------------


def named(value: object) -> bool:
    """Whether a JSON value is text or a finite number that says something."""
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        return False
    return isinstance(value, (str, int, float)) and bool(str(value).strip().strip("\ufeff").strip())


def said(value: object) -> bool:
    """Whether something of a caption is left for a model to learn."""
    return named(value) and re.sub(r'[.!"()*#:;~\s\ufeff]', "", str(value)) != ""


def caption_units(captions: list, split: str) -> int:
    good = sum(map(said, captions))
    asked = good if split == "train" else min(good, 1)
    return asked + len(captions) - good if captions else 1


def text_in(file: Path) -> str:
    content = file.read_bytes()
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    return content.decode("utf-16" if wide else "utf-8-sig").removeprefix("\ufeff")


def jsonl_bytes(file: Path) -> bytes:
    """UTF-8; of a damaged file the bytes, of which a line costs only itself."""
    content = file.read_bytes()
    return text_in(file).encode() if content[:2] in (b"\xff\xfe", b"\xfe\xff") else content


def split_of(entry: dict) -> str | None:
    word = entry.get("split", "train")
    return {
        "train": "train",
        "restval": "train",
        "val": "val",
        "valid": "val",
        "validation": "val",
        "test": "test",
    }.get(word if isinstance(word, str) else "")


def items_of(value: object) -> list:
    return value if isinstance(value, list) else []


def units_karpathy(folder: Path) -> int:
    total = 0
    for image in json.loads(text_in(folder / "x.json"))["images"]:
        if not isinstance(image, dict) or not named(image.get("filename")) or split_of(image) is None:
            total += 1
        else:
            raw = [s.get("raw") if isinstance(s, dict) else None for s in items_of(image.get("sentences"))]
            total += caption_units(raw, split_of(image))
    return total


def units_nwpu_captions(folder: Path) -> int:
    total = 0
    for entries in json.loads(text_in(folder / "x.json")).values():
        if not isinstance(entries, list):
            total += 1
            continue
        for entry in entries:
            if not isinstance(entry, dict) or not named(entry.get("filename")) or split_of(entry) is None:
                total += 1
            else:
                total += caption_units(
                    [v for k, v in entry.items() if k == "raw" or k.startswith("raw_")], split_of(entry)
                )
    return total


def units_capera(folder: Path) -> int:
    total = 0
    for video in json.loads(text_in(folder / "x_train.json"))["ERA_caption"]:
        if not isinstance(video, dict) or not named(video.get("video_id")):
            total += 1
        else:
            annotation = video.get("annotation")
            captions = annotation.get("English_caption") if isinstance(annotation, dict) else None
            total += caption_units(items_of(captions), "train")
    return total


def units_lists(folder: Path) -> int:
    files = [file for file in folder.rglob("*.json")]
    return sum(len(json.loads(text_in(file))) for file in files)


def units_rsvqa(folder: Path) -> int:
    content = json.loads(text_in(folder / "LR_split_test_questions.json"))
    return sum(1 for q in content["questions"] if not isinstance(q, dict) or q.get("active"))


def units_coco(folder: Path) -> int:
    return len(json.loads(text_in(folder / "x.json"))["annotations"])


def objects_in(file: Path) -> list | None:
    try:
        text = text_in(file)
        root = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError):
        return None
    has_name = any((root.findtext(path) or "").strip() for path in ("filename", "source/filename"))
    if re.search("<!(doctype|entity)", text, re.IGNORECASE) or not has_name:
        return None
    return root.findall("object") or root.findall("objects/object")


def units_xml(folder: Path) -> int:
    found = [objects_in(file) for file in folder.glob("*.xml")]
    return sum(1 if objects is None else len(objects) for objects in found)


def lines_of(file: Path) -> list[str]:
    text = text_in(file)
    return [line for line in re.split(r"\r\n|\r|\n", text) if line.strip()]


def units_lines(folder: Path) -> int:
    return sum(len(lines_of(file)) for file in folder.glob("*.txt"))


def units_label_lines(folder: Path) -> int:
    """Lines without the headers of DOTA; a file that is no text is one unit."""
    total = 0
    for file in folder.glob("*.txt"):
        try:
            total += sum(not line.startswith(("imagesource:", "gsd:")) for line in lines_of(file))
        except UnicodeDecodeError:
            total += 1
    return total


def units_rsitmd(folder: Path) -> int:
    total = 0
    for split in ("train", "test"):
        names, captions = (
            re.split(r"\r\n|\r|\n", text_in(folder / f"{split}_{what}.txt")) for what in ("filename", "caps")
        )
        names, captions = (lines[:-1] if lines[-1] == "" else lines for lines in (names, captions))
        each = len(captions) // len(names)
        by_image = {}
        for number, caption in enumerate(captions):
            by_image.setdefault(names[number // each].strip(), []).append(caption)
        total += len(by_image.pop("", ()))
        total += sum(caption_units(lines, split) for lines in by_image.values())
    return total


UNITS = {
    "karpathy": units_karpathy,
    "nwpu_captions": units_nwpu_captions,
    "capera": units_capera,
    "llava": units_lists,
    "skyeye968k": units_lists,
    "synthetic": units_lists,
    "rsvqa": units_rsvqa,
    "coco": units_coco,
    "voc": units_xml,
    "fair1m": units_xml,
    "dior_rsvg": units_lines,
    "rsitmd": units_rsitmd,
    "rsvg": units_lines,
    "rsivqa": units_lines,
    "nwpu_vhr10": units_label_lines,
    "dota": units_label_lines,
    "yolo": units_label_lines,
    "jsonl": lambda folder: len(
        [line for line in jsonl_bytes(folder / "x.jsonl").split(b"\n") if line.strip(b"\xef\xbb\xbf \t\r\n")]
    ),
}
BOXES = {"coco", "voc", "fair1m", "nwpu_vhr10", "dota", "yolo"}


# --- the tests --------------------------------------------------------------------------------------------------------


@contextmanager
def time_limit(seconds: float):
    def stop(*_):
        raise TimeoutError(f"still reading after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check(format: str, folder: Path, images: Path, told: str) -> bool:
    """Reads a folder and compares with the count; False when it was refused as a whole."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    path = files[0] if format in ONE_FILE else folder
    reader = import_module(READERS[format]).read
    try:
        with time_limit(SECONDS):
            items = list(reader(str(path), images=ImageLookup(str(images)), **OPTIONS.get(format, {})))
    except SkyEyeError as error:
        assert str(error), told
        return False
    records = [item for item in items if isinstance(item, Record)]
    problems = [item for item in items if isinstance(item, Problem)]
    assert len(records) + len(problems) == len(items), told
    for record in records:
        assert record.task in TASKS and record.split in ("train", "val", "test") and record.turns, told
    for image in {image.split("#")[0] for record in records for image in record.images}:
        assert Path(image).resolve().parent == images, (told, image)
    assert all(problem.kind and problem.where and problem.what and problem.count >= 0 for problem in problems), told
    out = sum(record.task == "identify" for record in records) if format in BOXES else len(records)
    # an image of a COCO file that is unusable and has no boxes is told too, as a unit of its own
    alone = sum(", image " in problem.where for problem in problems) if format == "coco" else 0
    alone = len(items) if format == "jsonl" else alone  # a line may hold several units, and holds at least one
    units = UNITS[format](folder)
    assert units <= out + sum(problem.count for problem in problems) <= units + alone, told
    return True


@pytest.fixture
def images(tmp_path, write_images):
    names = [f"{name}.png" for name in (0, 1, 2)]
    write_images(tmp_path / "images", *names, size=(64, 64))
    for n in range(3):
        (tmp_path / "images" / f"{n}.mp4").touch()
    write_images(tmp_path, "0.png", "outside.png")
    return tmp_path / "images"


def write(folder: Path, files: dict[str, object]) -> dict[Path, bytes]:
    written = {}
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        written[file] = file.read_bytes()
    return written


def batter(format: str, sound: dict[Path, bytes], folder: Path, images: Path, damage, rng: random.Random) -> None:
    images = images.resolve()
    assert check(format, folder, images, "sound")
    read = 0
    for case in range(CASES):
        file = rng.choice(sorted(sound))
        damaged = damage(sound[file], rng)
        file.write_bytes(damaged)
        told = f"case {case}, {file.name}: {damaged[:2000]!r}"
        read += check(format, folder, images, told)
        file.write_bytes(sound[file])
    assert read > CASES / 20  # not everything is refused as a whole


def test_layouts_of_other_trainers(tmp_path, images, damage):
    sound = write(tmp_path / "set", others())
    batter("llava", sound, tmp_path / "set", images, damage, random.Random("others"))


def test_a_damaged_dataset_info(tmp_path, images, damage):
    """What a damaged list of data sets names is not known, so nothing is counted: no other error and no hang."""
    rng, row = random.Random("dataset_info"), {"instruction": "what?", "input": "a", "output": "b", "h": [["c", "d"]]}
    tags = {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt", "system_tag": "s"}
    info = {
        "a": {"file_name": "a.json", "formatting": "sharegpt", "columns": {"messages": "conversations"}, "tags": tags},
        "b": {"file_name": "b.json", "columns": {"history": "h", "images": "i"}, "ranking": False},
    }
    talk = [{"image": "0.png", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}]
    files = {"dataset_info.json": info, "a.json": talk, "b.json": [{**row, "i": ["1.png"]}]}
    sound = write(tmp_path / "set", files)
    for _ in range(CASES):
        file = rng.choice(sorted(sound))
        file.write_bytes(damage(sound[file], rng))
        with suppress(SkyEyeError), time_limit(SECONDS):
            read = import_module(READERS["llama_factory"]).read
            for item in read(tmp_path / "set", images=ImageLookup(str(images))):
                assert isinstance(item, Problem) or item.turns
        file.write_bytes(sound[file])


@pytest.mark.parametrize("format", sorted(MADE))
def test_made_files(format, tmp_path, images, damage):
    sound = write(tmp_path / "set", MADE[format]())
    batter(format, sound, tmp_path / "set", images, damage, random.Random(f"made {format}"))


def test_archives(tmp_path, images, damage):
    """What a damaged archive holds is not known, so nothing is counted: no other error, no hang, no place beyond."""
    rng, path = random.Random("archive"), tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for n in range(3):
            (tmp_path / f"{n}.json").write_text(json.dumps({"caption": "a ship"}))
            tar.add(images / f"{n}.png", f"{n}.png")
            tar.add(tmp_path / f"{n}.json", f"{n}.json")
    sound = path.read_bytes()
    for _ in range(CASES):
        path.write_bytes(damage(sound, rng))
        try:
            with time_limit(SECONDS):
                items = list(import_module(READERS["webdataset_pairs"]).read(path))
        except SkyEyeError:
            continue
        for record in (item for item in items if isinstance(item, Record)):
            file, details = parse_reference(record.images[0])
            assert file == str(path)
            assert int(details["offset"]) + int(details["size"]) <= path.stat().st_size


def test_recognising_damaged_files(tmp_path, damage):
    """The look into files of a folder ends in proposals or in SkyEyeError."""
    rng, folder = random.Random("recognise"), tmp_path / "set"
    made = {f"{format}/{name}": content for format in MADE for name, content in MADE[format]().items()}
    sound = write(folder, made)
    for _ in range(CASES // 4):
        for file in rng.sample(sorted(sound), 5):
            file.write_bytes(damage(sound[file], rng))
        with time_limit(SECONDS):
            assert detect_formats(folder).sources


def lines(file: Path, count: int) -> str:
    return "".join(f"{line}\n" for line in file.read_text().splitlines()[:count])


def real_karpathy(real: Path):
    images = json.loads((real / "UCM_captions/dataset.json").read_text())["images"]
    kept = images[:2] + images[-2:]
    return {"x.json": {"images": kept}}, [image["filename"] for image in kept[:3]]


def real_capera(real: Path):
    videos = json.loads((real / "annotations_only/CapERA/CapERA_DATASET_train.json").read_text())["ERA_caption"][:3]
    return {"x_train.json": {"ERA_caption": videos}}, [video["video_id"].replace("mp4", "png") for video in videos[:2]]


def real_rsvg(real: Path):
    text = lines(real / "annotations_only/RSVG_HR/rsvg_hr_train.txt", 20)
    return {"x_train.txt": text}, [line.split(",")[0].replace(".jpg", ".png") for line in text.splitlines()]


def real_rsivqa(real: Path):
    text = lines(real / "annotations_only/RSIVQA/UCM/ucm_res.txt", 20)
    return {"x_vqa.txt": text}, ["1.tif", "10.tif"]


def real_rsitmd(real: Path):
    folder, names = (
        real / "annotations_only/RSITMD",
        ("train_filename.txt", "train_caps.txt", "test_filename.txt", "test_caps.txt"),
    )
    files = {name: lines(folder / name, count) for name, count in zip(names, (4, 20, 10, 10), strict=True)}
    return files, [*files["train_filename.txt"].split()[:3], "boat_0.tif"]


def real_nwpu_vhr10(real: Path):
    files = [real / f"annotations_only/NWPU_VHR10/groundtruth/{n}.txt" for n in ("001", "018", "387")]
    return {file.name: file.read_text() for file in files}, ["001.png", "018.png", "387.png"]


def real_dota(real: Path):
    return {"P1888.txt": lines(real / "DOTA/labelTxt/P1888.txt", 20)}, ["P1888.png"]


def real_dior_rsvg(real: Path):
    folder = real / "annotations_only/DIOR_RSVG"
    lists = {f"{split}.txt": lines(folder / f"{split}.txt", 8) for split in ("train", "val", "test")}
    return {"00001.xml": (folder / "00001.xml").read_text(), **lists}, ["00001.png"]


def real_rsvqa(real: Path):
    kinds = ("questions", "answers", "images")
    whole = {kind: json.loads((real / f"RSVQA_LR/LR_split_test_{kind}.json").read_text())[kind] for kind in kinds}
    questions = [question for question in whole["questions"] if question["active"]][:5]
    wanted = {"answers": {q["answers_ids"][0] for q in questions}, "images": {q["img_id"] for q in questions}}
    part = {kind: [e for e in whole[kind] if e["id"] in wanted[kind]] for kind in wanted} | {"questions": questions}
    return {f"LR_split_test_{k}.json": {k: v} for k, v in part.items()}, [f"{n}.png" for n in wanted["images"]]


def real_coco(real: Path):
    whole = json.loads((real / "annotations_only/NWPU_VHR10/annotations_coco.json").read_text())
    images = whole["images"][:3]
    boxes = [box for box in whole["annotations"] if box["image_id"] in {image["id"] for image in images}]
    return {"x.json": whole | {"images": images, "annotations": boxes}}, [image["file_name"] for image in images]


REAL = {name.removeprefix("real_"): maker for name, maker in list(globals().items()) if name.startswith("real_")}


@pytest.mark.parametrize("format", sorted(REAL))
def test_real_files(format, real, tmp_path, write_images, damage):
    files, names = REAL[format](real)
    write_images(tmp_path / "images", *dict.fromkeys(names), size=(1024, 1024))
    sound = write(tmp_path / "set", files)
    batter(format, sound, tmp_path / "set", tmp_path / "images", damage, random.Random(f"real {format}"))
