"""Infotexts as values of a job's form: from text, from images, from saved ones, whatever they hold."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from promptengine.images.save import encode_image
from promptengine.infotext.webui import webui_fields
from promptengine.server.base64_images import encode_base64
from tests.infotext.programs.samples import api_graph
from tests.server.v1.test_images import put, server
from tests.server.v1.test_routes import JOBS, SMALL, waited

ROUTE = "/promptengine/v1/infotext"
JSON = {"Content-Type": "application/json"}
PLAIN = (
    "a cat\nNegative prompt: dog\nSteps: 5, Sampler: DPM++ 2M, Schedule type: SGM Uniform, "
    "CFG scale: 4.5, Seed: 18446744073709551615, Size: 64x72, Model: none, Clip skip: 2"
)
HIRES = (
    f"{PLAIN}, Denoising strength: 0.4, Hires upscale: 1.5, Hires steps: 3, "
    "Hires sampler: DPM++ 2M Karras, Hires upscaler: Lanczos, Version: v1.10.1"
)
INPAINTED = (
    f"{PLAIN}, Denoising strength: 0.6, Mask blur: 7, Inpaint area: Only masked, "
    "Masked area padding: 16, Masked content: latent noise, Version: v1.10.1"
)


@pytest.fixture(scope="module")
def http(empty_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("infotexts")
    put(folder / "day" / "saved.png", "a saved cat")
    (folder / "day" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with server(empty_models, folder, hide_paths=True) as client:
        yield client


def read(http: httpx.Client, **form: Any) -> dict[str, Any]:
    answer = http.post(ROUTE, json=form)
    assert answer.status_code == 200, answer.text
    return answer.json()


def notes(told: dict[str, Any]) -> str:
    return "\n".join(note["message"] for note in told["notes"])


def test_a_text_becomes_the_values_of_a_form(http: httpx.Client) -> None:
    told = read(http, infotext=PLAIN)
    values = told["values"]
    assert told["infotext"] == PLAIN
    assert told["parameters"] == webui_fields(PLAIN)
    assert (values["prompt"], values["negative_prompt"]) == ("a cat", "dog")
    assert (values["steps"], values["cfg_scale"], values["clip_skip"]) == (5, 4.5, 2)
    assert (values["width"], values["height"]) == (64, 72)
    assert (values["sampler"], values["scheduler"]) == ("DPM++ 2M", "sgm_uniform")
    # No number of JavaScript's has all of its digits.
    assert values["seed"] == "18446744073709551615"
    assert values["checkpoint"] == "none"
    # Who does not name the source of its noise had it from a GPU.
    assert values["options"] == {"randn_source": "NV"}
    assert (values["hires"], values["start"]) == (None, None)
    assert "batch_size" not in values
    assert "policy" not in values
    assert told["notes"] == []


def test_the_values_make_a_job(http: httpx.Client) -> None:
    values = read(http, infotext=HIRES)["values"]
    assert values["hires"]["sampler"] == "DPM++ 2M"
    assert values["hires"]["scheduler"] == "karras"
    del values["start"]
    job = http.post(JOBS, json={**values, "steps": 2}).json()["id"]
    assert waited(http, job)["state"] == "done"
    (infotext,) = http.get(f"{JOBS}/{job}/result").json()["infotexts"]
    assert "Seed: 18446744073709551615" in infotext


def test_what_is_said_of_an_image_to_start_from(http: httpx.Client) -> None:
    told = read(http, infotext=INPAINTED)
    start = told["values"]["start"]
    inpainting = start.pop("inpainting")
    assert start == {"denoising_strength": 0.6}
    expected = {"blur": [7, 7], "only_masked": True, "padding": 16, "content": "latent noise"}
    assert inpainting.items() >= expected.items()
    assert inpainting["inverted"] is False
    assert "made from another one (img2img)" in notes(told)
    assert read(http, infotext=HIRES)["values"]["start"] == {"denoising_strength": 0.4}


def test_settings_that_are_not_at_their_defaults(http: httpx.Client) -> None:
    told = read(http, infotext=f"{PLAIN}, ENSD: 31337, RNG: CPU, Tiling: True, Nonsense: 7")
    assert told["values"]["options"] == {"eta_noise_seed_delta": 31337}
    assert told["values"]["tiling"] is True
    assert "'Nonsense' is not understood" in notes(told)


def test_a_prompt_alone_says_nothing_of_settings(http: httpx.Client) -> None:
    assert read(http, infotext="a cat")["values"] == {"prompt": "a cat", "negative_prompt": ""}


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
def test_images_of_all_formats(http: httpx.Client, form: str) -> None:
    data = encode_image(Image.new("RGB", (8, 8)), form, PLAIN)
    told = read(http, image=f"data:image/{form};base64,{encode_base64(data)}")
    assert told["infotext"] == PLAIN
    assert told["source"]
    assert told["texts"] == {}
    assert told["values"]["steps"] == 5


def test_saved_images_by_their_ids(http: httpx.Client) -> None:
    told = read(http, saved="day/saved.png")
    assert told["values"]["prompt"] == "a saved cat"
    for id_ in ("day/none.png", "../secret.png", ".bin/a.png", "\0", "day"):
        assert http.post(ROUTE, json={"saved": id_}).status_code == 404
    refused = http.post(ROUTE, json={"saved": "day/damaged.png"})
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith("image 'day/damaged.png': ")


def with_texts(**texts: str) -> str:
    info = PngInfo()
    for keyword, text in texts.items():
        info.add_itxt(keyword, text)
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    return encode_base64(file.getvalue())


def test_other_programs_are_named(http: httpx.Client) -> None:
    graph = json.dumps({"1": {"class_type": "KSampler", "inputs": {}}})
    told = read(http, image=with_texts(prompt=graph, workflow="{}"))
    assert (told["infotext"], told["values"], told["parameters"]) == ("", {}, {})
    assert "metadata of ComfyUI" in notes(told)
    assert told["texts"] == {"prompt": graph, "workflow": "{}"}
    assert "metadata of ComfyUI" in notes(read(http, infotext=graph))
    told = read(http, image=with_texts())
    assert told["values"] == {}
    assert "does not say how it was made" in notes(told)


def test_files_that_are_not_here_are_told(http: httpx.Client) -> None:
    text = PLAIN.replace("Model: none", "Model: gone, Model hash: 0123456789, VAE: Automatic")
    told = read(http, infotext=text)
    assert "checkpoint" not in told["values"]
    assert told["values"]["vae"] == "Automatic"
    assert "checkpoint 'gone' [0123456789] is not in the models folder" in notes(told)
    # The file of that name is another one: what is said of it does not tell where the folder is.
    text = PLAIN.replace("Model: none", "Model: none, Model hash: 0123456789")
    told = read(http, infotext=text)
    assert told["values"]["checkpoint"] == "none"
    (note,) = told["notes"]
    assert "differs" in note["message"]
    assert note["hint"].startswith("the hash of Stable-diffusion/none.safetensors is ")


def test_unknown_names_give_way_and_are_told(http: httpx.Client) -> None:
    text = PLAIN.replace("DPM++ 2M", "Sheep").replace("SGM Uniform", "Wool")
    told = read(http, infotext=text)
    assert (told["values"]["sampler"], told["values"]["scheduler"]) == ("Euler a", "automatic")
    assert "'Sheep' cannot be used" in notes(told)
    assert "'Wool' cannot be used" in notes(told)


@pytest.mark.parametrize(
    ("form", "field"),
    [
        *(({}, "infotext"), ({"infotext": "a", "image": ""}, "infotext")),
        *(({"infotext": "a", "saved": "a"}, "infotext"), ({"infotext": "  \n"}, "infotext")),
        *(({"infotext": "a" * 300_000}, "infotext"), ({"image": "aGVsbG8="}, "image")),
        *(({"image": "https://example.com/a.png"}, "image"), ({"image": "file:///a"}, "image")),
        *(({"image": "§"}, "image"), ({"image": ""}, "image")),
        ({"image": encode_base64(b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIHDR")}, "image"),
    ],
)
def test_what_cannot_be_read_is_refused(
    http: httpx.Client, form: dict[str, str], field: str
) -> None:
    refused = http.post(ROUTE, json=form)
    assert refused.status_code == 422
    assert refused.json()["field"] == field


@pytest.mark.parametrize("form", [{"infotext": 5}, {"image": None, "picture": "a"}, [], "a"])
def test_forms_are_strict(http: httpx.Client, form: object) -> None:
    assert http.post(ROUTE, json=form).status_code == 422


HOSTILE = {
    "keys": "a\nSteps: 5, " + ", ".join(f"K{number}: {number}" for number in range(15_000)),
    "hashes": "a\nSteps: 5, Seed: 1, " + 'Lora hashes: "' + "x: 01234567, " * 15_000 + '"',
    "tags": "<lora:x:1>" * 20_000 + '\nSteps: 5, Seed: 1, Size: 8x8, Lora hashes: "x: 01234567"',
    "brackets": "(" * 20_000 + "\nSteps: 5, Seed: 1, Size: 8x8",
    "long": "(" * 200_000 + "\nSteps: 5, Seed: 1, Size: 8x8",
    "numbers": "a\nSteps: 1e999, Seed: 99999999999999999999999, Size: 9x99999999, CFG scale: nan",
    "refiner": "a\nSteps: 5, Seed: 1, Size: 8x8, Refiner: ../../x [0123456789], Refiner switch at: 9",
    "json": "[" * 100_000 + "]" * 100_000,
    "document": "a\nSteps: 5, Seed: 1, Hashes: " + "[" * 100_000,
    "hires": "a\nSteps: 5, Seed: 1, Hires upscale: -5, Hires resize: 0x0, Hires sampler: Sheep",
    "surrogates": "a \ud800\nSteps: 5, Seed: 1, Size: 8x8, K\ud800ey: \udfff",
    "start": "a\nSteps: 5, Seed: 1, Mask blur: -4, Masked content: sheep, Denoising strength: 7",
    "quotes": "a\nSteps: 5, Seed: 1, " + 'Key: "\\' * 30_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_are_read_in_time(http: httpx.Client, text: str) -> None:
    begin = time.monotonic()
    answer = http.post(ROUTE, content=json.dumps({"infotext": text}), headers=JSON)
    assert time.monotonic() - begin < 10
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert len(told["notes"]) <= 101
    if told["values"]:
        # Whatever is offered can be sent.
        form = {**told["values"], **SMALL, "start": None, "policy": "ignore"}
        assert http.post(JOBS, json=form).status_code == 202


def test_many_texts_of_a_file_are_cut(http: httpx.Client) -> None:
    told = read(http, image=with_texts(**{f"t{number}": "x" * 30_000 for number in range(80)}))
    assert len(told["texts"]) == 50
    assert max(map(len, told["texts"].values())) == 20_000


def test_images_of_other_programs_are_read(http: httpx.Client) -> None:
    graph = json.dumps(api_graph(seed=2**60))
    told = read(http, image=with_texts(prompt=graph))
    assert told["source"] == "ComfyUI" and told["texts"] == {"prompt": graph}
    values = told["values"]
    assert (values["dialect"], values["sampler"], values["seed"]) == (
        "comfyui",
        "Euler",
        str(2**60),
    )
    assert (values["width"], values["height"]) == (512, 768)
    assert "made by ComfyUI; not the same image" in notes(told)
    assert read(http, infotext=graph)["values"]["prompt"] == values["prompt"]
    # WebUI's own route knows WebUI's texts alone.
    sent = {"image": with_texts(prompt=graph)}
    answer = http.post("/sdapi/v1/png-info", json=sent).json()
    assert (answer["info"], answer["items"]) == ("", {"prompt": graph})
