"""The spatial map: constant size, independent of the order of frames, and learnable."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.models.maps.test_fixed_map import LATENT_SHAPE, walled_world
from worldsim.models.maps.map_tracker import GENERATED_WEIGHT, SpatialMapMemory
from worldsim.models.maps.spatial_map import CELL_UNITS, CELLS, WRITE_RAYS, MapRead, SpatialMap, SpatialMapState
from worldsim.models.pose import POSE_SIZE, heading_rad, rotate, unit_heading
from worldsim.training.recipes.map import spatial_map_loss

VIEW_RAD = math.pi / 2


def make_plan(seed: int = 0) -> SpatialMap:
    torch.manual_seed(seed)
    return SpatialMap(LATENT_SHAPE, 24, VIEW_RAD).double()


def frames(num: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Latents and poses."""
    generator = torch.Generator().manual_seed(seed)
    latent = torch.randn(num, *LATENT_SHAPE, generator=generator, dtype=torch.float64)
    pose = torch.rand(num, POSE_SIZE, generator=generator, dtype=torch.float64) - 0.5
    return latent, unit_heading(pose)


def difference(a: SpatialMapState, b: SpatialMapState) -> float:
    return max(float((a[name] - b[name]).detach().abs().max()) for name in a)


def relative(pose_BTP: Tensor) -> Tensor:
    """As seen from each clip's first."""
    angle_B1 = heading_rad(pose_BTP[:, :1])
    xy = rotate(pose_BTP[..., :2] - pose_BTP[:, :1, :2], -angle_B1)
    return torch.cat((xy, rotate(pose_BTP[..., 2:], -angle_B1)), -1)


@torch.no_grad()
def test_frames_can_be_written_in_any_order_and_grouping() -> None:
    plan, (latent, pose) = make_plan(), frames(12)
    empty = plan.initial_state(2)
    at_once, _ = plan.write(empty, latent, pose)
    state = empty
    for t in range(6):
        state, _ = plan.write(state, latent[[t, 6 + t]], pose[[t, 6 + t]])
    assert difference(at_once, state) < 1e-12
    order = torch.cat((torch.randperm(6), 6 + torch.randperm(6)))
    assert difference(at_once, plan.write(empty, latent[order], pose[order])[0]) < 1e-12
    assert all(tensor.shape == empty[name].shape for name, tensor in at_once.items())
    assert all(not tensor.any() for tensor in empty.values()), "a state is not changed in place"


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@torch.no_grad()
def test_writing_is_deterministic(device: str) -> None:
    """Or a replay would not be one: many rays meet in a cell, and sums depend on their order."""
    plan = make_plan().float().to(device)
    latent, pose = (x.float().to(device) for x in frames(64))
    empty = plan.initial_state(1)
    first = plan.write(empty, latent, pose)[0]
    for _ in range(5):
        again = plan.write(empty, latent, pose)[0]
        assert all(torch.equal(again[name], tensor) for name, tensor in first.items())
    with torch.enable_grad():
        assert difference(first, plan.write(empty, latent, pose)[0]) < 1e-3


@torch.no_grad()
def test_maps_of_a_batch_are_independent() -> None:
    plan, (latent, pose) = make_plan(), frames(6)
    state, _ = plan.write(plan.initial_state(3), latent, pose)
    recalled = plan.read(plan.finalize(state), pose)
    for index in range(3):
        part = slice(2 * index, 2 * index + 2)
        alone, _ = plan.write(plan.initial_state(1), latent[part], pose[part])
        expected = plan.read(plan.finalize(alone), pose[part])
        assert (recalled.latent_NCHW[part] - expected.latent_NCHW).abs().max() < 1e-12
        assert (recalled.log_error_NW[part] - expected.log_error_NW).abs().max() < 1e-12


@torch.no_grad()
def test_a_wall_is_written_where_it_was_seen_with_free_space_in_front() -> None:
    plan, latent = make_plan(), frames(1)[0]
    ahead = torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)  # in the middle, looking along y
    depth = torch.full((1, 4 * LATENT_SHAPE[2]), 200.0, dtype=torch.float64)
    state, _ = plan.write(plan.initial_state(1), latent, ahead, depth_NR=depth)

    def cell(x: float, y: float) -> tuple[int, int]:
        return tuple(round(v / CELL_UNITS + (CELLS - 1) / 2) for v in (y, x))  # type: ignore[return-value]

    evidence, free = state["occupied"][0], state["free"][0]
    assert evidence[cell(5, 205)] > 0 and evidence[cell(5, 100)] == 0 and evidence[cell(5, -205)] == 0
    assert free[cell(100 / 6, 100)] > 0 and free[cell(40, 240)] == 0 and free[cell(100, 100 / 6)] == 0


def test_poses_outside_the_map_work() -> None:
    plan, (latent, _) = make_plan(), frames(2)
    far = torch.tensor([[40.0, -40.0, 1.0, 0.0], [-3.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    state, _ = plan.write(plan.initial_state(1), latent, far)
    recalled = plan.read(plan.finalize(state), far)
    assert bool(recalled.latent_NCHW.isfinite().all()) and bool(recalled.log_error_NW.isfinite().all())


@torch.no_grad()
def test_a_true_frame_outweighs_a_generated_one() -> None:
    torch.manual_seed(0)
    memory = SpatialMapMemory(LATENT_SHAPE, 2, 24, view_rad=VIEW_RAD).double()
    latent, _ = frames(2)
    state = memory.initial_state(1)
    state["previous_pose"] = state["previous_pose"] + torch.tensor([1.0, 0.0, 0.0, 0.0])  # who comes along fast
    true, generated = (memory.commit(state, latent[:1], torch.tensor([is_own])) for is_own in (False, True))
    for name in ("occupied", "free", "floor"):
        assert torch.allclose(generated[name], GENERATED_WEIGHT * true[name])
    both = memory.commit(generated, latent[1:], torch.tensor([False]))
    alone = memory.commit(state, latent[1:], torch.tensor([False]))
    share = (both["occupied"] - alone["occupied"]).sum() / alone["occupied"].sum()
    assert 0 < share < 0.1


@torch.no_grad()
def test_at_rest_generated_frames_are_not_written() -> None:
    torch.manual_seed(0)
    memory = SpatialMapMemory(LATENT_SHAPE, 2, 24, view_rad=VIEW_RAD).double()
    latent, _ = frames(2)
    before = memory.commit(memory.initial_state(1), latent[:1], torch.tensor([False]))
    after = memory.commit(before, latent[1:], torch.tensor([True]))
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not torch.equal(memory.commit(before, latent[1:], torch.tensor([False]))["free"], before["free"])


@torch.no_grad()
def test_the_true_pose_replaces_dead_reckoning_for_true_frames_only() -> None:
    torch.manual_seed(0)
    memory = SpatialMapMemory(LATENT_SHAPE, 2, 24, view_rad=VIEW_RAD).double()
    latent, pose = frames(2)
    state = memory.initial_state(2)
    after = memory.commit(state, latent, torch.tensor([False, True]), pose)
    assert torch.equal(after["pose"][0], pose[0]) and torch.equal(after["pose"][1], state["pose"][1])


def test_a_spatial_map_generalizes_to_unseen_rooms() -> None:
    """Walls are painted by where they are, another way in every room: what is read was written."""
    torch.manual_seed(0)
    memory = SpatialMapMemory(LATENT_SHAPE, 2, 48, view_rad=VIEW_RAD)
    optimizer = torch.optim.AdamW(memory.parameters(), lr=4e-3)

    def rooms(seed: int) -> tuple[Tensor, Tensor, Tensor]:
        latent, pose, action = walled_world(4, 32, seed)
        sign = torch.randint(2, (4, 1, *LATENT_SHAPE[:2], 1), generator=torch.Generator().manual_seed(seed)) * 2 - 1
        return latent * sign, relative(pose), action

    def losses(seed: int) -> dict[str, Tensor]:
        unknown = torch.full((4, 32, LATENT_SHAPE[2]), float("nan"))
        return spatial_map_loss(memory, *rooms(seed), unknown, walk_ticks=2, position_noise=0.01, use_true_depth=True)

    @torch.no_grad()
    def recall_error() -> float:
        latent, pose, _ = rooms(1_000)
        state, _ = memory.grid.write(
            memory.grid.initial_state(4), latent[:, :24].flatten(0, 1), pose[:, :24].flatten(0, 1)
        )
        recalled = memory.grid.read(memory.grid.finalize(state), pose[:, 24:].flatten(0, 1))
        return float((recalled.latent_NCHW - latent[:, 24:].flatten(0, 1)).square().mean() / latent.square().mean())

    before = float(losses(2_000)["move"].detach())
    for update in range(60):
        optimizer.zero_grad()
        found = losses(update)
        assert found["depth"] == 0, "the true depth is unknown"
        torch.stack(list(found.values())).sum().backward()
        optimizer.step()
    assert recall_error() < 0.6
    assert float(losses(2_000)["move"].detach()) < 0.8 * before


def test_a_spatial_map_stays_in_float32_under_autocast() -> None:
    """An error of a hundredth in every step would be added up, walk for walk."""
    torch.manual_seed(0)
    memory = SpatialMapMemory(LATENT_SHAPE, 2, 24, view_rad=VIEW_RAD)
    for parameter in memory.motion.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    latent, pose, action = walled_world(2, 32, 0)
    unknown = torch.full((2, 32, LATENT_SHAPE[2]), float("nan"))
    found = []
    for is_rounded in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_rounded):
            losses = spatial_map_loss(
                memory, latent, relative(pose), action, unknown, walk_ticks=2, position_noise=0.01, use_true_depth=False
            )
            recalled, _ = memory.render_clip(latent, torch.zeros(2, 32, dtype=torch.bool), action)
        found.append({**losses, "recalled": recalled})
    for name, exact in found[0].items():
        assert torch.equal(found[1][name], exact), name


@pytest.mark.parametrize("shape", [(4, 8, 8), (3, 12, 16), (2, 5, 7)])
@torch.no_grad()
def test_a_spatial_map_supports_any_latent_size(shape: tuple[int, int, int]) -> None:
    memory = SpatialMapMemory(shape, 2, 4, view_rad=VIEW_RAD)
    state, recalled = memory.predict(memory.initial_state(2), torch.zeros(2, 2))
    assert recalled.shape == (2, memory.num_extra_channels + shape[0], *shape[1:])
    state["previous_pose"] = state["previous_pose"] + torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert memory.commit(state, torch.randn(2, *shape), torch.tensor([False, True]))["occupied"].any((1, 2)).all()


@pytest.mark.parametrize("angle", [0.0, 2.0])
def test_motion_reads_walls_in_the_cameras_own_frame(angle: float) -> None:
    """The same room turned, the same way to walk: the same steps."""
    torch.manual_seed(0)
    memory = SpatialMapMemory(LATENT_SHAPE, 2, 24, view_rad=VIEW_RAD).double()
    for parameter in memory.motion.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    turned = torch.tensor([[0.0, 0.0, math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    action = torch.tensor([[0.5, -0.2]], dtype=torch.float64)
    tables = memory.grid.finalize(memory.grid.initial_state(1))
    moved = memory.motion(memory.grid, tables, turned, turned, action)
    step = rotate(moved[:, :2], -torch.tensor([angle], dtype=torch.float64))
    reference = torch.tensor([[0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    expected = memory.motion(memory.grid, tables, reference, reference, action)[:, :2]
    assert (step - expected).abs().max() < 1e-9


@torch.no_grad()
def test_given_poses_are_used_without_dead_reckoning() -> None:
    """Neither a walk nor a true pose moves it: the action says where the frame is seen from."""
    torch.manual_seed(0)
    memory = SpatialMapMemory(LATENT_SHAPE, 6, 24, view_rad=VIEW_RAD, pose_is_action=True).double()
    latent, pose = frames(2)
    action = torch.cat((pose, torch.randn(2, 2, dtype=torch.float64)), -1)
    state, _ = memory.predict(memory.initial_state(2), action)
    assert (state["pose"] - pose).abs().max() < 1e-12
    after = memory.commit(state, latent, torch.tensor([False, False]), torch.zeros_like(pose))
    assert torch.equal(after["pose"], state["pose"])
    by_hand, _ = memory.grid.write(memory.initial_state(2), latent, pose)
    assert (after["occupied"] - by_hand["occupied"]).abs().max() < 1e-9
    losses = spatial_map_loss(
        memory,
        torch.randn(2, 24, *LATENT_SHAPE, dtype=torch.float64),
        torch.full((2, 24, 4), torch.nan, dtype=torch.float64),
        torch.cat((pose, torch.zeros(2, 2, dtype=torch.float64)), -1)[:, None].expand(-1, 24, -1),
        torch.full((2, 24, LATENT_SHAPE[2]), torch.nan, dtype=torch.float64),
        walk_ticks=2,
        position_noise=0.0,
        use_true_depth=False,
    )
    assert "move" not in losses and all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize(("log_error", "is_corrected"), [(-2.0, True), (1.0, False)])
@torch.no_grad()
def test_a_true_frame_corrects_the_pose_where_the_map_is_known(
    log_error: float, is_corrected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a plan that looks the same whatever was written: waves of the place."""
    torch.manual_seed(0)
    memory = SpatialMapMemory(LATENT_SHAPE, 2, 24, view_rad=VIEW_RAD).double()
    waves = 70 * torch.randn(2, math.prod(LATENT_SHAPE), dtype=torch.float64)

    def look(_: dict[str, Tensor], pose: Tensor) -> MapRead:
        error = torch.full((len(pose), LATENT_SHAPE[2]), log_error, dtype=torch.float64)
        return MapRead(
            latent_NCHW=torch.sin(pose[:, :2] @ waves).unflatten(1, LATENT_SHAPE),
            log_error_NW=error,
            log_depth_NR=error,
        )

    monkeypatch.setattr(memory.grid, "read", look)
    _, true = frames(2)
    state = memory.initial_state(2)
    off = true + torch.tensor([0.004, -0.003, 0.0, 0.0], dtype=torch.float64)
    state |= {"pose": off, "previous_pose": off}
    latent = look({}, true).latent_NCHW
    found = memory.commit(state, latent, torch.tensor([False, False]))["pose"]
    shares = (found - true)[:, :2].norm(dim=-1) / (off - true)[:, :2].norm(dim=-1)
    assert bool((shares < 0.8).all()) is is_corrected
    assert is_corrected or torch.allclose(found, off)
    generated = memory.commit(state, latent, torch.tensor([True, True]))["pose"]
    assert torch.equal(generated, off), "what is generated corrects nothing"


@torch.no_grad()
def test_a_floor_plan_knows_what_was_in_front_of_the_camera_and_nothing_behind_it() -> None:
    plan = make_plan()
    latent, _ = frames(1)
    pose = torch.tensor([[0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)  # at the center, looking along +x
    empty = plan.initial_state(1)
    assert not plan.floor_plan(empty)[1].any()
    depth = torch.full((1, LATENT_SHAPE[2] * WRITE_RAYS), 100.0, dtype=torch.float64)
    state, _ = plan.write(empty, latent, pose, depth_NR=depth)
    wall, known = plan.floor_plan(state)
    assert wall.shape == known.shape == (1, CELLS, CELLS)
    assert 0 <= float(wall.min()) <= float(wall.max()) <= 1 and 0 <= float(known.min()) <= float(known.max()) <= 1
    middle, ahead = CELLS // 2, round(60 / CELL_UNITS)
    assert float(known[0, middle, middle + ahead]) > 0.5 and float(known[0, middle, middle - ahead]) == 0


@torch.no_grad()
def test_solid_walls_stop_the_pose_where_a_wall_was_seen() -> None:
    torch.manual_seed(0)
    memory = SpatialMapMemory(LATENT_SHAPE, 2, 24, view_rad=VIEW_RAD, solid_walls=True).double()
    assert memory.motion is not None
    memory.motion.linear.weight[:, 3:] = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    memory.grid.density_out.weight.zero_()
    memory.grid.density_out.bias.copy_(torch.tensor([-3.0, 0.0]))  # free everywhere
    forward, state = torch.tensor([[1.0, 0.0]], dtype=torch.float64), memory.initial_state(1)
    moved, _ = memory.predict(state, forward)
    assert float(moved["pose"][0, 0]) > 0.01
    memory.grid.density_out.bias.copy_(torch.tensor([3.0, 0.0]))  # a wall everywhere: it may be left, and only so
    inside, _ = memory.predict(state, forward)
    assert torch.equal(inside["pose"], moved["pose"])

    def wall_ahead(tables: SpatialMapState, position_NK2: Tensor) -> Tensor:
        return (position_NK2[..., 0] > 0.005).double()

    memory.grid.wall_at = wall_ahead  # type: ignore[method-assign]
    stopped, _ = memory.predict(state, forward)
    assert float(stopped["pose"][0, 0]) == 0.0 and torch.equal(stopped["pose"][:, 1:], moved["pose"][:, 1:])
