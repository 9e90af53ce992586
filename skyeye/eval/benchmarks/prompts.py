"""What the benchmarks ask: in the words of the readers' first wordings, which training asks too.

The prompt style of the model puts the tag of the task before them, and writes the boxes.

The paper prints several wordings of a caption prompt in its figures and does not say which one it scored with.
"""

from __future__ import annotations

from skyeye.data.formats.captions import base as captions
from skyeye.data.formats.detection import base as detection
from skyeye.data.formats.evaluation import levir_cc, vrsbench
from skyeye.data.formats.scenes import class_folders

CAPTION = captions.PROMPTS[0]
VIDEO = captions.VIDEO_PROMPTS[0]
VQA = "{question}"
REFER = detection.REFER_PROMPTS[0].replace("{}", "{phrase}")
DETECTION = "{phrase}"
#: The question is "what object is in this location", with the box of the record.
IDENTIFY = "{question}"
DETAIL = vrsbench.CAPTION_PROMPT
CHANGE = levir_cc.PROMPT
CLASSIFY = class_folders.QUESTION
