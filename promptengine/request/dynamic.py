"""Requests whose prompts are templates: a request of its own for each image, with the prompt it gets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from promptengine.errors import RequestError
from promptengine.prompt.templates import Template, Wildcards, combinations, draw, parse_template
from promptengine.request.dynamic_fields import DynamicMethod
from promptengine.request.ranges import drawn_seed
from promptengine.request.request import GenerationRequest, with_seeds
from promptengine.validation import Between, check_type

__all__ = ["MOST_PROMPTS", "TEMPLATE_LABELS", "expand_request", "expand_template"]

MOST_PROMPTS: Final = 10_000
"""Of one template that :func:`expand_template` writes."""

_MOST_CHARACTERS: Final = 50_000_000
TEMPLATE_LABELS: Final = ("Template", "Negative Template")
"""What infotexts call the templates of both prompts, as the Dynamic Prompts extension does."""


def expand_template(
    template: str,
    wildcards: Wildcards | None = None,
    count: int = 20,
    *,
    method: DynamicMethod = "random",
    seed: int = -1,
) -> list[str]:
    """Write prompts of a template.

    Args:
        template: Such as ``a {red|blue} __animal__``.
        wildcards: The files that it may name; none by default.
        count: How many prompts; combinations may be fewer.
        method: How choices are picked.
        seed: Of the first prompt; each has one more than the one before. -1 draws one.

    Returns:
        The prompts, in order.

    Raises:
        RequestError: A wildcard or variable that there is not, a value out of range, or a template that is
            too deep, too long or too much work.
    """
    check_type("template", template, str)
    check_type("count", count, int)
    check_type("seed", seed, int)
    Between(1, MOST_PROMPTS).check("count", count)
    Between(-1, 2**64 - MOST_PROMPTS).check("seed", seed)
    read, files = parse_template(template), wildcards or Wildcards()
    prompts: list[str] = []
    length = 0
    for prompt in islice(_prompts(read, files, method, drawn_seed(seed)), count):
        length += len(prompt)
        if length > _MOST_CHARACTERS:
            message = f"the prompts have more than {_MOST_CHARACTERS:,} characters together"
            raise RequestError(f"{message}; ask for fewer than {len(prompts)}", field="count")
        prompts.append(prompt)
    return prompts


def _prompts(
    template: Template, wildcards: Wildcards, method: DynamicMethod, seed: int
) -> Iterator[str]:
    if method == "combinatorial":
        yield from combinations(template, wildcards, seed=seed)
        return
    turn = 0
    while True:
        yield draw(template, wildcards, seed=seed + turn, turn=turn, cyclical=method == "cyclical")
        turn += 1


def expand_request(
    request: GenerationRequest, wildcards: Wildcards, *, most: int | None = None
) -> Iterator[GenerationRequest]:
    """Return requests, one by one, for each image of one whose prompts are templates.

    Image i has the prompts that its own seed draws, so that each can be made again alone; by ``cyclical``
    those of number i. Combinations are those of both prompts, the negative one varying fastest.

    Args:
        request: With ``dynamic``; its seeds are drawn where they are -1.
        wildcards: The files that it may name.
        most: Images; by default as many as the request asks for.

    Raises:
        RequestError: As :func:`expand_template`, also between two images, or there is no combination.
    """
    check_type("request", request, GenerationRequest)
    check_type("wildcards", wildcards, Wildcards)
    check_type("most", most, int, type(None))
    return _expanded(with_seeds(request), wildcards, most)


def _expanded(
    request: GenerationRequest, wildcards: Wildcards, most: int | None
) -> Iterator[GenerationRequest]:
    asked = request.batch_images * request.batch_count if most is None else most
    templates = parse_template(request.prompt), parse_template(request.negative_prompt)
    written = zip(TEMPLATE_LABELS, (request.prompt, request.negative_prompt), strict=True)
    told = (*request.script_entries, *((label, text) for label, text in written if text))
    plain = replace(request, dynamic=False, dynamic_method="random", script_entries=told)
    pairs = _pairs(request, templates, wildcards)
    number = -1
    for number, (prompt, negative) in enumerate(islice(pairs, asked)):
        image = _one_image(plain, number)
        image = replace(image, prompt=prompt, negative_prompt=negative)
        yield _with_hires_prompts(image, request, wildcards, number)
    if number < 0:
        message = "the template gives no prompt: a choice takes more options than there are"
        raise RequestError(f"{message} different ones", field="prompt")


def _pairs(
    request: GenerationRequest, templates: tuple[Template, Template], wildcards: Wildcards
) -> Iterator[tuple[str, str]]:
    """Yield prompt and negative prompt of each image."""
    first, second = templates
    if request.dynamic_method == "combinatorial":
        for prompt in combinations(first, wildcards, seed=request.seed):
            for negative in combinations(second, wildcards, seed=request.seed):
                yield prompt, negative
        return
    cyclical, number = request.dynamic_method == "cyclical", 0
    while True:
        seed = _seed_of(request, number)
        yield (
            draw(first, wildcards, seed=seed, turn=number, cyclical=cyclical),
            draw(second, wildcards, seed=seed, turn=number, cyclical=cyclical),
        )
        number += 1


def _seed_of(request: GenerationRequest, number: int) -> int:
    """Return an image's seed, which with a variation is the same for all."""
    return request.seed + (0 if request.variation_strength > 0 else number)


def _with_hires_prompts(
    image: GenerationRequest, request: GenerationRequest, wildcards: Wildcards, number: int
) -> GenerationRequest:
    """Return an image's request with the prompts of its second pass drawn as well."""
    hires = request.hires
    if hires is None:
        return image
    cyclical = request.dynamic_method == "cyclical"

    def resolved(text: str, own: str, drawn: str) -> str:
        if text in ("", own):
            return drawn if text else ""
        template = parse_template(text)
        return draw(template, wildcards, seed=image.seed, turn=number, cyclical=cyclical)

    prompt = resolved(hires.prompt, request.prompt, image.prompt)
    negative = resolved(hires.negative_prompt, request.negative_prompt, image.negative_prompt)
    return replace(image, hires=replace(hires, prompt=prompt, negative_prompt=negative))


def _one_image(request: GenerationRequest, number: int) -> GenerationRequest:
    """Return one image of a request as a request of its own, with the seeds it has there."""
    place = number % request.batch_images
    start = request.start
    if start is not None:
        # All batches of one request start from the same latents.
        first = _seed_of(request, place) if start.noise_seed is None else start.noise_seed + place
        images = start.images[place : place + 1] if len(start.images) > 1 else start.images
        start = replace(start, images=images, noise_seed=first)
    varied = request.variation_strength > 0
    return replace(
        request,
        seed=_seed_of(request, number),
        variation_seed=request.variation_seed + (number if varied else 0),
        batch_size=1,
        batch_count=1,
        start=start,
    )
