"""What the processes of tests have in memory when they begin; the one they are forked from imports this file."""

# ruff: noqa: F401, I001
import gc

import skyeye.cli
import skyeye.data.formats.instructions.llava
import skyeye.data.formats.generic.synthetic
import skyeye.eval.in_training
import skyeye.train.run

import accelerate
import deepspeed
import matplotlib.pyplot
import peft.utils.transformers_weight_conversion
import torch
import transformers.models.llama.modeling_llama
from PIL import Image

# behind the others (torchvision cannot be imported after it); half the time of a short run under ZeRO
import deepspeed.runtime.zero.muon.muon_optimizer
import deepspeed.runtime.superoffload.superoffload_stage3

from measured_step import model_config
from skyeye.models.build import build_model

Image.init()
with torch.device("meta"):  # transformers and peft look up things once that they keep for every further model
    build_model(model_config(layers=1), vocab_size=100)
gc.freeze()  # DeepSpeed collects garbage at the start of every stage: none of this is any
