"""Generation frame by frame: begin, sample, commit. The only place where this loop is written, for one row or many.

Letters: B batch, T frames, C channels, H W rows and columns of the latent, A action, P pose size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from worldsim.models.state import WorldState
from worldsim.models.world_model import FrameContext, WorldModel


@dataclass(frozen=True, kw_only=True)
class RolloutFrame:
    """A frame of a rollout. `latent_BCHW` is the given latent of a context frame, or the generated one."""

    index: int
    is_generated: bool
    latent_BCHW: Tensor
    state: WorldState
    """After the frame."""


def sample_frame(model: WorldModel, context: FrameContext, noise_BCHW: Tensor, num_steps: int) -> Tensor:
    """Samples a latent in `num_steps` Euler steps of size 1 / num_steps along v = (f(z) - z) / (1 - tau); the last step
    returns the prediction.

    Does not change the state. Shapes: returns [B, C, H, W].
    """
    assert num_steps >= 1, num_steps
    latent_BCHW, step = noise_BCHW, 1 / num_steps
    step_B = noise_BCHW.new_full((len(noise_BCHW),), step)
    for index in range(num_steps):
        predicted = model.denoise(context, latent_BCHW, step_B * index, step_B)
        latent_BCHW = latent_BCHW + (predicted - latent_BCHW) * (step / (1 - step * index))
    return latent_BCHW


def observe_frame(
    model: WorldModel,
    state: WorldState,
    action_BA: Tensor,
    latent_BCHW: Tensor,
    *,
    level_B: Tensor | None = None,
    generated: bool = False,
    pose_BP: Tensor | None = None,
) -> WorldState:
    """The state after a given frame. See `WorldModel.commit`; a `level_B` of None is a clean frame."""
    context = model.begin(state, action_BA)
    level_B = latent_BCHW.new_zeros(len(latent_BCHW)) if level_B is None else level_B
    return model.commit(context, latent_BCHW, level_B, generated=generated, pose_BP=pose_BP)


def generate_frame(
    model: WorldModel,
    state: WorldState,
    action_BA: Tensor,
    noise_BCHW: Tensor,
    *,
    num_steps: int,
    level_B: Tensor | None = None,
    is_keyframe_B: Tensor | None = None,
    on_sampled: Callable[[Tensor], None] | None = None,
) -> tuple[Tensor, WorldState]:
    """The next frame's latent, and the state after it.

    `level_B` is the noise level with which the frame is committed; None is clean. Rows in which it is no keyframe are
    not committed; None: all are. `on_sampled` gets the latent before that, and may raise.
    """
    context = model.begin(state, action_BA)
    latent_BCHW = sample_frame(model, context, noise_BCHW, num_steps)
    if on_sampled:
        on_sampled(latent_BCHW)
    if is_keyframe_B is not None and not bool(is_keyframe_B.any()):
        return latent_BCHW, model.skip(state, context)
    level_B = latent_BCHW.new_zeros(len(latent_BCHW)) if level_B is None else level_B
    committed = model.commit(context, latent_BCHW, level_B, generated=True)
    if is_keyframe_B is None or bool(is_keyframe_B.all()):
        return latent_BCHW, committed
    return latent_BCHW, committed.where(is_keyframe_B, model.skip(state, context))


def rollout(
    model: WorldModel,
    state: WorldState,
    action_BTA: Tensor,
    latent_BTCHW: Tensor,
    *,
    num_context: int,
    noise: Callable[[int], Tensor],
    num_steps: int = 1,
    context_noise: float = 0.0,
    autoregressive: bool = True,
    pose_BTP: Tensor | None = None,
    before_frame: Callable[[WorldState], WorldState] | None = None,
) -> Iterator[RolloutFrame]:
    """`num_context` given frames, then generated ones, one for every action.

    `noise` gives the noise [B, C, H, W] of a frame by its index. `autoregressive`: generated frames become memory,
    labeled with `context_noise`; otherwise the given ones do (prediction one step ahead). `pose_BTP` are the true
    poses of given frames. `before_frame` may replace the state before each frame.
    """
    clean_B = latent_BTCHW.new_zeros(len(action_BTA))
    for t in range(action_BTA.shape[1]):
        if before_frame:
            state = before_frame(state)
        is_generated = t >= num_context
        context = model.begin(state, action_BTA[:, t])
        latent_BCHW = sample_frame(model, context, noise(t), num_steps) if is_generated else latent_BTCHW[:, t]
        if is_generated and autoregressive:
            state = model.commit(context, latent_BCHW, clean_B + context_noise, generated=True)
        else:
            pose_BP = None if pose_BTP is None else pose_BTP[:, t]
            state = model.commit(context, latent_BTCHW[:, t], clean_B, pose_BP=pose_BP)
        yield RolloutFrame(index=t, is_generated=is_generated, latent_BCHW=latent_BCHW, state=state)


def observe_clip(model: WorldModel, state: WorldState, action_BTA: Tensor, latent_BTCHW: Tensor) -> WorldState:
    """The state after given frames."""
    for action_BA, latent_BCHW in zip(action_BTA.unbind(1), latent_BTCHW.unbind(1), strict=True):
        state = observe_frame(model, state, action_BA, latent_BCHW)
    return state
