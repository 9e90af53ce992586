"""An agent without a language model of its own: in which of two scenes is there more of something, and where?

    python docs/examples/two_scenes.py CHECKPOINT FOLDER first.png second.png ships

It starts `skyeye mcp CHECKPOINT`, calls its tools, and says what they say. An agent with a language model calls the
same tools in an order of its own.
"""

import asyncio
import sys
from typing import Any

from mcp import Client, StdioServerParameters


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool answers."""
    result = await client.call_tool(tool, arguments)
    if result.is_error:
        raise SystemExit(result.content[0].text)
    return result.structured_content


async def compare(client: Client, scenes: list[str], what: str) -> str:
    """Count in both, look where the model sees them, describe the one with more."""
    counted = [(await call(client, "count", image=scene, what=what))["count"] or 0 for scene in scenes]
    located = [len((await call(client, "locate", image=scene, what=what))["places"]) for scene in scenes]
    told = []
    for scene, count, places in zip(scenes, counted, located, strict=True):
        told.append(f"{scene}: {count} {what} ({places} located)")
    if counted[0] == counted[1]:
        return "\n".join([*told, f"Both have as many {what}."])
    more = scenes[counted.index(max(counted))]
    description = (await call(client, "describe", image=more))["result"]
    return "\n".join([*told, f"{more} has more {what}. It shows: {description}"])


async def main(checkpoint: str, folder: str, first: str, second: str, what: str) -> None:
    """Start the server, ask, say."""
    arguments = ["-m", "skyeye", "mcp", checkpoint, "--allow-folder", folder]
    async with Client(StdioServerParameters(command=sys.executable, args=arguments)) as client:
        print(await compare(client, [first, second], what))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
