"""SkyEye-968k as its paper counts it (arXiv 2401.09712), and where the eleven image sets it refers to come from.

The release is annotations only. Counts are in thousands, as printed; the rows name the annotation files of the release.
Home pages are those of the data sets' authors; a set without one is named by its paper.
"""

from __future__ import annotations

from typing import NamedTuple


class ImageSet(NamedTuple):
    """A set of images: its name, the folder that the release refers to, and where to get it."""

    name: str
    folder: str
    home: str


class TableRow(NamedTuple):
    """A row of the paper's table. ``files`` are annotation files without ``.json`` and the name of each as a source."""

    task: str
    source: str
    thousands: float
    files: dict[str, str]


IMAGE_SETS: tuple[ImageSet, ...] = (
    ImageSet("RSICD", "RSICD_images", "https://github.com/201528014227051/RSICD_optimal"),
    ImageSet("RSITMD", "rsitmd/images", "https://github.com/xiaoyuan1996/AMFMN (RSITMD)"),
    ImageSet("UC Merced Land Use", "UCMerced", "http://weegee.vision.ucmerced.edu/datasets/landuse.html"),
    ImageSet(
        "Sydney-Captions",
        "sydney_caption/imgs",
        "Qu et al. 2016, Deep semantic understanding of high resolution remote sensing image; linked from "
        "https://github.com/201528014227051/RSICD_optimal",
    ),
    ImageSet("NWPU-RESISC45", "NWPU-RESISC45", "https://gcheng-nwpu.github.io/"),
    ImageSet("ERA (single frames, Tra)", "SingleFrames/Tra", "https://lcmou.github.io/ERA_Dataset/"),
    ImageSet("DOTA", "DOTA", "https://captain-whu.github.io/DOTA/"),
    ImageSet("RSVQA-LR", "Images_LR", "https://rsvqa.sylvainlobry.com/"),
    ImageSet("RSVQA-HR", "RSVQA_HR/Data", "https://rsvqa.sylvainlobry.com/"),
    ImageSet("RSVG", "RSVG/images", "https://sunyuxi.github.io/publication/GeoVG"),
    ImageSet("DIOR (trainval)", "JPEGImages-trainval", "https://gcheng-nwpu.github.io/"),
)

TABLE: tuple[TableRow, ...] = (
    TableRow("captioning", "RSICD", 43.7, {"caption_RSICD_train": "caption_rsicd"}),
    TableRow("captioning", "RSITMD", 21.5, {"caption_RSITMD_train": "caption_rsitmd"}),
    TableRow("captioning", "UCM-Captions", 8.4, {"caption_UCM_train": "caption_ucm"}),
    TableRow("captioning", "Sydney-Captions", 2.5, {"caption_Sydney_train": "caption_sydney"}),
    TableRow("captioning", "NWPU-Captions", 126.0, {"caption_NWPU_train": "caption_nwpu"}),
    TableRow("video captioning", "CapERA", 7.4, {"caption_ERA_train": "caption_era"}),
    TableRow("VQA", "ERA-VQA", 1.5, {"EARVqa": "vqa_era"}),
    TableRow("VQA", "RSIVQA", 17.7, {"DOTAvqa_train": "vqa_dota", "SydneyVqa": "vqa_sydney", "UCMvqa": "vqa_ucm"}),
    TableRow("VQA", "RSVQA-LR", 57.2, {"RSVQALR_train": "vqa_rsvqa_lr"}),
    TableRow("VQA", "RSVQA-HR", 625.3, {"RSVQAHR_train": "vqa_rsvqa_hr"}),
    TableRow("visual grounding", "RSVG", 5.5, {"rsvg": "vg_rsvg"}),
    TableRow("visual grounding", "DIOR-RSVG", 27.0, {"DIORvg_train": "vg_dior"}),
    TableRow("phrase grounding", "RSPG", 6.8, {"diorpg_train": "pg_dior"}),
    TableRow("conversation", "DOTA", 1.4, {"DOTA_Conversa": "talk_dota"}),
    TableRow("conversation", "DIOR", 14.7, {"DIOR_Conversa": "talk_dior"}),
    TableRow("conversation", "UCM", 1.7, {"UCM_Conversa": "talk_ucm"}),
    TableRow("conversation", "Sydney", 0.5, {"Sydney_Conversa": "talk_sydney"}),
)
