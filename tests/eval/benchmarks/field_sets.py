"""Small folders in the published layouts of what the field reports on since 2024; `paper_sets` has the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

#: Options as VHM writes them into a question, and questions about classes.
PLACES = "A. upper left B. upper right C. lower left D. lower right"
KINDS = "A. optical B. panchromatic C. SAR"
CLASSES = "Classify the image within one of the given classes: Farm, Port. Answer with one word or short phrase."


def talk(question: str, answer: str, **more: Any) -> dict[str, Any]:
    said = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    return {"conversations": said, **more}


def picture(path: Path, size: tuple[int, int] = (100, 100)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (len(str(path)) % 256, 5, 5)).save(path)


def pictures(folder: Path, names: Iterable[str], size: tuple[int, int] = (100, 100)) -> None:
    for name in names:
        picture(folder / name, size)


def put(path: Path, content: Any) -> None:
    """A text, or a value as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def vrsbench(root: Path) -> None:
    rows = [("small ship", "{<10><10><30><30>}", True), ("large ship", "{<50><50><90><90>}", False)]
    refer = [
        {"image_id": "P1.png", "question": q, "ground_truth": box, "question_id": n, "is_unique": unique}
        for n, (q, box, unique) in enumerate(rows)
    ]
    kinds = [("object existence", "Yes"), ("object quantity", "3"), ("object color", "red"), ("scene type", "harbor")]
    questions = [
        {"image_id": "P1.png", "question": f"q{n}?", "ground_truth": a, "question_id": n, "type": kind}
        for n, (kind, a) in enumerate(kinds)
    ]
    captions = [
        {"image_id": f"P{n}.png", "question": "d", "ground_truth": c, "question_id": n}
        for n, c in ((1, "this harbor holds many boats"), (2, "two green fields beside roads"))
    ]
    put(root / "VRSBench/VRSBench_EVAL_referring.json", refer)
    put(root / "VRSBench/VRSBench_EVAL_vqa.json", questions)
    put(root / "VRSBench/VRSBench_EVAL_Cap.json", captions)
    pictures(root / "VRSBench/Images_val", ("P1.png", "P2.png"))


def xlrs(root: Path) -> None:
    """Needs pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (root / "XLRS-Bench-lite/data").mkdir(parents=True)
    picture(root / "x.png")
    held = {"bytes": (root / "x.png").read_bytes(), "path": "x.png"}
    (root / "x.png").unlink()
    rows = {
        "question": ["where?", "which?"],
        "multi-choice options": [["(A) left", "(B) right", "(C) top", "(D) bottom"], ["(A) road", "(B) river"]],
        "answer": ["B", "A"],
        "category": ["Position", "Land use"],
        "image": [held, held],
    }
    pq.write_table(pa.table(rows), root / "XLRS-Bench-lite/data/train-00000-of-00001.parquet")


def choices(root: Path) -> None:
    row = {"options_list": ["corn", "wheat", "rice", "rye", "oat"], "options": "A. corn B. wheat"}
    row |= {"cls_description": "", "prompts": ["Which crop?", "Crop?"]}
    truths = [
        {"question_id": "7", "ground_truth_option": "C", "ground_truth": "rice"},
        {"question_id": "8", "ground_truth_option": "A", "ground_truth": "corn"},
    ]
    single = [{**row, **truth, "image_path": "Single/images/a.png", "task": "Crop Type"} for truth in truths]
    put(root / "GEOBench-VLM/Single/qa.json", single)
    pair = ["Temporal/images/pre.png", "Temporal/images/mid.png", "Temporal/images/post.png"]
    temporal = [{**row, **truth, "image_path": pair, "task": "Disaster"} for truth in truths]
    put(root / "GEOBench-VLM/Temporal/qa.json", temporal)
    pictures(root / "GEOBench-VLM", ("Single/images/a.png", *pair))
    pairs = [
        {"question": "What is it?", "choices": "A. a ship; B. a plane; C. a car", "answer": "B.", "type": ["1", "2"]},
        {"question": "How many?", "choices": "A. 1; B. 2; C. 3", "answer": "A.", "type": ["2"]},
    ]
    data = {"data": [{"filename": "1.png", "qa_pairs": pairs}], "qtype": {"1 identity": 1, "2 quantity": 2}}
    put(root / "LHRS-Bench/qa.json", {**data, "img_num": 1})
    picture(root / "LHRS-Bench/imgs_png/1.png")


def vhm(root: Path) -> None:
    where = [(f"where? {PLACES}", "B"), (f"where is it? {PLACES}", "C")]
    files: dict[str, Sequence[tuple[str, str]]] = {
        "presence_mo_dota": [("Is there a ship?", "Yes"), ("Is there a car?", "No")],
        "color_dota-test_fair1m-val_open": [("colour?", "red, white"), ("colour?", "blue")],
        "abspos_dota-test_mc": where,
        "relpos_dota-test_mc": where,
        "counting_dota-test_open": [("how many?", "4"), ("how many?", "10")],
        "imgType_mcq": [(f"which? {KINDS}", "A"), (f"of which kind? {KINDS}", "C")],
        "gsd_dota_fbp": [("resolution?", "0.5m"), ("resolution?", "4m")],
        "obj_meas_dota_test": [("size?", "length 20m, width 10m"), ("size?", "length 40m, width 30m")],
        **{
            f"cls_{of}": [(CLASSES, "Farm"), (CLASSES, "Port")]
            for of in ("AID", "METER_ML", "NWPU_RESISC45", "SIRI_WHU", "WHU_RS19")
        },
        **{
            f"color_false_{of}": [("colour of the ship?", "There is no ship."), ("of the car?", "No car is there.")]
            for of in (*(f"dota-test_{how}_open" for how in ("popular", "adversarial", "random")), "pan_dota-test")
        },
        **{f"abspos_false_dota-test_{how}_mc": where for how in ("popular", "adversarial", "random")},
        **{f"relpos_false_dota-test_{how}_mc": where for how in ("popula", "adversarial", "random")},
    }
    for name, said in files.items():
        rows = [talk(q, a, image=f"{n}.png", image_path=name) for n, (q, a) in enumerate(said)]
        put(root / f"VHM_eval/{name}.json", rows)
        pictures(root / f"VHM_eval/{name}", (f"{n}.png" for n in range(len(said))))


def rsieval(root: Path) -> None:
    pairs = [{"question": "day or night?", "answer": "day", "type": "image"}, {"question": "boats?", "answer": 3}]
    images = [
        {"filename": "1.png", "caption": "this harbor holds many boats", "qa_pairs": pairs},
        {"filename": "2.png", "caption": "two green fields beside roads", "qa_pairs": []},
    ]
    put(root / "RSIEval/annotations.json", {"annotations": images})
    pictures(root / "RSIEval/images", ("1.png", "2.png"))


def changes(root: Path) -> None:
    def entry(name: str, captions: Sequence[str], flag: int) -> dict[str, Any]:
        said = [{"raw": f" {c} . "} for c in captions]
        return {"filename": name, "filepath": "test", "split": "test", "changeflag": flag, "sentences": said}

    still = ["nothing has changed here today", "buildings remain as before again"]
    built = ["long rows of houses appear", "many streets were built nearby"]
    put(root / "LEVIR-CC/LevirCCcaptions.json", {"images": [entry("1.png", still, 0), entry("2.png", built, 1)]})
    for side in "AB":
        pictures(root / "LEVIR-CC/images/test" / side, ("1.png", "2.png"))
    said = [("change_or_not", "yes"), ("change_ratio", "10_to_20"), ("change_to_what", "low_vegetation")]
    questions = [
        {"id": n, "img_id": 0, "type": kind, "question": f"q{n}?", "answers_ids": [n], "active": True}
        for n, (kind, _) in enumerate(said)
    ]
    answers = [{"id": n, "answer": a, "active": True} for n, (_, a) in enumerate(said)]
    for split in ("Test", "Test2"):
        put(root / f"CDVQA/{split}_questions.json", {"questions": questions})
        put(root / f"CDVQA/{split}_answers.json", {"answers": answers})
        put(root / f"CDVQA/{split}_images.json", {"images": [{"id": 0, "file_name": "07308.png", "active": True}]})
    for side in ("im1", "im2"):
        picture(root / f"SECOND/test/{side}/07308.png")


def uavbench(root: Path) -> None:
    asked = "Given classes: fire, flood and farm."
    said = [
        ("ERA", "img_cls", asked, "fire"),
        ("ERA", "img_cls", asked, "flood"),
        ("UAV123", "img_cls", "Given classes: bike, boat and car.", "bike"),
        ("ERA", "deta_cls", "which kind of fire?", "forest fire"),
        ("ERA", "deta_cls", "which kind of car?", "red truck"),
        ("ERA", "img_cap", "say", "this harbor holds many boats"),
        ("ERA", "img_cap", "tell", "two green fields beside roads"),
        ("ERA", "deta_cap", "say all", "this harbor holds many boats"),
        ("ERA", "deta_cap", "tell all", "two green fields beside roads"),
        ("ERA", "vqa", "is it day?", "yes"),
        ("ERA", "vqa", "what burns?", "grass"),
        ("VisDrone2019_DET", "count", "how many?", "4"),
        ("VisDrone2019_DET", "count", "how many cars?", "9"),
        ("UAV123", "vg", "where is the bike?", "{<10><10><30><30>}"),
        ("UAV123", "vg", "where is the boat?", "{<50><50><70><70>}"),
        ("UAV123", "det", "<p>car</p>", "{<10><10><30><30>}<delim>{<50><50><70><70>}"),
        ("UAV123", "det", "<p>bike</p>", "{<50><50><70><70>}"),
        ("UAV123", "reg_cls", "which class is {<1><2><30><40>}?", "car"),
        ("UAV123", "reg_cls", "of what class is {<1><2><30><40>}?", "bus"),
        ("UAV123", "reg_cap", "what is {<1><2><30><40>}?", "this harbor holds many boats"),
        ("UAV123", "reg_cap", "what lies in {<1><2><30><40>}?", "two green fields beside roads"),
        ("UAV123", "reg_vqa", "what colour has {<1><2><30><40>}?", "red"),
        ("UAV123", "reg_vqa", "what lies beside {<1><2><30><40>}?", "sand"),
    ]
    rows = [
        {"id": "1", "image": f"{unit}/test/a{n}.jpg", "conversations": str(talk(f"[{tag}] {q}", a)["conversations"])}
        for n, (unit, tag, q, a) in enumerate(said)
    ]
    put(root / "UAVBench/UAVBench.json", rows)
    pictures(root / "UAVBench/images", (row["image"] for row in rows))


def field_sets(root: Path) -> None:
    """All of them, side by side."""
    for write in (vrsbench, xlrs, choices, vhm, rsieval, changes, uavbench):
        write(root)
