"""What the starter checkpoint is made of: every size, seed and budget in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Recipe"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Sizes of the three networks and how long each is trained.

    The whole file must stay below 30 MB in float16, of which CLIP's table of 49,408 tokens takes
    ``49,408 * text_width * 2`` bytes. The text width is none of the UNet's, so that a hypernetwork
    tells text from picture by width.

    Attributes:
        pictures: How many are drawn; picture i is drawn from seed i.
        styled: How many of them in ink, in pixels or in neon, which their captions say. They teach
            the VAE and the UNet to draw so at all; a hypernetwork can only steer what they can do.
        size: Pixels of a side.
        vae_widths: Channels at full, half, quarter and eighth size.
        vae_groups: Groups of channels that are normalised together. Stable Diffusion's 32 would be a
            group for each of 32 channels, which takes the mean colour out of every picture.
        vae_steps: Batches of ``vae_batch`` crops of ``vae_crop`` pixels; the last tenth sees whole
            pictures, whose statistics differ a little from those of crops.
        polish_steps: Batches of half as many whole pictures that the decoder alone is trained on at last.
        unet_widths: Channels at 1, 1/2 and 1/4 of the latents' size. Attention runs on the two
            smaller ones: on a processor it costs more than all else at full size, and 8 x 8 places
            tell enough about where things are.
        unet_heads: Of every attention in the UNet.
        text_width: Of CLIP's text model.
        unet_steps: Batches of ``unet_batch`` pictures.
        unconditional: Share of captions left empty, for classifier-free guidance.
        stated: Share of the others that state all there is to see, as the evaluation's do.
        seed: Of initial weights and of every batch.
    """

    pictures: int = 40_000
    styled: int = 10_000
    size: int = 128
    vae_widths: tuple[int, ...] = (32, 64, 64, 64)
    vae_groups: int = 8
    vae_steps: int = 6_000
    vae_batch: int = 8
    vae_crop: int = 64
    vae_rate: float = 1.5e-3
    polish_steps: int = 3_000
    unet_widths: tuple[int, ...] = (64, 128, 160)
    unet_heads: int = 4
    text_width: int = 80
    text_layers: int = 4
    unet_steps: int = 13_500
    unet_batch: int = 32
    unet_rate: float = 1e-3
    unconditional: float = 0.1
    stated: float = 0.5
    averaging: float = 0.9995
    seed: int = 0

    def vae_config(self) -> dict[str, Any]:
        """Settings of diffusers' ``AutoencoderKL``."""
        levels = len(self.vae_widths)
        return {
            "block_out_channels": self.vae_widths,
            "layers_per_block": 1,
            "latent_channels": 4,
            "norm_num_groups": self.vae_groups,
            "down_block_types": ["DownEncoderBlock2D"] * levels,
            "up_block_types": ["UpDecoderBlock2D"] * levels,
        }

    def unet_config(self) -> dict[str, Any]:
        """Settings of diffusers' ``UNet2DConditionModel``."""
        attended = len(self.unet_widths) - 1
        return {
            "block_out_channels": self.unet_widths,
            "layers_per_block": 1,
            "cross_attention_dim": self.text_width,
            # diffusers' name for what is the number of heads in this family.
            "attention_head_dim": self.unet_heads,
            "sample_size": self.size // 8,
            "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * attended,
            "up_block_types": ["CrossAttnUpBlock2D"] * attended + ["UpBlock2D"],
        }

    def text_config(self) -> dict[str, Any]:
        """Settings of transformers' ``CLIPTextConfig``."""
        return {
            "hidden_size": self.text_width,
            "projection_dim": self.text_width,
            "intermediate_size": self.text_width * 4,
            "num_hidden_layers": self.text_layers,
            "num_attention_heads": self.text_width // 16,
            "hidden_act": "quick_gelu",
            "bos_token_id": 49406,
            "eos_token_id": 49407,
            "pad_token_id": 49407,
        }
