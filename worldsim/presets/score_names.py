"""Display names of evaluation tasks and metrics, by their JSON keys: for cards, terminal tables, reports and sheets."""

from __future__ import annotations

TASK_NAMES = {
    "one_step": "next-frame",
    "rollout": "rollout",
    "retrieval": "retrieval (return path)",
    "reverse": "reverse (context reversed)",
    "tour": "tour (views in random order)",
    "reasoning": "reasoning (random continuation)",
    "spin": "revisit (second turn)",
    "loop": "loop closure",
    "fidelity": "action fidelity",
    "idle": "idle stability",
    "drift": "drift",
}
"""Every task of `worldsim eval`, in the order of all tables."""
MEMORY_TASKS = ("retrieval", "reverse", "tour", "reasoning", "spin", "loop")
"""Tasks that show places again."""

METRIC_NAMES = {
    "psnr": "PSNR",
    "psnr_autoencoder": "autoencoder (ceiling)",
    "psnr_repeat": "repeat last frame",
    "psnr_mean_image": "mean image",
    "psnr_no_state": "state cleared",
    "psnr_no_map": "map cleared",
    "psnr_no_scan": "scans cleared",
    "psnr_copy": "frame one turn earlier",
    "psnr_recall": "recall, without own frames",
    "psnr_best_match": "best match",
    "psnr_history": "history match",
    "ssim": "SSIM",
    "ssim_autoencoder": "SSIM, autoencoder",
    "sharpness": "sharpness",
    "sharpness_autoencoder": "sharpness, autoencoder",
    "psnr_window": "PSNR since the row above",
    "lpips": "LPIPS",
    "fvd": "FVD",
    "second_turn": "revisit (second turn), PSNR",
    "next_new": "next-frame, new places, PSNR",
    "next_seen": "next-frame, seen places, PSNR",
    "autoencoder": "autoencoder (ceiling)",
    "mean_image": "mean image",
    "repeat": "repeat last frame",
}
"""Metrics of evaluations, then those of architecture comparisons, in the order of a table's columns."""
SHORT_METRIC_NAMES = {
    **METRIC_NAMES,
    "psnr_interval": "95 %",
    "psnr_autoencoder": "AE",
    "psnr_repeat": "repeat",
    "psnr_no_state": "no state",
    "psnr_no_map": "no map",
    "psnr_no_scan": "no scan",
    "psnr_copy": "turn ago",
    "psnr_recall": "recall",
    "sharpness": "sharp",
    "sharpness_autoencoder": "sharp AE",
    "share": "pixels",
    "colour": "color",
    "variance": "variance",
    "frechet_latent": "Frechet",
}
"""Column headings of an 80-column terminal."""
REGION_NAMES = {"returned": "returned", "seen": "seen before", "never_seen": "never seen"}
_ACRONYMS = {word: word.upper() for word in ("psnr", "ssim", "lpips", "fvd")}


def task_name(key: str) -> str:
    return TASK_NAMES.get(key, key.replace("_", " "))


def short_task_name(key: str) -> str:
    """Without the explanation in parentheses."""
    return task_name(key).partition(" (")[0]


def rollout_name(horizon: float) -> str:
    """`rollout@60`: the 60th generated frame."""
    return f"{TASK_NAMES['rollout']}@{horizon:g}"


def metric_name(key: str) -> str:
    """Unknown keys are spelled out: `retrieval_psnr` is "retrieval PSNR"."""
    return METRIC_NAMES.get(key) or " ".join(_ACRONYMS.get(word, word) for word in key.split("_"))
