"""One step of training: noise in, predicted noise out, and what the network learns from the rest."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from promptengine.checkpoints.load import Checkpoint
from promptengine.generation.cfg_denoiser import predict_noise, skips_resized_like_webui
from promptengine.networks.hypernetwork.inject import inject_hypernetworks
from promptengine.networks.hypernetwork.module import Hypernetwork
from promptengine.sampling.parameterization import model_target
from promptengine.training.config import TrainingConfig
from promptengine.training.dataset import Batch
from promptengine.training.latent_cache import Inputs, TrainingExamples
from promptengine.training.rng import derived_seed, generator

__all__ = ["TrainStep"]

_PROBES: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class TrainStep:
    """A network, its optimizer, and what it learns from.

    The base model takes no part in it but to compute: its weights ask for no gradients.

    Attributes:
        checkpoint: The base model.
        config: How to train.
        material: What to train on.
        network: What is trained: in training mode, float32, on the UNet's device.
        optimizer: Of the network's weights.
    """

    checkpoint: Checkpoint
    config: TrainingConfig
    material: TrainingExamples
    network: Hypernetwork
    optimizer: torch.optim.Optimizer

    def differentiate(self, batches: Sequence[Batch]) -> tuple[float, float]:
        """Compute the gradients of one step.

        Args:
            batches: One for each pass.

        Returns:
            The mean loss and the norm of the gradients.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=self._device)
        for batch in batches:
            random = generator(self.config.seed, "batch", batch.index)
            inputs = self.material.inputs(batch.indices, random)
            trained = len(self.checkpoint.noise_table.alphas_cumprod)
            timesteps = torch.randint(trained, (len(batch.indices),), generator=random)
            with torch.enable_grad(), self._seeded(batch.index), self._in_place():
                part = self._loss(inputs, timesteps, random) / len(batches)
                part.backward()
            loss += part.detach()
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        # One transfer from the device, which waits until it is done, and not two.
        mean, norm = torch.stack([loss, nn.utils.get_total_norm(gradients)]).tolist()
        return mean, norm

    def update(self, step: int) -> None:
        """Change the weights by the gradients, with the rate and the bound of a step."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rates.at(step)
        bound = self.config.clip_bounds.at(step)
        if self.config.clipping == "value":
            nn.utils.clip_grad_value_(self.network.parameters(), bound)
        elif self.config.clipping == "norm":
            nn.utils.clip_grad_norm_(self.network.parameters(), bound)
        self.optimizer.step()

    @torch.no_grad()
    def probe(self) -> float:
        """Measure the network's loss without dropout, at fixed noise over all timesteps."""
        losses: list[float] = []
        images = [index for bucket in self.material.buckets for index in bucket]
        trained = len(self.checkpoint.noise_table.alphas_cumprod)
        self.network.eval()
        for index in range(_PROBES):
            random = generator(self.config.seed, "probe", index)
            inputs = self.material.inputs([images[index % len(images)]], random)
            timesteps = torch.tensor([int((index + 0.5) / _PROBES * trained)])
            with self._in_place():
                losses.append(float(self._loss(inputs, timesteps, random)))
        self.network.train()
        return sum(losses) / len(losses)

    def is_finite(self) -> bool:
        """Tell whether all weights are numbers."""
        return all(bool(tensor.isfinite().all()) for tensor in self.network.parameters())

    @property
    def _device(self) -> torch.device:
        return next(self.checkpoint.unet.parameters()).device

    def _loss(self, inputs: Inputs, timesteps: Tensor, random: torch.Generator) -> Tensor:
        """Mean squared error of the predicted noise at ``timesteps`` ``[batch]``, weighted: 0-d."""
        device, latents = self._device, inputs.latents
        noise = torch.randn(latents.shape, generator=random)
        kept = self.checkpoint.noise_table.alphas_cumprod.to("cpu", torch.float32)[timesteps]
        kept = kept[:, None, None, None]
        noisy = kept.sqrt() * latents + (1 - kept).sqrt() * noise
        unet, context = self.checkpoint.unet, inputs.context.to(device)
        predicted = predict_noise(unet, noisy.to(device), timesteps.to(device), context)
        target = model_target(self.checkpoint.prediction, latents, noise, kept)
        return ((predicted - target.to(device)).square() * inputs.weights.to(device)).mean()

    @contextmanager
    def _in_place(self) -> Generator[None]:
        """Inject the network, its own weights and not a copy, whatever the UNet's dtype."""
        unet: Any = self.checkpoint.unet
        journal = self.checkpoint.journal
        dtype = next(unet.parameters()).dtype
        mixed = dtype != torch.float32
        with (
            journal.run(),
            inject_hypernetworks(unet, [(self.network, 1.0)], training=True, journal=journal),
            skips_resized_like_webui(unet, journal=journal),
            torch.autocast(self._device.type, dtype if mixed else None, enabled=mixed),
        ):
            yield

    @contextmanager
    def _seeded(self, index: int) -> Generator[None]:
        """Let dropout, which knows only torch's global generator, depend on the batch alone."""
        device = self._device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(derived_seed(self.config.seed, "dropout", index))
            yield
