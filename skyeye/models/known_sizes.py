"""Sizes of language models that recipes name on the hub, for planning where neither they nor the hub are at hand.

Read off their published ``config.json``. Nothing is built from them but models without memory.
"""

from __future__ import annotations

from typing import Any

_LLAMA = {"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}
_LLAMA_2 = {**_LLAMA, "intermediate_size": 11008, "num_key_value_heads": 32, "vocab_size": 32000}
_LLAMA_2 |= {"max_position_embeddings": 4096}
_GROUPED = {**_LLAMA, "intermediate_size": 14336, "num_key_value_heads": 8}
_SMOL = {"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
_SMOL |= {"num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True}

#: Name on the hub -> settings of its configuration.
KNOWN: dict[str, dict[str, Any]] = {
    "meta-llama/Llama-2-7b-hf": _LLAMA_2,
    "meta-llama/Llama-2-7b-chat-hf": _LLAMA_2,
    "lmsys/vicuna-7b-v1.5": _LLAMA_2,
    "lmsys/vicuna-7b-v1.1": {**_LLAMA_2, "max_position_embeddings": 2048},
    "huggyllama/llama-7b": {**_LLAMA_2, "max_position_embeddings": 2048},
    "Intel/neural-chat-7b-v3-3": {**_GROUPED, "vocab_size": 32000, "max_position_embeddings": 32768},
    "meta-llama/Meta-Llama-3-8B-Instruct": {**_GROUPED, "vocab_size": 128256, "max_position_embeddings": 8192},
    "HuggingFaceTB/SmolLM2-135M-Instruct": {**_SMOL, "max_position_embeddings": 8192},
}
