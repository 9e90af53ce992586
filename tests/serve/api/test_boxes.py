"""Boxes as objects: which shapes are understood, and the numbers in them."""

from __future__ import annotations

import base64
import json
from typing import Literal

import numpy as np
import pytest
from pydantic import BaseModel

from skyeye.data.images.georeference import Georeference
from skyeye.data.prompts import MiniGPTv2
from skyeye.serve.api.boxes import BoxesFormat, Size
from skyeye.serve.api.errors import ApiError
from skyeye.serve.api.schemas import ResponseFormat
from tests.serve.api.conftest import about, data_url, noise

TEXT = "<p>a ship</p> {<10><20><40><70>} <p>a pier</p> {<0><0><50><50>}"


class Box(BaseModel):
    label: str
    box: list[float]
    polygon: list[list[float]] | None = None


class Boxes(BaseModel):
    boxes: list[Box]


class Normalized(Boxes):
    coordinates: Literal["normalized"]


class OnMap(Boxes):
    coordinates: Literal["map"]
    crs: str


def schema_of(kind: type[BaseModel] | dict) -> ResponseFormat:
    schema = kind if isinstance(kind, dict) else kind.model_json_schema()
    return ResponseFormat.model_validate({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})


def written(kind, size: Size, text: str = TEXT) -> dict:
    found = BoxesFormat.of(schema_of(kind))
    assert found is not None
    found.check(size)
    return json.loads(found.write(text, MiniGPTv2(), "[detection] ship", size))


def test_pixels():
    assert written(Boxes, Size(200, 100)) == {
        "boxes": [
            {"label": "a ship", "box": [20, 20, 80, 70], "polygon": None},
            {"label": "a pier", "box": [0, 0, 100, 50], "polygon": None},
        ]
    }


def test_fractions():
    said = written(Normalized, Size(300, 100))
    assert said["coordinates"] == "normalized"
    assert [box["box"] for box in said["boxes"]] == [[0.1, 0.2, 0.4, 0.7], [0, 0, 0.5, 0.5]]


def test_on_the_map():
    """Pixels of 2 m, the upper left corner at (500000, 5000000)."""
    place = Georeference((2, 0, 500_000, 0, -2, 5_000_000), "EPSG:32632")
    said = written(OnMap, Size(200, 100, place))
    assert said["crs"] == "EPSG:32632"
    ship = said["boxes"][0]
    assert ship["box"] == [500_040, 4_999_860, 500_160, 4_999_960]
    assert ship["polygon"][0] == [500_040, 4_999_960] and len(ship["polygon"]) == 4


def test_longitude_and_latitude():
    pytest.importorskip("rasterio")
    place = Georeference((2, 0, 500_000, 0, -2, 5_000_000), "EPSG:32632")
    shape = OnMap.model_json_schema()
    shape["properties"]["crs"] = {"const": "EPSG:4326"}
    said = written(shape, Size(200, 100, place))
    longitude, latitude, *_ = said["boxes"][0]["box"]
    assert said["crs"] == "EPSG:4326"
    # zone 32 has its middle at 9 degrees east; 5 000 km north of the equator is 45.15 degrees
    assert abs(longitude - 9) < 0.001 and abs(latitude - 45.15) < 0.01
    shape["properties"]["crs"] = {"const": "EPSG:nonsense"}
    with pytest.raises(ApiError, match="no coordinate system"):
        written(shape, Size(200, 100, place))


def test_oriented_boxes():
    said = written(Boxes, Size(100, 100), "{<10><10><50><10><50><40><10><40>}")
    assert said["boxes"][0]["polygon"] == [[10, 10], [50, 10], [50, 40], [10, 40]]
    assert said["boxes"][0]["box"] == [10, 10, 50, 40]


def test_an_object_without_a_shape_has_words_and_pixels():
    found = BoxesFormat.of(ResponseFormat(type="json_object"))
    said = json.loads(found.write("no ship", MiniGPTv2(), "where?", Size(10, 10)))
    assert said == {"text": "no ship", "coordinates": "pixels", "boxes": []}
    assert BoxesFormat.of(None) is None and BoxesFormat.of(ResponseFormat(type="text")) is None


class Weather(BaseModel):
    temperature: float


class Corners(BaseModel):
    boxes: list[Weather]


@pytest.mark.parametrize("kind", [Weather, Corners, {}, {"type": "object", "properties": {"boxes": {"$ref": "#/a/b"}}}])
def test_shapes_that_no_answer_has(kind):
    with pytest.raises(ApiError, match="no answer has this shape"):
        BoxesFormat.of(schema_of(kind))


def test_coordinates_that_there_are_not():
    shape = Normalized.model_json_schema()
    shape["properties"]["coordinates"] = {"enum": ["inches"]}
    with pytest.raises(ApiError, match="not inches"):
        BoxesFormat.of(schema_of(shape))


def test_the_official_client_parses_boxes(serve, scripted):
    scripted("<p>a ship</p> {<10><20><40><70>}")
    client = serve().client()
    said = client.chat.completions.parse(
        model="tiny", messages=about("[detection] ship", data_url(noise(1, 200, 100))), response_format=Boxes
    )
    (box,) = said.choices[0].message.parsed.boxes
    assert (box.label, box.box, box.polygon) == ("a ship", [20, 20, 80, 70], None)
    with client.chat.completions.stream(
        model="tiny", messages=about("[detection] ship", data_url(noise(1, 200, 100))), response_format=Normalized
    ) as stream:
        for _ in stream:
            pass
    assert stream.get_final_completion().choices[0].message.parsed.boxes[0].box == [0.1, 0.2, 0.4, 0.7]


def test_a_geotiff_is_answered_on_the_map(serve, scripted, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    scripted("{<10><20><40><70>}")
    place = rasterio.transform.from_origin(500_000, 5_000_000, 2, 2)
    with rasterio.open(
        tmp_path / "a.tif",
        "w",
        driver="GTiff",
        width=200,
        height=100,
        count=3,
        dtype="uint8",
        crs="EPSG:32632",
        transform=place,
    ) as file:
        file.write(np.random.default_rng(0).integers(0, 255, (3, 100, 200), dtype=np.uint8))
    url = f"data:image/tiff;base64,{base64.b64encode((tmp_path / 'a.tif').read_bytes()).decode()}"
    client = serve().client()
    said = client.chat.completions.parse(model="tiny", messages=about("where?", url), response_format=OnMap)
    assert said.choices[0].message.parsed.boxes[0].box == [500_040, 4_999_860, 500_160, 4_999_960]
    assert said.choices[0].message.parsed.crs == "EPSG:32632"


def test_boxes_need_a_picture_and_a_map_needs_its_place(served):
    from openai import BadRequestError

    for kind, messages, words in (
        (Boxes, about("where?"), "no picture is given"),
        (OnMap, about("where?", data_url(noise(1))), "send the GeoTIFF itself"),
        (Weather, about("where?", data_url(noise(1))), "no answer has this shape"),
    ):
        with pytest.raises(BadRequestError, match=words):
            served.client().chat.completions.parse(model="tiny", messages=messages, response_format=kind)
