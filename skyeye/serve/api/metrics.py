"""What a server counts, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counters of one server; several in one process do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter(
            "requests", "requests for answers, by HTTP status (499: the client left)", "status"
        )
        self.prompt_tokens = self._counter("prompt_tokens", "tokens of prompts, images included")
        self.stored_tokens = self._counter("stored_prompt_tokens", "those that had been computed before")
        self.answer_tokens = self._counter("answer_tokens", "tokens of answers")
        self.first_token = self._histogram("time_to_first_token_seconds", "of streamed answers, from the whole request")
        self.whole = self._histogram("request_seconds", "from the whole request to the whole answer")

    def gauge(self, name: str, about: str, read: Callable[[], float]) -> None:
        """Something that is read when it is asked for."""
        Gauge(f"skyeye_{name}", about, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self.registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"skyeye_{name}", about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str) -> Histogram:
        return Histogram(f"skyeye_{name}", about, registry=self.registry, buckets=_SECONDS)
