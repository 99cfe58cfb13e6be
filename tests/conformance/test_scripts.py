"""WebUI 1.10.1's scripts, driven as a program drives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from promptengine import Engine, GenerationRequest, GenerationResult
from promptengine.errors import PromptEngineError
from promptengine.scripts.script import ScriptContext, ScriptOutput, ScriptStep
from promptengine.scripts.table import SCRIPTS, find_script, placed_arguments
from promptengine.server.sdapi.to_response import api_infotext
from tests.conformance.api import request_of
from tests.conformance.golden import DATA, difference, folder, rows, tensors
from tests.conformance.test_txt2img import without_own_keys
from tests.conformance.upscaler_folders import golden_image, share_off, worst_level

TABLE = folder() / "webui-3" / "goldens" / "scripts.jsonl"
CASES = [case for case in rows(TABLE) if case["script_name"] in SCRIPTS] if TABLE.is_file() else []
TOLERANCE = 2e-3
"""Of latents after a step through 8-bit images."""

LETTERS = 4
"""Pixels that the lines of a label may be higher or lower."""

WORST_LEVELS = {"lb-cc": 20, "om-all": 2}
"""Where a later run makes more of the last bit of an earlier one: matching histograms turns one level of six
values into eleven levels of some."""

TOLD_BESIDES = {"po-fill-word": ", Masked content: fill"}
"""What WebUI leaves out of the infotext: masked content that it was sent as a word and not as a number."""


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

    WebUI draws them from the global generator, which was seeded before each case; after a first run it is where
    the script says. Requests that name the seed of their encoder's noise start from the same latents, for which
    it drew once.
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
        engine = self.others[step.checkpoint] if step.checkpoint else self.engine
        if len(step.requests) > 1 and all(request.start is None for request in step.requests):
            yield from engine.generate_batch(step.requests, networks=step.networks)
            return
        for request in step.requests:
            yield engine.generate(request, encoder_noise=self.encoder_noise(request))


@pytest.fixture(scope="module")
def second(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The second checkpoint, in a folder of its own."""
    delta = folder() / "webui-3" / "models" / "tiny-b.delta.safetensors"
    if not delta.is_file():
        delta = DATA / "webui-3" / "models" / delta.name
    path = tmp_path_factory.mktemp("second") / "tiny-b.safetensors"
    save_file({**tensors(model_dir / "tiny-sd1.safetensors"), **tensors(delta)}, path)
    return Engine.open(
        path,
        models={"checkpoint": path.parent},
        config=model_dir / "diffusers_config",
        device="cpu",
    )


def run_case(
    engine: Engine, second: Engine, case: dict[str, Any], checkpoint: Path
) -> ScriptOutput:
    script = find_script(case["script_name"])
    plain = {name: value for name, value in case.items() if not name.startswith("script")}
    request = request_of(plain, engine.registry, checkpoint)
    arguments = placed_arguments(script, case["script_args"])
    context = ScriptContext(second.registry, engine.checkpoint.native_size)
    driver = Driver(engine, {"tiny-b": second}, case["torch_global_seed"])
    run = script.run(request, arguments, context)
    results: tuple[GenerationResult, ...] | None = None
    while True:
        try:
            step = next(run) if results is None else run.send(results)
        except StopIteration as end:
            return end.value
        results = tuple(driver.make(step))


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES])
def test_script(engine: Engine, second: Engine, checkpoint: Path, case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(PromptEngineError):
            run_case(engine, second, case, checkpoint)
        return
    output = run_case(engine, second, case, checkpoint)
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
        ours = [without_own_keys(api_infotext(one.infotext)) for one in output.images]
        besides = TOLD_BESIDES.get(case["id"], "")
        assert ours == [without_own_keys(text or "") + besides for text in case["infotexts"]]
    for number, one in enumerate(output.images):
        if (image := golden_image("scripts", case["id"], number)) is not None and not one.grid:
            assert worst_level(one.image, image) <= WORST_LEVELS.get(case["id"], 1)
            assert share_off(one.image, image) < 0.02
