"""Settings of an evaluation. Torch-free, so that the command line starts quickly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worldsim.core.errors import UsageError, did_you_mean
from worldsim.worlds.trajectories import EVALUATION_SEED_START

TASKS = {
    "one_step": "the next frame, after true frames",
    "rollout": "autoregressive rollout after a few true frames, by distance (rollout@k: k-th generated frame)",
    "retrieval": "the return path, after the outbound path as context",
    "reverse": "the context in reverse order, as retrieval in the paper (needs poses as inputs)",
    "tour": "views of random places and headings in random order, after each was seen once (needs poses as inputs)",
    "reasoning": "a random continuation after a long context",
    "spin": "a second full turn on the spot, after the first as context",
    "loop": "another lap of a loop in the maze, after the first as context",
    "fidelity": "whether frames move as the actions say, read by an inverse-dynamics probe",
    "idle": "whether the image stays still when no input is held",
    "drift": "frame statistics over a very long rollout",
}
"""Key of every task to what it measures, in the order of `presets.score_names.TASK_NAMES`."""
POSE_TASKS = ("reverse", "tour")
"""Tasks that put the camera exactly where it was before, for presets whose inputs are poses."""
MAX_SEEDS = 10_000


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """One evaluation. The same values on the same machine give the same scores."""

    seeds: tuple[int, ...]
    """One held-out episode per seed and task."""
    tasks: tuple[str, ...] = tuple(TASKS)
    num_steps: int | None = None
    """Denoising steps per frame; None for the preset's own number."""
    horizons: tuple[int, ...] = (1, 10, 30, 60, 200)
    """Generated frames at which a rollout is scored, counted from 1."""
    context_frames: int = 32
    """True frames before the first generated one; at least the preset's own context."""
    one_step_frames: int = 32
    """Frames per episode of the next-frame score."""
    retrieval_frames: int = 128
    """Length of an outbound and return episode; its first half is context."""
    reverse_context: int = 64
    """True frames before the same frames in reverse order. The paper: 200."""
    tour_views: int = 24
    """Views of a tour: four headings at each of a quarter as many places."""
    reasoning_context: int = 128
    """True frames before the random continuation."""
    reasoning_frames: int = 64
    loop_context: int = 224
    """True frames of lapping a loop: about one lap in the bundled maze."""
    loop_frames: int = 96
    gone_frames: int = 8
    """A place has left the view after this many consecutive frames out of it: more than an attention window."""
    fidelity_frames: int = 64
    """Generated frames under random keys."""
    idle_settle: int = 16
    """True frames without input before the first generated one: the player glides to a stop."""
    idle_frames: int = 100
    drift_distances: tuple[int, ...] = (50, 100, 200, 500, 1000, 2000)
    """Generated frames up to which drift is measured."""
    drift_seeds: int = 4
    """Only the first seeds are used for drift: its episodes are long."""
    probe_seeds: int = 96
    """Training episodes of the inverse-dynamics probe, of `probe_frames` frames each."""
    probe_frames: int = 80
    probe_updates: int = 600
    training_seeds: int = 16
    """Training episodes averaged into the mean image."""

    def __post_init__(self) -> None:
        if not self.seeds:
            raise UsageError("no seeds to evaluate", hint=f"for example --seeds {EVALUATION_SEED_START}:900016")
        trained = [seed for seed in self.seeds if seed < EVALUATION_SEED_START]
        if trained:
            raise UsageError(
                f"seed {trained[0]} is not held out: it may have been trained on",
                hint=f"use seeds of {EVALUATION_SEED_START} or more",
            )
        if len(set(self.seeds)) != len(self.seeds):
            raise UsageError("duplicate seed", hint="list every seed once")
        if self.num_steps is not None and self.num_steps < 1:
            raise UsageError(f"the number of denoising steps is {self.num_steps}", hint="use 1 or more")
        _check_increasing("horizons", self.horizons)
        _check_increasing("drift_distances", self.drift_distances)
        for task in self.tasks:
            if task not in TASKS:
                raise UsageError(f"no task {task!r}", hint=did_you_mean(task, TASKS))
        if not self.tasks:
            raise UsageError("no task to evaluate", hint="known: " + ", ".join(TASKS))
        numbers = [self.context_frames, self.one_step_frames, self.training_seeds, self.reasoning_context]
        numbers += [self.reasoning_frames, self.loop_context, self.drift_seeds, self.gone_frames]
        numbers += [self.probe_seeds, self.probe_updates, self.idle_settle]
        lengths = [
            self.reverse_context,
            self.retrieval_frames,
            self.loop_frames,
            self.idle_frames,
            self.fidelity_frames,
            self.probe_frames,
        ]
        if self.tour_views < 4 or self.tour_views % 4:
            raise UsageError(f"tour_views is {self.tour_views}", hint="a multiple of 4: four headings at each place")
        if min(numbers) < 1 or min(lengths) < 4:
            raise UsageError("numbers of frames and seeds must be positive", hint="episodes need at least 4 frames")


def parse_tasks(text: str | None) -> tuple[str, ...]:
    """Comma-separated tasks, sorted into the order of the tables; all for None."""
    if text is None:
        return tuple(TASKS)
    asked = [name.strip() for name in text.split(",") if name.strip()]
    return tuple(sorted(asked, key=lambda name: [*TASKS, name].index(name)))


def parse_seeds(text: str) -> tuple[int, ...]:
    """`N`: the first N held-out seeds. `A:B`: seeds from A up to, excluding, B. Raises: UsageError."""
    first, colon, end = text.partition(":")
    if not colon and first.isdecimal() and 1 <= int(first) <= MAX_SEEDS:
        return tuple(range(EVALUATION_SEED_START, EVALUATION_SEED_START + int(first)))
    if not (colon and first.isdecimal() and end.isdecimal() and 0 < int(end) - int(first) <= MAX_SEEDS):
        raise UsageError(
            f"--seeds {text} is neither a number of seeds nor a range A:B with A below B",
            hint=f"for example --seeds 16 or --seeds 900000:900016; at most {MAX_SEEDS}",
        )
    return tuple(range(int(first), int(end)))


def _check_increasing(name: str, values: Sequence[int]) -> None:
    if not values or any(a >= b for a, b in zip((0, *values), values, strict=False)):
        raise UsageError(f"{name} are {tuple(values)}", hint="use positive, increasing numbers, for example 1 10 30 60")
