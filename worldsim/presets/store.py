"""Reads and writes the preset folder: config.json, model.safetensors, README.md, start/.

Owns: the folder's layout and the strictness of loading (safetensors only; every tensor's name and shape is compared
with the config before any is read). Does not own: finding the folder (`presets.resolve`), the networks, the words of
the card.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from torch import Tensor

import worldsim
from worldsim.core.errors import PresetError, PresetShapeError, StorageError, nearest
from worldsim.models.autoencoder import Autoencoder
from worldsim.models.world_model import WorldModel, build_world_model
from worldsim.presets.card import model_card
from worldsim.presets.config import SCHEMA_VERSION, PresetConfig, config_json, read_config_json
from worldsim.presets.resolve import CARD_FILE, CONFIG_FILE, START_FOLDER, WEIGHTS_FILE, check_no_pickle
from worldsim.presets.resolve import resolve_preset as resolve_preset

LICENCE = "apache-2.0"
_PREFIXES = ("autoencoder.", "model.")
_FETCH_AGAIN = "fetch or copy the preset again"


@dataclass(frozen=True, kw_only=True)
class Start:
    """True frames from which play can begin, and the actions that led to them.

    Shapes: frames uint8 [T, H, W, 3], actions float32 [T, A]; action 0 led to frame 0.
    """

    frames: npt.NDArray[np.uint8] = field(repr=False)
    actions: npt.NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A loaded preset. The networks are in evaluation mode, in float32, without gradients."""

    config: PresetConfig
    folder: Path
    autoencoder: Autoencoder = field(repr=False)
    model: WorldModel = field(repr=False)
    starts: tuple[Start, ...] = field(repr=False)
    sha256: str
    """Over config.json and model.safetensors: which preset a recording or a score belongs to."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What was written beside the weights: schema version, config hash, source commit, licence."""


def load_preset(ref: str | Path, *, device: str | torch.device = "cpu") -> Preset:
    """The preset that `ref` names (see `resolve_preset`), ready to play.

    Raises: PresetNotFoundError, ConfigError (config.json), PresetShapeError (a tensor does not fit the config),
        PresetError (anything else in the folder is missing or damaged).
    """
    folder = resolve_preset(ref)
    check_no_pickle(folder)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise PresetError(f"{folder} has no {name}", hint=_FETCH_AGAIN)
    config, mapping = read_config_json(folder / CONFIG_FILE)
    with torch.random.fork_rng(devices=[]):
        autoencoder = Autoencoder(config.autoencoder)
        model = build_world_model(config.model, latent_shape=config.latent_shape, action_size=config.action_spec.size)
    weights_path = folder / WEIGHTS_FILE
    metadata = _check_weights(weights_path, _named_tensors(autoencoder, model), _config_sha256(mapping))
    stored = safetensors.torch.load_file(weights_path)
    for module, prefix in zip((autoencoder, model), _PREFIXES, strict=True):
        module.load_state_dict({k[len(prefix) :]: v for k, v in stored.items() if k.startswith(prefix)})
        module.eval().requires_grad_(False).to(device)
    return Preset(
        config=config,
        folder=folder,
        autoencoder=autoencoder,
        model=model,
        starts=_read_starts(folder / START_FOLDER, config),
        sha256=_sha256((folder / CONFIG_FILE).read_bytes(), weights_path.read_bytes()),
        metadata=metadata,
    )


def save_preset(
    folder: Path,
    config: PresetConfig,
    autoencoder: Autoencoder,
    model: WorldModel,
    starts: Sequence[Start],
    metadata: Mapping[str, str] | None = None,
    card: str | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Writes the folder; what else lies in it (preset.toml) stays. A card of None leaves the one that is there, or
    makes a plain one. The same content gives the same bytes.

    Matrices are stored in `dtype` (bfloat16 halves the file), vectors always in float32: decays and biases are few and
    sensitive. Each file appears whole or not at all, the weights last; a crash in between leaves a folder that either
    loads or says that config and weights do not belong together.

    Raises: StorageError when it cannot be written. Side effects: start/ holds exactly `starts` afterwards.
    """
    config_text = config_json(config)
    tensors = {
        name: tensor.detach().cpu().to(dtype if tensor.is_floating_point() and tensor.ndim >= 2 else tensor.dtype)
        for name, tensor in _named_tensors(autoencoder, model).items()
    }
    header = {
        "format": "pt",
        "schema_version": str(SCHEMA_VERSION),
        "config_sha256": _config_sha256(json.loads(config_text)),
        "source_commit": source_commit(),
        "licence": LICENCE,
        "worldsim_version": worldsim.__version__,
        **(metadata or {}),
    }
    weights = _sorted_header(safetensors.torch.save({n: t.contiguous() for n, t in tensors.items()}, metadata=header))
    try:
        _write_starts(folder / START_FOLDER, starts)
        if card is not None or not (folder / CARD_FILE).exists():
            _write_whole(folder / CARD_FILE, (card or model_card(config, header)).encode())
        _write_whole(folder / CONFIG_FILE, config_text.encode())
        _write_whole(folder / WEIGHTS_FILE, weights)
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error}", hint="check space and permissions") from None


def source_commit() -> str:
    """The commit of the checkout that runs, `+` when it has changes; `unknown` outside a checkout."""
    root = Path(worldsim.__file__).parent.parent
    if not (root / ".git").exists():
        return "unknown"
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _sorted_header(content: bytes) -> bytes:
    """A safetensors file with its header in alphabetical order: the library writes metadata in a random one."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _named_tensors(autoencoder: Autoencoder, model: WorldModel) -> dict[str, Tensor]:
    modules = zip(_PREFIXES, (autoencoder, model), strict=True)
    return {prefix + name: tensor for prefix, module in modules for name, tensor in module.state_dict().items()}


def _check_weights(path: Path, expected: Mapping[str, Tensor], config_sha256: str) -> dict[str, str]:
    """Compares the file's header with what the config asks for, reading no tensor. Returns the metadata."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  # no mapping
    except safetensors.SafetensorError as error:
        raise PresetError(f"{path} is damaged or truncated: {error}", hint=_FETCH_AGAIN) from None
    version = metadata.get("schema_version", "1")
    if not version.isdigit() or int(version) > SCHEMA_VERSION:
        raise PresetError(
            f"{path} has schema version {version}; this worldsim reads versions up to {SCHEMA_VERSION}",
            hint="update worldsim: pip install --upgrade worldsim",
        )
    for name, tensor in expected.items():
        if name not in shapes:
            raise PresetError(f"{path} has no tensor {name}", hint=_FETCH_AGAIN)
        if shapes[name] != tuple(tensor.shape):
            raise PresetShapeError(
                f"{path}: {name} is {_by(shapes[name])}, the config asks for {_by(tensor.shape)}",
                hint=f"{CONFIG_FILE} and {WEIGHTS_FILE} must come from the same preset",
            )
    for name in shapes:
        if name not in expected:
            raise PresetError(f"{path} has an unknown tensor {name}", hint=nearest(name, expected))
    if metadata.get("config_sha256", config_sha256) != config_sha256:
        raise PresetError(
            f"{path} was saved with another config than the {CONFIG_FILE} beside it",
            hint=f"{CONFIG_FILE} and {WEIGHTS_FILE} must come from the same preset",
        )
    return metadata


def _by(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def _config_sha256(mapping: Mapping[str, Any]) -> str:
    """Over what the weights depend on, as it was written: title and play may be edited, new defaults change nothing."""
    parts = {name: mapping.get(name) for name in ("world", "autoencoder", "model")}
    return _sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode())


def _sha256(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _read_starts(folder: Path, config: PresetConfig) -> tuple[Start, ...]:
    paths = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not paths:
        raise PresetError(f"{folder} holds no start", hint=_FETCH_AGAIN)
    return tuple(_read_start(path, config) for path in paths)


def _read_start(path: Path, config: PresetConfig) -> Start:
    try:
        arrays = safetensors.numpy.load_file(path)
        frames, actions = arrays["frames"], arrays["actions"]
    except safetensors.SafetensorError as error:
        raise PresetError(f"{path} is damaged or truncated: {error}", hint=_FETCH_AGAIN) from None
    except KeyError as error:
        raise PresetError(f"{path} has no {error.args[0]!r}", hint=_FETCH_AGAIN) from None
    num_frames = len(frames)
    expected = (num_frames, *config.frame_shape), (num_frames, config.action_spec.size)
    if (frames.shape, actions.shape) != expected:
        raise PresetShapeError(
            f"{path}: frames {_by(frames.shape)}, actions {_by(actions.shape)}; "
            f"the config asks for {_by(expected[0])} and {_by(expected[1])}",
            hint="the start and the config must come from the same preset",
        )
    if frames.dtype != np.uint8 or actions.dtype != np.float32:
        raise PresetError(f"{path}: frames {frames.dtype}, actions {actions.dtype}", hint="expected uint8 and float32")
    if num_frames < config.play.context_frames:
        raise PresetError(
            f"{path} has {num_frames} frames, play.context_frames asks for {config.play.context_frames}",
            hint="lower it in config.json, or give a longer start",
        )
    return Start(frames=frames, actions=actions)


def _write_starts(folder: Path, starts: Sequence[Start]) -> None:
    names = [f"{index:02d}.safetensors" for index in range(len(starts))]
    for name, start in zip(names, starts, strict=True):
        arrays = {"frames": start.frames, "actions": start.actions}
        _write_whole(folder / name, safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in arrays.items()}))
    for path in folder.glob("*.safetensors"):
        if path.name not in names:
            path.unlink()


def _write_whole(path: Path, content: bytes) -> None:
    """The file appears under its name only when it is on the disk in full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.read_bytes() == content:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
