"""From the messages of a request to ids, in the place of a chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from vllm.config import VllmConfig
from vllm.exceptions import VLLMValidationError
from vllm.inputs import MultiModalDataDict, MultiModalUUIDDict, TokensPrompt
from vllm.renderers.base import BaseRenderer
from vllm.renderers.chat_utils import (
    ChatCompletionMessageParam,
    ConversationMessage,
    parse_chat_messages,
    parse_chat_messages_async,
)
from vllm.renderers.inputs import DictPrompt
from vllm.renderers.params import ChatParams
from vllm.tokenizers.hf import HfTokenizer
from vllm.utils.async_utils import make_async

from skyeye.models.processing import SkyEyeProcessor
from skyeye.serve.api.errors import ApiError
from skyeye.serve.vllm.asking import prompt_ids
from skyeye.serve.vllm.supported import refuse_unknown_ends


class SkyEyeRenderer(BaseRenderer[HfTokenizer]):
    """Chats by the sequence builder of the folder. A field ``chat_template_kwargs: {"task": ...}`` of a request is what
    ``task`` is for ``skyeye serve``.

    Raises:
        SkyEyeError: the folder does not say what ends an answer.
    """

    def __init__(self, config: VllmConfig, tokenizer: HfTokenizer | None):
        super().__init__(config, tokenizer)
        self.builder = SkyEyeProcessor.from_pretrained(self.model_config.model).builder
        ends = self.model_config.try_get_generation_config().get("eos_token_id")
        known = [self.get_eos_token_id(), *(ends if isinstance(ends, list) else [ends])]
        refuse_unknown_ends(self.builder.end_token_ids, known, Path(self.model_config.model))
        self._ids_async = make_async(self._ids, executor=self._executor)

    def render_messages(
        self, messages: list[ChatCompletionMessageParam], params: ChatParams
    ) -> tuple[list[ConversationMessage], DictPrompt]:
        """The conversation as vLLM reads it, and its prompt with the pictures."""
        conversation, images, uuids = parse_chat_messages(messages, self.model_config, **_reading(params))
        return conversation, _prompt(self._ids(conversation, params), images, uuids)

    async def render_messages_async(
        self, messages: list[ChatCompletionMessageParam], params: ChatParams
    ) -> tuple[list[ConversationMessage], DictPrompt]:
        """As :meth:`render_messages`; pictures are fetched beside each other, ids are made in a thread."""
        conversation, images, uuids = await parse_chat_messages_async(messages, self.model_config, **_reading(params))
        return conversation, _prompt(await self._ids_async(conversation, params), images, uuids)

    def _ids(self, conversation: list[ConversationMessage], params: ChatParams) -> list[int]:
        told = params.chat_template_kwargs
        options = {"task": told.get("task"), "tools": told.get("tools"), "response_format": params.response_format}
        if hasattr(options["response_format"], "model_dump"):
            options["response_format"] = options["response_format"].model_dump(by_alias=True, exclude_none=True)
        try:
            return prompt_ids(self.builder, cast(Any, conversation), options)
        except ApiError as error:
            raise VLLMValidationError(error.message, parameter=error.param) from error


def _reading(params: ChatParams) -> dict[str, Any]:
    return {
        "content_format": "openai",  # pictures stay where they are, as parts; no mark for them gets into the text
        "media_io_kwargs": params.media_io_kwargs,
        "mm_processor_kwargs": params.mm_processor_kwargs,
    }


def _prompt(ids: list[int], images: MultiModalDataDict | None, uuids: MultiModalUUIDDict | None) -> DictPrompt:
    prompt = TokensPrompt(prompt_token_ids=ids)
    if images is not None:
        prompt["multi_modal_data"] = images
    if uuids is not None:
        prompt["multi_modal_uuids"] = uuids
    return prompt
