"""``skyeye data check FOLDER --json FILE`` on real samples; counts made from the raw files, without readers."""

import json

import pytest

from skyeye import cli


@pytest.mark.parametrize(
    ("folder", "records_in", "records_out", "images", "code"),
    [
        ("AID_RSICD", 9120 + 2400 + 2400, 9120 + 2400 + 2400, 2400, 0),  # captions, lines, images in class folders
        ("RSVQA_LR", 3505, 3505, 35, 0),  # active questions
        ("RSVQA_HR", 3501, 3501, 35, 0),
        ("UCM_captions", 8820, 30, 6, 1),  # 5 captions of 1,680 images and 420 images to evaluate; 6 pictures are there
        ("Sydney_captions", 2601, 30, 6, 1),
        ("RSICD_original", 0, 0, 7, 1),
        ("annotations_only/RSIVQA", 2795 + 2100 + 613 + 4041 + 12389, 0, 0, 1),  # lines
        ("annotations_only/DIOR_RSVG", 26991 + 3829 + 7500, 0, 0, 1),  # listed objects
    ],
)
def test_a_folder_is_recognised_and_counted(real, tmp_path, folder, records_in, records_out, images, code):
    file = tmp_path / "report.json"
    assert cli.main(["data", "check", str(real / folder), "--json", str(file), "--no-decode"]) == code
    report = json.loads(file.read_text())
    counted = tuple(report[key] for key in ("records_in", "records_out", "images"))
    assert counted == (records_in, records_out, images)
    assert records_in == records_out + sum(report["reported"].values())


@pytest.mark.parametrize("folder", ["DOTA", "DOTA8", "aerial_cars", "annotations_only"])
def test_nothing_is_lost_in_the_others(real, tmp_path, folder):
    file = tmp_path / "report.json"
    cli.main(["data", "check", str(real / folder), "--json", str(file), "--no-decode"])
    report = json.loads(file.read_text())
    assert report["records_in"] == report["records_out"] + sum(report["reported"].values()) > 0
    assert report["images"] == {"DOTA": 4, "DOTA8": 4, "aerial_cars": 46, "annotations_only": 0}[folder]
