"""The gated delta rule over blocks of tokens: a token first removes what the state holds under its key, then writes.

In three equivalent forms as in `mamba2`, whose stream and cache it uses. Projections are in `mixer`.

    h_q = exp(a_q) h_{q-1} (I - b_q dt_q b_q^T) + dt_q x_q b_q^T          y_q = h_q c_q

Letters and names as in `mamba2`, with the delta rule's symbols: dt is beta, exp(a) alpha, b the key (of length one), c
the query, x the value; U and W are what tokens would write to an empty state, and how the initial state changes that.
Keys and queries are shared by the heads of a group, as in Mamba-2.
Source: Yang et al. 2024, "Gated Delta Networks", equation 10 and section 3.3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worldsim.models.fp32 import full_precision
from worldsim.models.sequence.mamba2 import (
    ScanCache,
    ScanInput,
    by_head,
    chunk_update,
    flatten_tokens,
    intra_chunk,
    intra_chunk_decay,
    join_chunks,
    read_frames_of,
    read_past,
    read_state,
    split_chunks,
    split_frames,
)


def delta_reference(stream: ScanInput, state_GKES: Tensor) -> tuple[Tensor, Tensor]:
    """Reference implementation, token by token; slow, for tests. Shapes as in `ssd_reference`."""
    num_frames, num_tokens = stream.x.shape[1:3]
    outputs = []
    for t in range(num_frames):
        for n in range(num_tokens):
            key_S1, query_S1 = (x[:, t, n, None, :, None] for x in (stream.b, stream.c))
            state_GKES = stream.a[:, t, n].exp()[..., None, None] * state_GKES
            new_GKE1 = stream.x[:, t, n, ..., None] - state_GKES @ key_S1
            state_GKES = state_GKES + stream.dt[:, t, n, :, None, None] * new_GKE1 @ key_S1.transpose(-1, -2)
            outputs.append((state_GKES @ query_S1)[..., 0])
    return torch.stack(outputs, 1).unflatten(1, (num_frames, num_tokens)), state_GKES


@full_precision
def delta_step(frame: ScanInput, state_GKES: Tensor) -> tuple[Tensor, Tensor]:
    """One frame from a given state, as `ssd_step`."""
    assert frame.x.shape[1] == 1, tuple(frame.x.shape)
    y_GKQE, cache = _write(frame, state_GKES, num_chunks=1)
    return y_GKQE.transpose(1, 2)[:, None], cache.end


@full_precision
def delta_chunked(stream: ScanInput, state_GKES: Tensor) -> tuple[Tensor, ScanCache]:
    """All frames; equal to `delta_reference`. Shapes: returns y [G, T, N, K, E]."""
    num_frames, num_tokens = stream.x.shape[1:3]
    chunks, num_chunks = split_chunks(stream)
    y_GKQE, cache = _write(chunks, state_GKES, num_chunks)
    return join_chunks(y_GKQE, num_frames, num_tokens, num_chunks), cache


@full_precision
def delta_chunked_read(cache: ScanCache, noisy: ScanInput) -> Tensor:
    """As `ssd_chunked_read`: equal to `delta_step(noisy[t], state after clean[t - 1])` for every t."""
    num_frames, num_tokens = noisy.x.shape[1:3]
    chunks, num_chunks = split_chunks(noisy)
    since_GKQ = chunks.a.cumsum(2).flatten(1, 2).transpose(1, 2)
    queries = [query.flatten(1, 2) for query in (chunks.c, chunks.b)]
    past, held = (
        join_chunks(y_GKQE, num_frames, num_tokens, num_chunks)
        for y_GKQE in read_past(cache, queries, since_GKQ, num_tokens)
    )
    return past + _own_frame(noisy, held)


@full_precision
def delta_read_state(state_GKES: Tensor, noisy: ScanInput) -> Tensor:
    """As `ssd_read_state`: equal to `delta_step(noisy[t], state)` for every t."""
    past, held = (read_frames_of(query, noisy, state_GKES) for query in (noisy.c, noisy.b))
    return past + _own_frame(noisy, held)


def _own_frame(noisy: ScanInput, held_GTNKE: Tensor) -> Tensor:
    """What the tokens of each frame read of each other, given what is held under their keys."""
    _, cum_GKN, key_GNS, query_GNS = flatten_tokens(split_frames(noisy))
    new = ((noisy.x - held_GTNKE) * noisy.dt[..., None]).flatten(0, 1).transpose(1, 2)
    write_GKNE = _solve(_overlap(noisy.dt.flatten(0, 1).transpose(1, 2), cum_GKN, key_GNS), new)
    own_GKNE = intra_chunk(query_GNS, key_GNS, cum_GKN, write_GKNE)
    return own_GKNE.transpose(1, 2).unflatten(0, noisy.x.shape[:2])


def _write(chunks: ScanInput, state_GKES: Tensor, num_chunks: int) -> tuple[Tensor, ScanCache]:
    alone_GKQE, cum_GKQ, key_GQS, query_GQS = flatten_tokens(chunks)
    beta_GKQ = chunks.dt.flatten(1, 2).transpose(1, 2)
    decay_GKQQ = intra_chunk_decay(cum_GKQ)
    overlap_GKQQ = beta_GKQ[..., None] * decay_GKQQ * (key_GQS @ key_GQS.transpose(1, 2))[:, None]
    parts = (alone_GKQE, (beta_GKQ * cum_GKQ.exp())[..., None], overlap_GKQQ, cum_GKQ, key_GQS)
    starts, writes = [state_GKES], []
    for alone, kept, overlap, cum, key in zip(
        *(part.unflatten(0, (-1, num_chunks)).unbind(1) for part in parts), strict=True
    ):
        writes.append(_solve(overlap, torch.addcmul(alone, kept, by_head(key, starts[-1]), value=-1)))
        added = chunk_update(writes[-1], cum, key)
        starts.append(torch.addcmul(added, cum[..., -1].exp()[..., None, None], starts[-1]))
    write_GKQE = torch.stack(writes, 1).flatten(0, 1)
    starts_GKES = torch.stack(starts[:-1], 1).flatten(0, 1)
    cache = ScanCache(write=write_GKQE, cumulative=cum_GKQ, key=key_GQS, starts=starts_GKES, end=starts[-1])
    own_GKQE = ((query_GQS @ key_GQS.transpose(1, 2))[:, None] * decay_GKQQ) @ write_GKQE
    return own_GKQE + read_state(query_GQS, cum_GKQ, starts_GKES), cache


def _overlap(beta_GKQ: Tensor, cum_GKQ: Tensor, key_GQS: Tensor) -> Tensor:
    """The fraction of an earlier token's write that a later token removes. Shapes: [G, K, Q, Q]."""
    return beta_GKQ[..., None] * intra_chunk_decay(cum_GKQ, -1) * (key_GQS @ key_GQS.transpose(1, 2))[:, None]


def _solve(overlap_GKQQ: Tensor, right: Tensor) -> Tensor:
    """(I + overlap) x = right, where only what is below the diagonal counts. Shapes: right [G, K, Q, ...]."""
    if overlap_GKQQ.shape[-1] == 1:
        return right
    return torch.linalg.solve_triangular(overlap_GKQQ, right, upper=False, unitriangular=True)
