"""An exported ``LlavaForConditionalGeneration`` folder, asked by transformers alone."""

from __future__ import annotations

from pathlib import Path

import torch

from skyeye.data.images.load import load_image
from skyeye.errors import SkyEyeError
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.weights import read_json_object
from skyeye.serve.model import Model, Request

_LONGEST = 64


def is_plain_llava(folder: Path) -> bool:
    """Whether transformers' own class reads the folder."""
    config = folder / "config.json"
    return config.is_file() and read_json_object(config).get("model_type") == "llava"


class PlainLlava:
    """Model and processor of transformers, in float32.

    Raises:
        SkyEyeError: transformers does not open the folder.
    """

    def __init__(self, folder: Path):
        from transformers import AutoProcessor, LlavaForConditionalGeneration

        try:
            network, told = LlavaForConditionalGeneration.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True
            )
            self.processor = AutoProcessor.from_pretrained(folder)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            what = f"transformers does not open it: {' '.join(str(error).split())[:200]}"
            raise SkyEyeError(what, where=str(folder), remedy="export the model again") from error
        if wrong := [f"{kind}: {', '.join(map(str, names))}" for kind, names in told.items() if names]:
            raise SkyEyeError("; ".join(wrong), where=str(folder), remedy="export the model again")
        self.network = network.eval()
        self.stored = getattr(torch, read_json_object(folder / "config.json").get("dtype") or "float32")

    def round_alike(self, network: SkyEyeForConditionalGeneration) -> None:
        """Round all weights of another model as those of the folder are, and let it compute in float32, too."""
        for parameter in network.parameters():
            parameter.data = parameter.data.to(self.stored).float()
        network.float()  # buffers that are no weights, such as rotary frequencies, are not rounded

    @torch.inference_mode()
    def ask(self, image: Path, question: str) -> str:
        """The greedy answer to words and pixels that its own processor makes.

        Raises:
            SkyEyeError: the folder has no chat template.
        """
        if not self.processor.chat_template and not self.processor.tokenizer.chat_template:
            what = "has no chat template: its words are none of LLaVA's"
            raise SkyEyeError(what, where="FOLDER", remedy="compare it with the checkpoint it was made of: --against")
        content = [{"type": "image", "image": load_image(image)}, {"type": "text", "text": question}]
        batch = self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        return self._text(self.network.generate(**batch, do_sample=False, max_new_tokens=_LONGEST), batch["input_ids"])

    @torch.inference_mode()
    def answer_and_logits(self, asking: Model, asked: Request) -> tuple[str, torch.Tensor]:
        """The greedy answer, and the logits (1, tokens, vocabulary) at all places of the prompt.

        Args:
            asking: whose words and pixels are given.
        """
        ids = torch.tensor([asking.builder.prompt(len(asked.pictures), asked.turns)])
        image = asking.network.config.image_token_id
        ids = ids.masked_fill(ids == image, self.network.config.image_token_index)
        pixels = torch.stack([picture.pixels(asking.processor) for picture in asked.pictures])
        logits = self.network(input_ids=ids, pixel_values=pixels).logits
        said = self.network.generate(input_ids=ids, pixel_values=pixels, do_sample=False, max_new_tokens=_LONGEST)
        return asking.processor.decode(said[0, ids.shape[1] :].tolist()), logits

    def _text(self, said: torch.Tensor, prompt: torch.Tensor) -> str:
        return self.processor.tokenizer.decode(said[0, prompt.shape[1] :], skip_special_tokens=True).strip()
