"""Action fidelity by an inverse-dynamics probe, which predicts the held inputs from the last few frames.

The probe is trained on frames of the reference world. Its accuracy on true held-out frames is the ceiling: a key held
against a wall cannot be seen. B batch, T frames, C channels, H W rows and columns, A action, I inputs (buttons, then
axes), N frames of all episodes, P candidate shifts, D features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.core.types import ActionSpec
from worldsim.evaluation.bootstrap import FloatArray
from worldsim.evaluation.clips import Clips
from worldsim.evaluation.evaluator import FrameArray, RolloutResult
from worldsim.evaluation.metrics import balanced_accuracy
from worldsim.evaluation.scores import interval_fields
from worldsim.models.autoencoder import to_tensor

NUM_FRAME_PAIRS = 3
"""Pairs of consecutive frames per prediction, ending with the action's own: speed changes over several ticks."""
MIN_HELD_TICKS = 4
"""Only frames whose action was held this long are scored: the first ticks of a key look like the previous key."""
TARGET_WIDTH_PX = 32
"""Frames are downscaled to about this width."""
SEARCH_RADIUS_PX = (2, 6)
"""Search radius of block matching in the previous frame: vertical, horizontal."""
BLOCK_PX = 4
MATCH_SHARPNESS = 12.0
"""Sharpness of the softmax over candidate shifts."""
HIDDEN_WIDTH = 128
DROPOUT = (0.2, 0.3)
BATCH_SIZE = 128
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 0.05
AXIS_REST_THRESHOLD = 0.25
"""An axis closer to 0 counts as released."""

Labels = npt.NDArray[np.int64]


class ActionProbe(nn.Module):
    """Predicts inputs from block shifts. Shapes: [N, D] -> logits [N, I, 3] (low, rest, high)."""

    def __init__(self, mean_D: Tensor, std_D: Tensor, num_inputs: int) -> None:
        super().__init__()
        self._mean_D, self._std_D = mean_D, std_D
        self._classifier = nn.Sequential(
            nn.Dropout(DROPOUT[0]),
            nn.Linear(len(mean_D), HIDDEN_WIDTH),
            nn.SiLU(),
            nn.Dropout(DROPOUT[1]),
            nn.Linear(HIDDEN_WIDTH, num_inputs * 3),
        )

    def forward(self, shift_ND: Tensor) -> Tensor:
        logits: Tensor = self._classifier((shift_ND - self._mean_D) / self._std_D)
        return logits.unflatten(1, (-1, 3))


@torch.inference_mode()
def block_shifts(frames_THWC: FrameArray) -> Tensor:
    """Features of the probe: soft block-matching shifts and confidences of the last NUM_FRAME_PAIRS pairs of frames.

    Shapes: returns [T - NUM_FRAME_PAIRS, D], for the frames from NUM_FRAME_PAIRS on.
    """
    shrink = max(1, frames_THWC.shape[2] // TARGET_WIDTH_PX)
    pixels_TCHW = F.avg_pool2d(to_tensor(frames_THWC), shrink)
    now, before = pixels_TCHW[1:], pixels_TCHW[:-1]
    height, width = now.shape[-2:]
    reach_down, reach_across = SEARCH_RADIUS_PX
    wide = F.pad(before, (reach_across, reach_across, reach_down, reach_down), mode="replicate")
    places = [(y, x) for y in range(2 * reach_down + 1) for x in range(2 * reach_across + 1)]
    errors = [(now - wide[..., y : y + height, x : x + width]).abs().mean(1) for y, x in places]
    error_TPHW = F.avg_pool2d(torch.stack(errors, 1), BLOCK_PX)
    mean_T1HW = error_TPHW.mean(1, keepdim=True) + 1e-3
    weight_TPHW = torch.softmax(-MATCH_SHARPNESS * error_TPHW / mean_T1HW, 1)
    place_P2 = torch.tensor(places) / torch.tensor(SEARCH_RADIUS_PX) - 1.0
    shift_T2HW = torch.einsum("tphw,pk->tkhw", weight_TPHW, place_P2)
    confidence_T1HW = 1.0 - error_TPHW.amin(1, keepdim=True) / mean_T1HW
    pair_TD = torch.cat((shift_T2HW, confidence_T1HW), 1).flatten(1)
    last = len(pair_TD) - NUM_FRAME_PAIRS + 1
    return torch.cat([pair_TD[i : i + last] for i in range(NUM_FRAME_PAIRS)], 1)


@dataclass(frozen=True, kw_only=True)
class FidelityScore:
    """Balanced accuracy over the inputs: 1 is perfect, `chance` is a constant prediction."""

    seeds: tuple[int, ...]
    frames: int
    """Scored frames of all seeds."""
    accuracy: float
    """On generated frames."""
    accuracy_low: float
    accuracy_high: float
    accuracy_by_seed: tuple[float, ...]
    accuracy_true: float
    """On the true frames of the same episodes, which the probe was not trained on: the ceiling."""
    accuracy_true_low: float
    accuracy_true_high: float
    accuracy_autoencoder: float
    """On the true frames encoded and decoded."""
    accuracy_repeat: float
    """On the last context frame repeated: a world that does not respond."""
    chance: float
    by_input: dict[str, dict[str, float]]
    """Input to accuracies on `generated`, `true` and `autoencoder` frames, pooled over seeds."""
    probe_frames: int
    """True frames that the probe was trained on."""
    probe_updates: int


def input_labels(actions_BTA: npt.NDArray[np.float32], spec: ActionSpec) -> Labels:
    """Axes: 0, 1, 2 below, at and above rest; buttons: 1 released, 2 held. Shapes: [..., A] -> [..., I]."""
    num_buttons = len(spec.buttons)
    buttons = 1 + (actions_BTA[..., :num_buttons] > 0.5)
    axes = 1 + np.sign(actions_BTA[..., num_buttons:]) * (np.abs(actions_BTA[..., num_buttons:]) > AXIS_REST_THRESHOLD)
    return np.concatenate([buttons, axes], axis=-1).astype(np.int64)


def train_probe(clips: Clips, spec: ActionSpec, *, num_updates: int) -> ActionProbe:
    """Deterministic: the same clips give the same probe."""
    shift_ND = torch.cat([block_shifts(episode) for episode in clips.frames])
    label_NI = torch.from_numpy(input_labels(clips.actions, spec)[:, NUM_FRAME_PAIRS:]).flatten(0, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        probe = ActionProbe(shift_ND.mean(0), shift_ND.std(0) + 1e-3, spec.size).train()
        optimizer = torch.optim.AdamW(probe.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_updates)
        for _ in range(num_updates):
            picks = torch.randint(len(shift_ND), (BATCH_SIZE,))
            loss = F.cross_entropy(probe(shift_ND[picks]).mT, label_NI[picks])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return probe.eval()


@torch.inference_mode()
def predict_actions(probe: ActionProbe, frames_BTHWC: FrameArray) -> Labels:
    """Predictions for the frames from NUM_FRAME_PAIRS on. Shapes: returns [B, T - NUM_FRAME_PAIRS, I]."""
    return np.stack([probe(block_shifts(episode)).argmax(-1).numpy() for episode in frames_BTHWC])


def is_held(label_BTI: Labels) -> npt.NDArray[np.bool_]:
    """Whether each action equals those of the MIN_HELD_TICKS - 1 ticks before. Shapes: [B, T]."""
    held_BT = np.ones(label_BTI.shape[:2], dtype=bool)
    held_BT[:, : MIN_HELD_TICKS - 1] = False
    for ago in range(1, MIN_HELD_TICKS):
        held_BT[:, ago:] &= (label_BTI[:, ago:] == label_BTI[:, :-ago]).all(axis=-1)
    return held_BT


def fidelity_score(
    probe: ActionProbe,
    result: RolloutResult,
    actions_BTA: npt.NDArray[np.float32],
    spec: ActionSpec,
    *,
    trained: tuple[int, int],
) -> FidelityScore:
    """`actions_BTA` led to the frames of `result`. `trained`: frames and updates of the probe's training."""
    label_BTI = input_labels(actions_BTA, spec)
    held_BT, label_BTI = is_held(label_BTI)[:, NUM_FRAME_PAIRS:], label_BTI[:, NUM_FRAME_PAIRS:]
    has_inputs = np.array(
        [_num_labels(label[held]).max(initial=0) > 1 for label, held in zip(label_BTI, held_BT, strict=True)]
    )
    assert has_inputs.any(), "no input is held long enough, or it never changes"
    names = {"generated": "generated", "true": "truth", "autoencoder": "autoencoder", "repeat": "repeat"}
    predicted = {name: predict_actions(probe, getattr(result, field)) for name, field in names.items()}

    def accuracies(name: str) -> FloatArray:
        rows = zip(predicted[name][has_inputs], label_BTI[has_inputs], held_BT[has_inputs], strict=True)
        return np.array([np.nanmean(_by_input(r[held], label[held])) for r, label, held in rows])

    true = interval_fields("accuracy_true", accuracies("true"))
    del true["accuracy_true_by_seed"]
    scored = zip(label_BTI[has_inputs], held_BT[has_inputs], strict=True)
    chances = [_chance(label[held]) for label, held in scored]
    kinds = ("generated", "true", "autoencoder")
    pooled = {kind: _by_input(predicted[kind][held_BT], label_BTI[held_BT]) for kind in kinds}
    return FidelityScore(
        **interval_fields("accuracy", accuracies("generated")),
        **true,
        seeds=tuple(np.array(result.seeds)[has_inputs].tolist()),
        frames=int(held_BT.sum()),
        accuracy_autoencoder=float(accuracies("autoencoder").mean()),
        accuracy_repeat=float(accuracies("repeat").mean()),
        chance=float(np.mean(chances)),
        by_input={
            name: {kind: accuracy[i] for kind, accuracy in pooled.items()}
            for i, name in enumerate((*spec.buttons, *spec.axes))
        },
        probe_frames=trained[0],
        probe_updates=trained[1],
    )


def _by_input(predicted_NI: Labels, label_NI: Labels) -> list[float]:
    """Balanced accuracy of each input; NaN if it has only one label."""
    return [
        balanced_accuracy(predicted_NI[:, i], label_NI[:, i]) if number > 1 else math.nan
        for i, number in enumerate(_num_labels(label_NI))
    ]


def _chance(label_NI: Labels) -> float:
    number_I = _num_labels(label_NI)
    return float((1 / number_I[number_I > 1]).mean())


def _num_labels(label_NI: Labels) -> Labels:
    """Number of distinct labels of each input, [I]."""
    return np.array([len(np.unique(column)) for column in label_NI.T], dtype=np.int64)
