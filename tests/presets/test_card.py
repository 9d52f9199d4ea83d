"""The card says what the preset is and how it scored, or that it was not scored."""

from __future__ import annotations

import json
from pathlib import Path

from worldsim.evaluation.config import POSE_TASKS, TASKS
from worldsim.presets.card import card_on_hub, model_card
from worldsim.presets.config import PresetConfig
from worldsim.presets.score_names import task_name

ROOT = Path(__file__).parents[2]
ROW = {"psnr": 20.04, "ssim": 0.61, "psnr_repeat": 15.0, "psnr_autoencoder": 29.0, "sharpness": 0.93}
SCORES = {
    "one_step": ROW,
    "rollout": [{"horizon": 30, **ROW}],
    "retrieval": {"psnr": 18.0, "psnr_no_state": 12.0, "frames": 40},
    "spin": {"psnr": None, "frames": 36},
    "seeds": list(range(900_000, 900_016)),
    "steps": 2,
}


def test_the_card_begins_with_the_hubs_header_and_says_how_to_play(tiny_config: PresetConfig) -> None:
    card = model_card(tiny_config)
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert card.count("\n---\n") == 1
    assert "worldsim play" in card
    assert "| frame size | 64x48 |" in card
    assert "Not scored yet" in card


def test_scores_are_shown_with_their_references(tiny_config: PresetConfig) -> None:
    card = model_card(tiny_config, {"updates": "1200", "format": "pt"}, SCORES)
    assert "| rollout@30 | 20.0 | 0.610 | 15.0 |  |  | 29.0 | 0.930 |" in card
    assert "| retrieval (return path), 40 frames | 18.0 |  |  |  | 12.0 |  |  |" in card
    assert "| revisit (second turn), 36 frames |  |" in card, "a missing score is left blank"
    assert "16 held-out seeds from 900000, 2 denoising steps per frame" in card
    assert "| updates | 1200 |" in card
    assert "Not scored" not in card


def test_every_task_of_an_evaluation_is_on_the_card(tiny_config: PresetConfig) -> None:
    scores = json.loads((ROOT / "assets" / "results" / "maze.json").read_text(encoding="utf-8"))
    tasks = [task for task in TASKS if task not in POSE_TASKS]
    assert set(scores) >= set(tasks)
    card = model_card(tiny_config, None, scores)
    named = {"rollout": "| rollout@200 |", "fidelity": "Action fidelity"}
    for task in tasks:
        assert named.get(task, f"| {task_name(task)}") in card, task


def test_action_fidelity_idle_stability_and_drift_are_described_in_sentences(tiny_config: PresetConfig) -> None:
    drift = [
        {"distance": end, "frames": 50, "seeds": [1, 2], "colour": end / 1000, "variance": 0.9, **ROW}
        for end in (50, 2000)
    ]
    scores = {
        **SCORES,
        "fidelity": {"accuracy": 0.726, "accuracy_true": 0.783, "chance": 0.457},
        "idle": {"frames": 100, "change": 0.15, "change_true": None, **ROW},
        "drift": drift,
    }
    card = model_card(tiny_config, None, scores)
    assert "| drift, frames 1951 to 2000 | 20.0 | 0.610 | 15.0 |  |  | 29.0 | 0.930 |" in card
    assert "accuracy of 0.73, from true frames with 0.78; chance is 0.46." in card
    assert "| idle stability, 100 frames | 20.0 |" in card
    assert "differ by 0.15 levels of 255, true ones by ." in card, "a missing score is left blank"
    assert "Over 2000 frames (2 episodes) the error of the mean color goes from 0.05 to 2.00 levels of 255" in card


def test_the_card_names_the_command_that_scored_it_and_sums_the_training_up(tiny_config: PresetConfig) -> None:
    log = [{"update": 20, "loss": 1.5, "frames": 240}, {"update": 40, "loss": 0.5, "frames": 480}, {"psnr_probe": 14.0}]
    card = model_card(tiny_config, None, {**SCORES, "command": "worldsim eval tiny"}, log=log)
    assert "`worldsim eval tiny`: 16 held-out seeds" in card
    assert "| first | 20 | 240 | 1.5 |" in card and "| last | 40 | 480 | 0.5 |" in card
    assert "3 rows of log." in card


def test_a_card_on_the_hub_plays_from_there_and_shows_its_sample(tiny_config: PresetConfig) -> None:
    card = card_on_hub(model_card(tiny_config), tiny_config, "someone/tiny", sample_frames=150)
    assert card.count("worldsim play") == 1 and "worldsim play someone/tiny\n" in card
    assert "![Frames of the sample, in order](sheet.png)" in card
    assert "`worldsim rollout someone/tiny --frames 150`" in card
    again = card_on_hub(card, tiny_config, "other/tiny", sample_frames=30)
    assert again == card.replace("someone/tiny", "other/tiny").replace("--frames 150", "--frames 30")
    assert "sheet.png" not in card_on_hub(card, tiny_config, "someone/tiny", sample_frames=0)


def test_a_card_of_ones_own_keeps_its_words_and_gains_what_the_hub_needs(tiny_config: PresetConfig) -> None:
    card = card_on_hub("# Mine\n\nMy words.\n", tiny_config, "someone/tiny", sample_frames=0)
    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: worldsim\n")
    assert "# Mine\n\nMy words." in card
    assert card.endswith("worldsim play someone/tiny\n```\n")
