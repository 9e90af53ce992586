"""The buttons of the page that begin a question: the tag of the model's family, words, and a hint."""

from __future__ import annotations

from dataclasses import dataclass

from skyeye.data.prompts import PromptStyle
from skyeye.data.tasks import FREE


@dataclass(frozen=True)
class TaskButton:
    """One button.

    Attributes:
        label: on the button.
        task: a key of :data:`skyeye.data.tasks.TASKS`.
        words: what stands in the question behind the tag.
        hint: what a person does next.
    """

    label: str
    task: str
    words: str
    hint: str


BUTTONS = (
    TaskButton("Free", FREE, "", "Ask in your own words; what was said before is remembered."),
    TaskButton("Caption", "caption", "Briefly describe the image.", "One sentence about the picture."),
    TaskButton("Detail", "detail", "Describe the image in detail.", "Several sentences about the picture."),
    TaskButton("VQA", "vqa", "", "A question with a short answer: How many ships are there?"),
    TaskButton("Refer", "refer", "", "Name one object; the answer is its box: the white plane at the top."),
    TaskButton("Identify", "identify", "", "Draw a box on the picture (or type its corners), then press Ask."),
    TaskButton("Detection", "detection", "", "Name a kind of object; the answer has a box for each: planes."),
    TaskButton("Grounding", "grounding", "Describe the image in detail.", "A description whose objects have boxes."),
    TaskButton("Classification", "classification", "", "Give the classes, separated by commas, then press Ask."),
)
CLASSES = "farmland, forest, desert, river, residential, industrial, airport, harbor"


def begin(button: TaskButton, style: PromptStyle, classes: str = CLASSES) -> str:
    """What a button writes into the question: the tag of the family, where it has one, and words."""
    words = classification(classes) if button.task == "classification" else button.words
    return f"{style.tags.get(button.task, '')} {words}".strip() + ("" if words else " ")


def classification(classes: str) -> str:
    """The question that asks for one of some classes, separated by commas."""
    names = ", ".join(name for name in (part.strip() for part in classes.replace("\n", ",").split(",")) if name)
    return f"Classify the image within one of the given classes: {names}. Answer with one word or short phrase."


def split_tag(question: str, style: PromptStyle, pressed: str) -> tuple[str, str]:
    """The task that a question's tag names, and its words; :data:`~skyeye.data.tasks.FREE` without a tag.

    Args:
        style: whose tags are read. Other families write the task in their own way.
        pressed: task of the button that was pressed last: some families have one tag for several.
    """
    question = question.strip()
    tags = {pressed: style.tags.get(pressed, ""), **style.tags}
    for task, tag in tags.items():
        if tag and question.startswith(tag):
            return task, question.removeprefix(tag).strip()
    return FREE, question
