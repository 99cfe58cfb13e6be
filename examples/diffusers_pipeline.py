"""WebUI's prompts and hypernetworks in a pipeline of diffusers, and the engine on a pipeline's modules.

Run it: ``python examples/diffusers_pipeline.py``. Any ``StableDiffusionPipeline`` or
``StableDiffusionXLPipeline`` of your own will do in the place of the one that is made here.
"""

from __future__ import annotations

import sys
from typing import Any

from PIL.Image import Image

from promptengine import Engine, GenerationRequest, attach


def with_prompts(pipe: Any, prompt: str, models: str, *, steps: int = 20) -> Image:
    """Let diffusers sample, with its own scheduler, and this package read the prompt."""
    with attach(pipe, models) as attachment:
        image = pipe(prompt, num_inference_steps=steps).images[0]
        for report in attachment.networks[0]:
            print(f"{report.name}: {'applied' if report.applied else report.reason}")
    return image


def with_engine(pipe: Any, prompt: str, models: str, *, steps: int = 20) -> Image:
    """Let the engine sample with the pipeline's modules: WebUI's images, nothing copied."""
    engine = Engine.from_pipeline(pipe, models)
    return engine.generate(GenerationRequest(prompt=prompt, seed=1, steps=steps)).images[0]


def main(models: str = "models", steps: str = "8") -> None:
    """Make one prompt's image in both ways."""
    pipe = Engine.open(models=models).to_pipeline()
    prompt = "a (red:1.2) house <hypernet:neon:0.8>"
    with_prompts(pipe, prompt, models, steps=int(steps)).save("diffusers.png")
    with_engine(pipe, prompt, models, steps=int(steps)).save("engine.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
