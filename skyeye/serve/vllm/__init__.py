"""The model in vLLM: ``pip install 'skyeye[vllm]'``, and ``vllm serve FOLDER`` of a merged export (docs/serving.md).

What computes is vLLM's: the language model (tensor parallel), the scheduler, the cache of prefixes. Ours are tower and
projector (``model.py``), the pixels (``processing.py``), and the prompt: chats become ids by the sequence builder of
the folder, segment by segment (``asking.py``, ``renderer.py``), not by a template and one pass of the tokenizer.
``asking.py`` and ``supported.py`` need no vLLM; only vLLM imports the others.
"""

from __future__ import annotations

#: Name of our model in ``config.json``, and of our tokenizer and renderer among those of vLLM.
ARCHITECTURE = "SkyEyeForConditionalGeneration"
MODE = "skyeye"


def register() -> None:
    """Tell vLLM of the model, what its entry point group ``vllm.general_plugins`` calls in each of its processes.

    Classes are named, not imported.
    """
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP
    from vllm.model_executor.models.registry import ModelRegistry
    from vllm.renderers.registry import RENDERER_REGISTRY
    from vllm.tokenizers.registry import TokenizerRegistry

    from skyeye.serve.vllm.settings import SkyEyeModelConfig

    ModelRegistry.register_model(ARCHITECTURE, f"{__name__}.model:{ARCHITECTURE}")
    TokenizerRegistry.register(MODE, f"{__name__}.tokenizer", "SkyEyeTokenizer")
    RENDERER_REGISTRY.register(MODE, f"{__name__}.renderer", "SkyEyeRenderer")
    MODELS_CONFIG_MAP[ARCHITECTURE] = SkyEyeModelConfig
