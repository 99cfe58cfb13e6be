"""A service like a chat bot's: messages come in at any time, images go out one after another.

Run it: ``python examples/chat_bot.py``. A real bot puts its library's messages where the fake ones are.
A message ``!draw PROMPT`` asks for an image, ``!stop`` calls off what its author waits for.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promptengine import Engine, GenerationRequest, PromptEngineError, encode_image


@dataclass(frozen=True)
class Message:
    """What somebody wrote."""

    author: str
    text: str


@dataclass(frozen=True)
class Reply:
    """What the bot answers; ``png`` is empty where there is no image."""

    author: str
    text: str
    png: bytes = b""


class Bot:
    """Draws for everybody in turn, one image a person at a time."""

    def __init__(self, engine: Engine, *, steps: int = 20) -> None:
        self.replies: asyncio.Queue[Reply] = asyncio.Queue()
        self._engine = engine
        self._steps = steps
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def receive(self, message: Message) -> None:
        """Act on a message at once; answers come through ``replies``."""
        command, _, rest = message.text.partition(" ")
        running = self._tasks.get(message.author)
        if command == "!stop" and running is not None:
            running.cancel()
        elif command == "!draw" and running is not None and not running.done():
            await self.replies.put(Reply(message.author, "one at a time, please"))
        elif command == "!draw":
            self._tasks[message.author] = asyncio.create_task(self._draw(message.author, rest))

    async def finish(self) -> None:
        """Wait for all that was begun."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _draw(self, author: str, prompt: str) -> None:
        try:
            request = GenerationRequest(prompt=prompt, steps=self._steps)
            result = await self._engine.generate_async(request)
        except PromptEngineError as error:
            await self.replies.put(Reply(author, f"{error.code}: {error}"))
        except asyncio.CancelledError:
            await self.replies.put(Reply(author, "stopped"))
            raise
        else:
            png = encode_image(result.images[0], "png", result.infotexts[0])
            await self.replies.put(Reply(author, f"seed {result.seeds[0]}", png))


async def serve(engine: Engine, messages: Sequence[Message], *, steps: int = 20) -> list[Reply]:
    """Let a bot work through messages that come a moment after each other."""
    bot = Bot(engine, steps=steps)
    for message in messages:
        await bot.receive(message)
        await asyncio.sleep(0.01)
    await bot.finish()
    return [bot.replies.get_nowait() for _ in range(bot.replies.qsize())]


def main(models: str = "models", steps: str = "8") -> None:
    """Let three people ask for something."""
    messages = [
        Message("ada", "!draw a red house <hypernet:neon:0.8>"),
        Message("bob", "!draw a cat in the snow"),
        Message("cy", "!draw a boat"),
        Message("cy", "!stop"),
    ]
    with Engine.open(models=models) as engine:
        for reply in asyncio.run(serve(engine, messages, steps=int(steps))):
            print(f"{reply.author}: {reply.text} ({len(reply.png)} bytes)")
            if reply.png:
                Path(f"{reply.author}.png").write_bytes(reply.png)


if __name__ == "__main__":
    main(*sys.argv[1:])
