"""Images of other programs: what is read of each form, what is named, and notes that mean harm."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sd_parsers import ParserManager

from promptengine import (
    PluginError,
    Registry,
    encode_image,
    read_image_info,
    recipe_from_infotext,
    register_image_reader,
)
from promptengine.images.png_chunks import ImageTexts, texts_of
from promptengine.images.read import Description, describe_text, describe_texts
from promptengine.infotext.programs.reader import ImageNotes, ImageReader, ProgramImage
from promptengine.infotext.read import read_infotext
from promptengine.plugins import PluginWarning, isolated_plugins
from tests.cli.test_main import Capture, run
from tests.infotext.programs.samples import NEGATIVE, PROMPT, SAMPLES, api_graph

FORMS = [(program, texts) for program, forms in SAMPLES.items() for texts in forms]


def described(texts: Mapping[str, str]) -> Description:
    if "" in texts:
        return describe_text(texts[""])
    return describe_texts(ImageTexts("PNG", texts))


def image_of(graph: object) -> ProgramImage:
    image = described({"prompt": json.dumps(graph)}).image
    assert image is not None
    return image


def as_png(texts: Mapping[str, str]) -> bytes:
    info, file = PngInfo(), BytesIO()
    for keyword, text in texts.items():
        info.add_text(keyword, text)
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def test_each_program_has_three_forms() -> None:
    assert len(SAMPLES) == 8 and min(map(len, SAMPLES.values())) >= 3


@pytest.mark.parametrize(("program", "texts"), FORMS)
def test_every_form_is_read(program: str, texts: Mapping[str, str], tmp_path: Path) -> None:
    found = described(texts)
    image, infotext = found.image, found.infotext
    assert image is not None and infotext is not None
    assert found.program == image.program == program
    assert image.prompt.startswith("a ") and {"Steps", "Seed", "Size"} <= image.entries.keys()
    assert image.verdict.startswith("not the same image: ")
    # As text it says the same, and what it asks for is a request in the right dialect.
    assert read_infotext(str(infotext)).entries == infotext.entries
    recipe = recipe_from_infotext(infotext, Registry.open(tmp_path))
    assert recipe.request.dialect == image.dialect
    assert recipe.request.steps in (20, 28, 30)
    assert not [d for d in recipe.diagnostics if "cannot be used" in d.message]


SAME: Mapping[str, tuple[str, int, int, str, str]] = {
    "ComfyUI": ("comfyui", 0, 156680208700286, "Euler", "Karras"),
    "InvokeAI": ("compel", 0, 7, "Euler", "Karras"),
    "Fooocus": ("webui", 0, 8018, "DPM++ 2M SDE", "Karras"),
    "SwarmUI": ("swarmui", 0, 7, "Euler", "Karras"),
    "SD.Next": ("webui", 0, 7, "DPM++ 2M", "Karras"),
    "Easy Diffusion": ("compel", 0, 7, "Euler a", "Uniform"),
    "NovelAI": ("novelai", 0, 7, "Euler", "Karras"),
    "Civitai": ("webui", 0, 7, "Euler a", ""),
}


@pytest.mark.parametrize("program", SAMPLES)
def test_settings_come_under_webuis_labels(program: str) -> None:
    dialect, form, seed, sampler, scheduler = SAME[program]
    image = described(SAMPLES[program][form]).image
    assert image is not None
    entries = image.entries
    assert (image.dialect, entries["Seed"], entries["Sampler"]) == (dialect, str(seed), sampler)
    assert entries.get("Schedule type", "") == scheduler
    assert image.negative_prompt.startswith(NEGATIVE)


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
@pytest.mark.parametrize("program", SAMPLES)
def test_files_of_all_formats(program: str, form: str, tmp_path: Path) -> None:
    texts = next(
        t
        for t in SAMPLES[program]
        if form == "png"
        or t.keys() & {"UserComment"}
        or "" in t
        or "parameters" in t
        or "invokeai_metadata" in t
    )
    path = tmp_path / f"a.{form}"
    if form == "png":
        path.write_bytes(as_png({key or "parameters": text for key, text in texts.items()}))
    else:
        (text, *_) = texts.values()
        path.write_bytes(encode_image(Image.new("RGB", (8, 8)), form, text))
    found = read_image_info(path)
    assert found.program == program and found.image is not None
    assert found.image.prompt.startswith("a ")


def test_networks_become_tags_of_a_dialect_that_has_them(tmp_path: Path) -> None:
    image = described(SAMPLES["ComfyUI"][1]).image
    assert image is not None
    # Of a LoRA with two weights SwarmUI names the backbone's first.
    assert image.prompt == f"{PROMPT}<lora:ink:0.8:0.5><hypernet:wash:0.7>"
    assert image.dialect == "swarmui"
    assert image.entries["Clip skip"] == "2" and image.entries["VAE"] == "kl"
    assert [one.place for one in image.unmapped] == ["node 15 (ImageScale)"]
    invoke = described(SAMPLES["InvokeAI"][0]).image
    assert invoke is not None and invoke.prompt == "a kite++ withLora(ink, 0.8)"


def test_a_prompt_that_swarmui_reads_otherwise_takes_no_tags() -> None:
    graph = api_graph(model=["10", 0])
    graph["6"]["inputs"]["text"] = "a <break> b"
    inputs = {"lora_name": "ink.pt", "strength_model": 1, "model": ["4", 0]}
    graph["10"] = {"class_type": "LoraLoaderModelOnly", "inputs": inputs}
    image = image_of(graph)
    assert (image.prompt, image.dialect) == ("a <break> b", "comfyui")
    assert ("node 10 (LoraLoaderModelOnly) LoRA", "'ink'") in [one[:2] for one in image.unmapped]
    assert "a LoRA is left out" in image.verdict


def test_other_methods_are_told_to_make_another_image() -> None:
    assert "another one" not in image_of(api_graph()).verdict
    assert "draws its noise" in image_of(api_graph(sampler_name="euler_ancestral")).verdict
    assert "another method" in image_of(api_graph(sampler_name="ddim")).verdict
    unknown = image_of(api_graph(sampler_name="res_multistep", scheduler="linear_quadratic"))
    assert {"Sampler", "Schedule type"}.isdisjoint(unknown.entries)
    assert [one.value for one in unknown.unmapped] == ["'res_multistep'", "'linear_quadratic'"]


def test_later_passes_and_start_images_are_told() -> None:
    graph = api_graph()
    graph["20"] = {"class_type": "LatentUpscaleBy", "inputs": {"samples": ["3", 0], "scale_by": 2}}
    second = {**graph["3"]["inputs"], "latent_image": ["20", 0], "denoise": 0.5, "steps": 9}
    graph["21"] = {"class_type": "KSampler", "inputs": second}
    graph["8"]["inputs"]["samples"] = ["21", 0]
    image = image_of(graph)
    assert image.entries["Steps"] == "20" and image.entries["Size"] == "512x768"
    assert "a later pass is left out: node 21 (KSampler)" in image.verdict
    assert {one.place for one in image.unmapped} == {
        "node 21 (KSampler)",
        "node 20 (LatentUpscaleBy)",
    }
    graph = api_graph(latent_image=["22", 0], denoise=0.6)
    graph["22"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["23", 0], "vae": ["4", 2]}}
    graph["23"] = {"class_type": "LoadImage", "inputs": {"image": "a.png"}}
    image = image_of(graph)
    assert image.entries["Denoising strength"] == "0.6"
    assert "made from another image" in image.verdict


def test_sampler_nodes_in_parts() -> None:
    graph = api_graph()
    graph["3"] = {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {
            **{"noise": ["30", 0], "guider": ["31", 0], "sampler": ["32", 0], "sigmas": ["33", 0]},
            "latent_image": ["5", 0],
        },
    }
    guider = {"cfg": 3.5, "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0]}
    graph |= {
        "30": {"class_type": "RandomNoise", "inputs": {"noise_seed": 9}},
        "31": {"class_type": "CFGGuider", "inputs": guider},
        "32": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "dpmpp_2m"}},
        "33": {
            "class_type": "BasicScheduler",
            "inputs": {"scheduler": "simple", "steps": 11, "denoise": 1, "model": ["4", 0]},
        },
    }
    image = image_of(graph)
    wanted = {"Steps": "11", "CFG scale": "3.5", "Seed": "9", "Sampler": "DPM++ 2M"}
    assert {**image.entries, **wanted, "Schedule type": "Simple"} == dict(image.entries)
    assert (image.prompt, image.negative_prompt) == (PROMPT, NEGATIVE)
    assert image.unmapped == ()


def test_joined_prompts_are_told() -> None:
    graph = api_graph(positive=["40", 0])
    joined = {"conditioning_1": ["6", 0], "conditioning_2": ["7", 0]}
    graph["40"] = {"class_type": "ConditioningCombine", "inputs": joined}
    image = image_of(graph)
    assert image.prompt == PROMPT and "joins several positive prompts" in image.verdict
    assert ("node 7 (CLIPTextEncode) text", repr(NEGATIVE)) in [one[:2] for one in image.unmapped]


def test_civitais_networks_are_applied_where_they_are_here(tmp_path: Path) -> None:
    folder = tmp_path / "Lora"
    folder.mkdir()
    (folder / "ink.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    infotext = described(SAMPLES["Civitai"][0]).infotext
    assert infotext is not None
    recipe = recipe_from_infotext(infotext, Registry.open(tmp_path))
    assert recipe.request.prompt == f"{PROMPT}<lora:ink:0.8>"
    told = [d.message for d in recipe.diagnostics]
    assert "Civitai resources are named by numbers alone and are not applied: 1 embed" in told
    recipe = recipe_from_infotext(infotext, Registry.open(tmp_path / "none"))
    assert recipe.request.prompt == PROMPT
    assert any("LoRA 'ink' at 0.8 is not applied" in d.message for d in recipe.diagnostics)


@pytest.mark.parametrize(
    "text",
    [
        "/imagine prompt: a cat",
        "a cat --ar 16:9 --v 5.2",
        "a cat --stylize 250 --niji 5 Job ID: 01234567-89ab-cdef-0123-456789abcdef",
    ],
)
def test_midjourneys_prompts_are_refused_in_words(
    text: str, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert run("info", str(tmp_path / "a.txt")) == 1
    assert "Midjourney, whose models run nowhere else" in capsys.readouterr().err
    assert run("txt2img", "--from", str(tmp_path / "a.txt"), "--checkpoint", "none.pt") == 2
    assert "Midjourney" in capsys.readouterr().err
    # With parameters it is an infotext, whatever is in its prompt.
    found = describe_text(f"{text}\nSteps: 20, Sampler: Euler a, Seed: 1")
    assert found.infotext is not None and found.infotext.prompt == text


def second_opinion(texts: Mapping[str, str]) -> Any:
    with Image.open(BytesIO(as_png(texts))) as image:
        return ParserManager().parse(image)


@pytest.mark.parametrize(
    "texts",
    [
        {**SAMPLES["ComfyUI"][0], **SAMPLES["ComfyUI"][2]},
        SAMPLES["InvokeAI"][1],
        SAMPLES["InvokeAI"][2],
        SAMPLES["InvokeAI"][3],
        SAMPLES["Fooocus"][0],
        SAMPLES["NovelAI"][0],
    ],
)
def test_sd_parsers_reads_the_same(texts: Mapping[str, str]) -> None:
    told, ours = second_opinion(texts), described(texts).image
    assert ours is not None and told is not None
    (sampler,) = told.samplers
    parameters = sampler.parameters
    assert str(parameters["seed"]) == ours.entries["Seed"]
    if "steps" in parameters:
        assert str(parameters["steps"]) == ours.entries["Steps"]
    if "cfg_scale" in parameters:
        assert float(parameters["cfg_scale"]) == float(ours.entries["CFG scale"])
    if sampler.model is not None and sampler.model.name:
        assert Path(sampler.model.name).stem in (ours.entries.get("Model"), "Stable Diffusion")
    (theirs,) = sampler.prompts
    assert ours.prompt.startswith(theirs.value)
    assert [one.value for one in sampler.negative_prompts] == [
        ours.negative_prompt.split(", low")[0]
    ]


def test_a_reader_can_be_registered() -> None:
    def read(notes: ImageNotes) -> ProgramImage | None:
        if "mine" not in notes.texts:
            return None
        return ProgramImage("Mine", "mine", notes.texts["mine"], entries={"Steps": "5"})

    def breaks(notes: ImageNotes) -> ProgramImage | None:
        raise KeyError("oops")

    with isolated_plugins():
        register_image_reader(ImageReader("Mine", read))
        found = describe_texts(texts_of(BytesIO(as_png({"mine": "a cat"})), Path("a")))  # type: ignore[arg-type]
        assert found.program == "Mine" and found.infotext is not None and found.image is not None
        assert str(found.infotext) == "a cat\nSteps: 5, Version: Mine"
        assert found.image.verdict.startswith("the same image can come out")
        with pytest.raises(PluginError, match="already has 'ComfyUI'"):
            register_image_reader(ImageReader("ComfyUI", read))
        register_image_reader(ImageReader("Broken", breaks))
        with pytest.warns(PluginWarning, match="'Broken' is passed over: KeyError"):
            assert describe_texts(ImageTexts("PNG", {"other": "a"})).image is None


def _circle(count: int) -> dict[str, Any]:
    """Nodes of which each needs the next one, and the last one the first."""
    graph = api_graph(model=["0a", 0], positive=["0a", 0], latent_image=["0a", 0])
    for number in range(count):
        following = [f"{(number + 1) % count}a", 0]
        inputs = dict.fromkeys(("model", "conditioning", "samples", "clip", "value"), following)
        graph[f"{number}a"] = {"class_type": "Odd", "inputs": inputs}
    return graph


HOSTILE: Mapping[str, Mapping[str, str]] = {
    "deep": {"prompt": '{"a":' * 100_000},
    "deep and closed": {"prompt": '{"a":' * 50_000 + "1" + "}" * 50_000},
    "long": {"workflow": json.dumps({"nodes": [], "links": [], "a": "x" * (3 << 20)})},
    "wide": {"workflow": '{"nodes":[' + ",".join(["{}"] * 600_000) + '],"links":[]}'},
    "circle": {"prompt": json.dumps(_circle(5_000))},
    "itself": {"prompt": json.dumps(api_graph(model=["3", 0], latent_image=["3", 0]))},
    "samplers in a row": {
        "prompt": json.dumps(
            {
                str(n): {"class_type": "KSampler", "inputs": {"latent_image": [str(n + 1), 0]}}
                for n in range(15_000)
            }
        )
    },
    "all need all": {
        "prompt": json.dumps(
            {
                str(n): {
                    "class_type": "KSampler" if n == 0 else "Odd",
                    "inputs": {f"model{m}": [str(m), 0] for m in range(150)},
                }
                for n in range(150)
            }
        )
    },
    "numbers": {
        "prompt": json.dumps(api_graph(seed=10**400, steps=-1, cfg=1e308)).replace(
            "1e+308", "1e999"
        )
    },
    "long number": {
        "prompt": '{"3":{"class_type":"KSampler","inputs":{"seed":' + "9" * 5_000 + "}}}"
    },
    "surrogates": {"prompt": json.dumps(api_graph()).replace("kite", "\\ud800")},
    "long dream": {"Dream": '"' + "\\" * 200_000},
    "flags": {"Dream": '"a"' + " -" * 100_000},
    "commas": {"parameters": "a\n" + "App: SD.Next, " * 18_000},
    "lines": {"parameters": "Prompt: a\nSeed: " + "\nSeed: 1" * 28_000},
    "resources": {
        "parameters": "a\nSteps: 1, Seed: 1, Size: 8x8, Civitai resources: " + "[" * 99_000
    },
}


@pytest.mark.parametrize("name", HOSTILE)
def test_notes_that_mean_harm_take_no_time(name: str, tmp_path: Path) -> None:
    start = time.process_time()
    found = described(HOSTILE[name])
    for remark in found.remarks:
        assert len(remark.message) < 3_000
    if found.infotext is not None:
        recipe_from_infotext(found.infotext, Registry.open(tmp_path))
    assert time.process_time() - start < 2.5


WRONG: tuple[object, ...] = (None, True, -1, 1e400, "x", [], {}, [["a"]], {"a": {}}, ["3", 0])


@pytest.mark.parametrize("program", SAMPLES)
def test_wrong_types_anywhere_are_told_or_passed_over(program: str) -> None:
    for texts in SAMPLES[program]:
        for keyword, text in texts.items():
            try:
                document = json.loads(text)
            except ValueError:
                continue
            for path in _paths(document):
                for value in WRONG:
                    changed = _changed(document, path, value)
                    found = described({**texts, keyword: json.dumps(changed)})
                    assert all(one.message for one in found.remarks)


def _paths(document: object, depth: int = 3) -> list[tuple[Any, ...]]:
    if depth == 0 or not isinstance(document, (dict, list)):
        return [()]
    keys = document.keys() if isinstance(document, dict) else range(min(len(document), 3))
    return [(key, *rest) for key in keys for rest in ((), *_paths(document[key], depth - 1))]


def _changed(document: Any, path: tuple[Any, ...], value: object) -> Any:
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = _changed(document[path[0]], path[1:], value)
    return copy


def test_a_second_pass_of_comfyui_is_named() -> None:
    graph = api_graph()
    last = next(n for n, node in graph.items() if node["class_type"] == "KSampler")
    decode = next(node for node in graph.values() if node["class_type"] == "VAEDecode")
    upscale = {"samples": [last, 0], "upscale_method": "nearest-exact", "width": 1024}
    graph["40"] = {"class_type": "LatentUpscale", "inputs": upscale}
    second = {**graph[last]["inputs"], "latent_image": ["40", 0], "denoise": 0.5, "seed": 2}
    graph["41"] = {"class_type": "KSampler", "inputs": second}
    decode["inputs"]["samples"] = ["41", 0]
    image = image_of(graph)
    assert "not the same image" in image.verdict
    named = "a later pass is left out: node 41 (KSampler) behind node 40 (LatentUpscale)"
    assert named in image.differences
    # What is read is the first pass, at its own seed and in full.
    assert image.entries["Seed"] == str(graph[last]["inputs"]["seed"])
    assert "Denoising strength" not in image.entries
    assert {"node 40 (LatentUpscale)", "node 41 (KSampler)"} <= {o.place for o in image.unmapped}


def test_sizes_that_comfyui_resizes_in_another_place_are_told() -> None:
    graph = api_graph()
    start = next(n for n in graph.values() if n["class_type"] == "EmptyLatentImage")
    assert "multiples of 64" not in image_of(graph).verdict
    start["inputs"]["width"] = 520
    assert "multiples of 64" in image_of(graph).verdict
