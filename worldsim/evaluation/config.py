"""What is evaluated, and how long. Torch-free, so that the command line reads it quickly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worldsim.core.errors import UsageError, did_you_mean
from worldsim.worlds.seeds import EVALUATION_SEED_START

TASKS = {
    "one_step": "the next frame, from true ones",
    "rollout": "on its own from a few true frames on, by distance",
    "retrieval": "the way back after the way out",
    "reasoning": "on at random after long context",
    "spin": "a second full turn on the spot",
    "loop": "again round a loop of the maze",
    "fidelity": "does a frame move as the action says",
    "idle": "nothing held: does the picture stand still",
    "drift": "statistics over a very long roll-out",
}
"""What is evaluated, in the order of the report."""
MAX_SEEDS = 10_000


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """One evaluation. The same values on the same machine give the same scores."""

    seeds: tuple[int, ...]
    """One held-out episode of each task per seed."""
    tasks: tuple[str, ...] = tuple(TASKS)
    num_steps: int | None = None
    """Denoising steps per frame; None is what the preset is played with."""
    horizons: tuple[int, ...] = (1, 10, 30, 60, 200)
    """Generated frames after which a roll-out is scored, counted from 1."""
    context_frames: int = 32
    """True frames before the first generated one; a preset that plays with more gets more."""
    one_step_frames: int = 32
    """Frames per episode over which the one-step score is a mean."""
    retrieval_frames: int = 128
    """Length of an out-and-back episode: its first half is context."""
    reasoning_context: int = 128
    """True frames before a walk goes on at random."""
    reasoning_frames: int = 64
    loop_context: int = 224
    """True frames of a walk round and round: once round, in the maze that is shipped."""
    loop_frames: int = 96
    gone_frames: int = 8
    """A place that was out of the view for so many frames in a row has left it: more than an attention window."""
    fidelity_frames: int = 64
    """Frames under keys held at random."""
    idle_settle: int = 16
    """True frames with nothing held before the first generated one: a walker glides on."""
    idle_frames: int = 100
    drift_distances: tuple[int, ...] = (50, 100, 200, 500, 1000, 2000)
    """Generated frames up to which the drift is measured."""
    drift_seeds: int = 4
    """Of the seeds the first so many: these walks are long."""
    probe_seeds: int = 96
    """Training episodes of `probe_frames` frames for the probe that reads actions off frames."""
    probe_frames: int = 80
    probe_updates: int = 600
    training_seeds: int = 16
    """Training episodes whose frames make the mean image."""

    def __post_init__(self) -> None:
        if not self.seeds:
            raise UsageError("no seeds to evaluate", hint=f"for example --seeds {EVALUATION_SEED_START}:900016")
        held_in = [seed for seed in self.seeds if seed < EVALUATION_SEED_START]
        if held_in:
            raise UsageError(
                f"seed {held_in[0]} is not held out: training may have drawn it",
                hint=f"seeds from {EVALUATION_SEED_START} up are for evaluation",
            )
        if len(set(self.seeds)) != len(self.seeds):
            raise UsageError("a seed is given twice", hint="every seed once")
        if self.num_steps is not None and self.num_steps < 1:
            raise UsageError(f"{self.num_steps} denoising steps", hint="1 or more")
        _check_rising("horizons", self.horizons)
        _check_rising("drift_distances", self.drift_distances)
        for task in self.tasks:
            if task not in TASKS:
                raise UsageError(f"no task {task!r}", hint=did_you_mean(task, TASKS))
        if not self.tasks:
            raise UsageError("no task to evaluate", hint="known: " + ", ".join(TASKS))
        numbers = [self.context_frames, self.one_step_frames, self.training_seeds, self.reasoning_context]
        numbers += [self.reasoning_frames, self.loop_context, self.drift_seeds, self.gone_frames]
        numbers += [self.probe_seeds, self.probe_updates, self.idle_settle]
        walks = [self.retrieval_frames, self.loop_frames, self.idle_frames, self.fidelity_frames, self.probe_frames]
        if min(numbers) < 1 or min(walks) < 4:
            raise UsageError("numbers of frames and seeds must be positive", hint="see EvalConfig")


def parse_tasks(text: str | None) -> tuple[str, ...]:
    """`a,b` in the order of the report; all for None. Raises UsageError for an unknown one."""
    if text is None:
        return tuple(TASKS)
    asked = [name.strip() for name in text.split(",") if name.strip()]
    return tuple(sorted(asked, key=lambda name: [*TASKS, name].index(name)))


def parse_seeds(text: str) -> tuple[int, ...]:
    """`N` is the first N, `A:B` is A up to, but not, B. Raises UsageError for anything else."""
    first, colon, end = text.partition(":")
    if not colon and first.isdecimal() and 1 <= int(first) <= MAX_SEEDS:
        return tuple(range(EVALUATION_SEED_START, EVALUATION_SEED_START + int(first)))
    if not (colon and first.isdecimal() and end.isdecimal() and 0 < int(end) - int(first) <= MAX_SEEDS):
        raise UsageError(
            f"--seeds {text} is neither a number of seeds nor A:B with A below B",
            hint=f"for example --seeds 16 or --seeds 900000:900016; at most {MAX_SEEDS}",
        )
    return tuple(range(int(first), int(end)))


def _check_rising(name: str, values: Sequence[int]) -> None:
    if not values or any(a >= b for a, b in zip((0, *values), values, strict=False)):
        raise UsageError(f"{name} are {tuple(values)}", hint="positive and rising, for example 1 10 30 60")
