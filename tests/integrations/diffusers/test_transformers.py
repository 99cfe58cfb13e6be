"""Attached pipelines with a transformer: all that is not applied is told, and nothing is left behind."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from diffusers import (
    FluxControlNetModel,
    FluxControlNetPipeline,
    FluxImg2ImgPipeline,
    FluxInpaintPipeline,
    SD3ControlNetModel,
    StableDiffusion3ControlNetPipeline,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusion3InpaintPipeline,
)
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor

from promptengine import attach, detach
from promptengine.errors import (
    IncompatibleNetworkError,
    PromptEngineError,
    RequestError,
    UnknownNetworkError,
)
from tests.checkpoints.transformer_pipelines import flux_pipeline
from tests.integrations.diffusers.transformer_runs import BOTH, PIPELINES, SIZE, latents, own_texts

pytestmark = pytest.mark.usefixtures("nothing_told_unasked")


@BOTH
def test_networks_of_tags_are_taken_out_and_told(
    family: str, pipes: dict[str, Any], models: Path
) -> None:
    pipe = pipes[family]
    before = latents(pipe, "a cat")
    prompt = "a cat<hypernet:ink:0.8><lora:line:1><hypernet:nothing:1>"
    title = "Stable Diffusion 3" if family == "SD3" else "Flux"
    with attach(pipe, models) as attachment:
        with pytest.warns(UserWarning) as told:
            found = latents(pipe, prompt)
        (reports,) = attachment.networks
    torch.testing.assert_close(found, before, atol=1e-5, rtol=1e-5)
    said = [str(one.message) for one in told]
    assert (
        sum(
            f"hypernetwork 'ink' is not applied: no hypernetwork of a prompt acts on {title}" in one
            for one in said
        )
        == 1
    )
    assert (
        sum("LoRA 'line' is not applied" in one and "pipe.load_lora_weights" in one for one in said)
        == 1
    )
    assert sum("unknown hypernetwork 'nothing'" in one for one in said) == 1
    assert [(one.name, one.applied) for one in reports] == [
        ("ink", False),
        ("line", False),
        ("nothing", False),
    ]
    assert all(one.reason for one in reports)
    with attach(pipe, models, policy="strict"):
        with pytest.raises(IncompatibleNetworkError, match="'ink' is not applied"):
            latents(pipe, "a cat<hypernet:ink:0.8>")
        with pytest.raises(UnknownNetworkError):
            latents(pipe, prompt)
    with attach(pipe, models, policy="ignore") as attachment:
        latents(pipe, prompt)
        assert not any(one.applied for one in attachment.networks[0])


@BOTH
def test_an_embeddings_word_stays_text_and_is_told(
    family: str, pipes: dict[str, Any], tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    (tmp_path / "embeddings").mkdir()
    save_file({"emb_params": torch.ones(2, 16)}, tmp_path / "embeddings" / "snow.safetensors")
    pipe = pipes[family]
    before = latents(pipe, "a cat of snow")
    with attach(pipe, tmp_path):
        with pytest.warns(
            UserWarning, match="embedding 'snow' is not applied: no embedding acts on"
        ):
            found = latents(pipe, "a cat of snow")
        latents(pipe, "a cat")
    torch.testing.assert_close(found, before, atol=1e-5, rtol=1e-5)


@BOTH
def test_diagnostics_are_left_out_by_their_codes(
    family: str, pipes: dict[str, Any], models: Path
) -> None:
    pipe = pipes[family]
    prompt = "a (cat:-1) <hypernet:ink:1>"
    with attach(pipe, models), pytest.warns(UserWarning) as told:
        latents(pipe, prompt)
    said = [str(one.message) for one in told if one.category is UserWarning]
    codes = {one.rpartition("[")[2].rstrip("]") for one in said}
    assert codes == {"negative-weight", "unusable-network"}
    # No option of a transformer's pipeline does what a UNet's does.
    assert not any("option" in one for one in said)
    with attach(pipe, models, ignored_diagnostics=sorted(codes)) as attachment:
        latents(pipe, prompt)
        assert not attachment.networks[0][0].applied
    with pytest.raises(RequestError, match="did you mean 'negative-weight'"):
        attach(pipe, models, ignored_diagnostics=["negativ-weight"])
    with pytest.raises(
        RequestError, match="ignored_diagnostics is 'negative-weight'; it must be a"
    ):
        attach(pipe, models, ignored_diagnostics="negative-weight")


def test_a_negative_prompt_that_does_nothing_is_told(pipes: dict[str, Any], models: Path) -> None:
    for family, name, value in (
        ("Flux", "true_cfg_scale", "1.0"),
        ("SD3", "guidance_scale", "1.0"),
    ):
        pipe = pipes[family]
        more = {name: 1.0}
        with attach(pipe, models):
            before = latents(pipe, "a cat", **more)
            with pytest.warns(
                UserWarning, match=f"does nothing, since {name} is {value} .set {name}"
            ):
                found = latents(pipe, "a cat", negative_prompt="dog", **more)
            assert torch.equal(found, before)
            # Here it does something: what the parts are compared with.
            latents(pipe, "a cat AND dog", negative_prompt="dog", **more)


@BOTH
@pytest.mark.parametrize(
    ("asked_for", "words"),
    [
        ({"prompt_2": "a dog"}, "prompt_2 means nothing"),
        ({"max_sequence_length": 0}, "max_sequence_length is 0; it must be 1 to 512"),
        ({"max_sequence_length": 10**9}, "it must be 1 to 512"),
        ({"num_inference_steps": 0}, "steps is 0"),
        ({"negative_prompt": ["a", "b"]}, "2 negative prompts for 1 prompts"),
        (
            {"pooled_prompt_embeds": torch.zeros(1, 4)},
            "pooled_prompt_embeds and prompt are both given",
        ),
        ({"negative_prompt_embeds": torch.zeros(1, 2, 4)}, "negative_prompt_embeds and prompt are"),
        ({"negative_prompt": 5}, "negative_prompt is 5; it must be text or a list of texts"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt is 0; it must be 1 or more"),
    ],
)
def test_calls_that_cannot_be_honored_are_refused(
    family: str, asked_for: dict[str, Any], words: str, pipes: dict[str, Any], models: Path
) -> None:
    pipe = pipes[family]
    with attach(pipe, models):
        with pytest.raises(RequestError, match=words):
            latents(pipe, "a cat", **asked_for)
        for prompt, why in ((5, "prompt is 5; it must be text"), ([], "prompt is an empty list")):
            with pytest.raises(RequestError, match=why):
                latents(pipe, prompt)


def test_more_that_cannot_be_honored_is_refused(pipes: dict[str, Any], models: Path) -> None:
    for pipe in pipes.values():
        for setting, words in (
            ({"negative_weights": "subtract"}, "can only scale"),
            ({"dialect": "comfyui"}, "it must be one of webui, extended, novelai"),
            ({"t5": "loud"}, "t5 'loud' is none of weighted, unweighted, off"),
        ):
            with pytest.raises(RequestError, match=words):
                attach(pipe, models, **setting)
        with (
            attach(pipe, models, dialect="extended"),
            pytest.raises(RequestError, match="a pipeline has no regions"),
        ):
            latents(pipe, "a cat ADDCOL a dog")
    with pytest.raises(RequestError, match="t5 is 'off', and Flux"):
        attach(pipes["Flux"], models, t5="off")
    with attach(pipes["SD3"], models):
        for more, words in (
            ({"prompt_3": "a dog"}, "prompt_3 means nothing"),
            ({"clip_skip": 9}, "clip_skip is 9; with these text encoders it must be 0 to 1"),
            ({"clip_skip": "x"}, "clip_skip is 'x'; it must be a whole number"),
        ):
            with pytest.raises(RequestError, match=words):
                latents(pipes["SD3"], "a cat", **more)


def test_a_pipeline_that_lacks_a_part_is_named(models: Path) -> None:
    pipe = flux_pipeline()
    pipe.text_encoder_2 = pipe.tokenizer_2 = None
    with pytest.raises(
        PromptEngineError, match="FluxPipeline has no text_encoder_2 and no tokenizer_2"
    ):
        attach(pipe, models)


def test_what_is_no_known_pipeline_is_told_what_there_is(models: Path) -> None:
    class OtherPipeline:
        transformer = torch.nn.Linear(1, 1)
        scheduler = None

    with pytest.raises(
        PromptEngineError,
        match=r"OtherPipeline has no unet.*Stable Diffusion 1, 2 and XL.*Stable Diffusion 3; Flux",
    ):
        attach(OtherPipeline(), models)


@BOTH
def test_detached_is_as_never_attached(family: str, pipes: dict[str, Any], models: Path) -> None:
    pipe = pipes[family]
    parts = (pipe, pipe.transformer, pipe.scheduler, pipe.text_encoder, pipe.text_encoder_2)
    before = latents(pipe, "a cat")
    names = [set(vars(part)) for part in parts]
    weights = {name: tensor.clone() for name, tensor in pipe.transformer.state_dict().items()}
    own = type(pipe)
    attach(pipe, models)
    assert isinstance(pipe, own)
    latents(pipe, "a (cat:1.3) [dog|snow] AND fox")

    def fail(*_: Any) -> Any:
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        latents(pipe, "a cat", callback_on_step_end=fail)
    assert [set(vars(part)) - {"_promptengine"} for part in parts] == names
    detach(pipe)
    assert [set(vars(part)) for part in parts] == names
    assert type(pipe) is own
    assert torch.equal(latents(pipe, "a cat"), before)
    assert all(
        torch.equal(tensor, weights[name]) for name, tensor in pipe.transformer.state_dict().items()
    )


@BOTH
def test_embeddings_given_by_hand_pass_through(
    family: str, pipes: dict[str, Any], models: Path
) -> None:
    pipe = pipes[family]
    states, pooled = own_texts(pipe, "a cat")
    given = {"prompt_embeds": states[None], "pooled_prompt_embeds": pooled[None]}
    more = {"guidance_scale": 1.0}
    before = latents(pipe, None, **given, **more)
    with attach(pipe, models):
        assert torch.equal(latents(pipe, None, **given, **more), before)
        torch.testing.assert_close(latents(pipe, "a cat", **more), before, atol=1e-5, rtol=1e-5)


def control_of(family: str, pipe: Any) -> Any:
    own = dict(pipe.transformer.config)
    kind: Any = SD3ControlNetModel if family == "SD3" else FluxControlNetModel
    known = inspect.signature(kind.__init__).parameters
    control = kind(**{name: value for name, value in own.items() if name in known})
    # A fresh ControlNet's last convolutions are zero, and so is what it says.
    for tensor in control.controlnet_blocks.parameters():
        torch.nn.init.normal_(tensor)
    return control.eval().requires_grad_(False)


OTHERS: dict[str, tuple[str, Any]] = {
    "SD3 image to image": ("SD3", StableDiffusion3Img2ImgPipeline),
    "SD3 inpainting": ("SD3", StableDiffusion3InpaintPipeline),
    "SD3 ControlNet": ("SD3", StableDiffusion3ControlNetPipeline),
    "Flux image to image": ("Flux", FluxImg2ImgPipeline),
    "Flux inpainting": ("Flux", FluxInpaintPipeline),
    "Flux ControlNet": ("Flux", FluxControlNetPipeline),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_pipelines_run(case: str, pipes: dict[str, Any], models: Path) -> None:
    family, kind = OTHERS[case]
    parts = {name: part for name, part in pipes[family].components.items() if part is not None}
    image = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    more: dict[str, Any] = {"image": image, "strength": 0.7}
    if "ControlNet" in case:
        parts["controlnet"] = control_of(family, pipes[family])
        more = {"control_image": image}
    elif "inpainting" in case:
        more["mask_image"] = torch.ones(1, 1, SIZE, SIZE)
    pipe = kind(**parts)
    pipe.set_progress_bar_config(disable=True)
    more |= {"steps": 4, "num_images_per_prompt": 2}
    before = latents(pipe, ["a cat", "a dog"], **more)
    with attach(pipe, models):
        found = latents(pipe, ["a cat", "a dog"], **more)
        torch.testing.assert_close(found, before, atol=1e-5, rtol=1e-5)
        changing = latents(pipe, ["a [cat:dog:1]", "a dog"], **more)
        assert not torch.allclose(changing[:2], before[:2], atol=1e-4)
        torch.testing.assert_close(changing[2:], before[2:], atol=1e-5, rtol=1e-5)
        assert latents(pipe, ["a cat AND snow :0.5", "a BREAK dog"], **more).shape == before.shape


@BOTH
def test_loras_of_the_pipelines_own_have_the_scale_of_the_call(family: str, models: Path) -> None:
    pipe = PIPELINES[family]()
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    inject_adapter_in_model(config, pipe.text_encoder)
    scalings = [m.scaling for m in pipe.text_encoder.modules() if hasattr(m, "lora_A")]
    known = [dict(one) for one in scalings]
    ways = [{"joint_attention_kwargs": {"scale": scale}} for scale in (1.0, 0.3)]
    whole, part = (latents(pipe, "a cat", **way) for way in ways)
    assert not torch.allclose(whole, part, atol=1e-4)
    with attach(pipe, models):
        for way, expected in zip(ways, (whole, part), strict=True):
            torch.testing.assert_close(
                latents(pipe, "a cat", **way), expected, atol=1e-5, rtol=1e-5
            )
        latents(pipe, "a cat", joint_attention_kwargs={"scale": 0.0})
    assert scalings == known


def test_a_pipeline_that_asks_otherwise_is_refused(pipes: dict[str, Any], models: Path) -> None:
    pipe = pipes["SD3"]

    def thrice(_pipe: Any, _step: int, _time: Any, values: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"latents": values["latents"].repeat(3, 1, 1, 1)}

    with (
        attach(pipe, models),
        pytest.raises(PromptEngineError, match="asks about 6 rows for 1 images"),
    ):
        latents(pipe, "a cat", callback_on_step_end=thrice)


@BOTH
def test_modules_whose_weights_come_with_each_call_are_used(family: str, models: Path) -> None:
    pipe = PIPELINES[family]()
    before = latents(pipe, "a cat")
    changed = latents(pipe, "a dog")
    for module in pipe.components.values():
        if isinstance(module, torch.nn.Module):
            cpu_offload(module, torch.device("cpu"))
    assert next(pipe.text_encoder.parameters()).device.type == "meta"
    with attach(pipe, models):
        torch.testing.assert_close(latents(pipe, "a cat"), before, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(latents(pipe, "a dog"), changed, atol=1e-5, rtol=1e-5)


@BOTH
def test_half_precision_gives_the_pipelines_own_image(family: str, models: Path) -> None:
    pipe = PIPELINES[family]().to(torch.bfloat16)
    before = latents(pipe, "a cat")
    with attach(pipe, models):
        assert torch.equal(latents(pipe, "a cat"), before)
        found = latents(pipe, "a (cat:1.5) AND [dog|snow]")
    assert found.dtype == before.dtype and not torch.equal(found, before)
