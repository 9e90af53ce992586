"""HTML of the page: the picture with its boxes, the conversation with its phrases in their colours, the list of boxes.

Everything that comes from files, models and visitors is escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from PIL import Image

from skyeye.data.prompts import PromptStyle
from skyeye.errors import SkyEyeError
from skyeye.serve.answer import Answer, LocatedBox, asked_for
from skyeye.serve.draw import colours_of, draw_boxes
from skyeye.serve.pictures import Shown
from skyeye.serve.read_boxes import FoundBox, read_leniently
from skyeye.serve.web.uploads import Opened

#: Longest side of the picture on the page; downloads have the size of the file.
LONGEST_SIDE = 1280
_SMALL = 160
Region = tuple[float, float, float, float]


@dataclass(frozen=True)
class Exchange:
    """A question and what came of it: the words so far, and the answer when it is there."""

    question: str
    text: str = ""
    answer: Answer | None = None
    error: str = ""


def picture(opened: Sequence[Opened], boxes: Sequence[LocatedBox] = (), region: Region | None = None) -> str:
    """The first picture with boxes drawn, the others small."""
    if not opened:
        return '<div class="sk-empty">No picture yet. Upload one, paste one, or choose an example.</div>'
    first, *others = opened
    image, factor = _fitted(first.shown.image, LONGEST_SIDE)
    drawn = draw_boxes(image, [_scaled(box, factor) for box in boxes]) if boxes else image
    width, height = first.shown.image.size
    alt = f"{first.shown.name}, {len(boxes)} boxes drawn" if boxes else first.shown.name
    html = f'<figure class="sk-picture" data-width="{width}" data-height="{height}">'
    html += f'<div class="sk-frame"><img src="{_data(drawn)}" alt="{escape(alt)}" draggable="false">'
    html += f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">{_rectangle(region)}'
    html += f"</svg></div><figcaption>{escape(first.told)}</figcaption>"
    small = "".join(_thumbnail(one.shown, one.told) for one in others)
    return html + (f'<div class="sk-others">{small}</div>' if small else "") + "</figure>"


def transcript(exchanges: Sequence[Exchange], style: PromptStyle, name: str = "") -> str:
    """The conversation, the latest turn last; phrases and boxes of answers in the colours of the drawn boxes."""
    parts = []
    for exchange in exchanges:
        parts.append(f'<div class="sk-turn sk-asked"><span class="sk-who">You</span>{_lines(exchange.question)}</div>')
        answer = exchange.answer
        said = _lines(exchange.text) if answer is None else coloured(answer, exchange.question, style)
        notes = () if answer is None else answer.notes
        if answer is not None and not answer.ended:
            notes += ("cut at the longest answer",)
        said += "".join(f'<div class="sk-note">{escape(note)}</div>' for note in notes)
        if exchange.error:
            said += f'<div class="sk-error" role="alert">{escape(exchange.error)}</div>'
        parts.append(f'<div class="sk-turn sk-said"><span class="sk-who">{escape(name or "Model")}</span>{said}</div>')
    return f'<div class="sk-talk" role="log" aria-live="polite" tabindex="0">{"".join(parts)}</div>'


def coloured(answer: Answer, question: str, style: PromptStyle) -> str:
    """An answer's text, its labels and boxes marked in the colours in which they are drawn."""
    if not answer.boxes or answer.image is None:
        return _lines(answer.text) or '<i class="sk-note">(no words)</i>'
    colours = colours_of(box.label for box in answer.boxes)
    default = asked_for(question, style)
    marks: dict[tuple[int, int], FoundBox] = {}
    for found in read_leniently(answer.text, style, answer.image.size):
        for span in filter(None, (found.label_span, found.span)):
            marks.setdefault(span, found)
    html, end = "", 0
    for (start, stop), found in sorted(marks.items()):
        if start < end or (found.label or default) not in colours:
            continue
        words = _lines(answer.text[start:stop])
        lenient = f' title="{escape(", ".join(found.marks))}" class="sk-lenient"' if found.marks else ""
        html += _lines(answer.text[end:start])
        html += f'<mark style="--box:{colours[found.label or default]}"{lenient}>{words}</mark>'
        end = stop
    return html + _lines(answer.text[end:])


def box_names(answer: Answer | None) -> list[str]:
    """A name for each box, as it stands beside its switch."""
    boxes = () if answer is None else answer.boxes
    return [f"{number}. {box.label or 'box'}" for number, box in enumerate(boxes, start=1)]


def box_table(answer: Answer | None) -> str:
    """The boxes with their pixels, places on the map and remarks."""
    if answer is None or not answer.boxes:
        return ""
    colours = colours_of(box.label for box in answer.boxes)
    heads = [
        "",
        "label",
        "pixels",
        *(["longitude, latitude of its middle"] if answer.place else []),
        "certainty",
        "remarks",
    ]
    rows = []
    for number, box in enumerate(answer.boxes, start=1):
        upright = "{:.6g}, {:.6g} – {:.6g}, {:.6g}".format(*(round(value, 1) for value in box.box))
        corners = " ".join(f"({x:.1f}, {y:.1f})" for x, y in box.polygon or ())
        cells = [escape(box.label or "–"), corners or upright, *_on_map(answer, box)]
        cells += ["–" if box.certainty is None else f"{box.certainty:.0%}", escape("; ".join(box.marks)) or "–"]
        swatch = f'<td><span class="sk-swatch" style="--box:{colours[box.label]}">{number}</span></td>'
        rows.append("<tr>" + swatch + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f'<div class="sk-scroll" tabindex="0"><table class="sk-boxes"><tr>{head}</tr>{"".join(rows)}</table></div>'


def message(text: str = "", is_error: bool = True) -> str:
    """A line about what went wrong, or happened."""
    if not text:
        return ""
    kind, role = ("sk-error", "alert") if is_error else ("sk-told", "status")
    return f'<div class="sk-line {kind}" role="{role}">{escape(text)}</div>'


def parse_region(text: str) -> Region | None:
    """``x1, y1, x2, y2`` in pixels; None: empty.

    Raises:
        SkyEyeError: not four numbers.
    """
    if not text.strip():
        return None
    try:
        x1, y1, x2, y2 = (float(part) for part in text.replace(";", ",").split(","))
    except ValueError as error:
        what = f"{text.strip()[:60]!r} is no region"
        raise SkyEyeError(what, where="Region", remedy="x1, y1, x2, y2 in pixels, e.g. 40, 60, 120, 90") from error
    return x1, y1, x2, y2


def _on_map(answer: Answer, box: LocatedBox) -> list[str]:
    if answer.place is None:
        return []
    x1, y1, x2, y2 = box.box
    ((longitude, latitude),) = answer.place.to_crs([((x1 + x2) / 2, (y1 + y2) / 2)])
    return [f"{longitude:.6f}, {latitude:.6f}"]


def _fitted(image: Image.Image, longest: int) -> tuple[Image.Image, float]:
    factor = min(1.0, longest / max(image.size))
    if factor == 1.0:
        return image, factor
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0), factor


def _scaled(box: LocatedBox, factor: float) -> LocatedBox:
    x1, y1, x2, y2 = (value * factor for value in box.box)
    polygon = None if box.polygon is None else tuple((x * factor, y * factor) for x, y in box.polygon)
    return replace(box, box=(x1, y1, x2, y2), polygon=polygon)


def _rectangle(region: Region | None) -> str:
    if region is None:
        return ""
    x1, x2 = sorted((region[0], region[2]))
    y1, y2 = sorted((region[1], region[3]))
    return f'<rect x="{x1:g}" y="{y1:g}" width="{x2 - x1:g}" height="{y2 - y1:g}"/>'


def _thumbnail(shown: Shown, told: str) -> str:
    image, _ = _fitted(shown.image, _SMALL)
    return f'<img src="{_data(image)}" alt="{escape(told)}" title="{escape(told)}">'


def _data(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _lines(text: str) -> str:
    return escape(text).replace("\n", "<br>")
