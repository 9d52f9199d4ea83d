"""Episodes: which action belongs to which frame, the way back, the full turn, the mean image."""

from __future__ import annotations

import math

import numpy as np

from worldsim.core.types import NO_ACTION, Action, ActionSpec, Pose, Step
from worldsim.evaluation.clips import (
    Clips,
    OutAndBack,
    mean_image,
    record_clips,
    return_pilot,
    spin_pilot,
    spin_ticks,
)
from worldsim.evaluation.metrics import psnr
from worldsim.worlds.doom.config import DoomConfig
from worldsim.worlds.doom.world import DoomWorld

TURN_DEG, UNITS_PER_TICK = 10.0, 16.0


class OpenField:
    """A plane without walls. The frame shows the reset seed, the tick and the turn that led to it."""

    action_spec = ActionSpec(buttons=("forward",), axes=("turn",))
    frame_shape = (2, 2, 3)

    def reset(self, seed: int) -> Step:
        self._seed, self._index, self._pose = seed % 256, 0, Pose(x=0.0, y=0.0, angle_rad=0.0)
        return self._observe(NO_ACTION)

    def step(self, action: Action) -> Step:
        angle_rad = self._pose.angle_rad + math.radians(TURN_DEG) * action.axis("turn")
        speed = UNITS_PER_TICK * ("forward" in action.buttons)
        x, y = self._pose.x + speed * math.cos(angle_rad), self._pose.y + speed * math.sin(angle_rad)
        self._pose = Pose(x=x, y=y, angle_rad=angle_rad)
        self._index += 1
        return self._observe(action)

    def close(self) -> None:
        pass

    def _observe(self, action: Action) -> Step:
        frame = np.empty(self.frame_shape, np.uint8)
        frame[:] = (self._seed, self._index, round(100 + 100 * action.axis("turn")))
        return Step(index=self._index, action=action, frame=frame, pose=self._pose)


def test_action_t_led_to_frame_t_and_the_first_is_none() -> None:
    turns = [0.0, 0.5, -0.5, 1.0]
    clips = record_clips(OpenField(), lambda seed: lambda step: Action.of(turn=turns[step.index + 1]), (3, 4), 4)
    assert clips.seeds == (3, 4)
    assert clips.frames[:, :, 0, 0, 0].tolist() == [[3] * 4, [4] * 4]
    assert clips.frames[0, :, 0, 0, 1].tolist() == [0, 1, 2, 3]
    assert clips.actions[0].tolist() == [[0.0, turn] for turn in turns]
    assert clips.frames[0, :, 0, 0, 2].tolist() == [100, 150, 50, 200]


def test_recording_tells_of_every_frame() -> None:
    told: list[int] = []
    record_clips(OpenField(), spin_pilot, (1, 2, 3), 5, told.append)
    assert sum(told) == 15


def test_the_way_back_ends_where_the_way_out_began() -> None:
    field = OpenField()
    walk = iter(
        [Action.of("forward", turn=turn) for turn in [0, 0, 1, 1, 1, 0, 0, 0, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
    )
    pilot = OutAndBack(lambda step: next(walk), 20, TURN_DEG)
    step = field.reset(0)
    farthest = 0.0
    poses = []
    for _ in range(1, 60):
        step = field.step(pilot(step))
        assert step.pose is not None
        poses.append(step.pose)
        farthest = max(farthest, math.hypot(step.pose.x, step.pose.y))
    assert farthest > 200
    assert min(math.hypot(pose.x, pose.y) for pose in poses[40:]) < 40


def test_the_pilot_that_leads_out_is_not_asked_on_the_way_back() -> None:
    asked: list[int] = []

    def lead(step: Step) -> Action:
        asked.append(step.index)
        return Action.of("forward")

    record_clips(OpenField(), lambda seed: OutAndBack(lead, 10, TURN_DEG), (0,), 40)
    assert asked == list(range(9)), "frames 1 to 9 are the way out, frame 10 is the first way back"


def test_spins_go_both_ways_and_a_full_turn_is_36_ticks_of_10_degrees() -> None:
    assert spin_ticks(10.0) == 36
    clips = record_clips(OpenField(), spin_pilot, (900_000, 900_001), 3)
    assert clips.actions[:, 1, 1].tolist() == [1.0, -1.0]


def test_the_mean_image_is_the_mean_over_all_episodes() -> None:
    frames = np.zeros((2, 8, 2, 2, 3), np.uint8)
    frames[0] = 100
    frames[1] = 201
    clips = Clips(seeds=(0, 1), frames=frames, actions=np.zeros((2, 8, 1), np.float32))
    assert (mean_image(clips) == 150).all()  # 150.5 rounds to even


def test_in_the_true_world_a_second_turn_shows_the_first_again_and_the_way_back_the_same_rooms() -> None:
    with DoomWorld(DoomConfig(maps=(1,))) as world:
        one_turn = spin_ticks(world.config.turn_deg)
        clips = record_clips(world, spin_pilot, (900_000,), 2 * one_turn + 1)
        places: list[tuple[float, float]] = []

        def watched(seed: int):  # type: ignore[no-untyped-def]  # a pilot that notes where it is
            pilot = return_pilot(world, 128)(seed)

            def act(step: Step) -> Action:
                assert step.pose is not None
                places.append((step.pose.x, step.pose.y))
                return pilot(step)

            return act

        record_clips(world, watched, (900_003,), 128)
    assert psnr(clips.frames[:, one_turn + 1 :], clips.frames[:, 1:-one_turn]).min() > 35
    out, back = np.array(places[:63]), np.array(places[82:])
    distance = np.sqrt(((back[:, None] - out[None]) ** 2).sum(-1)).min(axis=1)
    assert distance.mean() < 40, f"strayed {distance.mean():.0f} units on average"
    assert np.ptp(back, axis=0).max() > 100, "it never moved"
