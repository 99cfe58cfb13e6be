"""WebUI 1.10.1's scripts, driven as a program drives them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from promptengine import Engine, GenerationRequest, GenerationResult
from promptengine.errors import PromptEngineError
from promptengine.registry.registry import Registry
from promptengine.scripts.script import ScriptContext, ScriptOutput, ScriptStep
from promptengine.scripts.table import find_script, placed_arguments
from promptengine.server.sdapi.to_response import api_infotext
from tests.conformance.api import request_of
from tests.conformance.golden import difference, folder, rows, tensors
from tests.conformance.test_txt2img import without_own_keys
from tests.conformance.upscaler_folders import golden_image, share_off, worst_level

TABLE = folder() / "webui-3" / "goldens" / "scripts.jsonl"
CASES = rows(TABLE) if TABLE.is_file() else []
TOLERANCE = 2e-3
"""Of latents after a step through 8-bit images."""

WORST_LEVELS = {"lb-cc": 20, "om-all": 2}
"""Where a later run makes more of the last bit of an earlier one: matching histograms turns one level of six
values into eleven levels of some."""

TOLD_BESIDES = {"po-fill-word": ", Masked content: fill"}
"""What WebUI leaves out of the infotext: masked content that it was sent as a word and not as a number."""

LETTERS = 4
"""Pixels that the lines of a label may be higher or lower."""


FIRST = "tiny-sd1"
"""The checkpoint at hand."""

STALE = {"xy-eta", "xy-i2i-mult"}
"""Where WebUI tells of an image what held for one before: entries that it leaves out do not replace older ones."""

UNTOLD = re.compile(
    # WebUI tells of these as settings only, not where a request's own field says them.
    r", Sigma (?:churn|tmin|tmax|noise): [^,]*"
    # The VAE of the scripts had other bytes than that of the golden data, with the same weights.
    r"|(?<=, VAE hash: )\w+"
)


def comparable(infotext: str) -> str:
    return UNTOLD.sub("", without_own_keys(api_infotext(infotext)))


@cache
def golden() -> dict[str, Tensor]:
    return tensors(TABLE.with_name("scripts_latents.safetensors"))


@pytest.fixture
def checkpoint(model_dir: Path) -> Path:
    return model_dir / "tiny-sd1.safetensors"


def expected_latents(name: str) -> list[Tensor]:
    """Of every image in the order made."""
    if name in golden():
        return list(golden()[name])
    pieces: list[Tensor] = []
    while (key := f"{name}/{len(pieces)}") in golden():
        pieces.append(golden()[key])
    return [image for piece in pieces for image in piece]


class Driver:
    """Does a script's steps with an engine, feeding the encoder the numbers that WebUI's drew at first.

    WebUI draws them from the global generator, which was seeded before each case; making the noise of an image
    seeds it with that image's seed, which is where a script says it is after a first run.
    Requests that name the seed of their encoder's noise start from the same latents, for which it drew once.
    """

    def __init__(self, engine: Engine, others: Mapping[str, Engine], seed: int) -> None:
        self.engine, self.others = engine, others
        self.generator = torch.Generator().manual_seed(seed)
        self.drawn: dict[int, Tensor] = {}

    def encoder_noise(self, request: GenerationRequest) -> Tensor | None:
        if request.start is None or request.start.encoder_seed is not None:
            return None
        if (named := request.start.noise_seed) is None:
            return self.fresh_noise(request)
        if named not in self.drawn:
            self.drawn[named] = self.fresh_noise(request)
        return self.drawn[named]

    def fresh_noise(self, request: GenerationRequest) -> Tensor:
        native = self.engine.checkpoint.native_size
        height, width = request.height or native, request.width or native
        each = [
            torch.randn(1, 4, height // 8, width // 8, generator=self.generator)
            for _ in range(request.batch_images)
        ]
        return torch.cat(each)

    def make(self, step: ScriptStep) -> Iterator[GenerationResult]:
        other = step.checkpoint or step.vae
        engine = self.others[other] if other else self.engine
        if len(step.requests) > 1 and all(request.start is None for request in step.requests):
            yield from engine.generate_batch(step.requests, networks=step.networks)
            return
        for request in step.requests:
            yield engine.generate(request, encoder_noise=self.encoder_noise(request))
            if request.start is None or request.start.noise_seed is None:
                last = request.batch_images * request.batch_count - 1
                self.generator.manual_seed(request.seed + last)


@pytest.fixture(scope="module")
def engines(second_models: Registry, model_dir: Path) -> Mapping[str, Engine]:
    """Engines by the names that a step may have: of every checkpoint, and of the first one with every VAE."""
    config = model_dir / "diffusers_config"
    found = {
        entry.name: Engine.open(entry.path, second_models, config, "cpu", vae=None)
        for entry in second_models.entries("checkpoint")
    }
    found["None"] = found[FIRST]
    for entry in second_models.entries("vae"):
        path = found[FIRST].checkpoint.path
        found[entry.path.name] = Engine.open(path, second_models, config, "cpu", vae=entry.path)
    return found


def drawn_seed(case: dict[str, Any]) -> int:
    """The seed that WebUI drew where a case leaves one open."""
    told = re.findall(r"Variation seed: (\d+)", " ".join(filter(None, case.get("infotexts", ()))))
    return int(told[0]) if told else case.get("seeds", [0])[-1]


def run_case(engines: Mapping[str, Engine], case: dict[str, Any], checkpoint: Path) -> ScriptOutput:
    engine = engines[FIRST]
    script = find_script(case["script_name"])
    plain = {name: value for name, value in case.items() if not name.startswith("script")}
    request = request_of(plain, engine.registry, checkpoint)
    arguments = placed_arguments(script, case["script_args"])
    context = ScriptContext(engine.registry, engine.checkpoint.native_size)
    driver = Driver(engine, engines, case["torch_global_seed"])
    run = script.run(request, arguments, context)
    results: tuple[GenerationResult, ...] | None = None
    while True:
        try:
            step = next(run) if results is None else run.send(results)
        except StopIteration as end:
            return end.value
        results = tuple(driver.make(step))


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES])
def test_script(
    engines: Mapping[str, Engine],
    checkpoint: Path,
    case: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(secrets, "randbelow", lambda _: drawn_seed(case))
    if "error" in case:
        with pytest.raises(PromptEngineError):
            run_case(engines, case, checkpoint)
        return
    output = run_case(engines, case, checkpoint)
    latents = [image for result in output.results for image in result.latents]
    expected = expected_latents(case["id"])
    assert [tuple(x.shape) for x in latents] == [tuple(x.shape) for x in expected]
    for ours, theirs in zip(latents, expected, strict=True):
        assert difference(ours, theirs) <= TOLERANCE
    for one, (height, width, *_) in zip(output.images, case["images"], strict=True):
        assert one.image.width == width
        # Labels are in letters of another font.
        assert abs(one.image.height - height) <= (LETTERS if one.grid else 0)
    if "infotexts" in case:
        ours = [comparable(one.infotext) for one in output.images]
        besides = TOLD_BESIDES.get(case["id"], "")
        told = [comparable(text or "") + besides for text in case["infotexts"]]
        assert ours == told[: len(ours)]
        # WebUI tells of images that a plot made and does not return, too.
        rest = told[len(ours) :]
        made = [comparable(one.infotexts[0]) for one in output.results]
        if case["id"] not in STALE:
            assert not rest or sorted(rest) == sorted(made)
    for number, one in enumerate(output.images):
        if (image := golden_image("scripts", case["id"], number)) is not None and not one.grid:
            assert worst_level(one.image, image) <= WORST_LEVELS.get(case["id"], 1)
            assert share_off(one.image, image) < 0.02
