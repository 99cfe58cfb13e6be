"""Images that are saved within ComfyUI: what they say is true, and makes them again here."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from promptengine import Engine, read_image_info, request_from_infotext
from promptengine.checkpoints.load import Checkpoint
from promptengine.checkpoints.vae_codec import decode_latents
from promptengine.errors import PromptEngineError, RequestError
from promptengine.images.read import describe_text
from promptengine.integrations.comfyui.nodes import (
    NODE_CLASS_MAPPINGS,
    LoadHypernetwork,
    SaveWithInfotext,
    WebUIPrompt,
    WebUISampler,
)
from tests.conformance.golden import difference
from tests.conformance.test_txt2img import assert_tells_the_same
from tests.conftest import CHECKPOINT, CONFIG, NETWORKS, WEBUI
from tests.integrations.comfyui.graphs import CASES, Run, run_case, sampled
from tests.integrations.comfyui.stand_in import (
    CLIP,
    KSAMPLER,
    CFGGuider,
    ModelPatcher,
    sample_euler,
)
from tests.public_surface import ROOT

GRAPH = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT.name}},
    "2": {"class_type": "PromptEngineWebUISampler", "inputs": {"model": ["1", 0], "seed": 7}},
    "6": {"class_type": "SamplerCustomAdvanced", "inputs": {"sampler": ["2", 1]}},
    "7": {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0], "vae": ["1", 2]}},
    "8": {
        "class_type": "PromptEngineSaveWithInfotext",
        "inputs": {"images": ["7", 0], "latent": ["6", 0], "sampler": ["2", 1]},
    },
}
"""The graph as ComfyUI tells it, as far as files are named in it."""


@pytest.fixture(scope="module")
def engine() -> Engine:
    folders = {
        "hypernet": NETWORKS,
        "embedding": WEBUI / "embeddings",
        "checkpoint": WEBUI / "model",
    }
    return Engine.open(CHECKPOINT, models=folders, config=CONFIG, device="cpu")


def decoded(checkpoint: Checkpoint, latents: Tensor) -> Tensor:
    """IMAGE as ComfyUI's VAEDecode gives it."""
    with torch.no_grad():
        rows = [decode_latents(checkpoint, row[None])[0] for row in latents]
    return ((torch.stack(rows) + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1)


def saved(
    checkpoint: Checkpoint, run: Run, output: Path, graph: object = GRAPH, **more: Any
) -> list[Path]:
    found = SaveWithInfotext().save(
        decoded(checkpoint, run.latents),
        {"samples": run.latents},
        run.sampler,
        **{"prompt": graph, "unique_id": "8", **more},
    )
    ui: Any = found["ui"]
    return [output / one["subfolder"] / one["filename"] for one in ui["images"]]


AGAIN = (
    *("hn-three", "hn-unknown", "pr-sched-heun-8", "pr-ti-euler-8", "nv-batch2", "var-batch2"),
    *("opt-clipskip2-hn", "opt-ensd", "opt-eta-ddim-1", "opt-emph-nonorm", "size-72x88"),
)
"""Cases whose every setting stands in the infotext."""


@pytest.mark.parametrize("name", AGAIN)
def test_an_infotext_is_webuis_and_makes_the_image_again(
    name: str,
    *,
    model: ModelPatcher,
    clip: CLIP,
    checkpoint: Checkpoint,
    engine: Engine,
    comfyui: Path,
) -> None:
    case = CASES[name]
    run = run_case(model, clip, case)
    paths = saved(checkpoint, run, comfyui)
    assert len(paths) == case.get("batch_size", 1)
    for number, path in enumerate(paths):
        info = read_image_info(path)
        assert info.infotext is not None
        assert_tells_the_same(str(info.infotext), case["infotexts"][number])
        request, left_out = request_from_infotext(info.infotext, engine.registry)
        assert not [one for one in left_out if one.code != "skipped-network"]
        result = engine.generate(request)
        # Where noise is drawn on the way, the last digits of one step move the next.
        assert difference(result.latents, run.latents[number : number + 1]) <= 1e-3
        with Image.open(path) as image:
            off = np.abs(np.asarray(image, int) - np.asarray(result.images[0], int))
        assert off.max() <= 1
        assert (off > 0).mean() < 0.02


@pytest.fixture
def plain(model: ModelPatcher, clip: CLIP) -> Run:
    return run_case(model, clip, {**CASES["smp-euler-8"], "steps": 2})


def texts(path: Path) -> Mapping[str, Any]:
    with Image.open(path) as image:
        return dict(image.info)


def test_files_are_named_as_comfyui_names_them_and_never_written_over(
    plain: Run, checkpoint: Checkpoint, comfyui: Path
) -> None:
    name = "a/%width%x%height% %batch_num%"
    (first,) = saved(checkpoint, plain, comfyui, filename_prefix=name)
    assert first == comfyui / "a" / "64x64 0_00001_.png"
    before = first.read_bytes()
    (second,) = saved(checkpoint, plain, comfyui, filename_prefix=name)
    assert second.name == "64x64 0_00002_.png"
    assert first.read_bytes() == before


def test_the_graph_is_kept_beside_the_infotext(
    plain: Run, checkpoint: Checkpoint, comfyui: Path
) -> None:
    sent = {"workflow": {"nodes": ["ä"]}, "parameters": "forged", "promptengine": "{}"}
    (path,) = saved(checkpoint, plain, comfyui, extra_pnginfo=sent)
    found = texts(path)
    assert json.loads(found["prompt"]) == GRAPH
    assert json.loads(found["workflow"]) == sent["workflow"]
    assert "forged" not in found["parameters"]
    assert read_image_info(path).source == "promptengine"
    assert "ComfyUI changes" not in found["parameters"]
    with pytest.raises(RequestError, match="cannot be the keyword"):
        saved(checkpoint, plain, comfyui, extra_pnginfo={"\u4e00": 1})
    with pytest.raises(RequestError, match="MiB of text"):
        saved(checkpoint, plain, comfyui, extra_pnginfo={"workflow": "a" * (9 << 20)})


def test_images_without_metadata_where_comfyui_writes_none(
    plain: Run, checkpoint: Checkpoint, comfyui: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["comfy.cli_args"].args, "disable_metadata", True)
    (path,) = saved(checkpoint, plain, comfyui, extra_pnginfo={"workflow": {}})
    assert not texts(path)


@pytest.mark.parametrize(
    "prefix", ["../out", "a/../../out", "/tmp/out", "..", "a\0b", "a\nb", "x" * 2000]
)
def test_names_that_lead_elsewhere_are_refused(
    prefix: str, plain: Run, checkpoint: Checkpoint, comfyui: Path
) -> None:
    with pytest.raises(RequestError, match="filename_prefix"):
        saved(checkpoint, plain, comfyui, filename_prefix=prefix)
    assert not [*comfyui.parent.rglob("*.png")]


def test_a_folder_that_cannot_be_made_is_told(
    plain: Run, checkpoint: Checkpoint, comfyui: Path
) -> None:
    (comfyui / "a").write_text("a file", encoding="utf-8")
    with pytest.raises(PromptEngineError, match="cannot be written as 'a/b'"):
        saved(checkpoint, plain, comfyui, filename_prefix="a/b")


def test_pixels_that_are_no_numbers_are_black(
    plain: Run, checkpoint: Checkpoint, comfyui: Path
) -> None:
    images = decoded(checkpoint, plain.latents)
    images[0, :8] = float("nan")
    SaveWithInfotext().save(images, {"samples": plain.latents}, plain.sampler)
    (path,) = comfyui.glob("*.png")
    with Image.open(path) as image:
        assert not np.asarray(image)[:8].any()
    with pytest.raises(PromptEngineError, match=r"must be \[images, height, width, 3\]"):
        SaveWithInfotext().save(images[..., :1], {"samples": plain.latents}, plain.sampler)


def test_what_does_not_belong_together_is_refused(
    plain: Run, model: ModelPatcher, clip: CLIP, checkpoint: Checkpoint, comfyui: Path
) -> None:
    other = run_case(model, clip, {**CASES["smp-euler-8"], "steps": 2, "seed": 9})
    with pytest.raises(RequestError, match="did not come out of a run of this SAMPLER"):
        saved(checkpoint, Run(other.latents, plain.sampler, plain.patched), comfyui)
    with pytest.raises(RequestError, match="not one of WebUI Sampler"):
        saved(checkpoint, Run(plain.latents, KSAMPLER(sample_euler), plain.patched), comfyui)
    larger = decoded(checkpoint, plain.latents).repeat(1, 2, 2, 1)
    with pytest.raises(RequestError, match=r"must be the 1 of 64x64 .* \(got 1 of 128x128"):
        SaveWithInfotext().save(larger, {"samples": plain.latents}, plain.sampler)


class PerpNegGuider(CFGGuider):
    def predict_noise(self, *args: Any) -> Tensor:
        return super().predict_noise(*args)


CASE = {**CASES["smp-euler-8"], "steps": 2}


class Parts(dict[str, Any]):
    """The sockets of a graph by name, before it runs."""


@pytest.fixture
def parts(model: ModelPatcher, clip: CLIP) -> Parts:
    patched, sampler, sigmas, noise = WebUISampler().make(model, "Euler", "Automatic", 2, 1.0, 5)
    guided, positive, negative, _, _ = WebUIPrompt().read(
        patched, clip, "a cat", "a dog", 2, sampler=sampler
    )
    held = {"model": guided, "positive": positive, "negative": negative, "sampler": sampler}
    return Parts(**held, sigmas=sigmas, noise=noise, case=CASE)


def text_of(parts: Parts, checkpoint: Checkpoint, output: Path) -> str:
    """Run a graph, and return what its image says."""
    latents = sampled(**parts)
    (path,) = saved(checkpoint, Run(latents, parts["sampler"], parts["model"]), output)
    return texts(path)["parameters"]


def test_runs_of_which_no_infotext_is_true_are_refused(
    parts: Parts, model: ModelPatcher, clip: CLIP, checkpoint: Checkpoint, comfyui: Path
) -> None:
    def refused(why: str, **changed: Any) -> None:
        with pytest.raises(RequestError, match=why):
            text_of(Parts(parts, **changed), checkpoint, comfyui)

    plain = [(tensor, {}) for tensor, _ in parts["positive"]]
    refused("the prompt was not read by WebUI Prompt", positive=plain)
    refused("the prompt was not read by WebUI Prompt", positive=parts["negative"])
    refused("not those of one WebUI Prompt", negative=plain)
    both = [*parts["positive"], *WebUIPrompt().read(model, clip, "b", "", 2)[1]]
    refused("other conditionings were added", positive=both)
    refused("the SIGMAS are not those", sigmas=parts["sigmas"] * 0.9)
    other = WebUISampler().make(model, "Euler", "Automatic", 2, 1.0, 6)[3]
    refused("the NOISE is not that", noise=other)
    varied = WebUISampler().make(model, "Euler", "Automatic", 2, 1.0, 5, 9, 0.5)[3]
    refused("the NOISE is not that", noise=varied)
    refused("is none with one CFG scale", guider=PerpNegGuider)
    elsewhere = WebUIPrompt().read(parts["model"], clip, "<hypernet:hn-relu:1>", "", 2)
    refused("MODEL is not that of the WebUI Prompt", model=elsewhere[0])
    refused("MODEL is not that", positive=elsewhere[1], negative=elsewhere[2])
    scheduled = WebUIPrompt().read(parts["model"], clip, "[a:b:0.5]", "", 9)
    refused(
        "counted other steps",
        **dict(zip(("model", "positive", "negative"), scheduled, strict=False)),
    )
    assert not [*comfyui.glob("*.png")]


def test_what_other_nodes_changed_is_told(
    parts: Parts, clip: CLIP, checkpoint: Checkpoint, comfyui: Path
) -> None:
    assert "ComfyUI changes" not in text_of(parts, checkpoint, comfyui)
    changed = parts["model"].clone()
    changed.set_model_attn2_patch(lambda query, key, value, _: (query, key, value))
    changed.add_patches({"conv_in": torch.zeros(1)}, 0.0)
    changed.patches.clear()
    changed.model_options["model_function_wrapper"] = None
    limited = [(tensor, {**entry, "strength": 0.5}) for tensor, entry in parts["positive"]]
    told = text_of(Parts(parts, model=changed, positive=limited), checkpoint, comfyui)
    line = (
        'ComfyUI changes: "conditioning strength, model model_function_wrapper, model attn2_patch"'
    )
    assert line in told
    over = WebUIPrompt().read(parts["model"], clip, "<hypernet:hn-relu:1>", "", 2)
    over = WebUIPrompt().read(over[0], clip, "a cat", "", 2)
    both = dict(zip(("model", "positive", "negative"), over, strict=False))
    told = text_of(Parts(parts, **both), checkpoint, comfyui)
    assert 'ComfyUI changes: "model attn1_patch, model attn2_patch"' in told
    files = json.loads(json.dumps(GRAPH))
    files["9"] = {"class_type": "ImageSharpen", "inputs": {"image": ["7", 0]}}
    files["8"]["inputs"]["images"] = ["9", 0]
    latents = sampled(**parts)
    run = Run(latents, parts["sampler"], parts["model"])
    (path,) = saved(checkpoint, run, comfyui, files)
    assert "ComfyUI changes: ImageSharpen" in texts(path)["parameters"]
    (path,) = saved(checkpoint, run, comfyui, None)
    told = texts(path)["parameters"]
    assert "ComfyUI changes" not in told and "Model" not in told
    files["9"] = {"class_type": "VAEGuess", "inputs": {}}
    files["7"]["inputs"]["vae"] = ["9", 0]
    files["8"]["inputs"]["images"] = ["7", 0]
    files["1"]["class_type"] = "LoaderOfAnotherKind"
    (path,) = saved(checkpoint, run, comfyui, files)
    told = texts(path)["parameters"]
    assert "ComfyUI changes: VAE of VAEGuess" in told and "Model" not in told
    said = request_from_infotext(told)[1]
    assert any("other nodes of ComfyUI's had a part" in one.message for one in said)


def test_latents_to_start_from_are_told(
    parts: Parts, model: ModelPatcher, clip: CLIP, checkpoint: Checkpoint, comfyui: Path
) -> None:
    _, sampler, sigmas, noise = made = WebUISampler().make(model, "Euler", "Normal", 4, 0.5, 5)
    guided, positive, negative, _, _ = WebUIPrompt().read(
        made[0], clip, "a cat", "", 4, sampler=sampler
    )
    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    held = {"model": guided, "positive": positive, "negative": negative, "sampler": sampler}
    told = text_of(
        Parts(**held, sigmas=sigmas, noise=noise, case=CASE, latent=start), checkpoint, comfyui
    )
    assert "Steps: 4, " in told and "Denoising strength: 0.5" in told


def test_without_a_negative_prompt_none_is_told(
    parts: Parts, checkpoint: Checkpoint, comfyui: Path
) -> None:
    class BasicGuider(CFGGuider):
        def set_conds(self, positive: Any, negative: Any) -> None:
            super().set_conds(positive, [])
            del self.original_conds["negative"]

    told = text_of(
        Parts(parts, guider=BasicGuider, case={**CASE, "cfg_scale": 1}), checkpoint, comfyui
    )
    assert "Negative prompt" not in told and "CFG scale: 1," in told


@pytest.mark.parametrize("behind", [False, True])
def test_loaded_hypernetworks_stand_in_the_prompt_in_their_order(
    *,
    behind: bool,
    model: ModelPatcher,
    clip: CLIP,
    checkpoint: Checkpoint,
    engine: Engine,
    comfyui: Path,
) -> None:
    def load(given: Any) -> Any:
        return LoadHypernetwork().load(given, "hn-swish-ln.pt", 0.5)[0]

    patched, sampler, sigmas, noise = WebUISampler().make(
        model if behind else load(model), "Euler", "Automatic", 4, 1.0, 5
    )
    guided, positive, negative, _, _ = WebUIPrompt().read(
        patched, clip, "a cat<hypernet:hn-relu:0.9>", "", 4, sampler=sampler
    )
    guided = load(guided) if behind else guided
    latents = sampled(guided, positive, negative, sampler, sigmas, noise, CASE)
    (path,) = saved(checkpoint, Run(latents, sampler, guided), comfyui)
    info = read_image_info(path).infotext
    assert info is not None
    tag = "<hypernet:hn-swish-ln:0.5>"
    own = "a cat<hypernet:hn-relu:0.9>"
    assert info.prompt == (f"{own}{tag}" if behind else f"{tag}{own}")
    first = "hn-relu" if behind else "hn-swish-ln"
    assert info.entries["Hypernet hashes"].startswith(f"{first}: ")
    request, left_out = request_from_infotext(info, engine.registry)
    assert not left_out
    # Both are that far from WebUI's; the other order is a hundred times as far.
    assert difference(engine.generate(request).latents, latents) <= 3e-4


def stock_nodes(model: ModelPatcher, clip: CLIP, checkpoint: Checkpoint) -> dict[str, Any]:
    """ComfyUI's own nodes of the example, as functions of their inputs."""

    def guider(model: Any, positive: Any, negative: Any, cfg: float) -> tuple[CFGGuider]:
        made = CFGGuider(model)
        made.set_conds(positive, negative)
        made.set_cfg(cfg)
        return (made,)

    def sample(
        noise: Any, guider: CFGGuider, sampler: Any, sigmas: Tensor, latent_image: Any
    ) -> tuple[dict[str, Tensor]]:
        samples = latent_image["samples"]
        first = noise.generate_noise(latent_image)
        return ({"samples": guider.sample(first, samples, sampler, sigmas, noise.seed)},)

    return {
        "CheckpointLoaderSimple": lambda ckpt_name: (model, clip, checkpoint),
        "CFGGuider": guider,
        "EmptyLatentImage": lambda width, height, batch_size: (
            {"samples": torch.zeros(batch_size, 4, height // 8, width // 8)},
        ),
        "SamplerCustomAdvanced": sample,
        "VAEDecode": lambda samples, vae: (decoded(vae, samples["samples"]),),
        "PreviewAny": lambda source: (),
    }


def test_the_example_runs(
    model: ModelPatcher, clip: CLIP, checkpoint: Checkpoint, comfyui: Path
) -> None:
    graph = json.loads((ROOT / "examples" / "comfyui_workflow.json").read_text(encoding="utf-8"))
    graph["1"]["inputs"]["ckpt_name"] = CHECKPOINT.name
    graph["2"]["inputs"]["steps"] = 4
    graph["5"]["inputs"] |= {"width": 64, "height": 72}
    stock, results = stock_nodes(model, clip, checkpoint), dict[str, Any]()
    for number, step in sorted(graph.items()):
        given = {
            name: results[value[0]][value[1]] if isinstance(value, list) else value
            for name, value in step["inputs"].items()
        }
        kind = NODE_CLASS_MAPPINGS.get(step["class_type"])
        if kind is None:
            results[number] = stock[step["class_type"]](**given)
            continue
        declared = kind.INPUT_TYPES()
        known = declared["required"].keys() | declared.get("optional", {}).keys()
        assert declared["required"].keys() <= given.keys() <= known
        if "hidden" in declared:
            given |= {"prompt": graph, "unique_id": number, "extra_pnginfo": {}}
        results[number] = getattr(kind(), kind.FUNCTION)(**given)
    assert "prompt: 1 part, 2 texts over 4 calls" in results["3"][3]
    (shown,) = results["8"]["ui"]["images"]
    assert shown["filename"] == "promptengine_00001_.png"
    assert results["8"]["result"] == (texts(comfyui / shown["filename"])["parameters"],)
    # Read from the graph alone, it is the same.
    info = read_image_info(comfyui / shown["filename"]).infotext
    image = describe_text(json.dumps(graph)).image
    assert info is not None and image is not None
    told = {key: info.entries[key].removesuffix(".0") for key in image.entries}
    assert told == {key: value.removesuffix(".0") for key, value in image.entries.items()}
    assert (image.prompt, image.negative_prompt) == (info.prompt, info.negative_prompt)
