"""Small folders in the published layouts of captions, questions, boxes and scene classes, and of synthetic scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from skyeye.eval.benchmarks import scenes
from tests.eval.benchmarks.field_sets import pictures, put, talk

#: Pictures of a set of captions: more than the ten places at which retrieval is read.
PICTURES = 12
#: Name -> a folder of the classes, and half of them: fewer are not told from another set.
SCENES = {
    "aid": ("AID", scenes.AID[:15]),
    "nwpu": ("NWPU-RESISC45", scenes.NWPU[:23]),
    "ucmerced": ("UCMerced_LandUse/Images", scenes.UCMERCED[:11]),
    "eurosat": ("EuroSAT/2750", scenes.EUROSAT[:5]),
    "whu_rs19": ("WHU-RS19", scenes.WHU_RS19[:10]),
}
#: (type in the file, question, answer); two of three yes/no questions and none of the others is answered by "yes".
QUESTIONS = [
    ("presence", "Is there a road?", "yes"),
    ("comp", "Are there more roads than rivers?", "yes"),
    ("rural_urban", "Is it a rural or an urban area", "rural"),
    ("count", "How many roads?", "3"),
    ("area", "What is the area?", "12m2"),
]


def caption(number: int) -> str:
    """Five words that no other caption has."""
    return " ".join(f"{word}{number}" for word in ("one", "two", "three", "four", "five"))


def captions(root: Path) -> None:
    """Each picture with its one caption twice, and a training picture beside them."""

    def entry(number: int, split: str) -> dict[str, Any]:
        return {"filename": f"{number}.png", "split": split, "sentences": [{"raw": caption(number)}] * 2}

    karpathy = {"images": [entry(99, "train"), *(entry(n, "test") for n in range(PICTURES))]}
    for file, images in (
        ("RSICD/dataset_rsicd.json", "RSICD/RSICD_images"),
        ("UCM_captions/dataset.json", "UCM_captions/imgs"),
        ("Sydney_captions/dataset.json", "Sydney_captions/imgs"),
        ("RSITMD/dataset_RSITMD.json", "RSITMD/images"),
    ):
        put(root / file, karpathy)
        pictures(root / images, (f"{n}.png" for n in (99, *range(PICTURES))), (2, 2))
    nwpu = [{"filename": f"{n}.png", "split": "test", "raw": caption(n), "raw_1": caption(n)} for n in range(2)]
    put(root / "NWPU-Captions/dataset_nwpu.json", {"a": nwpu})
    pictures(root / "NWPU-Captions/images", ("0.png", "1.png"), (2, 2))
    videos = [{"video_id": f"v{n}.mp4", "annotation": {"English_caption": [caption(n)] * 2}} for n in range(2)]
    put(root / "CapERA/CapERA_DATASET_test.json", {"ERA_caption": videos})
    pictures(root / "ERA/SingleFrames/Test", ("v0.jpg", "v1.jpg"), (2, 2))


def questions(root: Path) -> None:
    asked = [
        {"id": 70 + n, "img_id": 5, "type": kind, "question": question, "answers_ids": [n], "active": True}
        for n, (kind, question, _) in enumerate(QUESTIONS)
    ]
    answers = [{"id": n, "answer": answer, "active": True} for n, (_, _, answer) in enumerate(QUESTIONS)]
    for prefix in ("RSVQA_LR/LR_split_test", "RSVQA_HR/USGS_split_test", "RSVQA_HR/USGS_split_test_phili"):
        put(root / f"{prefix}_questions.json", {"questions": asked})
        put(root / f"{prefix}_answers.json", {"answers": answers})
        put(root / f"{prefix}_images.json", {"images": [{"id": 5, "active": True}]})
    pictures(root, ("RSVQA_LR/Images_LR/5.tif", "RSVQA_HR/Data/5.tif"), (2, 2))
    lines = "P1: how many ships are there in this picture?4\nP1: does this picture contain ship?yes\n"
    put(root / "RSIVQA/DOTA/dota_val_vqa2.txt", lines)  # its picture is DOTA's
    events = [talk("Which event is this?", answer, image=f"{answer}_1.jpg") for answer in ("fire", "flood")]
    put(root / "SkyEye-968k/vqa/EARVqa_test.json", events)
    pictures(root / "ERA/SingleFrames/Test", ("fire_1.jpg", "flood_1.jpg"), (2, 2))


def grounding(root: Path) -> None:
    lines = "1.jpg,10,10,30,30,a pool\n1.jpg,50,50,70,70,a house\n"
    for file in ("RSVG/rsvg_val.txt", "RSVG/rsvg_test.txt", "RSVG-HR/Annotations/rsvg_hr_test.txt"):
        put(root / file, lines)
    pictures(root, ("RSVG/images/1.jpg", "RSVG-HR/images/1.jpg"))
    first = [("ship", (10, 10, 30, 30), "not asked"), ("ship", (10, 10, 30, 30), "this harbor holds many boats")]
    second = [("ship", (50, 50, 70, 70), "two green fields beside roads")]
    for name, things in (("00001", first), ("00002", second)):
        put(root / f"DIOR_RSVG/Annotations/{name}.xml", voc_xml(name, things))
    pictures(root / "DIOR_RSVG/JPEGImages", ("00001.jpg", "00002.jpg"))
    put(root / "DIOR_RSVG/test.txt", "1\n2\n")  # numbers of objects over all files
    said = [
        ("[detection] The two ships", "<p>The two ships</p> {<10><10><30><30>}<delim>{<50><50><70><70>}"),
        ("[detection] The ship", "<p>The ship</p> {<50><50><70><70>}"),
    ]
    put(root / "phrasegrounding/diorpg_test.json", [talk(q, a, image="1.jpg") for q, a in said])
    pictures(root / "DIOR/JPEGImages-test", ("1.jpg",))


def voc_xml(name: str, things: list[tuple[str, tuple[int, int, int, int], str]]) -> str:
    objects = "".join(
        f"<object><name>{kind}</name><description>{words}</description><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for kind, (x1, y1, x2, y2), words in things
    )
    size = "<size><width>100</width><height>100</height></size>"
    return f"<annotation><filename>{name}.jpg</filename>{size}{objects}</annotation>"


def objects(root: Path) -> None:
    """Of each set two pictures, 1 and 2: a ship and a plane in the one, two ships in the other."""
    a, b = (10, 10, 30, 30), (50, 50, 70, 70)
    corners = "10 10 30 10 30 30 10 30 {} 0\n50 50 70 50 70 70 50 70 {} 0\n"
    put(root / "DOTA/val/labelTxt/P1.txt", corners.format("ship", "plane"))
    put(root / "DOTA/val/labelTxt/P2.txt", corners.format("ship", "ship"))
    pictures(root / "DOTA/val/images", ("P1.png", "P2.png"))
    for name, kinds in (("1", ("ship", "airplane")), ("2", ("ship", "ship"))):
        things = [(kinds[0], a, ""), (kinds[1], b, "")]
        put(root / f"DIOR/Annotations/Horizontal Bounding Boxes/1000{name}.xml", voc_xml(f"1000{name}", things))
    put(root / "DIOR/ImageSets/Main/test.txt", "10001\n10002\n")
    pictures(root / "DIOR/JPEGImages-test", ("10001.jpg", "10002.jpg"))
    for name, kinds in (("1", ("Warship", "Boeing747")), ("2", ("Warship", "Warship"))):
        put(root / f"FAIR1M/val/labelXml/{name}.xml", fair1m_xml(name, kinds))
    pictures(root / "FAIR1M/val/images", ("1.tif", "2.tif"))
    put(root / "aerial_cars/cars.names", "car\nbus\n")
    put(root / "aerial_cars/DJI_0005-0161.txt", "0 0.2 0.2 0.2 0.2\n1 0.6 0.6 0.2 0.2\n")
    pictures(root / "aerial_cars", ("DJI_0005-0161.jpg",))


def fair1m_xml(name: str, kinds: tuple[str, str]) -> str:
    things = ""
    for kind, low, high in zip(kinds, (10, 50), (30, 70), strict=True):
        ring = [(low, low), (high, low), (high, high), (low, high), (low, low)]
        points = "".join(f"<point>{x},{y}</point>" for x, y in ring)
        result = f"<possibleresult><name>{kind}</name></possibleresult>"
        things += f"<object>{result}<points>{points}</points></object>"
    return f"<annotation><source><filename>{name}.tif</filename></source><objects>{things}</objects></annotation>"


def classes(root: Path) -> None:
    """A picture of each class, in the folder of a test split."""
    for folder, names in SCENES.values():
        pictures(root / folder / "test", (f"{name}/{name}_1.png" for name in names), (2, 2))


def synthetic(root: Path) -> None:
    """Two scenes with a ship and a court each, as ``skyeye data synth`` lays them out."""
    a, b = [0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.7, 0.7]
    kinds = ["farm", "port"]
    asked: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
        "classification": [("which?", kind, {"answer": kind, "classes": kinds}) for kind in kinds],
        "vqa": [("is there a ship ?", "yes", {"answer": "yes"}), ("how many ships ?", "2", {"answer": "2"})],
        "refer": [
            ("where is the ship ?", "{<10><10><30><30>}", {"boxes": [a], "phrase": "ship", "object": 0}),
            ("where is the court ?", "{<50><50><70><70>}", {"boxes": [b], "phrase": "court", "object": 1}),
        ],
        "detection": [
            ("the things", "{<10><10><30><30>}<delim>{<50><50><70><70>}", {"boxes": [a, b], "phrase": "the things"}),
            ("the court", "{<50><50><70><70>}", {"boxes": [b], "phrase": "the court"}),
        ],
        "identify": [
            (f"what is {{<{x}><{x}><{x + 20}><{x + 20}>}}", f"a {name}", {"captions": [f"a {name}"], "phrase": name})
            for x, name in ((10, "ship"), (50, "court"))
        ],
        "caption": [("describe", caption(n), {"captions": [caption(n)] * 2}) for n in range(2)],
        "video_caption": [("describe", caption(n), {"captions": [caption(n)] * 2}) for n in range(2)],
    }
    things = [{"box": a, "phrase": "ship"}, {"box": b, "phrase": "court"}]
    known = [{"image": f"s{n}.png", "ground": kinds[n], "objects": things} for n in range(2)]
    put(root / "Scenes/regions.jsonl", "".join(json.dumps(scene) + "\n" for scene in known))
    for task, said in asked.items():
        items = [
            {
                "id": f"{task}_{n}", "image": f"s{n}.png", "task": task, "objects": 2, "references": references,
                **talk(question, answer),
            }
            for n, (question, answer, references) in enumerate(said)
        ]  # fmt: skip
        put(root / f"Scenes/test/{task}_test.json", items)
    pictures(root / "Scenes/images", ("s0.png", "s1.png"))


def paper_sets(root: Path) -> None:
    """All of them, side by side."""
    for write in (captions, questions, grounding, objects, classes, synthetic):
        write(root)
