"""The generation loop: context first, then generated frames, for one row or many, from any kind of model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.models.sequence.test_world_model import FORMS, LATENT_SHAPE, MAP_FORMS, NUM_FRAMES, make_clip, make_model
from worldsim.models.rollout import generate_frame, observe_clip, observe_frame, rollout, sample_frame
from worldsim.models.state import WorldState

NUM_CONTEXT = 4


def noise(index: int) -> Tensor:
    generator = torch.Generator().manual_seed(index)
    return torch.randn(2, *LATENT_SHAPE, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("form", [*FORMS, *MAP_FORMS])
def test_a_rollout_equals_its_frames_one_by_one(form: str) -> None:
    model, clip = make_model(form), make_clip()
    action, latent = clip["action"], clip["context"]
    frames = list(
        rollout(
            model,
            model.initial_state(2, seed=0),
            action,
            latent,
            num_context=NUM_CONTEXT,
            noise=noise,
            num_steps=2,
            context_noise=0.1,
        )
    )
    state = observe_clip(model, model.initial_state(2, seed=0), action[:, :NUM_CONTEXT], latent[:, :NUM_CONTEXT])
    level = latent.new_full((2,), 0.1)
    for t in range(NUM_CONTEXT, NUM_FRAMES):
        expected, state = generate_frame(model, state, action[:, t], noise(t), num_steps=2, level_B=level)
        assert torch.equal(frames[t].latent_BCHW, expected)
    assert [frame.is_generated for frame in frames] == [t >= NUM_CONTEXT for t in range(NUM_FRAMES)]
    assert all(torch.equal(frames[t].latent_BCHW, latent[:, t]) for t in range(NUM_CONTEXT))
    assert frames[-1].state.frame_index == NUM_FRAMES
    for name, tensor in state.tensors.items():
        assert torch.equal(tensor, frames[-1].state.tensors[name]), name


@pytest.mark.parametrize("form", FORMS)
def test_one_step_prediction_commits_the_given_frames(form: str) -> None:
    model, clip = make_model(form), make_clip()
    action, latent, start = clip["action"], clip["context"], model.initial_state(2, seed=0)
    frames = list(rollout(model, start, action, latent, num_context=1, noise=noise, autoregressive=False))
    state = start
    for t in range(NUM_FRAMES):
        if t >= 1:
            expected = sample_frame(model, model.begin(state, action[:, t]), noise(t), 1)
            assert torch.equal(frames[t].latent_BCHW, expected)
        state = observe_frame(model, state, action[:, t], latent[:, t])


def test_the_state_can_be_replaced_before_every_frame() -> None:
    model, clip = make_model("trunk"), make_clip()
    seen: list[int] = []

    def before_frame(state: WorldState) -> WorldState:
        seen.append(state.frame_index)
        return model.without_memory(state)

    start = model.initial_state(2, seed=0)
    list(rollout(model, start, clip["action"], clip["context"], num_context=2, noise=noise, before_frame=before_frame))
    assert seen == list(range(NUM_FRAMES))


def test_a_frame_that_is_rejected_after_sampling_is_not_committed() -> None:
    model, clip = make_model("trunk"), make_clip()

    def reject(latent_BCHW: Tensor) -> None:
        raise ValueError("rejected")

    with pytest.raises(ValueError, match="rejected"):
        generate_frame(
            model, model.initial_state(2, seed=0), clip["action"][:, 0], noise(0), num_steps=1, on_sampled=reject
        )
