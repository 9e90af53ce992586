"""A layer against the truth: counted by hand."""

import json

import pytest

from skyeye.errors import SkyEyeError
from skyeye.serve.scenes.compare import compare_layers, format_text


def layer(path, things):
    """Squares of 0.001 degrees at a longitude, with properties."""
    features = []
    for x, properties in things:
        ring = [[x, 10], [x + 0.001, 10], [x + 0.001, 10.001], [x, 10.001], [x, 10]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_pairs_by_label_the_surest_first(tmp_path):
    truth = layer(
        tmp_path / "t.geojson", [(0.0, {"label": "ship"}), (0.01, {"label": "ship"}), (0.02, {"label": "plane"})]
    )
    found = layer(
        tmp_path / "f.geojson",
        [
            (0.0003, {"label": "ships", "score": 0.4, "kind": "object"}),  # overlap 7/13, and a surer one is there
            (0.0001, {"label": "ships", "score": 0.9, "kind": "object"}),
            (0.0106, {"label": "ship", "score": 0.9, "kind": "object"}),  # overlap 4/16
            (0.02, {"label": "ship", "score": 0.9, "kind": "object"}),  # another label
            (0.02, {"label": "plane", "score": 0.1, "kind": "object"}),
            (0.02, {"label": "plane", "score": 0.1, "kind": "tile"}),
        ],
    )
    result = compare_layers(found, truth)
    assert {name: (each.both, each.true, each.found) for name, each in result.items()} == {
        "plane": (1, 1, 1),
        "ship": (1, 2, 4),
        "all": (2, 3, 5),
    }
    assert "ship: recall 0.500, precision 0.250 (1 of 2 there, 4 found)" in format_text(result)
    assert compare_layers(found, truth, iou=0.2)["ship"].both == 2
    with pytest.raises(SkyEyeError, match="no column 'name'.*label"):
        compare_layers(found, truth, column="name")
    with pytest.raises(SkyEyeError, match="no polygon"):
        compare_layers(found, layer(tmp_path / "e.geojson", []))
