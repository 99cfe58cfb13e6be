"""What *WebUI Prompt* hands on to those who tell how an image was made."""

from __future__ import annotations

from dataclasses import dataclass

from promptengine.integrations.comfyui.patches import RunClock
from promptengine.prompt import Prompt, Schedule
from promptengine.prompt.dialects import WEBUI
from promptengine.request.options import Emphasis
from promptengine.request.request import Policy
from promptengine.request.result import NetworkReport
from promptengine.text.conditioning import Conditioning

__all__ = ["PromptOrigin", "PromptSettings", "PromptTold"]


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """What is asked for.

    Attributes:
        prompt: In the dialect, tags included.
        negative_prompt: Likewise.
        calls: How many calls of the denoiser prompt schedules count; 1 or more.
        dialect: That both are written in.
        clip_skip: As WebUI counts; 1 leaves it to the CLIP.
        emphasis: What becomes of weights.
        policy: What to do with a network that cannot be applied.
    """

    prompt: str
    negative_prompt: str
    calls: int
    dialect: str = WEBUI
    clip_skip: int = 1
    emphasis: Emphasis = "Original"
    policy: Policy = "warn"


@dataclass(frozen=True, slots=True, eq=False)
class PromptTold:
    """What an infotext says of prompts.

    Attributes:
        settings: As asked for.
        reports: What became of the tags.
        positive: The encoded parts of the prompt with their weights.
        negative: The encoded negative prompt.
        prompts: Prompt and negative prompt, as parsed.
        schedules: What was encoded of them.
        clip_skip: As WebUI counts, the CLIP's own included; None where that has no number of WebUI's.
        changes: How many changes of weights wait in the model and in the text encoder, the prompt's LoRAs
            apart: those of other nodes.
        lora_changes: How many of the prompt's LoRAs wait in the model.
        clock: Of the model that the prompts were put into, by which that is known.
    """

    settings: PromptSettings
    reports: tuple[NetworkReport, ...]
    positive: tuple[tuple[Conditioning, float], ...]
    negative: Conditioning
    prompts: tuple[Prompt, Prompt]
    schedules: tuple[Schedule, ...]
    clip_skip: int | None
    changes: int
    lora_changes: int
    clock: RunClock


@dataclass(frozen=True, slots=True, eq=False)
class PromptOrigin:
    """What a CONDITIONING was made of.

    Attributes:
        told: The prompts.
        negative: Whether it is the negative one.
    """

    told: PromptTold
    negative: bool
