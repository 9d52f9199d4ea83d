"""Converts files of older schema versions to the current one when they are read. Torch-free.

One step per schema version, for the plain mapping of config.json, for the names of weight tensors, and for the names of
state tensors (saved games). The stored files stay as they are: they are hashed as they were written. What a version's
keys mean is defined in `presets.config`.

A key that is added with a default needs no step. One that is renamed, removed or changes its meaning does: raise
`presets.config.SCHEMA_VERSION`, add the step here, and store a tiny preset of the new version
(`tests/presets/stored.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

ConfigMigration: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
Renames: TypeAlias = tuple[tuple[str, str], ...]
"""(regular expression, replacement), applied in order to the beginning of a name."""

SCHEMA_1_MODEL_KEYS = frozenset(
    {
        *("form", "mixer", "blocks", "state_dim", "window_frames", "denoiser_width", "denoiser_blocks", "num_past"),
        *("place_width", "place_view_deg"),
    }
)
"""Keys of the `[model]` table that only schema 1 has. They identify an old preset.toml, which has no version."""
_SCHEMA_1_POSES = ("head", "place", "plan", "given")
_LAYER_KEYS = ("patch", "width", "num_layers", "num_heads", "mlp_ratio")
_ATTENTIONS = {"window": "local", "joint": "bidirectional"}


def is_schema_1_recipe(data: Mapping[str, Any]) -> bool:
    """Whether a preset.toml without a version was written for schema 1."""
    model = data.get("model")
    if "schema_version" in data or not isinstance(model, Mapping) or "kind" in model:
        return False
    return (
        bool(SCHEMA_1_MODEL_KEYS & set(model)) or model.get("pose") in _SCHEMA_1_POSES or _is_text(model, "attention")
    )


def _is_text(model: Mapping[str, Any], key: str) -> bool:
    return isinstance(model.get(key), str)


def _config_1_to_2(data: dict[str, Any]) -> dict[str, Any]:
    """The flat `[model]` table becomes a tagged union. Missing keys get the defaults of schema 1.

    A map becomes kind `mapped`: only the weights can tell that the layers beside it add nothing.
    """
    old = data.get("model", {})
    return {**data, "model": _model_1_to_2(old)} if isinstance(old, Mapping) else data


def _model_1_to_2(old: Mapping[str, Any]) -> dict[str, Any]:
    known = {*SCHEMA_1_MODEL_KEYS, *_LAYER_KEYS, "attention", "pose"}
    new: dict[str, Any] = {key: value for key, value in old.items() if key not in known}  # refused as unknown keys
    new |= {key: old[key] for key in _LAYER_KEYS if key in old}
    new |= {"scan": _scan_1_to_2(old), "attention": _attention_1_to_2(old)}
    form, pose = old.get("form", "trunk"), old.get("pose", "head")
    new["denoiser"] = {"kind": {"trunk": "separate", "single": "shared"}.get(_text(form), form)}
    if form == "trunk":
        names = {"denoiser_width": "width", "denoiser_blocks": "num_blocks", "num_past": "num_past"}
        new["denoiser"] |= _renamed(old, names)
    if pose in ("place", "plan", "given"):
        sizes = {"width": 1024, "view_deg": 90.0} | _renamed(
            old, {"place_width": "width", "place_view_deg": "view_deg"}
        )
        if pose == "place":
            return new | {"kind": "mapped", "map": {"kind": "fixed", **sizes}}
        return new | {"kind": "mapped", "map": {"kind": "spatial", **sizes, "pose": _POSES[pose]}}
    return new | {"kind": "sequence", "pose": "estimated" if pose == "head" else pose}


_POSES = {"plan": "estimated", "given": "given"}


def _scan_1_to_2(old: Mapping[str, Any]) -> dict[str, Any]:
    kind = old.get("mixer", "mamba2")
    kept = {"none": (), "lstm": ("blocks",)}.get(_text(kind), ("blocks", "state_dim"))
    return {"kind": kind, **{key: old[key] for key in kept if key in old}}


def _attention_1_to_2(old: Mapping[str, Any]) -> dict[str, Any]:
    kind = old.get("attention", "window")
    window = old.get("window_frames", 4)
    frames = {
        "window": {"window_frames": window},
        "joint": {"window_frames": window},
        "chunk": {"chunk_frames": window},
    }.get(_text(kind), {})
    return {"kind": _ATTENTIONS.get(_text(kind), kind), **frames}


def _renamed(old: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {new: old[name] for name, new in names.items() if name in old}


def _text(value: Any) -> str:
    """A value of any type as a key for look-ups: the empty string if it is no string."""
    return value if isinstance(value, str) else ""


CONFIG_MIGRATIONS: dict[int, ConfigMigration] = {1: _config_1_to_2}
"""From a version to the next one. A step returns a new mapping and leaves its argument, which is hashed; values may be
of any type, since files come from strangers."""

WEIGHT_RENAMES: dict[int, Renames] = {
    1: (
        (r"model\.place\.field\.(walls|floor)\.tables\.", r"model.map.field.\1.levels."),
        (r"model\.place\.field\.net\.", "model.map.field.decoder."),
        (r"model\.place\.localise_net\.", "model.map.pose_estimator."),
        (r"model\.place\.motion\.floor\.tables\.", "model.map.motion.position_grid.levels."),
        (r"model\.place\.motion\.free\.", "model.map.motion.linear."),
        (r"model\.place\.motion\.walls\.", "model.map.motion.collision."),
        (r"model\.place\.plan\.", "model.map.grid."),
        (r"model\.place\.", "model.map."),
    )
}
METADATA_RENAMES = {"licence": "license"}
"""Keys of the weights' metadata in schema 1."""
STATE_RENAMES: dict[int, Renames] = {
    1: (
        (r"place\.previous$", "map.previous_pose"),
        (r"place\.known$", "map.is_localized"),
        (r"place\.evidence$", "map.occupied"),
        (r"place\.", "map."),
        (r"(layers\.\d+\.)ssm$", r"\1scan_state"),
        (r"past$", "past_latents"),
        (r"past_level$", "past_noise_level"),
    )
}


def migrate_config(
    data: Mapping[str, Any],
    version: int,
    wanted: int,
    steps: Mapping[int, ConfigMigration] = CONFIG_MIGRATIONS,
) -> dict[str, Any]:
    """`data`, written for schema `version`, in schema `wanted`. `data` is not changed."""
    mapping = dict(data)
    for step in range(version, wanted):
        mapping = steps[step](mapping)
    return {**mapping, "schema_version": wanted}


def migrate_name(name: str, version: int, wanted: int, renames: Mapping[int, Renames]) -> str:
    """The name in schema `wanted` of a tensor that schema `version` calls `name`."""
    for step in range(version, wanted):
        for pattern, replacement in renames.get(step, ()):
            renamed, count = re.subn(pattern, replacement, name) if re.match(pattern, name) else (name, 0)
            if count:
                name = renamed
                break
    return name
