"""What stands between the requests and the worker: a request is read, checked and becomes a job."""

from __future__ import annotations

import hmac
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from skyeye.errors import SkyEyeError
from skyeye.generation.limit import room_for_answer
from skyeye.generation.sampling import GREEDY, Sampling
from skyeye.models.processing import SkyEyeProcessor
from skyeye.serve.api.boxes import BoxesFormat, Size
from skyeye.serve.api.conversation import Conversation, read_conversation
from skyeye.serve.api.errors import ApiError
from skyeye.serve.api.images import PictureReader, Received
from skyeye.serve.api.jobs import JobTaker
from skyeye.serve.api.limits import Sources
from skyeye.serve.api.metrics import Metrics
from skyeye.serve.api.schemas import ChatRequest

#: Tokens of an answer where a request does not say.
USUAL_TOKENS = 256
#: No text of this many characters for each token that a model reads can fit: it is refused before it is tokenised.
_CHARACTERS = 64
_READERS = 4  # threads that decode pictures and tokenise


@dataclass(frozen=True)
class Prepared:
    """A request that can be answered.

    Attributes:
        prompt: ids.
        longest: tokens of an answer.
        sampling: of each answer.
        boxes: how answers are written; None: as words.
    """

    request: ChatRequest
    conversation: Conversation
    pictures: tuple[Received, ...]
    prompt: list[int]
    longest: int
    sampling: list[Sampling]
    boxes: BoxesFormat | None

    @property
    def size(self) -> Size | None:
        """Of the picture that boxes are meant on."""
        return self.pictures[0].size if self.pictures else None


class Service:
    """A model that is served.

    Args:
        worker: has the model.
        name: of the model.
        keys: any of which a client has to show; none: everybody is answered.
    """

    def __init__(
        self,
        worker: JobTaker,
        processor: SkyEyeProcessor,
        name: str,
        sources: Sources,
        keys: Sequence[str] = (),
    ):
        self.worker, self.processor, self.name, self.limits = worker, processor, name, worker.limits
        self.builder = processor.builder
        self.created = int(time.time())
        self.reader = PictureReader(processor, self.limits, sources)
        self.threads = ThreadPoolExecutor(_READERS, thread_name_prefix="skyeye-reader")
        self.metrics = Metrics()
        self._keys = [key.encode() for key in keys]
        for gauge, about, read in (
            ("requests_running", "requests in work", lambda: self.worker.running),
            ("requests_waiting", "requests that wait", lambda: self.worker.waiting),
            ("pictures_read_again", "pictures of requests that had not to be decoded", lambda: self.reader.hits),
            ("pictures_decoded", "pictures of requests that had to be decoded", lambda: self.reader.misses),
        ):
            self.metrics.gauge(gauge, about, read)

    @property
    def max_model_len(self) -> int | None:
        """Tokens of a prompt and its answer, images included."""
        known = [limit for limit in (self.worker.reads, self.limits.prompt_tokens) if limit is not None]
        return min(known, default=None)

    def authorise(self, header: str | None) -> None:
        """Look at the key of a request.

        Raises:
            ApiError: a key is needed, and this is none.
        """
        given = (header or "").removeprefix("Bearer ").strip().encode()
        found = [hmac.compare_digest(given, key) for key in self._keys]
        if self._keys and not any(found):
            what = "give one of the server's keys: Authorization: Bearer KEY"
            headers = {"WWW-Authenticate": "Bearer"}
            raise ApiError(what, status=401, code="invalid_api_key", headers=headers)

    def prepare(self, request: ChatRequest) -> Prepared:
        """Read the pictures of a request and write its prompt.

        Raises:
            ApiError: it cannot be answered.
        """
        if request.model != self.name:
            what = f"the model {request.model!r} is not here; there is {self.name!r}"
            raise ApiError(what, status=404, param="model", code="model_not_found")
        self._check_counts(request)
        try:
            conversation = read_conversation(request, self.builder.style)
            boxes = BoxesFormat(as_list=True, coordinates="normalized") if conversation.wants_list else None
            boxes = boxes or BoxesFormat.of(request.response_format)
            self._check_length(conversation)
            pictures = tuple(self.reader.read(url) for url in conversation.urls)
            if boxes is not None:
                boxes.check(pictures[0].size if pictures else None)
            prompt = self.builder.prompt(len(pictures), conversation.turns)
            longest = self._longest(request, prompt)
        except SkyEyeError as error:
            raise ApiError(str(error), param="messages") from error
        return Prepared(request, conversation, pictures, prompt, longest, _sampling(request), boxes)

    def _check_counts(self, request: ChatRequest) -> None:
        if (request.n or 1) > self.limits.answers:
            raise ApiError(f"n: at most {self.limits.answers} answers", param="n")
        images = sum(
            part.type == "image_url" for each in request.messages for part in each.content if not isinstance(part, str)
        )
        if images > self.limits.images:
            raise ApiError(f"{images} pictures, at most {self.limits.images} are read", param="messages")

    def _check_length(self, conversation: Conversation) -> None:
        limit, own = self.max_model_len, self.processor.tokens_per_image * len(conversation.urls)
        letters = sum(len(turn.question) + len(turn.answer) for turn in conversation.turns)
        if limit is not None and (letters > _CHARACTERS * limit or own >= limit):
            what = (
                f"the messages have {letters:,} characters and {own:,} image tokens, the model reads {limit:,} tokens"
            )
            raise ApiError(what, param="messages", code="context_length_exceeded")

    def _longest(self, request: ChatRequest, prompt: Sequence[int]) -> int:
        limit = self.max_model_len
        if limit is not None and len(prompt) >= limit:
            what = f"the messages have {len(prompt):,} tokens with their pictures, the model reads {limit:,}"
            raise ApiError(what, param="messages", code="context_length_exceeded")
        wanted = min(request.longest or USUAL_TOKENS, self.limits.answer_tokens)
        return room_for_answer(self.worker.reads, prompt, wanted, "messages")


def _sampling(request: ChatRequest) -> list[Sampling]:
    """Of each answer; with a seed the first is that of a request for one."""
    plain = not request.temperature and not request.logprobs
    if plain:
        return [GREEDY] * (request.n or 1)
    return [
        Sampling(
            request.temperature or 0.0,
            1.0 if request.top_p is None else request.top_p,
            None if request.seed is None else request.seed + 1_000_003 * number,
            bool(request.logprobs),
        )
        for number in range(request.n or 1)
    ]
