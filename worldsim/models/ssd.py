"""The scan: state-space duality (Mamba-2) over blocks of tokens, in three equal forms.

Owns: the arithmetic. Does not own: projections and norms (`mixer`). All of it runs in float32 (float64 in tests),
whatever the rest runs in: a state in bf16 drifts over thousands of frames.

A block of the token grid is scanned by itself, frame after frame and within a frame token after token:

    h_q = exp(a_q) h_{q-1} + dt_q x_q b_q^T          y_q = h_q c_q

Letters (Mamba-2's symbol in brackets): G blocks of all samples, T frames, N tokens of a block in one frame, K heads,
E head dim (P), S state dim (N), Q tokens of a chunk; x values, dt step, a = dt * A log-decay <= 0, b input map,
c output map.
Source: Dao and Gu 2024, "Transformers are SSMs", section 6; block-wise order: LSSVWM, section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from worldsim.models.precision import full_precision

CHUNK_TOKENS = 48
"""About how many tokens are handled as one matrix product; measured flat between 32 and 96 on a CPU."""


@dataclass(frozen=True, kw_only=True)
class ScanInput:
    """One stream of tokens.

    Shapes: x [G, T, N, K, E]; dt and a [G, T, N, K]; b and c [G, T, N, S], shared by the heads.
    """

    x: Tensor
    dt: Tensor
    a: Tensor
    b: Tensor
    c: Tensor


def zero_state(stream: ScanInput) -> Tensor:
    """Shapes: [G, K, E, S]."""
    groups, _, _, heads, head_dim = stream.x.shape
    return stream.x.new_zeros(groups, heads, head_dim, stream.b.shape[-1])


def ssd_reference(stream: ScanInput, state_GKES: Tensor) -> tuple[Tensor, Tensor]:
    """The definition, token by token; slow, for tests. Shapes as `ssd_chunked`."""
    num_frames, num_tokens = stream.x.shape[1:3]
    outputs = []
    for t in range(num_frames):
        for n in range(num_tokens):
            y_GKE, state_GKES = _token(stream, t, n, state_GKES)
            outputs.append(y_GKE)
    y = torch.stack(outputs, 1)
    return y.unflatten(1, (num_frames, num_tokens)), state_GKES


def _token(stream: ScanInput, t: int, n: int, state_GKES: Tensor) -> tuple[Tensor, Tensor]:
    write_GKE = stream.dt[:, t, n, :, None] * stream.x[:, t, n]
    kept_GKES = stream.a[:, t, n].exp()[..., None, None] * state_GKES
    state_GKES = torch.addcmul(kept_GKES, write_GKE[..., None], stream.b[:, t, n, None, None])
    return (state_GKES @ stream.c[:, t, n, None, :, None])[..., 0], state_GKES


@full_precision
def ssd_step(frame: ScanInput, state_GKES: Tensor) -> tuple[Tensor, Tensor]:
    """One frame from a given state: what play does, to read (drop the new state) and to commit (keep it).

    Shapes: T = 1; returns y [G, 1, N, K, E] and the state after the frame.
    """
    assert frame.x.shape[1] == 1, tuple(frame.x.shape)
    if frame.x.shape[2] > 1:
        return _chunk(frame, state_GKES)
    y_GKE, state_GKES = _token(frame, 0, 0, state_GKES)
    return y_GKE[:, None, None], state_GKES


@full_precision
def ssd_chunked(stream: ScanInput, state_GKES: Tensor) -> tuple[Tensor, Tensor]:
    """All frames, a chunk at a time; equal to `ssd_reference`.

    Shapes: returns y [G, T, N, K, E] and the state [G, K, E, S] after the last frame.
    """
    outputs = []
    for chunk in _chunks(stream):
        y, state_GKES = _chunk(chunk, state_GKES)
        outputs.append(y)
    return torch.cat(outputs, 1), state_GKES


@full_precision
def ssd_chunked_read(clean: ScanInput, noisy: ScanInput, state_GKES: Tensor) -> Tensor:
    """What the noisy stream reads: at frame t the state left by the clean frames before t, then its own frame.

    Equal to `ssd_step(noisy[t], state after clean[t - 1])` for every t: exactly the arithmetic of play, for all frames
    at once. Nothing noisy is written anywhere. Shapes: returns y [G, T, N, K, E].
    """
    outputs = []
    for clean_chunk, noisy_chunk in zip(_chunks(clean), _chunks(noisy), strict=True):
        outputs.append(_chunk_read(clean_chunk, noisy_chunk, state_GKES))
        state_GKES = _advance(clean_chunk, state_GKES)
    return torch.cat(outputs, 1)


def _chunks(stream: ScanInput) -> list[ScanInput]:
    """Whole frames, about CHUNK_TOKENS tokens each."""
    num_frames, num_tokens = stream.x.shape[1:3]
    size = max(1, CHUNK_TOKENS // num_tokens)
    return [
        ScanInput(**{name: value[:, start : start + size] for name, value in vars(stream).items()})
        for start in range(0, num_frames, size)
    ]


def _flat(stream: ScanInput) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(dt * x as [G, K, Q, E], inclusive cumulative log-decay [G, K, Q], b [G, Q, S], c [G, Q, S])."""
    write = (stream.dt[..., None] * stream.x).flatten(1, 2).transpose(1, 2)
    cumulative = stream.a.flatten(1, 2).cumsum(1).transpose(1, 2)
    return write, cumulative, stream.b.flatten(1, 2), stream.c.flatten(1, 2)


def _chunk(stream: ScanInput, state_GKES: Tensor) -> tuple[Tensor, Tensor]:
    write_GKQE, cum_GKQ, b_GQS, c_GQS = _flat(stream)
    num = cum_GKQ.shape[-1]
    causal_QQ = torch.ones(num, num, dtype=torch.bool, device=cum_GKQ.device).tril()
    decay_GKQQ = _masked_exp(cum_GKQ[..., :, None] - cum_GKQ[..., None, :], causal_QQ)
    scores_GKQQ = (c_GQS @ b_GQS.transpose(1, 2))[:, None] * decay_GKQQ
    from_state_GKQE = (c_GQS[:, None] @ state_GKES.transpose(2, 3)) * cum_GKQ.exp()[..., None]
    y_GKQE = scores_GKQQ @ write_GKQE + from_state_GKQE
    y = y_GKQE.transpose(1, 2).unflatten(1, stream.x.shape[1:3])
    return y, _end_state(write_GKQE, cum_GKQ, b_GQS, state_GKES)


def _advance(stream: ScanInput, state_GKES: Tensor) -> Tensor:
    write_GKQE, cum_GKQ, b_GQS, _ = _flat(stream)
    return _end_state(write_GKQE, cum_GKQ, b_GQS, state_GKES)


def _end_state(write_GKQE: Tensor, cum_GKQ: Tensor, b_GQS: Tensor, state_GKES: Tensor) -> Tensor:
    to_end_GKQ = (cum_GKQ[..., -1:] - cum_GKQ).exp()
    written_GKES = (write_GKQE * to_end_GKQ[..., None]).transpose(2, 3) @ b_GQS[:, None]
    return cum_GKQ[..., -1].exp()[..., None, None] * state_GKES + written_GKES


def _chunk_read(clean: ScanInput, noisy: ScanInput, state_GKES: Tensor) -> Tensor:
    frames, tokens = clean.x.shape[1:3]
    write_GKQE, cum_GKQ, b_GQS, _ = _flat(clean)
    own_write_GKQE, _, own_b_GQS, own_c_GQS = _flat(noisy)
    own_cum = noisy.a.cumsum(2)
    ends = cum_GKQ.unflatten(-1, (frames, tokens))[..., -1]
    before_GKT = F.pad(ends[..., :-1], (1, 0))
    query_GKQ = (before_GKT[..., None] + own_cum.movedim(-1, 1)).flatten(2)

    frame_Q = torch.arange(frames, device=cum_GKQ.device).repeat_interleave(tokens)
    token_Q = torch.arange(tokens, device=cum_GKQ.device).repeat(frames)
    earlier_QQ = frame_Q[None, :] < frame_Q[:, None]
    own_QQ = (frame_Q[None, :] == frame_Q[:, None]) & (token_Q[None, :] <= token_Q[:, None])
    own_cum_GKQ = own_cum.flatten(1, 2).transpose(1, 2)

    past = (own_c_GQS @ b_GQS.transpose(1, 2))[:, None]
    past = past * _masked_exp(query_GKQ[..., :, None] - cum_GKQ[..., None, :], earlier_QQ)
    own = (own_c_GQS @ own_b_GQS.transpose(1, 2))[:, None]
    own = own * _masked_exp(own_cum_GKQ[..., :, None] - own_cum_GKQ[..., None, :], own_QQ)
    from_state_GKQE = (own_c_GQS[:, None] @ state_GKES.transpose(2, 3)) * query_GKQ.exp()[..., None]
    y_GKQE = past @ write_GKQE + own @ own_write_GKQE + from_state_GKQE
    return y_GKQE.transpose(1, 2).unflatten(1, (frames, tokens))


def _masked_exp(exponent: Tensor, mask: Tensor) -> Tensor:
    """exp where allowed, 0 elsewhere; masked before exp, so that no infinity is made and multiplied by 0.

    The mask is added: on a CPU, filling through a broadcast mask takes ten times as long as the rest.
    """
    return (exponent + log_mask(mask, exponent.dtype)).exp()


def log_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where True, minus infinity where False."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, float("-inf"))
