"""The tags of UAVIT-1M and UAVBench, which three families of models were tuned on."""

from __future__ import annotations

#: Task -> what opens its question: all eleven tags of the two sets.
UAVIT_TAGS: dict[str, str] = {
    "classification": "[img_cls]",
    "detailed_classification": "[deta_cls]",
    "caption": "[img_cap]",
    "detail": "[deta_cap]",
    "vqa": "[vqa]",
    "counting": "[count]",
    "detection": "[det]",
    "refer": "[vg]",
    "region_classification": "[reg_cls]",
    "identify": "[reg_cap]",
    "region_vqa": "[reg_vqa]",
}
