"""What vLLM is told of a folder of ours before it opens anything."""

from __future__ import annotations

from pathlib import Path

from vllm.config import ModelConfig
from vllm.model_executor.models.config import VerifyAndUpdateConfig

from skyeye.serve.vllm import MODE


class SkyEyeModelConfig(VerifyAndUpdateConfig):
    """Our tokenizer, our way to write a chat, and answers that are greedy unless a request says otherwise."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfig) -> None:
        """Change the settings of a model that are not set by hand.

        Raises:
            SkyEyeError: the plugin does not compute this model.
        """
        from skyeye.serve.vllm.supported import refuse_unsupported  # it loads our models: not for those of others

        refuse_unsupported(model_config.hf_config, Path(model_config.model))
        if model_config.tokenizer_mode == "auto":
            model_config.tokenizer_mode = MODE
        model_config.override_generation_config.setdefault("temperature", 0.0)
