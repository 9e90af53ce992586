"""A server of OpenAI's shapes (vLLM, SGLang, Ollama, LM Studio, a vendor's) as an answerer."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from functools import lru_cache
from typing import Any

from tqdm import tqdm

from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.generation.answerers.base import Reply, ServerSettings, Words
from skyeye.generation.answerers.requests import Address, QuestionRefused, Requests
from skyeye.generation.answerers.sent_images import data_url

#: So many questions refused before any is answered: it is not the questions.
_ALL_REFUSED = 5
_KEPT_IMAGES = 64  # encoded pictures that are kept for further questions


def find_model(address: Address, key: str | None, settings: ServerSettings) -> Address:
    """The address with the model that is asked there.

    Raises:
        SkyEyeError: nobody answers, the key is refused, or no model is named and there is not exactly one.
    """
    requests = Requests(address, key, settings.timeout)
    try:
        there = requests.models()
    finally:
        requests.stop()
    if address.model:
        return address
    if there is not None and len(there) == 1:
        return Address(address.url, there[0])
    which = "which it does not tell" if not there else f"of these: {', '.join(there[:20])}"
    remedy = f"openai:{address.url}#MODEL"
    raise SkyEyeError(f"it is not said which model of the server is asked, {which}", where=address.url, remedy=remedy)


class ServerAnswerer:
    """A model that is asked over HTTP.

    Args:
        address: of the server and the model.
        words: what is asked of a record.
        key: of the server; None: it wants none.
    """

    def __init__(self, address: Address, words: Words, *, key: str | None = None, settings: ServerSettings):
        self.address, self.words, self.settings = address, words, settings
        self._requests = Requests(address, key, settings.timeout, first_wait=settings.first_wait)
        self._encoded = lru_cache(_KEPT_IMAGES)(data_url)
        self._length, self._greedy = "max_tokens", True
        self._answered = 0

    @property
    def about(self) -> dict[str, Any]:
        return {"server": self.address.url, "model": self.address.model}

    def decoding(self, max_new_tokens: int) -> str:
        chance = "temperature 0" if self._greedy else "the server's own temperature (it takes no other)"
        return f"{chance}, at most {max_new_tokens} new tokens, asked once, by a server"

    def answers(self, records: Sequence[Record], max_new_tokens: int) -> Iterator[tuple[int, Reply]]:
        """Answers as they come. A question that the server takes as wrong is answered with nothing, and why; unless it
        takes them all so."""
        held: list[tuple[int, Reply]] = []  # refused before anything was answered
        with closing(self._as_ready(records, max_new_tokens)) as ready:
            for index, reply in ready:
                self._answered += not reply.refused
                held.append((index, reply))
                if self._answered:
                    yield from held
                    held.clear()
                elif len(held) >= _ALL_REFUSED:
                    break
        if held:
            record, said = records[held[0][0]], held[0][1].refused
            what = f"the server refuses every question; of record {record.id} it says: {said}"
            raise SkyEyeError(
                what, where=self.address.url, remedy="ask a model that takes pictures, or mend what it names"
            )

    def _as_ready(self, records: Sequence[Record], max_new_tokens: int) -> Generator[tuple[int, Reply], None, None]:
        waiting = iter(range(len(records)))
        workers = ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix="ask")
        asked: dict[Future[Reply], int] = {}

        def submit(count: int) -> None:
            for index in itertools.islice(waiting, count):
                asked[workers.submit(self._ask, records[index], max_new_tokens)] = index

        try:
            submit(self.settings.concurrency)
            while asked:
                done, _ = wait(asked, return_when=FIRST_COMPLETED)
                for future in done:
                    index = asked.pop(future)
                    reply = future.result()
                    submit(1)
                    yield index, reply
        finally:
            if asked:  # it failed, or nobody wants the rest
                self._requests.stop()
            workers.shutdown(wait=not asked, cancel_futures=True)

    def _ask(self, record: Record, max_new_tokens: int) -> Reply:
        messages = self._messages(record)
        while True:
            body = {"model": self.address.model, "messages": messages, self._length: max_new_tokens}
            body |= {"temperature": 0} if self._greedy else {}
            try:
                return self._requests.complete(body, f"record {record.id}", _reply)
            except QuestionRefused as refused:
                if not self._adapt(refused, body):
                    return Reply("", refused=str(refused))

    def _messages(self, record: Record) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": self._encoded(image)}} for image in record.images
        ]
        text, system = self.words(record), record.turns[0].system
        # text alone as a text: some servers take no list where there is no image
        content = [*parts, {"type": "text", "text": text}] if parts else text
        first = [] if system is None else [{"role": "system", "content": system}]
        return [*first, {"role": "user", "content": content}]

    def _adapt(self, refused: QuestionRefused, body: dict[str, Any]) -> bool:
        """Whether the question is to be asked again: newer models of OpenAI's know another name for the longest answer,
        and some take no temperature."""
        if "max_completion_tokens" in str(refused) and "max_tokens" in body:
            self._length = "max_completion_tokens"
            return True
        if refused.parameter == "temperature" and "temperature" in body:
            if self._greedy:
                tqdm.write(f"{self.address.url}: {self.address.model} takes no temperature; its answers hold chance")
            self._greedy = False
            return True
        return False


def _reply(content: Any) -> Reply:
    """The answer in a chat completion.

    Raises:
        ValueError, KeyError, TypeError, IndexError: it is none.
    """
    choice = content["choices"][0]
    said = choice["message"].get("content")
    if isinstance(said, list):  # parts, as in questions
        said = "".join(part["text"] for part in said if part.get("type") == "text")
    if said is None:  # all its tokens went into thoughts, or it declines
        said = choice["message"].get("refusal") or ""
    if not isinstance(said, str):
        raise TypeError(f"content is {type(said).__name__}")
    return Reply(said.strip(), cut=choice.get("finish_reason") == "length")
