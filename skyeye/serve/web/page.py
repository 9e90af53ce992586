"""The page itself: what stands where, and what a button does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gradio as gr

from skyeye.errors import SkyEyeError
from skyeye.serve.web import render
from skyeye.serve.web.downloads import FILES, write_files
from skyeye.serve.web.tasks import BUTTONS, CLASSES, TaskButton, begin, classification
from skyeye.serve.web.uploads import Example, Limits, open_uploads
from skyeye.serve.web.visitor import How, NamedModel, Visitor

_TOGETHER = 4  # visitors whose answers come at the same time
_DAY = 24 * 3600
_NO_COORDINATES = "GeoJSON (no coordinates)"


@dataclass
class ModelColumn:
    """What a model has on the page."""

    picture: gr.HTML
    talk: gr.HTML
    switches: gr.CheckboxGroup
    table: gr.HTML
    prompt: gr.Textbox
    downloads: list[gr.DownloadButton]

    @property
    def shown(self) -> list[Any]:
        """What an answer changes, in the order of :meth:`Page.column`."""
        return [self.picture, self.talk, self.switches, self.table, self.prompt]


@dataclass
class Controls:
    """What is there once."""

    state: gr.State
    upload: gr.File
    bands: gr.Textbox
    stretch: gr.Textbox
    examples: gr.Gallery
    message: gr.HTML
    hint: gr.Markdown
    classes: gr.Textbox
    question: gr.Textbox
    region: gr.Textbox
    temperature: gr.Slider
    top_p: gr.Slider
    longest: gr.Slider
    seed: gr.Textbox


class Page:
    """The page of one or two models.

    Args:
        folder: the page's own; nothing is written elsewhere.
        examples: pictures to choose from.
    """

    def __init__(self, models: Sequence[NamedModel], limits: Limits, folder: Path, examples: Sequence[Example] = ()):
        self.models, self.limits, self.folder, self.examples = list(models), limits, folder, list(examples)

    def build(self) -> gr.Blocks:
        """The page, ready to be launched."""
        with gr.Blocks(title="SkyEye", analytics_enabled=False, delete_cache=(3600, _DAY), fill_width=True) as blocks:
            names = " and ".join(named.name for named in self.models)
            gr.Markdown(f"# SkyEye\n{names}: ask about a picture from above.", elem_id="sk-title")
            alone = len(self.models) == 1
            with gr.Row(equal_height=False):
                with gr.Column(scale=5, min_width=320):
                    picture = self._picture_place(0) if alone else None
                    given = self._given()
                with gr.Column(scale=6, min_width=320):
                    asked = self._asked()
                    columns = [] if picture is None else [self._column(0, picture)]
            if not alone:
                columns = self._side_by_side()
            controls = Controls(gr.State(None, time_to_live=_DAY), **given, **asked["fields"])
            self._connect(controls, columns, asked["buttons"])
        return blocks

    # ------------------------------------------------------------------ what stands where

    def _picture_place(self, number: int) -> gr.HTML:
        return gr.HTML(render.picture([]), elem_id=f"sk-picture-{number}")

    def _given(self) -> dict[str, Any]:
        upload = gr.File(
            label="Pictures: choose, drop or paste",
            file_count="multiple",
            height=120,
            elem_id="sk-upload",
        )
        with gr.Accordion("Bands and stretch (GeoTIFF, more than 8 bits)", open=False), gr.Row():
            bands = gr.Textbox("", label="Bands", placeholder="4,3,2", elem_id="sk-bands", min_width=120)
            known = "2,98 or abs:120..3400"
            stretch = gr.Textbox("", label="Stretch", placeholder=known, elem_id="sk-stretch", min_width=120)
        examples = gr.Gallery(
            [(str(one.preview), one.file.stem) for one in self.examples],
            label="Examples",
            columns=6,
            allow_preview=False,
            object_fit="cover",
            interactive=False,
            buttons=[],
            visible=bool(self.examples),
            elem_id="sk-examples",
        )
        return {"upload": upload, "bands": bands, "stretch": stretch, "examples": examples}

    def _asked(self) -> dict[str, Any]:
        message = gr.HTML(elem_id="sk-message")
        with gr.Row(elem_id="sk-tasks"):
            tasks = [gr.Button(one.label, size="sm", elem_id=f"sk-task-{one.task}") for one in BUTTONS]
        hint = gr.Markdown(BUTTONS[0].hint, elem_id="sk-hint")
        classes = gr.Textbox(CLASSES, label="Classes", visible=False, elem_id="sk-classes")
        question = gr.Textbox("", label="Question", lines=2, max_lines=8, autofocus=True, elem_id="sk-question")
        with gr.Row():
            ask = gr.Button("Ask", variant="primary", elem_id="sk-ask", min_width=80)
            stop = gr.Button("Stop", elem_id="sk-stop", min_width=80)
            new = gr.Button("New conversation", elem_id="sk-new", min_width=80)
        with gr.Row():
            how = "draw it on the picture, or type x1, y1, x2, y2"
            region = gr.Textbox("", label="Region in pixels", placeholder=how, elem_id="sk-region", scale=4)
            draw = gr.Button("Draw with a finger", size="sm", elem_id="sk-draw", min_width=80)
            clear = gr.Button("Clear region", size="sm", elem_id="sk-clear", min_width=80)
        with gr.Accordion("How answers are made", open=False, elem_id="sk-how"):
            temperature = gr.Slider(0, 1.5, 0, step=0.05, label="Temperature (0: always the likeliest word)")
            top_p = gr.Slider(0.05, 1, 1, step=0.05, label="Top-p")
            most = self.limits.tokens
            longest = gr.Slider(1, most, min(256, most), step=1, label="Longest answer (tokens)", elem_id="sk-longest")
            seed = gr.Textbox("", label="Seed", placeholder="a whole number; empty: another one each time")
        fields = {"message": message, "hint": hint, "classes": classes, "question": question, "region": region}
        fields |= {"temperature": temperature, "top_p": top_p, "longest": longest, "seed": seed}
        buttons = {"tasks": tasks, "ask": ask, "stop": stop, "new": new, "draw": draw, "clear": clear}
        return {"fields": fields, "buttons": buttons}

    def _side_by_side(self) -> list[ModelColumn]:
        """A column for each model, its picture above its answers."""
        columns = []
        with gr.Row(equal_height=False):
            for number, named in enumerate(self.models):
                with gr.Column(min_width=280):
                    gr.Markdown(f"**{named.name}**")
                    columns.append(self._column(number, self._picture_place(number)))
        return columns

    def _column(self, number: int, picture: gr.HTML) -> ModelColumn:
        talk = gr.HTML(elem_id=f"sk-talk-{number}")
        # without boxes the style hides it: what gradio itself hides may miss an update while answers stream
        switches = gr.CheckboxGroup(label="Boxes shown", elem_id=f"sk-switches-{number}", elem_classes="sk-switches")
        table = gr.HTML(elem_id=f"sk-table-{number}")
        with gr.Accordion("Exact prompt", open=False, elem_id=f"sk-exact-{number}"):
            prompt = gr.Textbox(
                label="Prompt", lines=3, buttons=["copy"], interactive=False, elem_id=f"sk-prompt-{number}"
            )
        with gr.Row(elem_classes="sk-downloads"):
            downloads = [
                gr.DownloadButton(label, size="sm", interactive=False, elem_id=f"sk-file-{name}-{number}")
                for name, label in FILES.items()
            ]
        return ModelColumn(picture, talk, switches, table, prompt, downloads)

    # ------------------------------------------------------------------ what a button does

    def _connect(self, controls: Controls, columns: Sequence[ModelColumn], buttons: dict[str, Any]) -> None:
        everything = [part for column in columns for part in column.shown]
        files = [button for column in columns for button in column.downloads]
        switches = [column.switches for column in columns]
        first = [controls.state, controls.message]

        def then_files(event: Any) -> None:
            event.then(self.all_files, controls.state, files, show_progress="hidden")

        self._connect_pictures(controls, [*first, *everything], then_files)
        for button, one in zip(buttons["tasks"], BUTTONS, strict=True):
            texts = [controls.state, controls.hint, controls.classes, controls.question]
            button.click(self._press(one), [controls.state, controls.classes], texts, show_progress="hidden").then(
                None, js="() => document.querySelector('#sk-question textarea')?.focus()"
            )
        controls.classes.change(classification, controls.classes, controls.question, show_progress="hidden")
        how = [controls.longest, controls.temperature, controls.top_p, controls.seed]
        asked = [controls.state, controls.question, controls.region, *how]
        events = [
            trigger(
                self.ask,
                asked,
                [*first, controls.question, *everything],
                concurrency_id="model",
                show_progress="minimal",
            )
            for trigger in (buttons["ask"].click, controls.question.submit)
        ]
        for event in events:
            then_files(event)
        buttons["stop"].click(None, cancels=events)
        then_files(buttons["new"].click(self.new, [controls.state], [*first, *everything], show_progress="hidden"))
        buttons["clear"].click(lambda: "", None, controls.region, show_progress="hidden")
        buttons["draw"].click(None, js="() => window.skDrawing()")
        controls.region.change(None, controls.region, js="(text) => window.skRegion(text)")
        for number, column in enumerate(columns):
            inputs = [controls.state, column.switches, controls.region]
            switched = column.switches.input(self._switch(number), inputs, column.picture, show_progress="hidden")
            switched.then(self.files, [controls.state, *switches], files, show_progress="hidden")

    def _connect_pictures(self, controls: Controls, changed: list[Any], then_files: Callable[[Any], None]) -> None:
        shared: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": _TOGETHER}
        state, upload, raster = controls.state, controls.upload, [controls.bands, controls.stretch]
        for event in (upload.upload, upload.clear, upload.delete):  # not change: an example empties the list, too
            then_files(event(self.open, [state, upload, *raster], changed, **shared))
        for event in (controls.bands.submit, controls.stretch.submit):
            then_files(event(self.show_otherwise, [state, *raster], changed, **shared))
        chosen = [*changed, upload]
        then_files(controls.examples.select(self.open_example, [state, *raster], chosen, **shared))

    def open(self, visitor: Visitor | None, files: list[str] | None, bands: str, stretch: str) -> list[Any]:
        """Pictures were uploaded or taken away."""
        visitor = visitor or Visitor(self.models)
        visitor.files = files or []
        return self.show_otherwise(visitor, bands, stretch)

    def show_otherwise(self, visitor: Visitor | None, bands: str, stretch: str) -> list[Any]:
        """Other bands or another stretch of the same files."""
        visitor = visitor or Visitor(self.models)
        try:
            visitor.show(open_uploads(visitor.files, self.limits, bands, stretch))
        except SkyEyeError as error:
            visitor.show([])
            return [visitor, render.message(str(error)), *self._columns(visitor)]
        return [visitor, render.message(), *self._columns(visitor)]

    def open_example(self, visitor: Visitor | None, bands: str, stretch: str, event: gr.SelectData) -> list[Any]:
        """An example was chosen."""
        return [*self.open(visitor, [str(self.examples[event.index].file)], bands, stretch), None]

    def _press(self, one: TaskButton) -> Callable[..., list[Any]]:
        def press(visitor: Visitor | None, classes: str) -> list[Any]:
            visitor = visitor or Visitor(self.models)
            visitor.pressed = one.task
            question = begin(one, self.models[0].model.builder.style, classes)
            return [visitor, one.hint, gr.update(visible=one.task == "classification"), question]

        return press

    def ask(
        self,
        visitor: Visitor | None,
        question: str,
        region: str,
        longest: int,
        temperature: float,
        top_p: float,
        seed: str,
    ) -> Iterator[list[Any]]:
        """The question was sent: the answers come."""
        visitor = visitor or Visitor(self.models)
        try:
            place = render.parse_region(region)
            how = How(int(longest), float(temperature), float(top_p), _seed(seed))
            yield [visitor, render.message(), "", *self._columns(visitor, place)]
            for number in visitor.ask(question, place, how):
                columns = [gr.skip()] * (len(fields(ModelColumn)) - 1) * len(self.models)
                width = len(columns) // len(self.models)
                columns[number * width : (number + 1) * width] = self.column(visitor, number, place)
                yield [visitor, gr.skip(), gr.skip(), *columns]
            if len(self.models) > 1:  # once more together: what was skipped above must not hide what came before
                yield [visitor, gr.skip(), gr.skip(), *self._columns(visitor, place)]
        except SkyEyeError as error:
            yield [visitor, render.message(str(error)), question, *self._columns(visitor)]

    def new(self, visitor: Visitor | None) -> list[Any]:
        """The conversation begins anew."""
        visitor = visitor or Visitor(self.models)
        visitor.forget()
        told = render.message("The conversation begins anew.", is_error=False)
        return [visitor, told, *self._columns(visitor)]

    def _switch(self, number: int) -> Callable[..., str]:
        def switch(visitor: Visitor, shown: list[str], region: str) -> str:
            answer = visitor.answer(number)
            boxes = [answer.boxes[place] for place in _places(shown)] if answer else []
            return render.picture(visitor.opened, boxes)

        return switch

    def all_files(self, visitor: Visitor | None) -> list[Any]:
        """The files of the latest answers with all their boxes; the browser may not have all switches on yet."""
        answers = [visitor.answer(number) if visitor else None for number in range(len(self.models))]
        return self.files(visitor, *map(render.box_names, answers))

    def files(self, visitor: Visitor | None, *shown: list[str]) -> list[Any]:
        """The files of the latest answers with the boxes that are switched on, ready to be downloaded."""
        updates = []
        for number in range(len(self.models)):
            found: Any = {}
            if visitor is not None and visitor.opened:
                name = visitor.opened[0].shown.name
                chosen = _places(shown[number] or [])
                found = write_files(self.folder, name, visitor.answer(number), chosen, visitor.exchanges[number])
            for name, label in FILES.items():
                known = found.get(name)
                label = _NO_COORDINATES if name == "geojson" and "coco" in found and known is None else label
                updates.append(gr.update(value=known and str(known), interactive=known is not None, label=label))
        return updates

    def _columns(self, visitor: Visitor, region: render.Region | None = None) -> list[Any]:
        return [update for number in range(len(self.models)) for update in self.column(visitor, number, region)]

    def column(self, visitor: Visitor, number: int, region: render.Region | None = None) -> list[Any]:
        """What a model's column shows now."""
        exchanges, named = visitor.exchanges[number], self.models[number]
        answer = exchanges[-1].answer if exchanges else None
        names = render.box_names(answer)
        return [
            render.picture(visitor.opened, answer.boxes if answer else (), region if answer is None else None),
            render.transcript(exchanges, named.model.builder.style, named.name),
            gr.update(choices=names, value=names),
            render.box_table(answer),
            answer.prompt if answer else "",
        ]


def _places(names: Sequence[str]) -> list[int]:
    """The places of boxes by their names, which begin with their numbers."""
    return [int(name.split(".")[0]) - 1 for name in names]


def _seed(text: str) -> int | None:
    """A seed as it was typed; None: empty.

    Raises:
        SkyEyeError: no whole number.
    """
    if not text.strip():
        return None
    try:
        return int(text)
    except ValueError as error:
        raise SkyEyeError(f"{text.strip()[:40]!r} is no seed", where="Seed", remedy="give a whole number") from error
