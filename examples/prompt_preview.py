"""What a prompt says at each step, as a page, without a model and without torch.

Run it: ``python examples/prompt_preview.py "a [cat:(dog:1.3):0.5] <hypernet:neon:0.8>" > page.html``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html import escape

from promptengine import Fragment, Prompt, count_tokens, parse, schedule


def preview(text: str, *, steps: int = 20) -> str:
    """Return a page about a prompt."""
    return "\n".join(["<!doctype html>", "<meta charset=utf-8>", *_body(text, steps)])


def _body(text: str, steps: int) -> Iterator[str]:
    prompt, count = parse(text), count_tokens(text, steps=steps)
    yield f"<h1>{escape(text)}</h1>"
    yield f"<p>{count.tokens} of {count.limit} tokens</p>"
    for part in prompt.parts:
        yield f"<h2>weight {part.weight:g}</h2><ol>"
        first = 1
        for segment in schedule(part, steps).segments:
            words = "".join(map(_fragment, segment.fragments))
            yield f"<li>steps {first} to {segment.until_step}: {words}</li>"
            first = segment.until_step + 1
        yield "</ol>"
    yield from _remarks(prompt)


def _fragment(fragment: Fragment) -> str:
    strength = min(max(fragment.weight, 0.5), 2)
    return f'<span style="font-size: {strength:.2f}em">{escape(fragment.text)}</span>'


def _remarks(prompt: Prompt) -> Iterator[str]:
    for tag in prompt.tags:
        yield f"<p>{escape(tag.kind)}: {escape(', '.join(tag.arguments))}</p>"
    for diagnostic in prompt.diagnostics:
        yield f"<p><em>{escape(diagnostic.message)}. {escape(diagnostic.hint)}</em></p>"


if __name__ == "__main__":
    print(preview(*sys.argv[1:2]))
