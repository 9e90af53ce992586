"""Captioned images become records, the same way for every caption set.

A training image gives one record per caption, asked in one of a few wordings; any other image one record, asked in the
first wording, with all captions as references. The unit of a caption set follows from that: each caption of a training
image, each other image, and each empty caption. The id of a record that is not for training is the name of the image as
the annotation writes it: predictions made elsewhere are joined by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from skyeye.data.formats.base.problems import BadRecord, Problem, as_text, pick
from skyeye.data.record import Record, Turn
from skyeye.data.text import caption_text

#: Two prompts of the paper's figures and their like; the first is the one an evaluation asks.
PROMPTS = (
    "briefly describe the image",
    "Can you briefly explain what you see in the image?",
    "Summarize this image in a few words.",
)
VIDEO_PROMPTS = (
    "briefly describe the video frame image",
    "Can you briefly explain what you see in the video frame image?",
    "Summarize this video frame image in a few words.",
)


def caption_records(
    name: str,
    captions: Sequence[object],
    find_images: Callable[[], tuple[str, ...]],
    *,
    key: str,
    source: str,
    split: str,
    where: str,
    task: str = "caption",
    prompts: Sequence[str] = PROMPTS,
    published_id: str | None = None,
) -> Iterator[Record | Problem]:
    """Records of one image (or video), and a problem for each empty caption.

    Args:
        name: the image as the annotation calls it, for messages.
        captions: the raw values of the file; what is no text is reported.
        find_images: paths of the image or its frames; raises ``BadRecord`` when there is none.
        key: of the image within the source, the stem of the ids of training records.
        published_id: the id that the annotation gives the image, where it gives one; predictions made elsewhere may
            call it so, and it is kept in the references of records that are not for training.
    """
    sound, problems = [], []
    for number, caption in enumerate(captions):
        text = as_text(caption)
        if text is None or not caption_text(text):
            problems.append(Problem("no answer", f"{where}, sentence {number}", f"caption of {name} is empty"))
        else:
            sound.append((number, text))
    if not sound and not problems:
        yield Problem("no answer", where, f"image {name} has no caption")
        return
    yield from problems
    asked = sound if split == "train" else sound[:1]
    if not asked:
        return
    try:
        images = find_images()
    except BadRecord as error:
        yield error.problem(count=len(asked))
        return
    references: dict[str, object] = {"captions": [text for _, text in sound]}
    if published_id is not None and split != "train":
        references["published_id"] = published_id
    for number, text in asked:
        id = f"{key}:{number}" if split == "train" else name
        yield Record(
            id=id,
            source=source,
            task=task,
            split=split,
            images=images,
            where=where,
            turns=(Turn(pick(prompts, id) if split == "train" else prompts[0], caption_text(text), task),),
            references=dict(references),
        )
