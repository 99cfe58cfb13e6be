"""Attached pipelines with a transformer: the pipeline's own images, WebUI's syntax, and all else told."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    FlowMatchHeunDiscreteScheduler,
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
from promptengine.networks.hypernetwork.files import save_hypernetwork
from tests.checkpoints.transformer_pipelines import flux_pipeline, sd3_pipeline
from tests.networks.builders import random_network
from tests.networks.lora.builders import plain, write_lora

SIZE = 16
RUN: dict[str, Any] = {"height": SIZE, "width": SIZE, "max_sequence_length": 12}
PIPELINES: dict[str, Callable[..., Any]] = {"SD3": sd3_pipeline, "Flux": flux_pipeline}
UNGUIDED: dict[str, dict[str, Any]] = {"SD3": {"guidance_scale": 1.0}, "Flux": {}}
GUIDED: dict[str, dict[str, Any]] = {
    "SD3": {"guidance_scale": 3.0},
    "Flux": {"true_cfg_scale": 3.0},
}
BOTH = pytest.mark.parametrize("family", PIPELINES)


@pytest.fixture(scope="module")
def pipes() -> dict[str, Any]:
    torch.set_num_threads(1)
    return {name: make() for name, make in PIPELINES.items()}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / "hypernetworks").mkdir()
    (folder / "embeddings").mkdir()
    save_hypernetwork(random_network([64, 128]), folder / "hypernetworks" / "ink.pt")
    write_lora(folder / "Lora" / "line.safetensors", plain("lora_unet_x", 4, 4))
    return folder


@pytest.fixture(autouse=True)
def _nothing_is_told_unasked() -> Iterator[None]:
    with warnings.catch_warnings(action="error", category=UserWarning):
        yield


def latents(pipe: Any, prompt: Any, *, steps: int = 2, seed: int = 5, **more: Any) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    run = {**RUN, "num_inference_steps": steps, "generator": generator, "output_type": "latent"}
    return pipe(prompt, **{**run, **more})[0]


@contextmanager
def asked(pipe: Any) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """The texts that the transformer is asked with, call by call, and their pooled vectors."""
    found: list[tuple[Tensor, Tensor]] = []
    forward = pipe.transformer.forward

    def record(*args: Any, **kwargs: Any) -> Any:
        found.append((kwargs["encoder_hidden_states"], kwargs["pooled_projections"]))
        return forward(*args, **kwargs)

    pipe.transformer.forward = record
    try:
        yield found
    finally:
        del pipe.transformer.forward


def own_texts(pipe: Any, text: str) -> tuple[Tensor, Tensor]:
    """A text as the pipeline itself encodes it, without its batch."""
    with torch.no_grad():
        found = pipe.encode_prompt(
            text,
            None,
            **({"prompt_3": None} if hasattr(pipe, "text_encoder_3") else {}),
            max_sequence_length=RUN["max_sequence_length"],
        )
    pooled = found[2] if hasattr(pipe, "text_encoder_3") else found[1]
    return found[0][0], pooled[0]


CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "SD3": ("SD3", {}),
    "SD3 with a negative prompt": ("SD3", {"negative_prompt": "dog snow"}),
    "SD3 without guidance": ("SD3", {"guidance_scale": 1.0}),
    "SD3 with clip skip": ("SD3", {"clip_skip": 1}),
    "SD3 with skipped layers": (
        "SD3",
        {"skip_guidance_layers": [0], "skip_layer_guidance_stop": 0.9, "steps": 3},
    ),
    "Flux": ("Flux", {}),
    "Flux with a negative prompt": ("Flux", {"negative_prompt": "dog", "true_cfg_scale": 3.0}),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_prompt_without_marks_gives_the_pipelines_own_image(
    case: str, pipes: dict[str, Any], models: Path
) -> None:
    family, more = CALLS[case]
    pipe = pipes[family]
    for prompt in ("a photo of a cat", "", "Cat, dog & snow! " * 3):
        before = latents(pipe, prompt, **more)
        with attach(pipe, models, ignored_diagnostics=["prompt-cut-off"]):
            torch.testing.assert_close(latents(pipe, prompt, **more), before, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(latents(pipe, "dog", **more), before, atol=1e-2)


@BOTH
def test_a_batch_gives_the_pipelines_own_images(
    family: str, pipes: dict[str, Any], models: Path
) -> None:
    pipe = pipes[family]
    more: dict[str, Any] = {"num_images_per_prompt": 2, "true_cfg_scale": 2.0}
    if family == "SD3":
        more = {"num_images_per_prompt": 2}
    prompts, negative = ["a cat", "a dog of snow"], ["dog", "cat"]
    before = latents(pipe, prompts, negative_prompt=negative, **more)
    with attach(pipe, models):
        found = latents(pipe, prompts, negative_prompt=negative, **more)
        # A text that is longer than its neighbors is asked with on its own.
        longer = latents(pipe, ["a cat", "a dog BREAK snow"], negative_prompt=negative, **more)
    assert found.shape == before.shape == longer.shape
    torch.testing.assert_close(found, before, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(longer[:2], before[:2], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(longer[2:], before[2:], atol=1e-3)


def test_weights_act_on_clip_with_the_mean_and_on_t5_without(
    pipes: dict[str, Any], models: Path
) -> None:
    pipe = pipes["SD3"]
    states, pooled = own_texts(pipe, "a cat dog")
    weights = torch.ones(77)
    weights[2] = 1.5
    clip = states[:77] * weights[:, None]
    clip = clip * (states[:77].mean() / clip.mean())
    t5 = states[77:].clone()
    t5[1] *= 1.5
    expected = {"weighted": t5, "unweighted": states[77:], "off": torch.zeros_like(t5)}
    for setting, rest in expected.items():
        with asked(pipe) as found, attach(pipe, models, t5=setting):  # type: ignore[arg-type]
            latents(pipe, "a (cat:1.5) dog", guidance_scale=1.0)
        torch.testing.assert_close(found[0][0][0], torch.cat([clip, rest]), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found[0][1][0], pooled)


def test_weights_act_on_fluxs_t5_and_not_on_its_pooled_clip(
    pipes: dict[str, Any], models: Path
) -> None:
    pipe = pipes["Flux"]
    states, pooled = own_texts(pipe, "a cat dog")
    weighted = states.clone()
    weighted[1] *= 1.5
    for setting, expected in (("weighted", weighted), ("unweighted", states)):
        with asked(pipe) as found, attach(pipe, models, t5=setting):  # type: ignore[arg-type]
            latents(pipe, "a (cat:1.5) dog")
        torch.testing.assert_close(found[0][0][0], expected)
        torch.testing.assert_close(found[0][1][0], pooled)


def test_a_break_begins_a_chunk_of_clip_and_no_other_text_of_t5(
    pipes: dict[str, Any], models: Path
) -> None:
    for family, chunks in (("SD3", 77), ("Flux", 0)):
        pipe = pipes[family]
        (cat, pooled), (dog, _) = own_texts(pipe, "cat"), own_texts(pipe, "dog")
        both, _ = own_texts(pipe, "cat dog")
        with asked(pipe) as found, attach(pipe, models):
            latents(pipe, "cat BREAK dog", guidance_scale=1.0)
        expected = torch.cat([cat[:chunks], dog[:chunks], both[chunks:]])
        torch.testing.assert_close(found[0][0][0], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found[0][1][0], pooled)


def test_sd3_reads_prompts_of_any_length(pipes: dict[str, Any], models: Path) -> None:
    pipe = pipes["SD3"]
    with (
        asked(pipe) as found,
        attach(pipe, models),
        pytest.warns(UserWarning, match="T5 has no room"),
    ):
        latents(pipe, "cat " * 100 + "dog", negative_prompt="snow")
    # A negative prompt of another length is asked with on its own.
    assert [text.shape[1] for text, _ in found] == [77 + 12, 2 * 77 + 12] * 2


@BOTH
@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("a [cat:dog:0.5]", ["a cat"] * 3 + ["a dog"]),
        ("a [cat:dog:1]", ["a cat", "a cat", "a dog"]),
        ("a [cat|dog]", ["a cat", "a cat", "a dog"]),
    ],
)
def test_texts_change_over_the_steps_as_in_webui(
    family: str, prompt: str, texts: Sequence[str], pipes: dict[str, Any], models: Path
) -> None:
    """WebUI compares a counter from 0 with steps from 1, so that the first text holds one call longer."""
    pipe, steps = pipes[family], len(texts)
    known = {text: own_texts(pipe, text) for text in (*texts, "snow", "fox")}
    negative = ["snow", "snow", *["fox"] * steps][:steps]
    pairs = (
        zip(negative, texts, strict=True) if family == "SD3" else zip(texts, negative, strict=True)
    )
    guided = {"negative_prompt": "[snow:fox:1]", **GUIDED[family]}
    for more, expected in (
        (UNGUIDED[family], texts),
        (guided, [one for pair in pairs for one in pair]),
    ):
        with asked(pipe) as found, attach(pipe, models):
            latents(pipe, prompt, steps=steps, **more)
        rows = [row for both in found for row in zip(*both, strict=True)]
        for (states, pooled), text in zip(rows, expected, strict=True):
            torch.testing.assert_close(states, known[text][0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(pooled, known[text][1], atol=1e-5, rtol=1e-5)


def test_a_step_is_one_however_often_the_transformer_is_asked(
    pipes: dict[str, Any], models: Path
) -> None:
    pipe = pipes["SD3"]
    skipping = {"skip_guidance_layers": [0], "skip_layer_guidance_stop": 1.0}
    with asked(pipe) as found, attach(pipe, models):
        latents(pipe, "[cat:dog:2]", steps=4, skip_layer_guidance_start=-1.0, **skipping)
    cat, dog = own_texts(pipe, "cat")[0], own_texts(pipe, "dog")[0]
    assert len(found) == 2 * 4
    for number, (states, _) in enumerate(found):
        expected = cat if number // 2 <= 2 else dog
        torch.testing.assert_close(states[-1], expected, atol=1e-5, rtol=1e-5)


def test_a_scheduler_of_second_order_has_two_calls_to_a_step(models: Path) -> None:
    pipe = sd3_pipeline()
    pipe.scheduler = FlowMatchHeunDiscreteScheduler()
    before = latents(pipe, "cat", steps=3)
    with asked(pipe) as found, attach(pipe, models):
        torch.testing.assert_close(latents(pipe, "cat", steps=3), before, atol=1e-5, rtol=1e-5)
        found.clear()
        latents(pipe, "[cat:dog:0.5]", steps=3)
    cat = own_texts(pipe, "cat")[0]
    alike = [torch.allclose(states[-1], cat, atol=1e-5) for states, _ in found]
    assert alike == [True] * 4 + [False]


@BOTH
def test_parts_add_up_as_in_webui(family: str, pipes: dict[str, Any], models: Path) -> None:
    """A step of Euler's is linear in what the transformer says."""
    pipe = pipes[family]
    one = {"steps": 1}
    alone, scale = UNGUIDED[family], GUIDED[family]
    cat, dog, snow, empty = (
        latents(pipe, text, **one, **alone) for text in ("a cat", "dog", "snow", "")
    )
    prompt = "a cat AND dog :0.5"
    with attach(pipe, models, ignored_diagnostics=["weight-of-whole-prompt"]):
        found = latents(pipe, prompt, **one, **alone)
        torch.testing.assert_close(
            found, empty + (cat - empty) + 0.5 * (dog - empty), atol=1e-4, rtol=1e-4
        )
        guided = latents(pipe, prompt, negative_prompt="snow", **one, **scale)
        added = snow + 3 * ((cat - snow) + 0.5 * (dog - snow))
        torch.testing.assert_close(guided, added, atol=1e-4, rtol=1e-4)
        weak = latents(pipe, "a cat :0.5", negative_prompt="snow", **one, **scale)
        torch.testing.assert_close(weak, snow + 1.5 * (cat - snow), atol=1e-4, rtol=1e-4)
        several = latents(pipe, [prompt, "snow"], **one, **alone, seed=5)
        torch.testing.assert_close(several[:1], found, atol=1e-4, rtol=1e-4)


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
    ],
)
def test_calls_that_cannot_be_honored_are_refused(
    family: str, asked_for: dict[str, Any], words: str, pipes: dict[str, Any], models: Path
) -> None:
    pipe = pipes[family]
    with attach(pipe, models), pytest.raises(RequestError, match=words):
        latents(pipe, "a cat", **asked_for)


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


def test_sd3_without_t5_reads_clip_alone(models: Path) -> None:
    pipe = sd3_pipeline(t5=False)
    before = latents(pipe, "a cat")
    with attach(pipe, models):
        torch.testing.assert_close(latents(pipe, "a cat"), before, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(latents(pipe, "a (cat:2)"), before, atol=1e-3)


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


@BOTH
def test_a_pipelines_sigmas_are_its_steps(family: str, pipes: dict[str, Any], models: Path) -> None:
    pipe = pipes[family]
    sigmas = [1.0, 0.8, 0.6, 0.4, 0.2]
    with asked(pipe) as found, attach(pipe, models):
        latents(pipe, "[cat:dog:0.6]", sigmas=sigmas, guidance_scale=1.0)
    cat = own_texts(pipe, "cat")[0]
    alike = [torch.allclose(states[-1], cat, atol=1e-5) for states, _ in found]
    assert alike == [True] * 4 + [False]


def test_a_pipeline_that_asks_otherwise_is_refused(pipes: dict[str, Any], models: Path) -> None:
    pipe = pipes["SD3"]

    def thrice(_pipe: Any, _step: int, _time: Any, values: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"latents": values["latents"].repeat(3, 1, 1, 1)}

    with (
        attach(pipe, models),
        pytest.raises(PromptEngineError, match="asks about 6 rows for 1 images"),
    ):
        latents(pipe, "a cat", callback_on_step_end=thrice)
