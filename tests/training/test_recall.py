"""The recall recipe: which frames it chooses, what reaches its loss, and its optimizer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from worldsim.core.errors import ConfigError
from worldsim.models.build import build_world_model
from worldsim.models.config import (
    GatedDeltaNetConfig,
    LocalAttentionConfig,
    MappedModelConfig,
    ModelConfig,
    SequenceModelConfig,
    SharedDenoiserConfig,
    SpatialMapConfig,
)
from worldsim.models.mapped import MappedTwoStreamModel
from worldsim.models.sequence.two_stream import TwoStreamModel
from worldsim.training.checkpoint import optimizer_tensors, restore_optimizer
from worldsim.training.config import OptimizerConfig, RecallClips, RecallPhase, RecallTraining, read_training
from worldsim.training.optimizer import build_optimizer, set_learning_rate
from worldsim.training.recipes.recall import FrameChoice, RecallRecipe, choose_frames, turn_poses
from worldsim.training.replay_buffer import ClipBatch

NUM_FRAMES = 60
LATENT_SHAPE = (2, 4, 4)


def choose(clips: RecallClips, seen_fraction: float = 0.5, window: int = 3, seed: int = 0) -> FrameChoice:
    return choose_frames(clips, NUM_FRAMES, seen_fraction, window, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("stride", [0, 1, 3])
def test_half_of_the_queries_are_context_frames_beyond_the_window_and_the_others_are_not_in_the_context(
    stride: int,
) -> None:
    clips = RecallClips(context_frames=12, target_frames=8, stride=stride, batch_clips=20)
    choice = choose(clips)
    for context, target, is_seen in zip(choice.context, choice.target, choice.is_seen, strict=True):
        assert int(is_seen.sum()) == 4 and len(set(context.tolist())) == 12
        assert set(target[is_seen].tolist()) <= set(context[:-2].tolist())
        assert not set(target[~is_seen].tolist()) & set(context.tolist())
        assert int(target.min()) >= 0 and int(target.max()) < NUM_FRAMES
        if stride:
            assert context.diff().unique().tolist() == [stride]


def test_random_frames_are_in_no_order() -> None:
    choice = choose(RecallClips(context_frames=20, target_frames=4, batch_clips=4))
    assert all(int((row.diff() < 0).sum()) > 3 for row in choice.context)


def test_clips_go_on_come_back_or_repeat() -> None:
    ahead = choose(RecallClips(task="ahead", context_frames=10, target_frames=5, stride=2))
    assert torch.equal(ahead.target[:, 0], ahead.context[:, -1] + 2) and not ahead.is_seen.any()
    reverse = choose(RecallClips(task="reverse", context_frames=10, target_frames=9, stride=2))
    assert torch.equal(reverse.target, reverse.context.flip(1)[:, 1:]) and reverse.is_seen.all()
    repeat = choose(RecallClips(task="repeat", context_frames=10, target_frames=5, stride=1, batch_clips=30))
    for context, target in zip(repeat.context.tolist(), repeat.target.tolist(), strict=True):
        assert set(target) <= set(context)
    directions = {int(row[1] - row[0]) for row in repeat.target}
    assert directions == {1, -1}
    empty = choose(RecallClips(task="ahead", context_frames=0, target_frames=32, stride=1))
    assert empty.context.shape == (8, 0) and empty.target.shape == (8, 32)


def test_quarter_turns_turn_positions_and_headings_alike() -> None:
    pose = torch.tensor([[[0.5, 0.25, 0.6, 0.8, 7.0]]])
    turned = pose
    for _ in range(4):
        before = turned
        turned = turn_poses(turned, torch.tensor([1]))
        x, y, cos, sin, other = turned[0, 0].tolist()
        assert (x, y, cos, sin, other) == (
            -before[0, 0, 1].item(),
            before[0, 0, 0].item(),
            -before[0, 0, 3].item(),
            before[0, 0, 2].item(),
            7.0,
        )
    assert torch.equal(turned, pose)
    twice = turn_poses(turn_poses(pose, torch.tensor([1])), torch.tensor([2]))
    assert torch.equal(twice, turn_poses(pose, torch.tensor([3])))


def test_phases_follow_each_other_and_bad_ones_are_refused() -> None:
    first, last = RecallPhase(until=10), RecallPhase(until=20)
    config = RecallTraining(phases=(first, last))
    assert [config.phase(step) for step in (0, 9, 10, 500)] == [first, first, last, last]
    with pytest.raises(ConfigError, match="phases end at"):
        RecallTraining(phases=(last, first))
    with pytest.raises(ConfigError, match="reaches over 205 frames"):
        RecallTraining(phases=(RecallPhase(mix=(RecallClips(context_frames=48, stride=4),)),))
    with pytest.raises(ConfigError, match="consecutive"):
        RecallClips(task="ahead")
    with pytest.raises(ConfigError, match="targets in a context"):
        RecallClips(task="reverse", context_frames=8, target_frames=8, stride=1)


class _Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 4)])
        self.head = nn.Linear(4, 2)


def test_muon_trains_the_matrices_of_layers_and_its_state_is_restored() -> None:
    torch.manual_seed(0)
    network, config = _Layers(), OptimizerConfig(learning_rate=1e-3, muon_learning_rate=0.02)
    optimizer = build_optimizer(network, config)
    set_learning_rate(optimizer, 5e-4)
    assert [group["lr"] for group in optimizer.param_groups] == [pytest.approx(0.01), pytest.approx(5e-4)]
    before = network.layers[0].weight.detach().clone()
    hidden = network.layers[0](torch.randn(8, 6))
    (hidden.square().sum() + network.head(hidden).square().sum()).backward()
    optimizer.step()
    step = before - network.layers[0].weight.detach()
    singular_values = torch.linalg.svdvals(step)
    assert float(singular_values.max() / singular_values.min()) < 2.5, "a step of Muon is nearly orthogonal"
    assert set(optimizer.state[network.layers[0].weight]) == {"momentum_buffer"}
    assert "exp_avg" in optimizer.state[network.layers[0].bias] and "exp_avg" in optimizer.state[network.head.weight]
    assert type(build_optimizer(_Layers(), OptimizerConfig())) is torch.optim.AdamW


class _Buffer:
    """Random episodes in place of a replay buffer."""

    def refresh(self) -> None:
        pass

    def sample(self, num_clips: int, clip_frames: int) -> ClipBatch:
        angle = torch.rand(num_clips, clip_frames) * 6
        position = torch.rand(num_clips, clip_frames, 2) * 2 - 1
        return ClipBatch(
            content=torch.randn(num_clips, clip_frames, *LATENT_SHAPE).half(),
            action=torch.cat((position, angle.cos()[..., None], angle.sin()[..., None]), -1),
            pose=torch.zeros(num_clips, clip_frames, 3),
            depth_profile=torch.zeros(num_clips, clip_frames, 4),
        )


LAYERS: dict[str, Any] = {
    "width": 24,
    "num_heads": 2,
    "num_layers": 2,
    "scan": GatedDeltaNetConfig(blocks=((1, 1),), state_dim=16, time_constants=(50, 1000)),
    "attention": LocalAttentionConfig(window_frames=2),
    "denoiser": SharedDenoiserConfig(action_in_tokens=True),
    "pose_octaves": 3,
    "modulation_std": 0.05,
}
SCANS_ONLY = SequenceModelConfig(pose="none", **LAYERS)
WITH_MAP = MappedModelConfig(map=SpatialMapConfig(width=12, pose="given"), **LAYERS)


def make_recipe(
    *mix: RecallClips, model: ModelConfig = SCANS_ONLY, context_noise: float = 0.0, **phase: Any
) -> RecallRecipe:
    torch.manual_seed(0)
    network = build_world_model(model, LATENT_SHAPE, 4)
    assert isinstance(network, TwoStreamModel)
    config = RecallTraining(episode_frames=24, phases=(RecallPhase(mix=mix, **phase),))
    return RecallRecipe(network, config, _Buffer(), None, context_noise=context_noise, device="cpu")  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["recall", "ahead", "reverse", "repeat"])
def test_the_loss_of_every_task_reaches_what_writes_and_what_reads(task: Any) -> None:
    stride = 0 if task == "recall" else 1
    clips = RecallClips(task=task, context_frames=8, target_frames=4, stride=stride, batch_clips=2)
    recipe = make_recipe(clips, one_step_fraction=0.5)
    loss, metrics = recipe.loss(0)
    loss.backward()
    assert float(loss.detach()) > 0 and set(metrics) <= {"seen", "new"}
    for name, parameter in recipe.network.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
        assert name.endswith(("log_rate_K",)) or float(parameter.grad.abs().max()) > 0, name


@pytest.mark.parametrize("task", ["recall", "repeat"])
def test_a_mapped_model_learns_to_read_a_map_that_does_not_change(task: Any) -> None:
    clips = RecallClips(task=task, context_frames=8, target_frames=4, stride=int(task == "repeat"), batch_clips=2)
    recipe = make_recipe(clips, model=WITH_MAP)
    assert isinstance(recipe.network, MappedTwoStreamModel)
    recipe.network.map.requires_grad_(False)
    recipe.loss(0)[0].backward()
    gradients = {name: p.grad for name, p in recipe.network.named_parameters() if p.requires_grad}
    assert not any(name.startswith("map.") for name in gradients)
    for name in ("embed_rendered.weight", "to_gate.weight", "to_latent.weight"):
        assert gradients[name] is not None and float(gradients[name].abs().max()) > 0, name


@pytest.mark.parametrize(("changes", "phase"), [({"generated_prob": 1.0}, {}), ({}, {"forget_map_prob": 1.0})])
def test_own_frames_and_a_forgotten_map_change_what_is_learned_from(
    changes: dict[str, Any], phase: dict[str, Any]
) -> None:
    losses = []
    for its_changes, its_phase in ((changes, phase), ({}, {})):
        clips = RecallClips(
            task="repeat",
            context_frames=8,
            target_frames=4,
            stride=1,
            batch_clips=2,
            max_context_level=0,
            **its_changes,
        )
        recipe = make_recipe(clips, model=WITH_MAP, **its_phase)
        torch.manual_seed(1)
        losses.append(float(recipe.loss(0)[0].detach()))
    assert losses[0] != losses[1]


def written_by_recipe(context_noise: float, monkeypatch: pytest.MonkeyPatch) -> tuple[torch.Tensor, ...]:
    """Frames, levels and marks of the clip that is written in an update on own frames."""
    clips = RecallClips(task="repeat", context_frames=8, target_frames=8, stride=1, batch_clips=2, generated_prob=1.0)
    recipe, calls = make_recipe(clips, context_noise=context_noise), []
    read_history = recipe.network.read_history

    def read(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return read_history(*args, **kwargs)

    monkeypatch.setattr(recipe.network, "read_history", read)
    torch.manual_seed(3)
    recipe.loss(0)
    written, level, _, generated = calls[-1]
    return written, level, generated


def test_own_frames_follow_from_each_other_and_carry_the_label_of_play(monkeypatch: pytest.MonkeyPatch) -> None:
    clean, labeled = (written_by_recipe(noise, monkeypatch) for noise in (0.0, 0.25))
    for noise, (_, level, generated) in ((0.0, clean), (0.25, labeled)):
        assert bool((level == noise).all()) and bool(generated.all())
    assert torch.equal(clean[0][:, 0], labeled[0][:, 0]), "no own frame was written before the first"
    assert not torch.equal(clean[0][:, 1], labeled[0][:, 1]), "the label is read with the frame before"


def train(recipe: RecallRecipe, optimizer: torch.optim.Optimizer, steps: range) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for step in steps:
        torch.manual_seed(step)
        optimizer.zero_grad()
        loss, metrics = recipe.loss(step)
        loss.backward()
        optimizer.step()
    return metrics


def test_frames_that_were_written_are_learned_and_others_cannot_be() -> None:
    """Every episode is new noise: only memory knows a frame."""
    recipe = make_recipe(RecallClips(context_frames=3, target_frames=4, batch_clips=32))
    optimizer = build_optimizer(recipe.network, OptimizerConfig(learning_rate=5e-3, muon_learning_rate=0.03))
    metrics = train(recipe, optimizer, range(150))
    assert metrics["seen"] < 0.5 < 0.95 < metrics["new"], metrics


def test_training_with_muon_resumes_exactly() -> None:
    config, clips = OptimizerConfig(muon_learning_rate=0.03), RecallClips(context_frames=3, target_frames=4)
    recipes = [make_recipe(clips) for _ in range(2)]
    first, second = (build_optimizer(recipe.network, config) for recipe in recipes)
    train(recipes[0], first, range(2))
    stored = {name: tensor.clone() for name, tensor in optimizer_tensors(first, recipes[0].network).items()}
    recipes[1].network.load_state_dict(recipes[0].network.state_dict())
    restore_optimizer(second, recipes[1].network, stored)
    for recipe, optimizer in zip(recipes, (first, second), strict=True):
        train(recipe, optimizer, range(2, 4))
    for name, tensor in recipes[0].network.state_dict().items():
        assert torch.equal(tensor, recipes[1].network.state_dict()[name]), name


def test_the_recipe_is_refused_where_it_cannot_work() -> None:
    table: dict[str, Any] = {"recall": {}}
    with pytest.raises(ConfigError, match="layers denoise"):
        read_training(table, SequenceModelConfig())
    shared = SequenceModelConfig(denoiser=SharedDenoiserConfig())
    with pytest.raises(ConfigError, match="replaces"):
        read_training({**table, "sequence": {}}, shared)
    training = read_training(table, shared)
    assert training.recipe("dynamics", shared) is training.recall
    assert read_training({}, shared).recipe("dynamics", shared) is not None
