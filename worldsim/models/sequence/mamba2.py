"""The Mamba-2 scan (state-space duality) over blocks of tokens, in three equivalent forms.

It always runs in float32 (float64 in tests), independently of autocast: a state in bf16 drifts over thousands of
frames. Projections and norms are in `mixer`.

Each block of the token grid is scanned separately, frame by frame and within a frame token by token:

    h_q = exp(a_q) h_{q-1} + dt_q x_q b_q^T          y_q = h_q c_q

Letters (Mamba-2's symbol in brackets): G blocks of all samples, T frames, N tokens of a block in one frame, K heads,
E head dim (P), S state dim (N), Q tokens of a chunk; x values, dt step, a = dt * A log-decay <= 0, b input map,
c output map.
Source: Dao and Gu 2024, "Transformers are SSMs", section 6; block-wise order: LSSVWM, section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from worldsim.models.fp32 import full_precision

CHUNK_TOKENS = 32
"""Approximate number of tokens per matrix product. On a CPU the speed is flat between 24 and 32, and 1/7 lower at
48."""


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


@dataclass(frozen=True, kw_only=True)
class ScanCache:
    """Per-chunk results of the clean stream, which the noisy stream reads, and the final state.

    Shapes: write [G * chunks, K, Q, E], cumulative log-decay [G * chunks, K, Q], key [G * chunks, Q, S], starts (the
    state before each chunk) [G * chunks, K, E, S], end [G, K, E, S].
    """

    write: Tensor
    cumulative: Tensor
    key: Tensor
    starts: Tensor
    end: Tensor


def zero_state(stream: ScanInput) -> Tensor:
    """Shapes: [G, K, E, S]."""
    groups, _, _, heads, head_dim = stream.x.shape
    return stream.x.new_zeros(groups, heads, head_dim, stream.b.shape[-1])


def ssd_reference(stream: ScanInput, state_GKES: Tensor) -> tuple[Tensor, Tensor]:
    """Reference implementation, token by token; slow, for tests.

    Shapes: returns y [G, T, N, K, E] and the state [G, K, E, S] after the last frame.
    """
    num_frames, num_tokens = stream.x.shape[1:3]
    outputs = []
    for t in range(num_frames):
        for n in range(num_tokens):
            y_GKE, state_GKES = _scan_token(stream, t, n, state_GKES)
            outputs.append(y_GKE)
    y = torch.stack(outputs, 1)
    return y.unflatten(1, (num_frames, num_tokens)), state_GKES


def _scan_token(stream: ScanInput, t: int, n: int, state_GKES: Tensor) -> tuple[Tensor, Tensor]:
    write_GKE = stream.dt[:, t, n, :, None] * stream.x[:, t, n]
    kept_GKES = stream.a[:, t, n].exp()[..., None, None] * state_GKES
    state_GKES = torch.addcmul(kept_GKES, write_GKE[..., None], stream.b[:, t, n, None, None])
    return (state_GKES @ stream.c[:, t, n, None, :, None])[..., 0], state_GKES


@full_precision
def ssd_step(frame: ScanInput, state_GKES: Tensor) -> tuple[Tensor, Tensor]:
    """One frame from a given state, as at play: to read (drop the new state) or to commit (keep it).

    Shapes: T = 1; returns y [G, 1, N, K, E] and the state after the frame.
    """
    assert frame.x.shape[1] == 1, tuple(frame.x.shape)
    if frame.x.shape[2] > 1:
        y_GKQE, cache = _write(frame, state_GKES, num_chunks=1)
        return y_GKQE.transpose(1, 2)[:, None], cache.end
    y_GKE, state_GKES = _scan_token(frame, 0, 0, state_GKES)
    return y_GKE[:, None, None], state_GKES


@full_precision
def ssd_chunked(stream: ScanInput, state_GKES: Tensor) -> tuple[Tensor, ScanCache]:
    """All frames; equal to `ssd_reference`. Chunks are computed in parallel, except for the states between them.

    Shapes: returns y [G, T, N, K, E].
    """
    num_frames, num_tokens = stream.x.shape[1:3]
    chunks, num_chunks = split_chunks(stream)
    y_GKQE, cache = _write(chunks, state_GKES, num_chunks)
    return join_chunks(y_GKQE, num_frames, num_tokens, num_chunks), cache


def _write(chunks: ScanInput, state_GKES: Tensor, num_chunks: int) -> tuple[Tensor, ScanCache]:
    write_GKQE, cum_GKQ, b_GQS, c_GQS = flatten_tokens(chunks)
    written_GKES = chunk_update(write_GKQE, cum_GKQ, b_GQS)
    kept_GK = cum_GKQ[..., -1].exp()
    starts = [state_GKES]
    for kept, added in zip(
        kept_GK.unflatten(0, (-1, num_chunks)).unbind(1),
        written_GKES.unflatten(0, (-1, num_chunks)).unbind(1),
        strict=True,
    ):
        starts.append(torch.addcmul(added, kept[..., None, None], starts[-1]))
    starts_GKES = torch.stack(starts[:-1], 1).flatten(0, 1)
    cache = ScanCache(write=write_GKQE, cumulative=cum_GKQ, key=b_GQS, starts=starts_GKES, end=starts[-1])
    return intra_chunk(c_GQS, b_GQS, cum_GKQ, write_GKQE) + read_state(c_GQS, cum_GKQ, starts_GKES), cache


@full_precision
def ssd_chunked_read(cache: ScanCache, noisy: ScanInput) -> Tensor:
    """The output of the noisy stream: frame t reads the state after the clean frames before t, then its own frame.

    Equal to `ssd_step(noisy[t], state after clean[t - 1])` for every t, that is to play, for all frames at once. Noisy
    frames are never written to the state. Shapes: returns y [G, T, N, K, E].
    """
    num_frames, num_tokens = noisy.x.shape[1:3]
    chunks, num_chunks = split_chunks(noisy)
    since_GKQ = chunks.a.cumsum(2).flatten(1, 2).transpose(1, 2)
    (past_GKQE,) = read_past(cache, [chunks.c.flatten(1, 2)], since_GKQ, num_tokens)
    return join_chunks(past_GKQE, num_frames, num_tokens, num_chunks) + own_frame(noisy)


@full_precision
def ssd_read_state(state_GKES: Tensor, noisy: ScanInput) -> Tensor:
    """As `ssd_chunked_read`, where every frame is the next after the same state: equal to `ssd_step(noisy[t], state)`
    for every t. Shapes: returns y [G, T, N, K, E].
    """
    return read_frames_of(noisy.c, noisy, state_GKES) + own_frame(noisy)


def read_frames_of(query_GTNS: Tensor, noisy: ScanInput, state_GKES: Tensor) -> Tensor:
    """What each frame reads of a state that all of them go on from. Shapes: [G, T, N, K, E]."""
    past_GKQE = read_state(query_GTNS.flatten(1, 2), noisy.a.cumsum(2).flatten(1, 2).transpose(1, 2), state_GKES)
    return past_GKQE.transpose(1, 2).unflatten(1, noisy.x.shape[1:3])


def own_frame(noisy: ScanInput) -> Tensor:
    """What the tokens of each frame read of each other. Shapes: [G, T, N, K, E]."""
    write_GKNE, cum_GKN, b_GNS, c_GNS = flatten_tokens(split_frames(noisy))
    own_GKNE = intra_chunk(c_GNS, b_GNS, cum_GKN, write_GKNE)
    return own_GKNE.transpose(1, 2).unflatten(0, noisy.x.shape[:2])


def read_past(cache: ScanCache, queries: Sequence[Tensor], since_GKQ: Tensor, num_tokens: int) -> list[Tensor]:
    """Reads the state at the start of each token's frame, decayed further by `since`, with every query [G, Q, S].

    Shapes: returns [G * chunks, K, Q, E] each.
    """
    size = since_GKQ.shape[-1] // num_tokens
    ends_GKF = cache.cumulative[..., num_tokens - 1 :: num_tokens]
    before_GKF = F.pad(ends_GKF[..., :-1], (1, 0))
    decay_GKQ = (before_GKF[..., None] + since_GKQ.unflatten(-1, (size, num_tokens))).flatten(2)
    past = [read_state(query_GQS, decay_GKQ, cache.starts) for query_GQS in queries]
    if size == 1:
        return past
    frame_Q = torch.arange(size, device=since_GKQ.device).repeat_interleave(num_tokens)
    decay_GKQQ = _masked_exp(decay_GKQ[..., :, None] - cache.cumulative[..., None, :], frame_Q < frame_Q[:, None])
    key_GSQ = cache.key.transpose(1, 2)
    return [
        past_GKQE + ((query_GQS @ key_GSQ)[:, None] * decay_GKQQ) @ cache.write
        for past_GKQE, query_GQS in zip(past, queries, strict=True)
    ]


def split_chunks(stream: ScanInput) -> tuple[ScanInput, int]:
    """Splits into chunks of complete frames, about CHUNK_TOKENS tokens each. Returns: the chunks, and their number.

    The padding of the last chunk does not change the state. Shapes: [G * chunks, F, N, ...].
    """
    num_frames, num_tokens = stream.x.shape[1:3]
    num_chunks = -(-num_frames // max(1, CHUNK_TOKENS // num_tokens))
    size = -(-num_frames // num_chunks)
    parts = {name: value.flatten(0, 1) for name, value in _in_parts(stream, size).items()}
    return replace(stream, **parts), -(-num_frames // size)


def merge_frames(stream: ScanInput, num_frames: int) -> ScanInput:
    """Merges every `num_frames` frames into one. Shapes: [G, T', num_frames * N, ...]."""
    if num_frames == 1:
        return stream
    return replace(stream, **{name: value.flatten(2, 3) for name, value in _in_parts(stream, num_frames).items()})


def _in_parts(stream: ScanInput, size: int) -> dict[str, Tensor]:
    """Shapes: [G, parts, size, N, ...]."""
    missing = -stream.x.shape[1] % size

    def fold(value: Tensor) -> Tensor:
        if missing:
            value = torch.cat((value, value.new_zeros(value.shape[0], missing, *value.shape[2:])), 1)
        return value.unflatten(1, (-1, size))

    return {name: fold(value) for name, value in vars(stream).items()}


def join_chunks(y_GKQE: Tensor, num_frames: int, num_tokens: int, num_chunks: int) -> Tensor:
    """Shapes: [G * chunks, K, Q, E] -> [G, T, N, K, E]."""
    y = y_GKQE.transpose(1, 2).unflatten(0, (-1, num_chunks)).flatten(1, 2)
    return y.unflatten(1, (-1, num_tokens))[:, :num_frames]


def split_frames(stream: ScanInput) -> ScanInput:
    """Each frame as a separate group. Shapes: [G * T, 1, N, ...]."""
    return replace(stream, **{name: value.flatten(0, 1)[:, None] for name, value in vars(stream).items()})


def flatten_tokens(stream: ScanInput) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(dt * x as [G, K, Q, E], inclusive cumulative log-decay [G, K, Q], b [G, Q, S], c [G, Q, S])."""
    write = (stream.dt[..., None] * stream.x).flatten(1, 2).transpose(1, 2)
    cumulative = stream.a.flatten(1, 2).cumsum(1).transpose(1, 2)
    return write, cumulative, stream.b.flatten(1, 2), stream.c.flatten(1, 2)


def intra_chunk(query_GQS: Tensor, key_GQS: Tensor, cum_GKQ: Tensor, write_GKQE: Tensor) -> Tensor:
    """What the tokens of a chunk read from each other and from themselves. Shapes: [G, K, Q, E]."""
    num = cum_GKQ.shape[-1]
    if num == 1:
        return (query_GQS * key_GQS).sum(-1)[:, None, :, None] * write_GKQE
    decay_GKQQ = intra_chunk_decay(cum_GKQ)
    return ((query_GQS @ key_GQS.transpose(1, 2))[:, None] * decay_GKQQ) @ write_GKQE


def intra_chunk_decay(cum_GKQ: Tensor, diagonal: int = 0) -> Tensor:
    """Decay from an earlier token's write to a later token; a diagonal of -1 excludes the token itself."""
    num = cum_GKQ.shape[-1]
    causal_QQ = torch.ones(num, num, dtype=torch.bool, device=cum_GKQ.device).tril(diagonal)
    return _masked_exp(cum_GKQ[..., :, None] - cum_GKQ[..., None, :], causal_QQ)


def read_state(query_GQS: Tensor, decay_GKQ: Tensor, state_GKES: Tensor) -> Tensor:
    """Reads a state after further decay. Shapes: [G, K, Q, E]."""
    return by_head(query_GQS, state_GKES) * decay_GKQ.exp()[..., None]


def by_head(query_GQS: Tensor, state_GKES: Tensor) -> Tensor:
    """The product of queries, shared by the heads, with every head's state, as one product and without copies.

    Shapes: [G, K, Q, E].
    """
    product_GQX = query_GQS @ state_GKES.flatten(1, 2).transpose(1, 2)
    return product_GQX.unflatten(-1, state_GKES.shape[1:3]).transpose(1, 2)


def chunk_update(write_GKQE: Tensor, cum_GKQ: Tensor, key_GQS: Tensor) -> Tensor:
    """What a chunk adds to the state at its end. Shapes: [G, K, E, S]."""
    to_end_GKQ = (cum_GKQ[..., -1:] - cum_GKQ).exp()
    kept_GKEQ = (write_GKQE * to_end_GKQ[..., None]).transpose(2, 3)
    return (kept_GKEQ.flatten(1, 2) @ key_GQS).unflatten(1, kept_GKEQ.shape[1:3])


def _masked_exp(exponent: Tensor, mask: Tensor) -> Tensor:
    """exp where the mask is True, 0 elsewhere; masked before exp, which avoids infinity times 0.

    The mask is added, since on a CPU filling through a broadcast mask takes ten times as long as the rest. In place:
    `exponent` is a temporary, and the backward pass needs only the result.
    """
    return exponent.add_(log_mask(mask, exponent.dtype)).exp_()


def log_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where True, minus infinity where False."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, float("-inf"))
