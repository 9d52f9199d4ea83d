"""What is evaluated, and how long. Torch-free, so that the command line reads it quickly."""

from __future__ import annotations

from dataclasses import dataclass

from worldsim.core.errors import UsageError
from worldsim.worlds.doom.config import EVALUATION_SEED_START


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """One evaluation. The same values on the same machine give the same scores."""

    seeds: tuple[int, ...]
    """One held-out episode of each task per seed."""
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
        if not self.horizons or any(a >= b for a, b in zip((0, *self.horizons), self.horizons, strict=False)):
            raise UsageError(f"horizons are {self.horizons}", hint="positive and rising, for example 1 10 30 60")
        if min(self.context_frames, self.one_step_frames, self.training_seeds) < 1 or self.retrieval_frames < 4:
            raise UsageError("numbers of frames and seeds must be positive", hint="see EvalConfig")


def parse_seeds(text: str) -> tuple[int, ...]:
    """`A:B` is A up to, but not, B. Raises UsageError for anything else."""
    first, colon, end = text.partition(":")
    if not (colon and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise UsageError(f"--seeds {text} is not A:B with A below B", hint="for example --seeds 900000:900016")
    return tuple(range(int(first), int(end)))
