"""Sampling a latent from noise in a few equal Euler steps."""

from __future__ import annotations

from typing import Protocol, TypeVar

from torch import Tensor

Context = TypeVar("Context", contravariant=True)


class DenoisingModel(Protocol[Context]):
    """A model that predicts the clean latent of one frame from its context."""

    def denoise(self, context: Context, noisy_BCHW: Tensor, tau_B: Tensor, step_size_B: Tensor, /) -> Tensor: ...


def sample_frame(model: DenoisingModel[Context], context: Context, noise_BCHW: Tensor, num_steps: int) -> Tensor:
    """`num_steps` steps of size 1 / num_steps along v = (f(z) - z) / (1 - tau); the last step returns the prediction.

    Does not change the state. Shapes: returns [B, C, H, W].
    """
    assert num_steps >= 1, num_steps
    latent_BCHW, step = noise_BCHW, 1 / num_steps
    step_B = noise_BCHW.new_full((len(noise_BCHW),), step)
    for index in range(num_steps):
        predicted = model.denoise(context, latent_BCHW, step_B * index, step_B)
        latent_BCHW = latent_BCHW + (predicted - latent_BCHW) * (step / (1 - step * index))
    return latent_BCHW
