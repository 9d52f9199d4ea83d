"""Does the frame move as the action says? An inverse-dynamics probe: which keys led from the frames before to this one.

Owns: the probe, its training on frames of the true world, accuracy. Does not own: who plays (`evaluation.policies`).
What the probe makes of true held-out frames is the ceiling: a key held against a wall cannot be read off a picture.
B batch, T frames, C channels, H W rows and columns, A action, I inputs (buttons, then axes), N frames of all episodes,
P places, D shifts.
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
from worldsim.evaluation.clips import Clips
from worldsim.evaluation.evaluator import FrameArray, RolloutResult
from worldsim.evaluation.metrics import FloatArray, balanced_accuracy
from worldsim.evaluation.scores import interval_fields
from worldsim.models.frames import to_tensor

NUM_FRAME_PAIRS = 3
"""Of neighbouring frames, up to the one that the action led to: walking gains and loses speed over several ticks."""
MIN_HELD_TICKS = 4
"""Read are frames whose action was held for so long: the first ticks of a key look like the key before it."""
TARGET_WIDTH_PX = 32
"""Frames are shrunk to about this width."""
SEARCH_RADIUS_PX = (2, 6)
"""How far a block is looked for in the frame before: up and down, left and right."""
BLOCK_PX = 4
MATCH_SHARPNESS = 12.0
"""How much the best place counts for more than the others in a block's shift."""
HIDDEN_WIDTH = 128
DROPOUT = (0.2, 0.3)
BATCH_SIZE = 128
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 0.05
AXIS_REST_THRESHOLD = 0.25
"""An axis nearer to 0 counts as at rest."""

Labels = npt.NDArray[np.int64]


class ActionProbe(nn.Module):
    """Reads the inputs off the shifts between frames. Shapes: [N, D] -> [N, I, 3] (low, rest, high)."""

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
    """How far every block of a frame moved since the frame before, and how sure that is; PAIRS_SEEN pairs for each.

    Shapes: returns [T - PAIRS_SEEN, D], of the frames from PAIRS_SEEN on.
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
    sure_T1HW = 1.0 - error_TPHW.amin(1, keepdim=True) / mean_T1HW
    pair_TD = torch.cat((shift_T2HW, sure_T1HW), 1).flatten(1)
    last = len(pair_TD) - NUM_FRAME_PAIRS + 1
    return torch.cat([pair_TD[i : i + last] for i in range(NUM_FRAME_PAIRS)], 1)


@dataclass(frozen=True, kw_only=True)
class FidelityScore:
    """Balanced accuracy over the inputs: 1 is every key read right, `chance` is what guessing one answer gets."""

    seeds: tuple[int, ...]
    frames: int
    """Of all seeds, that were read."""
    accuracy: float
    """Of the generated frames."""
    accuracy_low: float
    accuracy_high: float
    accuracy_by_seed: tuple[float, ...]
    accuracy_true: float
    """Of the true frames of the same episodes, which the probe was not trained on: the ceiling."""
    accuracy_true_low: float
    accuracy_true_high: float
    accuracy_autoencoder: float
    """Of those through the autoencoder."""
    accuracy_repeat: float
    """Of the last true frame repeated: a world that does not answer."""
    chance: float
    by_input: dict[str, dict[str, float]]
    """Of `generated`, `true` and `autoencoder` frames, all seeds as one."""
    probe_frames: int
    """Frames of the true world that the probe was trained on."""
    probe_updates: int


def input_labels(actions_BTA: npt.NDArray[np.float32], spec: ActionSpec) -> Labels:
    """0, 1, 2 for an axis below, at and above rest; 1, 2 for a button up and down. Shapes: [..., A] -> [..., I]."""
    num_buttons = len(spec.buttons)
    buttons = 1 + (actions_BTA[..., :num_buttons] > 0.5)
    axes = 1 + np.sign(actions_BTA[..., num_buttons:]) * (np.abs(actions_BTA[..., num_buttons:]) > AXIS_REST_THRESHOLD)
    return np.concatenate([buttons, axes], axis=-1).astype(np.int64)


def train_probe(clips: Clips, spec: ActionSpec, *, num_updates: int) -> ActionProbe:
    """The same clips, the same probe."""
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
    """What the probe reads off every frame from PAIRS_SEEN on. Shapes: returns [B, T - PAIRS_SEEN, I]."""
    return np.stack([probe(block_shifts(episode)).argmax(-1).numpy() for episode in frames_BTHWC])


def is_held(label_BTI: Labels) -> npt.NDArray[np.bool_]:
    """Whether the action at each moment is that of the HELD_TICKS - 1 before it too. Shapes: [B, T]."""
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
    """`actions_BTA`: those of the outcome's frames. `trained`: frames and updates that the probe had."""
    label_BTI = input_labels(actions_BTA, spec)
    held_BT, label_BTI = is_held(label_BTI)[:, NUM_FRAME_PAIRS:], label_BTI[:, NUM_FRAME_PAIRS:]
    has_some = np.array(
        [_num_labels(label[held]).max(initial=0) > 1 for label, held in zip(label_BTI, held_BT, strict=True)]
    )
    assert has_some.any(), "nothing is held for long, or nothing else but one action"
    names = {"generated": "generated", "true": "truth", "autoencoder": "autoencoder", "repeat": "repeat"}
    read = {name: predict_actions(probe, getattr(result, kept)) for name, kept in names.items()}

    def accuracies(name: str) -> FloatArray:
        rows = zip(read[name][has_some], label_BTI[has_some], held_BT[has_some], strict=True)
        return np.array([np.nanmean(_by_input(r[held], label[held])) for r, label, held in rows])

    true = interval_fields("accuracy_true", accuracies("true"))
    del true["accuracy_true_by_seed"]
    pooled = {name: _by_input(read[name][held_BT], label_BTI[held_BT]) for name in ("generated", "true", "autoencoder")}
    return FidelityScore(
        **interval_fields("accuracy", accuracies("generated")),
        **true,
        seeds=tuple(np.array(result.seeds)[has_some].tolist()),
        frames=int(held_BT.sum()),
        accuracy_autoencoder=float(accuracies("autoencoder").mean()),
        accuracy_repeat=float(accuracies("repeat").mean()),
        chance=float(
            np.mean([_chance(label[held]) for label, held in zip(label_BTI[has_some], held_BT[has_some], strict=True)])
        ),
        by_input={
            name: {kind: accuracy[i] for kind, accuracy in pooled.items()}
            for i, name in enumerate((*spec.buttons, *spec.axes))
        },
        probe_frames=trained[0],
        probe_updates=trained[1],
    )


def _by_input(read_NI: Labels, label_NI: Labels) -> list[float]:
    """Balanced accuracy of each input; NaN where it has one label only, which nothing can be told by."""
    return [
        balanced_accuracy(read_NI[:, i], label_NI[:, i]) if number > 1 else math.nan
        for i, number in enumerate(_num_labels(label_NI))
    ]


def _chance(label_NI: Labels) -> float:
    number_I = _num_labels(label_NI)
    return float((1 / number_I[number_I > 1]).mean())


def _num_labels(label_NI: Labels) -> Labels:
    """How many labels each input has, [I]."""
    return np.array([len(np.unique(column)) for column in label_NI.T], dtype=np.int64)
