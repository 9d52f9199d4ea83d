"""WorldState: the complete memory of a session, of fixed size except for models with full attention.

The world model defines the names and the meaning of the tensors. A state is never changed in place, so a snapshot is
the state itself and costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from worldsim.core.errors import NonFiniteError, StateError

GROWING_PREFIX = "growing_"
"""Prefix of the last part of a name, for tensors [B, frames so far, ...] that grow by one with every frame."""


@dataclass(frozen=True, kw_only=True)
class WorldState:
    """`frame_index` counts the frames so far; with `seed` it determines the noise of the next frame."""

    tensors: dict[str, Tensor]
    frame_index: int = 0
    seed: int = 0

    @property
    def num_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in self.tensors.values())

    def with_prefix(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names have this prefix, by the rest of their names."""
        return {n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)}

    def advance(self, tensors: dict[str, Tensor], num_frames: int = 1) -> WorldState:
        """The state `num_frames` later, with `tensors` replaced or added."""
        return replace(self, tensors={**self.tensors, **tensors}, frame_index=self.frame_index + num_frames)

    def where(self, is_own_B: Tensor, other: WorldState) -> WorldState:
        """Row by row, this state or the other, which has the same frame index."""
        assert other.frame_index == self.frame_index, (self.frame_index, other.frame_index)
        rows = {
            name: torch.where(is_own_B.view(-1, *[1] * (tensor.dim() - 1)), tensor, other.tensors[name])
            for name, tensor in self.tensors.items()
        }
        return replace(self, tensors=rows)

    def map(self, function: Callable[[Tensor], Tensor]) -> WorldState:
        return replace(self, tensors={name: function(t) for name, t in self.tensors.items()})

    def to(self, device: str | torch.device) -> WorldState:
        return self.map(lambda t: t.to(device))

    def check_finite(self) -> None:
        """Raises NonFiniteError with the name of the tensor that holds NaN or infinity."""
        for name, tensor in self.tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise NonFiniteError(
                    f"the state holds NaN or infinity ({name}, frame {self.frame_index})", hint="reset the session"
                )

    def to_bytes(self) -> bytes:
        """The state as a safetensors file, with frame index and seed."""
        counters = torch.tensor([self.frame_index, self.seed], dtype=torch.int64)
        return save({**{n: t.detach().cpu().contiguous() for n, t in self.tensors.items()}, "counters": counters})

    @classmethod
    def from_bytes(cls, data: bytes, like: WorldState) -> WorldState:
        """Reads what `to_bytes` wrote. `like` is a state of the model that will continue from it.

        Raises: StateError when the bytes are damaged or the tensors do not match those of `like`.
        """
        try:
            tensors = load(data)
        except (SafetensorError, ValueError) as error:
            raise StateError(f"the saved state is damaged: {error}", hint="use another save") from None
        counters = tensors.pop("counters", None)
        found, expected = _signatures(tensors), _signatures(like.tensors)
        if counters is None or found != expected:
            wrong = sorted(n for n in {*found, *expected} if found.get(n) != expected.get(n))
            raise StateError(
                f"the saved state belongs to another model (differs in {', '.join(wrong[:3]) or 'counters'})",
                hint="load it with the preset that wrote it",
            )
        device = next(iter(like.tensors.values())).device
        frame_index, seed = (int(v) for v in counters)
        return cls(tensors={n: t.to(device) for n, t in tensors.items()}, frame_index=frame_index, seed=seed)


def _signatures(tensors: dict[str, Tensor]) -> dict[str, tuple[object, ...]]:
    """Shape (without a dimension that grows) and type of every tensor."""
    return {
        name: (
            tensor.shape[:1] + tensor.shape[2:] if name.split(".")[-1].startswith(GROWING_PREFIX) else tensor.shape,
            tensor.dtype,
        )
        for name, tensor in tensors.items()
    }
