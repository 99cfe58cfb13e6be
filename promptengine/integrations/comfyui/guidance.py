"""WebUI's guidance in ComfyUI: the text of the step, and ``AND`` as a sum.

ComfyUI takes several entries of one CONDITIONING as a mean and asks all of them at every step. The entries
made here name the part of the prompt that they are a text of, so that at each call one text of each part is
asked, and the answers are put together as ``U + sum(weight * (C - U))``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from promptengine.errors import PromptEngineError
from promptengine.integrations.comfyui.host import host_module
from promptengine.integrations.comfyui.patches import RunClock
from promptengine.text.conditioning import Conditioning

__all__ = ["PART_KEY", "Guidance", "PromptPart", "conditioning_entries", "guide"]

PART_KEY: Final = "promptengine"
"""Under which an entry of a CONDITIONING names the part of a prompt that it is a text of."""

_FUNCTION: Final = "sampler_calc_cond_batch_function"

Entry = dict[str, Any]
"""ComfyUI's cond: what is known of one text."""


@dataclass(frozen=True, slots=True, eq=False)
class PromptPart:
    """A part of a prompt; the entries of its texts share it.

    Attributes:
        conditioning: Its texts and when they hold.
        weight: How hard it pulls.
        origin: What the prompt was made of, for those who ask what steered a run.
    """

    conditioning: Conditioning
    weight: float
    origin: object = None


def conditioning_entries(
    parts: Sequence[tuple[Conditioning, float]], origin: object = None
) -> list[tuple[Tensor, Mapping[str, Any]]]:
    """Return encoded parts as a CONDITIONING, an entry for each text of each part.

    Shorter parts are lengthened by their own last vector, as in WebUI.

    Args:
        parts: Encoded texts with their weights.
        origin: See :class:`PromptPart`.
    """
    found: list[tuple[Tensor, Mapping[str, Any]]] = []
    longest = max(conditioning.embeddings.shape[1] for conditioning, _ in parts)
    for conditioning, weight in parts:
        part = PromptPart(conditioning, weight, origin)
        for number, text in enumerate(conditioning.embeddings):
            entry: Entry = {PART_KEY: (part, number)}
            if conditioning.pooled is not None:
                entry["pooled_output"] = conditioning.pooled[number : number + 1]
            filling = text[-1:].expand(longest - len(text), -1)
            found.append((torch.cat([text, filling])[None], entry))
    return found


def guide(model: Any, clock: RunClock) -> None:
    """Let a model be guided as in WebUI.

    Args:
        model: A ``ModelPatcher`` that is the caller's own clone.
        clock: Counts the calls; attached here.

    Raises:
        PromptEngineError: Another node has taken the place.
    """
    known = model.model_options.get(_FUNCTION)
    if known is not None and not isinstance(known, Guidance):
        message = "another node already decides how this model's texts are asked"
        raise PromptEngineError(f"{message}; put WebUI Prompt before it or leave it out")
    clock.attach(model)
    model.set_model_sampler_calc_cond_batch_function(Guidance(clock))
    # WebUI asks about the negative prompt at scale 1, too.
    model.model_options["disable_cfg1_optimization"] = True


@dataclass(frozen=True, slots=True, eq=False)
class Guidance:
    """Answers for ComfyUI's positive and negative conds at a call.

    Attributes:
        clock: Tells the call.
    """

    clock: RunClock

    def __call__(self, asked: Mapping[str, Any]) -> list[Tensor]:
        """Return x0 of the positive and of the negative conds.

        Args:
            asked: ComfyUI's arguments: ``conds``, ``input``, ``sigma``, ``model``, ``model_options``.

        Raises:
            PromptEngineError: There is ``AND`` or a weight, and nothing to guide away from.
        """
        positive, negative = asked["conds"]
        parts = self._parts(positive)
        against = (
            None if negative is None else [e for some, _ in self._parts(negative) for e in some]
        )
        plain = len(parts) == 1 and parts[0][1] == 1
        if against is None and not plain:
            message = "AND and weights of parts need a negative prompt; use a guider with CFG"
            raise PromptEngineError(message)
        first, unconditional = _asked([parts[0][0], against], asked)
        if plain:
            return [first, unconditional]
        answers = [first, *(_asked([entries, None], asked)[0] for entries, _ in parts[1:])]
        # Small numbers first: the scale magnifies what is rounded off beside the large ones.
        pulls = [
            (answer - unconditional) * weight
            for answer, (_, weight) in zip(answers, parts, strict=True)
        ]
        return [unconditional + torch.stack(pulls).sum(0), unconditional]

    def _parts(self, cond: Sequence[Entry]) -> list[tuple[list[Entry], float]]:
        """Return the texts that hold at the call, part by part, with their weights; entries of other nodes
        are one part of weight 1.
        """
        groups: dict[PromptPart | None, list[Entry]] = {}
        for entry in cond:
            part, number = entry.get(PART_KEY, (None, 0))
            held = groups.setdefault(part, [])
            if part is None or part.conditioning.segment_at(self.clock.call) == number:
                held.append(entry)
        return [(held, 1.0 if part is None else part.weight) for part, held in groups.items()]


def _asked(conds: list[list[Entry] | None], asked: Mapping[str, Any]) -> list[Tensor]:
    ask = host_module("comfy.samplers").calc_cond_batch
    return ask(asked["model"], conds, asked["input"], asked["sigma"], asked["model_options"])
