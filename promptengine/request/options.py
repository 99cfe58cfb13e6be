"""The settings of a request beside its main fields, and WebUI's names for them.

WebUI keeps such settings in one global place; here they travel with the request. Every field says which
WebUI option it is, what it may be and what WebUI calls its values, and :meth:`Options.from_webui` and
:meth:`Options.to_webui` read that, so there is no second list to keep in step.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Final, Literal

from promptengine.errors import RequestError
from promptengine.request.setting import Setting

__all__ = [
    "REQUEST_SETTINGS",
    "SETTINGS",
    "UNTOLD_SETTINGS",
    "Emphasis",
    "NegativeWeights",
    "NoiseSource",
    "Options",
    "read_settings",
]

NoiseSource = Literal["cpu", "nv", "gpu"]
"""Who draws the noise: torch's CPU generator, NVIDIA's numbers, or the same as an actual GPU's."""

Emphasis = Literal["Original", "No norm", "Ignore", "None"]
"""What becomes of weights in prompts, by WebUI's names.

``Original`` multiplies and restores the mean, ``No norm`` only multiplies, ``Ignore`` reads brackets
and ``BREAK`` but drops the weights, ``None`` reads the text as it stands.
"""

NegativeWeights = Literal["scale", "subtract"]
"""What a weight below 0 does to a word.

``scale`` multiplies what the text encoder says of it, as WebUI does: the key and the value that
cross-attention makes of it turn around together. ``subtract`` takes the word at the weight without its sign
and turns the value alone around (NegPiP): what attends to the word is pushed away from it.
"""

_NOISE_SOURCES: Final = {"CPU": "cpu", "NV": "nv", "GPU": "gpu"}
_NOISE_SCHEDULES: Final = {"Default": "default", "Zero Terminal SNR": "zero_terminal_snr"}
_EMPHASES: Final = {name: name for name in ("Original", "No norm", "Ignore", "None")}
_NEGATIVE_WEIGHTS: Final = {name: name for name in ("scale", "subtract")}
_REFINED_PASSES: Final = {"second pass": "second", "first pass": "first", "both passes": "both"}
_UNIPC_VARIANTS: Final = {name: name for name in ("bh1", "bh2", "vary_coeff")}
_UNIPC_SPACINGS: Final = {name: name for name in ("time_uniform", "time_quadratic", "logSNR")}


def _flag(webui: str, label: str = "") -> Mapping[str, Setting]:
    return {"setting": Setting(webui=webui, kind=bool, label=label)}


def _whole(webui: str, low: int, high: int, label: str = "") -> Mapping[str, Setting]:
    return {"setting": Setting(webui=webui, kind=int, low=low, high=high, label=label)}


def _number(
    webui: str, low: float, high: float, label: str = "", *, of_sampler: bool = False
) -> Mapping[str, Setting]:
    setting = Setting(
        webui=webui, kind=float, low=low, high=high, label=label, of_sampler=of_sampler
    )
    return {"setting": setting}


def _choice(webui: str, choices: Mapping[str, str], label: str = "") -> Mapping[str, Setting]:
    return {"setting": Setting(webui=webui, kind=str, choices=choices, label=label)}


def _text(webui: str) -> Mapping[str, Setting]:
    return {"setting": Setting(webui=webui, kind=str)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Settings of one request; the defaults are WebUI's, save that noise comes from the CPU.

    Attributes:
        noise_source: Who draws the noise. ``nv`` and ``gpu`` draw NVIDIA's numbers on any device; an
            infotext without ``RNG``, which is how ``gpu`` is written, means these.
        noise_seed_delta: Added to each seed after the first noise (ENSD).
        eta_ancestral: Fresh noise of ancestral and SDE samplers: 0 none, 1 all.
        eta_ddim: Fresh noise of DDIM: 0 none, 1 as much as DDPM.
        churn: Noise that Euler, Heun and DPM2 add and take away again over a run.
        churn_from: Least sigma at which they do.
        churn_to: Greatest sigma at which they do; 0 is no limit.
        noise_scale: Standard deviation of noise added on the way; 1 is right in theory.
        unguided_early: Up to this share of a pass's calls the negative prompt is left out.
        unguided_below: Under this sigma every second call leaves the negative prompt out (NGMS).
        unguided_below_always: Under that sigma every call does.
        quantize_timesteps: Ask the UNet at whole timesteps only.
        sgm_noise: Scale the first noise to ``sqrt(1 + sigma**2)`` in place of ``sigma``.
        unipc_variant: UniPC's B(h): ``bh1``, ``bh2`` or ``vary_coeff``.
        unipc_spacing: Where UniPC's steps lie: ``time_uniform``, ``time_quadratic`` or ``logSNR``.
        unipc_order: Order of UniPC; never more than there are steps.
        unipc_lower_order_final: Lower UniPC's order in the last steps.
        sde_noise_per_batch: Draw the noise of SDE samplers for the batch as a whole, so that a
            image depends on its neighbors.
        sigma_min: Lowest sigma of schedule types that have a range; 0 is the model's.
        sigma_max: Highest sigma of schedule types that have a range; 0 is the model's.
        rho: Bend of the Karras and Polyexponential schedule types; 0 is the type's own.
        beta_alpha: First shape parameter of the Beta schedule type.
        beta_beta: Second shape parameter of the Beta schedule type.
        discard_penultimate: Leave the last sigma but one out with every sampler.
        old_karras_range: Schedule types that have a range go from 10 to 0.1 whatever the model.
        downcast_alphas: Round the model's noise levels to float16 first.
        noise_schedule: ``default``, or ``zero_terminal_snr`` to let levels end in pure noise.
        emphasis: What becomes of weights in prompts.
        negative_weights: What weights below 0 do, in the prompt and in the negative prompt: ``scale`` as
            WebUI does, or ``subtract``, which is called NegPiP.
        comma_backtrack: How many tokens back a full chunk may break at a comma.
        aesthetic_score: How good an image shall be, 0 to 10, as the SDXL refiner is told with the prompt.
        negative_aesthetic_score: Likewise with the negative prompt.
        comments: Leave out what stands behind a ``#`` in prompts, to the end of its line.
        old_emphasis: Weights as the first versions of WebUI applied them.
        old_timelines: ``[a:b:when]`` as old versions counted: below 1 is a fraction.
        undoubled_timelines: Do not count a second-order sampler's calls as two per step.
        pad_with_empty: Lengthen the shorter of prompt and negative prompt by empty chunks.
        pad_with_last: Lengthen or cut the negative prompt by its last vector; goes before the other.
        batch_guidance: Ask the UNet for prompt and negative prompt at once.
        token_merging: Share of the tokens that self-attention at full resolution merges with ones like them;
            0 merges none. It is quicker and loses detail.
        token_merging_img2img: The same where there is an image to start from; 0 is as otherwise.
        token_merging_hires: The same in the high-resolution pass; 0 is as in the first.
        hypernetwork: A hypernetwork to add to every prompt that does not name it; ``None`` is none.
        lora: A LoRA likewise.
        default_multiplier: Their multiplier.
        functional_lora: Apply LoRAs beside the weights in place of changing these; the sums are the same.
        refiner_pass: Where there are two passes, which of them a refiner takes part in: ``second``, ``first``
            or ``both``.
        refiner_by_steps: Count a refiner's share by calls of the denoiser, not by noise levels.
        hires_first_networks: Read the prompts of the high-resolution pass under the networks of the first
            pass; not where it has a checkpoint of its own.
        img2img_exact_steps: Image to image takes as many steps as asked for, whatever the strength.
        overlay_original: After inpainting, put the untouched part of the original on top. Soft inpainting
            always does.
        color_correction: Give what img2img makes the colors of the image it started from.
        return_grid: Return what a script makes several images of as one image too, before these.
        return_mask: Return of each inpainted image the mask, white where it shows.
        return_mask_composite: Return of each inpainted image what was painted, without the original.
        mask_strength: How much of what is repainted inpainting models do not see, 0 to 1.
        image_upscaler: What enlarges images to start from; ``None`` is Lanczos.
        upscaler_tile: Side of the tiles in which networks that enlarge images work, in pixels; 0 leaves
            images whole.
        upscaler_tile_overlap: Pixels that neighboring tiles share.
        swinir_tile: The same for SwinIR, whose tiles are averaged where they overlap.
        swinir_tile_overlap: Likewise.
        background_color: Put behind transparent images, as ``#rrggbb``.
        extra_noise: Further noise on an image to start from.
        initial_noise_multiplier: Scale of the noise on an image to start from.
        name_model: Write the model's name into the infotext.
        hash_model: Write the model's hash.
        name_vae: Write the name of a VAE of its own.
        hash_vae: Write its hash.
        name_version: Write this program's version.
        hash_embeddings: Write the hashes of textual inversions.

    Raises:
        RequestError: On creation, if a value is none of those allowed; names WebUI's option.
    """

    noise_source: NoiseSource = field(
        default="cpu", metadata=_choice("randn_source", _NOISE_SOURCES, "RNG")
    )
    noise_seed_delta: int = field(
        default=0, metadata=_whole("eta_noise_seed_delta", -(2**63), 2**63, "ENSD")
    )

    eta_ancestral: float = field(
        default=1.0, metadata=_number("eta_ancestral", 0, 10, "Eta", of_sampler=True)
    )
    eta_ddim: float = field(
        default=0.0, metadata=_number("eta_ddim", 0, 1, "Eta DDIM", of_sampler=True)
    )
    churn: float = field(
        default=0.0, metadata=_number("s_churn", 0, 1000, "Sigma churn", of_sampler=True)
    )
    churn_from: float = field(
        default=0.0, metadata=_number("s_tmin", 0, 100_000, "Sigma tmin", of_sampler=True)
    )
    churn_to: float = field(
        default=0.0, metadata=_number("s_tmax", 0, 100_000, "Sigma tmax", of_sampler=True)
    )
    noise_scale: float = field(
        default=1.0, metadata=_number("s_noise", 0, 100, "Sigma noise", of_sampler=True)
    )
    unguided_early: float = field(
        default=0.0, metadata=_number("skip_early_cond", 0, 1, "Skip Early CFG")
    )
    unguided_below: float = field(default=0.0, metadata=_number("s_min_uncond", 0, 100_000, "NGMS"))
    unguided_below_always: bool = field(
        default=False, metadata=_flag("s_min_uncond_all", "NGMS all steps")
    )
    quantize_timesteps: bool = field(default=False, metadata=_flag("enable_quantization"))
    sgm_noise: bool = field(
        default=False, metadata=_flag("sgm_noise_multiplier", "SGM noise multiplier")
    )
    unipc_variant: str = field(
        default="bh1", metadata=_choice("uni_pc_variant", _UNIPC_VARIANTS, "UniPC variant")
    )
    unipc_spacing: str = field(
        default="time_uniform",
        metadata=_choice("uni_pc_skip_type", _UNIPC_SPACINGS, "UniPC skip type"),
    )
    unipc_order: int = field(default=3, metadata=_whole("uni_pc_order", 1, 50, "UniPC order"))
    unipc_lower_order_final: bool = field(
        default=True, metadata=_flag("uni_pc_lower_order_final", "UniPC lower order final")
    )
    sde_noise_per_batch: bool = field(
        default=False, metadata=_flag("no_dpmpp_sde_batch_determinism")
    )

    sigma_min: float = field(
        default=0.0, metadata=_number("sigma_min", 0, 100_000, "Schedule min sigma")
    )
    sigma_max: float = field(
        default=0.0, metadata=_number("sigma_max", 0, 100_000, "Schedule max sigma")
    )
    rho: float = field(default=0.0, metadata=_number("rho", 0, 1000, "Schedule rho"))
    beta_alpha: float = field(
        default=0.6, metadata=_number("beta_dist_alpha", 0.01, 100, "Beta schedule alpha")
    )
    beta_beta: float = field(
        default=0.6, metadata=_number("beta_dist_beta", 0.01, 100, "Beta schedule beta")
    )
    discard_penultimate: bool = field(
        default=False,
        metadata=_flag("always_discard_next_to_last_sigma", "Discard penultimate sigma"),
    )
    old_karras_range: bool = field(default=False, metadata=_flag("use_old_karras_scheduler_sigmas"))
    downcast_alphas: bool = field(
        default=False, metadata=_flag("use_downcasted_alpha_bar", "Downcast alphas_cumprod")
    )
    noise_schedule: str = field(
        default="default", metadata=_choice("sd_noise_schedule", _NOISE_SCHEDULES, "Noise Schedule")
    )

    emphasis: Emphasis = field(
        default="Original", metadata=_choice("emphasis", _EMPHASES, "Emphasis")
    )
    negative_weights: NegativeWeights = field(
        default="scale", metadata=_choice("negative_weights", _NEGATIVE_WEIGHTS, "Negative weights")
    )
    comma_backtrack: int = field(default=20, metadata=_whole("comma_padding_backtrack", 0, 75))
    aesthetic_score: float = field(
        default=6.0, metadata=_number("sdxl_refiner_high_aesthetic_score", 0, 10, "Aesthetic score")
    )
    negative_aesthetic_score: float = field(
        default=2.5,
        metadata=_number("sdxl_refiner_low_aesthetic_score", 0, 10, "Negative aesthetic score"),
    )
    comments: bool = field(
        default=True, metadata=_flag("enable_prompt_comments", "Prompt comments")
    )
    old_emphasis: bool = field(default=False, metadata=_flag("use_old_emphasis_implementation"))
    old_timelines: bool = field(
        default=False, metadata=_flag("use_old_scheduling", "Old prompt editing timelines")
    )
    undoubled_timelines: bool = field(
        default=False, metadata=_flag("dont_fix_second_order_samplers_schedule")
    )
    pad_with_empty: bool = field(default=False, metadata=_flag("pad_cond_uncond", "Pad conds"))
    pad_with_last: bool = field(default=False, metadata=_flag("pad_cond_uncond_v0", "Pad conds v0"))
    batch_guidance: bool = field(default=True, metadata=_flag("batch_cond_uncond"))
    token_merging: float = field(
        default=0.0, metadata=_number("token_merging_ratio", 0, 0.9, "Token merging ratio")
    )
    token_merging_img2img: float = field(
        default=0.0, metadata=_number("token_merging_ratio_img2img", 0, 0.9)
    )
    token_merging_hires: float = field(
        default=0.0, metadata=_number("token_merging_ratio_hr", 0, 0.9, "Token merging ratio hr")
    )

    hypernetwork: str = field(default="None", metadata=_text("sd_hypernetwork"))
    lora: str = field(default="None", metadata=_text("sd_lora"))
    default_multiplier: float = field(
        default=1.0, metadata=_number("extra_networks_default_multiplier", -1000, 1000)
    )
    functional_lora: bool = field(default=False, metadata=_flag("lora_functional"))

    refiner_pass: str = field(
        default="second",
        metadata=_choice("hires_fix_refiner_pass", _REFINED_PASSES, "Hires refiner"),
    )
    refiner_by_steps: bool = field(
        default=False,
        metadata=_flag("refiner_switch_by_sample_steps", "Refiner switch by sampling steps"),
    )
    hires_first_networks: bool = field(
        default=False,
        metadata=_flag("hires_fix_use_firstpass_conds", "Hires use first pass networks"),
    )
    img2img_exact_steps: bool = field(default=False, metadata=_flag("img2img_fix_steps"))
    overlay_original: bool = field(default=True, metadata=_flag("overlay_inpaint"))
    color_correction: bool = field(default=False, metadata=_flag("img2img_color_correction"))
    return_grid: bool = field(default=True, metadata=_flag("return_grid"))
    return_mask: bool = field(default=False, metadata=_flag("return_mask"))
    return_mask_composite: bool = field(default=False, metadata=_flag("return_mask_composite"))
    mask_strength: float = field(
        default=1.0, metadata=_number("inpainting_mask_weight", 0, 1, "Conditional mask weight")
    )
    image_upscaler: str = field(default="None", metadata=_text("upscaler_for_img2img"))
    upscaler_tile: int = field(default=192, metadata=_whole("ESRGAN_tile", 0, 4096))
    upscaler_tile_overlap: int = field(default=8, metadata=_whole("ESRGAN_tile_overlap", 0, 1024))
    swinir_tile: int = field(default=192, metadata=_whole("SWIN_tile", 0, 4096))
    swinir_tile_overlap: int = field(default=8, metadata=_whole("SWIN_tile_overlap", 0, 1024))
    background_color: str = field(default="#ffffff", metadata=_text("img2img_background_color"))
    extra_noise: float = field(
        default=0.0, metadata=_number("img2img_extra_noise", 0, 100, "Extra noise")
    )
    initial_noise_multiplier: float = field(
        default=1.0, metadata=_number("initial_noise_multiplier", 0, 100, "Noise multiplier")
    )

    name_model: bool = field(default=True, metadata=_flag("add_model_name_to_info"))
    hash_model: bool = field(default=True, metadata=_flag("add_model_hash_to_info"))
    name_vae: bool = field(default=True, metadata=_flag("add_vae_name_to_info"))
    hash_vae: bool = field(default=True, metadata=_flag("add_vae_hash_to_info"))
    name_version: bool = field(default=True, metadata=_flag("add_version_to_infotext"))
    hash_embeddings: bool = field(
        default=True, metadata=_flag("textual_inversion_add_hashes_to_infotext")
    )

    def __post_init__(self) -> None:
        for own in fields(self):
            own.metadata["setting"].check(getattr(self, own.name))

    @classmethod
    def from_webui(cls, settings: Mapping[str, object], base: Options | None = None) -> Options:
        """Read WebUI's options.

        Args:
            settings: WebUI's names and values; what is absent keeps ``base``'s value.
            base: What to change; the defaults if None.

        Raises:
            RequestError: An unknown name, a value of the wrong type or out of range, or an option
                that belongs to the request itself (:data:`REQUEST_SETTINGS`).
        """
        changes: dict[str, Any] = {}
        for name, value in settings.items():
            if name in REQUEST_SETTINGS:
                message = f"option {name} is the request's own field {REQUEST_SETTINGS[name]}"
                raise RequestError(message, field=name)
            translated = _setting(name).ours(value)
            if name in _FIELD_OF:
                changes[_FIELD_OF[name]] = translated
        return replace(base or cls(), **changes)

    def to_webui(self) -> dict[str, object]:
        """Return all options by WebUI's names, with WebUI's values."""
        own = {name: SETTINGS[name].theirs(getattr(self, key)) for name, key in _FIELD_OF.items()}
        return own | {name: setting.only for name, setting in _FIXED.items()}

    def changed(self) -> dict[str, object]:
        """Return the fields that differ from the defaults, by our names."""
        values = {own.name: (getattr(self, own.name), own.default) for own in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}

    @staticmethod
    def webui_name(own: str) -> str:
        """WebUI's name of one of our fields."""
        return next(name for name, key in _FIELD_OF.items() if key == own)


_FIXED: Final[Mapping[str, Setting]] = {
    setting.webui: setting
    for setting in (
        Setting(webui="enable_batch_seeds", kind=bool, only=True),
        Setting(webui="upcast_attn", kind=bool, only=False),
        Setting(webui="cross_attention_optimization", kind=str, only="Automatic"),
        Setting(webui="enable_pnginfo", kind=bool, only=True),
        Setting(webui="persistent_cond_cache", kind=bool, only=True),
    )
}
"""Options of WebUI that this engine has one answer to."""

REQUEST_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {"CLIP_stop_at_last_layers": "clip_skip", "tiling": "tiling"}
)
"""Options of WebUI that are fields of the request itself here."""

_FIELD_OF: Final = {own.metadata["setting"].webui: own.name for own in fields(Options)}

SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType(
    {own.metadata["setting"].webui: own.metadata["setting"] for own in fields(Options)}
    | dict(_FIXED)
    | {
        "CLIP_stop_at_last_layers": Setting(
            webui="CLIP_stop_at_last_layers", kind=int, low=1, high=100
        ),
        "tiling": Setting(webui="tiling", kind=bool),
    }
)
"""Every option of WebUI that is understood, by its name."""


_TOLD_OTHERWISE: Final = {"sd_hypernetwork", "sd_lora", "token_merging_ratio_img2img"}
"""Options without a label of their own that infotexts tell all the same: by tags, and by another option's entry."""

UNTOLD_SETTINGS: Final = frozenset(
    name
    for name, setting in SETTINGS.items()
    if not setting.label and name not in {*_TOLD_OTHERWISE, *REQUEST_SETTINGS}
)
"""Options that no infotext tells, so that one which is read says nothing about them."""


def _setting(name: str) -> Setting:
    if name in SETTINGS:
        return SETTINGS[name]
    near = difflib.get_close_matches(name, SETTINGS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise RequestError(f"unknown option {name!r}{hint}", field=name)


def read_settings(assignments: Mapping[str, str]) -> dict[str, object]:
    """Read options as a command line has them: WebUI's names, and values as text.

    Raises:
        RequestError: An unknown name, or a text that is no such value.
    """
    return {name: _setting(name).read(text) for name, text in assignments.items()}
