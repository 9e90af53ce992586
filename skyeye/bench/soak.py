"""Many requests to a server, some of them bad, some of whose clients hang up: whether every other one is answered."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.request import urlopen

from skyeye.bench.clients import Asked, Client
from skyeye.bench.memory import tree_bytes

CLIENTS = 64
#: Seconds after which a client hangs up, at most.
_LEAVES_WITHIN = 0.2


async def soak(
    port: int, process: int, model: str, asked: Sequence[Asked], requests: int, bad: float, hang_up: float
) -> dict[str, Any]:
    """Send requests and count what comes.

    Args:
        process: id of the server's, whose memory is read, with that of its model's process.
        bad, hang_up: shares of the requests that are wrong, and whose client leaves before the answer.

    Returns:
        ``lost``: sound requests without an answer; ``wrong_status``: bad ones that were not refused with 400 or 404.
    """
    kinds = random.Random(0).choices(("good", "bad", "left"), (1 - bad - hang_up, bad, hang_up), k=requests)
    before, first = tree_bytes(process) >> 20, counted(port)
    found: Counter[str] = Counter()
    numbers = iter(range(requests))

    async def client(seed: int) -> None:
        drawn, connection = random.Random(seed), Client(port)
        for number in numbers:
            one, kind = asked[number % len(asked)], kinds[number]
            body = json.dumps(_spoilt(one, model, drawn) if kind == "bad" else one.body(model)).encode()
            status, _ = await connection.post(body, drawn.uniform(0, _LEAVES_WITHIN) if kind == "left" else None)
            while status == 429:
                await asyncio.sleep(0.1)
                status, _ = await connection.post(body)
                found["asked_to_come_back"] += 1
            found[_verdict(kind, status)] += 1
        connection.close()

    await asyncio.gather(*(client(seed) for seed in range(CLIENTS)))
    await asyncio.sleep(2)  # for the last that hung up
    last = counted(port)
    return {
        "sent": requests,
        "answered": found["answered"],
        "lost": found["lost"],
        "refused_as_they_should_be": found["refused"],
        "wrong_status": found["wrong_status"],
        "hung_up": found["left"],
        "asked_to_come_back": found["asked_to_come_back"],
        "counted_by_the_server": {status: last[status] - first.get(status, 0) for status in last if status.isdigit()},
        "still_in_work": last.get("running", 0) + last.get("waiting", 0),
        "megabytes_of_the_server": [before, tree_bytes(process) >> 20],
    }


def _verdict(kind: str, status: int) -> str:
    if kind == "left":
        return "left"
    if kind == "good":
        return "answered" if status == 200 else "lost"
    return "refused" if status in (400, 404) else "wrong_status"


def _spoilt(asked: Asked, model: str, drawn: random.Random) -> dict[str, Any]:
    """A request with one mistake."""
    body = asked.body(model)
    shown = body["messages"][0]["content"][0]["image_url"]
    mistake = drawn.randrange(6)
    if mistake == 0:
        shown["url"] = "data:application/pdf;base64,JVBERi0xLjcK"
    elif mistake == 1:
        shown["url"] = shown["url"][: len(shown["url"]) // 2 + drawn.randrange(4)]
    elif mistake == 2:
        shown["url"] = "/etc/passwd"
    elif mistake == 3:
        body["messages"][0]["content"][1]["text"] = "ship " * 10_000
    elif mistake == 4:
        body["temperature"] = -1
    else:
        body["model"] = "another"
    return body


def counted(port: int) -> dict[str, int]:
    """Requests by status, running and waiting ones, as the server's metrics tell them."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = [line for line in answer.read().decode().splitlines() if line.startswith("skyeye_requests")]
    values = dict(line.rsplit(" ", 1) for line in lines)
    found = {name.split('"')[1]: int(float(value)) for name, value in values.items() if "_total{" in name}
    return found | {key: int(float(values[f"skyeye_requests_{key}"])) for key in ("running", "waiting")}
