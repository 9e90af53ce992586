"""What the processes of tests have in memory when they begin; the one they are forked from imports this file."""

# ruff: noqa: F401, I001
import gc
from dataclasses import replace

import skyeye.cli
import skyeye.data.formats.instructions.llava
import skyeye.data.formats.generic.synthetic
import skyeye.eval.in_training
import skyeye.generation.answerers.own
import skyeye.generation.embed
import skyeye.train.run

import accelerate
import deepspeed
import matplotlib.backends.backend_agg
import matplotlib.pyplot
import peft.utils.transformers_weight_conversion
import torch
import transformers.models.llama.modeling_llama
from PIL import Image

# behind the others (torchvision cannot be imported after it); half the time of a short run under ZeRO
import deepspeed.comm.mori
import deepspeed.module_inject.auto_ep_layer
import deepspeed.ops.op_builder.all_ops
import deepspeed.runtime.zero.muon.muon_optimizer
import deepspeed.runtime.superoffload.superoffload_stage3

from measured_step import model_config
from skyeye.config.schema import VisionConfig
from skyeye.html.page import environment
from skyeye.models.build import build_model

Image.init()
environment("skyeye.eval.report").get_template("report.html.jinja")  # the benchmarks of a run end with this page
tower = VisionConfig(image_size=28, patch_size=7, width=16, depth=1, heads=2, mlp_ratio=2.0)  # of the tests' recipe
with torch.device("meta"):  # transformers, peft and the tower look up things once that they keep for further models
    build_model(replace(model_config(layers=1), vision=tower), vocab_size=100)
gc.freeze()  # DeepSpeed collects garbage at the start of every stage: none of this is any
