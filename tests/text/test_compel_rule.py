"""compel's prompts beside compel itself: the same weights, and at the tiny checkpoint the same conditioning."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from promptengine import Engine, GenerationRequest
from promptengine.prompt import parse, schedule
from promptengine.text.compel_rule import encode_compel
from promptengine.text.tokenizer import clip_tokenizer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    compel = pytest.importorskip("compel")
    from compel.prompt_parser import (
        Blend,
        CrossAttentionControlSubstitute,
        FlattenedPrompt,
        PromptParser,
    )

# Those of compel's documentation and of its own tests.
PROMPTS = (
    *("fire flames", "fire (flames)", "fire, flames , fire", "cat hot-dog eating", "(flames)0.5"),
    *("(flames).attend(0.5)", "flames.attend(0.5)", '"flames".attend(0.5)', "(fire flames)0.5"),
    *("(flames)+", "flames+", '"flames"+', "flames.attend(+)", "(flames)-", "flames-", '"flames"-'),
    *("fire flames.attend(0.5)", 'fire "flames".attend(0.5)', "(flames)--", "fire flames++"),
    *("(flowers)--- flames+++", "(pretty flowers)+, the flames are too hot", "a fire-- flames"),
    *("a badly formed +test prompt", "a badly (formed test prompt", "a badly (formed +test prompt"),
    *("a badly (formed +test )prompt", "(((a badly (formed +test )prompt", "hamburger ((bun))"),
    *("(a (ba)dly (f)ormed +test prompt", "(a (ba)dly (f)ormed +test +prompt", "hamburger (bun)"),
    *("fire (flames (trees)1.5)2.0", "a tall thin man picking apricots+", "mountain+ man"),
    *("a tall thin man picking (apricots)+", "a tall thin man (picking apricots)++"),
    *("a tall thin man (picking apricots+)++", "a tall thin man picking (apricots)1.1"),
    *("a tall thin man (picking (apricots)1.3)1.1", "a man picking apricots--- from a tree"),
    *("mountain man++++", "a cat playing with a ball++ in the forest", r"mountain \(man\)", ""),
    *(
        "Astronaut---- in a jungle++++, cold color palette",
        r"(mountain \(man\))1.3",
        "a (fat)0 cat",
    ),
    *("sun.swap(moon)", 'a "cat".swap(dog) eating a hotdog', "a cat.swap(dog) eating a hotdog"),
    *("a person with a hat (riding a bicycle.swap(skateboard))++", "a(b)+ c", "(a(b)+ c)1.2"),
    *('("fire", "flames").and()', '("fire flames", "mountain man").and()', "cat+dog", "x (y)2x"),
    *('("(fire)2.0", "flames-").and()', '("fire", "flames").and(2,1)', "cat+, dog-", "1,000 cats+"),
    '("mountain man", "a person with a hat (riding a bicycle)++").and(0.5, 0.5)',
    *('("((a badly (formed +test ").blend(1.0)', '("mountain", "man").blend()', "3.5+"),
    *("(mountain, man).blend()", "((mountain), (tall man)).blend()", '("fire").blend(0.7)'),
    *('("fire", "fire flames").blend(0.7, 0.3)', '("fire", "").blend(0.7, 1)'),
    '("fire", "fire flames (hot)++", "hi").blend(0.7, 0.3, 1.0)',
    '("mountain, man, hairy", "face, teeth, eyes--").blend(1,-1,no_normalize)',
    '("fire (flames)++", "mountain (man)2").blend(1,1)',
    '("spider man", "robot mech").blend(1, 0.8)',
    '("A dream of a distant galaxy, by Caspar David Friedrich", "trending on artstation, HQ").and()',
)
LONG = (
    ", ".join(f"word{i} cat{'+' if i % 3 == 0 else '-' if i % 5 == 0 else ''}" for i in range(60)),
    ". ".join(f"a man++ with dog- number {i} (x y)0.5" for i in range(12)),
    "nothing but words " * 40,
)

Told = tuple[Any, list[list[tuple[str, float]]]]


def theirs(text: str) -> Told:
    found = PromptParser().parse_conjunction(text)
    if len(found.prompts) == 1 and isinstance(found.prompts[0], Blend):
        (blend,) = found.prompts
        kind = "blend" if blend.normalize_weights else "sum"
        return (kind, tuple(blend.weights)), [list(flat(one)) for one in blend.prompts]
    mix = None if len(found.prompts) == 1 else ("concatenate", tuple(found.weights))
    return mix, [list(flat(one)) for one in found.prompts]


def flat(prompt: FlattenedPrompt) -> Iterator[tuple[str, float]]:
    joined: list[tuple[str, float]] = []
    for child in prompt.children:
        swapped = isinstance(child, CrossAttentionControlSubstitute)
        for one in child.original if swapped else [child]:
            if joined and joined[-1][1] == one.weight:
                joined[-1] = (f"{joined[-1][0]} {one.text}", one.weight)
            else:
                joined.append((one.text, one.weight))
    return ((plain(text), round(weight, 9)) for text, weight in joined if text.strip())


def ours(text: str) -> Told:
    (part,) = parse(text, dialect="compel").parts
    found = schedule(part, 1)
    (segment,) = found.segments
    mix = found.mix and (found.mix.kind, found.mix.weights)
    arms = segment.arms or (segment.fragments,)
    return mix, [
        [(plain(one.text), round(one.weight, 9)) for one in arm if one.text.strip()] for arm in arms
    ]


def plain(text: str) -> str:
    """Without the white space around commas, which no token holds."""
    return " ".join(text.replace(",", " , ").split())


@pytest.mark.parametrize("text", PROMPTS)
def test_weights_are_those_of_compel(text: str) -> None:
    assert ours(text) == theirs(text)


@pytest.fixture(scope="module")
def reference(tiny_engine: Engine) -> Any:
    tokenizer = copy.copy(clip_tokenizer())
    tokenizer.model_max_length = 77
    encoder = tiny_engine.checkpoint.text_encoders[0]
    return compel.Compel(tokenizer=tokenizer, text_encoder=encoder, truncate_long_prompts=False)


def test_conditioning_is_that_of_compel(tiny_engine: Engine, reference: Any) -> None:
    model = tiny_engine.checkpoint.text_model()
    for text in (*PROMPTS, *LONG):
        (part,) = parse(text, dialect="compel").parts
        found = encode_compel(schedule(part, 1), model).embeddings
        torch.testing.assert_close(found, reference(text), rtol=0, atol=1e-4, msg=text)


def test_an_image_follows_compels_conditioning(tiny_engine: Engine) -> None:
    request = GenerationRequest(
        prompt='("a cat++", "a dog").blend(1, 1)',
        negative_prompt="(blurry)0.5",
        dialect="compel",
        **{"seed": 1, "steps": 2, "width": 64, "height": 64, "sampler": "Euler"},
    )
    found = tiny_engine.generate(request)
    assert "Prompt syntax: compel" in found.infotexts[0]
    plain_text = GenerationRequest(
        prompt="a cat",
        dialect="compel",
        **{"seed": 1, "steps": 2, "width": 64, "height": 64, "sampler": "Euler"},
    )
    usual = GenerationRequest(
        prompt="a cat", **{"seed": 1, "steps": 2, "width": 64, "height": 64, "sampler": "Euler"}
    )
    latents = tiny_engine.generate(plain_text).latents
    torch.testing.assert_close(latents, tiny_engine.generate(usual).latents)
    assert not torch.equal(found.latents, latents)
