"""A made SkyEye-968k of any size: the tree of the release and its image sets, as the paper's table divides them."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
from PIL import Image

from skyeye.curate.skyeye968k_table import TABLE
from skyeye.data.formats.instructions.skyeye968k import PUBLISHED

#: Images a set brings to SkyEye-968k: captions of the table divided by five; the sizes of RSVQA, ERA and the detection
#: sets' training parts. Together 70 thousand.
IMAGES = {
    "RSICD_images": 8_740,
    "rsitmd/images": 4_300,
    "UCMerced": 2_100,
    "sydney_caption/imgs": 613,
    "NWPU-RESISC45": 25_200,
    "SingleFrames/Tra": 1_473,
    "DOTA": 1_411,
    "Images_LR": 772,
    "RSVQA_HR/Data": 10_659,
    "RSVG/images": 3_007,
    "JPEGImages-trainval": 11_725,
}
_FOLDERS = {
    "captioning": "caption",
    "video captioning": "caption",
    "VQA": "vqa",
    "visual grounding": "vg",
    "phrase grounding": "phrasegrounding",
    "conversation": "multitask_conversation",
}
_PLACES = ("left", "right", "top", "bottom", "middle")
_THINGS = ("residential building", "commercial building", "road", "water area", "small farmland", "ship", "airplane")


def write_release(root: Path, records: int, images: int, side: int, workers: int) -> tuple[Path, Path]:
    """Write ``root/tree`` and ``root/images`` with so many records and pictures of ``side`` pixels, in proportion."""
    tree, pictures = root / "tree", root / "images"
    sizes = {folder: max(2, round(count * images / sum(IMAGES.values()))) for folder, count in IMAGES.items()}
    total = sum(row.thousands for row in TABLE)
    tasks = []
    for row in TABLE:
        for stem in row.files:
            folder = PUBLISHED[stem.lower()].images
            count = max(1, round(row.thousands / len(row.files) * records / total))
            path = tree / _FOLDERS[row.task] / f"{stem}.json"
            tasks.append((_write_records, (path, row.task, folder, sizes[folder], count)))
    for number, (folder, count) in enumerate(sizes.items()):
        for start in range(0, count, 1000):
            tasks.append((_write_pictures, (pictures, folder, start, min(start + 1000, count), side, number)))
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for done in [pool.apply_async(function, arguments) for function, arguments in tasks]:
            done.get()
    return tree, pictures


def image_name(folder: str, number: int) -> str:
    """Name of a picture as its set has it: numbers in most, a folder for each class in NWPU-RESISC45."""
    if folder == "NWPU-RESISC45":
        return f"class_{number % 45:02}/class_{number % 45:02}_{number // 45:03}.jpg"
    if folder == "JPEGImages-trainval":
        return f"{number:05}.jpg"
    return f"{folder.split('/')[0].lower()}_{number}.jpg"


def _write_pictures(root: Path, folder: str, start: int, end: int, side: int, seed: int) -> None:
    generator = np.random.Generator(np.random.Philox(key=[seed, start]))
    for number in range(start, end):
        path = root / folder / image_name(folder, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = generator.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)  # JPEG of a real size, not flat
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(path, quality=90)


def _write_records(path: Path, task: str, folder: str, images: int, count: int) -> None:
    """Records spread evenly over the images; where a set has fewer images than records, several ask of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            image = image_name(folder, number * images // count if count > images else number)
            question, answer = _words(task, number)
            talk = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
            if task == "conversation":
                later = [{"from": "human", "value": f"What is at the {_PLACES[number % 5]}?"}]
                talk += [*later, {"from": "gpt", "value": f"There is a {_THINGS[number % 7]}, number {number}."}] * 2
            file.write(("[" if number == 0 else ",\n") + json.dumps({"image": image, "conversations": talk}))
        file.write("]")


def _words(task: str, number: int) -> tuple[str, str]:
    thing, place = _THINGS[number % 7], _PLACES[number // 7 % 5]
    corner = f"{{<{number % 40}><{number % 37}><{50 + number % 50}><{50 + number % 43}>}}"
    if task == "VQA":
        return f"[vqa] How many {thing}s are {place} of the {_THINGS[number % 6]} number {number % 977}?", str(
            number % 90
        )
    if task == "visual grounding":
        return f"[refer] where can I locate the {thing} {number % 977} at the {place}?", corner
    if task == "phrase grounding":
        return f"[detection] The {thing}s {number % 977}", f"<p>The {thing}s</p> {corner}"
    if task == "conversation":
        return f"Describe the {thing} {number % 977} in this image.", f"It lies at the {place} of the image."
    return "[caption] briefly describe the image", f"many {thing}s number {number} are at the {place} of a large place"
