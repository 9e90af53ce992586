"""What the benchmarks ask: in the words of the readers' first wordings, which training asks too.

The paper prints several wordings of a caption prompt in its figures and does not say which one it scored with.
"""

from __future__ import annotations

from skyeye.data.formats import captions, class_folders, detection

CAPTION = captions.PROMPTS[0]
VIDEO = captions.VIDEO_PROMPTS[0]
VQA = "[vqa] {question}"
REFER = detection.REFER_PROMPTS[0].replace("{}", "{phrase}")
DETECTION = "[detection] {phrase}"
#: The question is "what object is in this location {<x1><y1><x2><y2>}", with the box of the record.
IDENTIFY = "[identify] {question}"
CLASSIFY = f"[vqa] {class_folders.QUESTION}"
