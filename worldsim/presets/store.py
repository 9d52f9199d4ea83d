"""Reads and writes preset folders: config.json, model.safetensors, README.md, start/.

Loading is strict: safetensors only, and the name, type and shape of every tensor are compared with the config before
any memory is allocated. See `presets.resolve` for finding a folder, `presets.safe_io` for what may be opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import safetensors.torch
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

import worldsim
from worldsim.core.config import MAX_CONFIG_BYTES, short_repr
from worldsim.core.errors import PresetError, PresetShapeError, did_you_mean
from worldsim.core.files import atomic_write, storage_errors
from worldsim.models.autoencoder import Autoencoder
from worldsim.models.build import build_world_model
from worldsim.models.world_model import WorldModel
from worldsim.presets.card import model_card
from worldsim.presets.config import SCHEMA_VERSION, PresetConfig, config_json, read_config_json
from worldsim.presets.migrations import METADATA_RENAMES, WEIGHT_RENAMES, migrate_name
from worldsim.presets.resolve import CARD_FILE, CONFIG_FILE, START_FOLDER, WEIGHTS_FILE, check_no_pickle
from worldsim.presets.resolve import resolve_preset as resolve_preset
from worldsim.presets.safe_io import (
    DOWNLOAD_AGAIN_HINT,
    MAX_WEIGHTS_BYTES,
    SafetensorsHeader,
    StoredTensor,
    damaged_error,
    hub_sha256,
    preset_file,
    read_header,
    sha256,
    start_files,
)

LICENSE = "apache-2.0"
DATA_SHA256 = "data_sha256"
"""Key in the weights' metadata: hash of all bytes after the header. Old files do not have it."""
EQUIVALENT_SHA256 = "equivalent_sha256"
"""Key in the weights' metadata: hashes of other files of this preset, comma-separated, that give the same frames."""
WEIGHT_TYPES = ("F32", "BF16", "F16")
_PREFIXES = ("autoencoder.", "model.")


@dataclass(frozen=True, kw_only=True)
class Start:
    """Ground-truth frames from which play can start, and the actions that led to them.

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
    """Hash of config.json and model.safetensors: identifies the preset of a recording or a score."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Metadata of the weights: schema version, config hash, source commit, license."""

    def generates_frames_of(self, sha256: str) -> bool:
        """Whether this is the preset with that hash, or one that was proved to give the same frames."""
        return sha256 == self.sha256 or sha256 in _equivalent(self.metadata)


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """What `verify` found to be valid."""

    name: str
    sha256: str
    """As `Preset.sha256`."""
    hashes: tuple[str, ...]
    """The hashes that were compared: `config`, `weights` (both stored with the weights), `hub`."""
    num_tensors: int
    num_starts: int
    num_bytes: int
    equivalent_sha256: tuple[str, ...] = ()
    """See `EQUIVALENT_SHA256`."""

    def generates_frames_of(self, sha256: str) -> bool:
        """As `Preset.generates_frames_of`."""
        return sha256 in (self.sha256, *self.equivalent_sha256)


@dataclass(frozen=True, kw_only=True)
class _CheckedFolder:
    """A folder whose config and weights header match. The networks have shapes, but no memory yet."""

    folder: Path
    config: PresetConfig
    weights_path: Path
    header: SafetensorsHeader
    stored_names: Mapping[str, str]
    """Current name of a tensor to its name in the file, which may have an older schema."""
    hashes: tuple[str, ...]
    autoencoder: Autoencoder
    model: WorldModel


def load_preset(ref: str | Path, *, device: str | torch.device = "cpu") -> Preset:
    """Loads the preset that `ref` names (see `resolve_preset`).

    Raises: PresetNotFoundError, ConfigError (config.json), PresetShapeError (a tensor does not fit the config),
        PresetError (anything else in the folder is missing or damaged).
    """
    checked = _check_folder(resolve_preset(ref))
    starts = _read_starts(checked.folder, checked.config)
    content, header = checked.weights_path.read_bytes(), checked.header
    data_sha256 = _sha256(memoryview(content)[header.data_begin :])
    _check_hash(checked.weights_path, header.metadata.get(DATA_SHA256), data_sha256)
    stored = safetensors.torch.load(content)
    for module, prefix in zip((checked.autoencoder, checked.model), _PREFIXES, strict=True):
        weights = {name: stored.pop(checked.stored_names[prefix + name]).float() for name in module.state_dict()}
        module.load_state_dict(weights, assign=True)
        module.eval().requires_grad_(False).to(device)
    return Preset(
        config=checked.config,
        folder=checked.folder,
        autoencoder=checked.autoencoder,
        model=checked.model,
        starts=starts,
        sha256=_sha256((checked.folder / CONFIG_FILE).read_bytes(), content),
        metadata={METADATA_RENAMES.get(name, name): value for name, value in header.metadata.items()},
    )


def verify(folder: Path) -> VerifyResult:
    """Checks config, header of the weights, hashes and every start, without loading the weights.

    Raises: as `load_preset`.
    """
    checked = _check_folder(folder)
    starts = start_files(folder, START_FOLDER)
    for start in starts:
        _read_start(start, checked.config)
    path, metadata = checked.weights_path, checked.header.metadata
    hashes, from_hub = checked.hashes, hub_sha256(folder, path)
    if DATA_SHA256 in metadata:
        _check_hash(path, metadata[DATA_SHA256], sha256(path, begin=checked.header.data_begin))
        hashes += ("weights",)
    if from_hub is not None:
        _check_hash(path, from_hub, sha256(path))
        hashes += ("hub",)
    return VerifyResult(
        name=checked.config.name,
        sha256=sha256(folder / CONFIG_FILE, path),
        hashes=hashes,
        num_tensors=len(checked.header.tensors),
        num_starts=len(starts),
        num_bytes=sum(file.stat().st_size for file in (folder / CONFIG_FILE, path, *starts)),
        equivalent_sha256=_equivalent(metadata),
    )


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a preset folder by their current names, in the stored types. Not compared with the config."""
    path = folder / WEIGHTS_FILE
    names = _stored_names(path, read_header(path))
    stored = safetensors.torch.load_file(path)
    return {name: stored[old] for name, old in names.items()}


class _ShapesOnly(TorchFunctionMode):
    """Within this mode modules are built with shapes and without memory.

    The meta device would do the same, but imports a compiler first, which takes seconds.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (torch.empty, torch.zeros, torch.ones, torch.randn):
            return torch.empty(*args, **{**(kwargs or {}), "device": "meta"})
        if func is Tensor.mul and args[0].is_meta:  # a scaled fresh weight; computing its shape needs the compiler too
            return args[0]
        return func(*args, **(kwargs or {}))


def build_networks(config: PresetConfig, *, allocate: bool) -> tuple[Autoencoder, WorldModel]:
    """Networks with random weights, the same every time; or with shapes only, for `load_state_dict(assign=True)`."""
    with torch.random.fork_rng(devices=[]), contextlib.nullcontext() if allocate else _ShapesOnly():
        torch.manual_seed(0)
        autoencoder = Autoencoder(config.autoencoder)
        model = build_world_model(config.model, latent_shape=config.latent_shape, action_size=config.action_spec.size)
    return autoencoder, model


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
    equivalent_sha256: Sequence[str] = (),
) -> None:
    """Writes the folder; other files in it (preset.toml) are kept. With a `card` of None an existing card is kept, or a
    plain one written. The same content gives the same bytes.

    Matrices are stored in `dtype` (bfloat16 halves the file), vectors always in float32: decays and biases are few and
    sensitive. Every file is written atomically, the weights last; after a crash in between the folder either loads, or
    loading reports that config and weights do not match. `equivalent_sha256`: see `EQUIVALENT_SHA256`.

    Raises: StorageError when it cannot be written. Side effects: start/ holds exactly `starts` afterwards.
    """
    config_text = config_json(config)
    tensors = {
        name: tensor.detach().cpu().to(dtype if tensor.is_floating_point() and tensor.ndim >= 2 else tensor.dtype)
        for name, tensor in _named_tensors(autoencoder, model).items()
    }
    header = {
        "format": "pt",
        "source_commit": source_commit(),
        "license": LICENSE,
        "worldsim_version": worldsim.__version__,
        **{name: value for name, value in (metadata or {}).items() if name != EQUIVALENT_SHA256},
        **({EQUIVALENT_SHA256: ",".join(equivalent_sha256)} if equivalent_sha256 else {}),
        "schema_version": str(SCHEMA_VERSION),
        "config_sha256": _config_sha256(json.loads(config_text)),
    }
    weights = with_sorted_header(safetensors.torch.save({n: t.contiguous() for n, t in tensors.items()}), header)
    with storage_errors(folder):
        _write_starts(folder / START_FOLDER, starts)
        if card is not None or not (folder / CARD_FILE).exists():
            _write(folder / CARD_FILE, (card or model_card(config, header)).encode())
        _write(folder / CONFIG_FILE, config_text.encode())
        _write(folder / WEIGHTS_FILE, weights)


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


def with_sorted_header(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """The safetensors file with metadata, which includes the hash of the data, and a sorted header: the library's order
    of the metadata is random.
    """
    length = int.from_bytes(content[:8], "little")
    data = content[8 + length :]
    entries = {**json.loads(content[8 : 8 + length]), "__metadata__": {**metadata, DATA_SHA256: _sha256(data)}}
    header = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data


def _named_tensors(autoencoder: Autoencoder, model: WorldModel) -> dict[str, Tensor]:
    modules = zip(_PREFIXES, (autoencoder, model), strict=True)
    return {prefix + name: tensor for prefix, module in modules for name, tensor in module.state_dict().items()}


def _check_folder(folder: Path) -> _CheckedFolder:
    """All checks that need no tensor data, cheapest first."""
    check_no_pickle(folder)
    config_path = preset_file(folder, CONFIG_FILE, MAX_CONFIG_BYTES)
    weights_path = preset_file(folder, WEIGHTS_FILE, MAX_WEIGHTS_BYTES)
    config, mapping = read_config_json(config_path)
    header = read_header(weights_path)
    stored_names = _stored_names(weights_path, header)
    autoencoder, model = build_networks(config, allocate=False)
    current = {name: header.tensors[stored] for name, stored in stored_names.items()}
    _check_weights(weights_path, current, _named_tensors(autoencoder, model))
    stored_sha256 = header.metadata.get("config_sha256")
    if stored_sha256 not in (None, _config_sha256(mapping)):
        raise PresetError(
            f"{weights_path} was saved with another config than the {CONFIG_FILE} beside it",
            hint=f"{CONFIG_FILE} and {WEIGHTS_FILE} must come from the same preset",
        )
    return _CheckedFolder(
        folder=folder,
        config=config,
        weights_path=weights_path,
        header=header,
        stored_names=stored_names,
        hashes=() if stored_sha256 is None else ("config",),
        autoencoder=autoencoder,
        model=model,
    )


def _stored_names(path: Path, header: SafetensorsHeader) -> dict[str, str]:
    """Current name to stored name. Raises: PresetError for a newer schema, and for two tensors of the same name."""
    version = _schema_version(path, header.metadata)
    names: dict[str, str] = {}
    for stored in header.tensors:
        name = migrate_name(stored, version, SCHEMA_VERSION, WEIGHT_RENAMES)
        if name in names:
            raise PresetError(f"{path} has an unknown tensor {short_repr(stored)}", hint=DOWNLOAD_AGAIN_HINT)
        names[name] = stored
    return names


def _equivalent(metadata: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(filter(None, metadata.get(EQUIVALENT_SHA256, "").split(",")))


def _schema_version(path: Path, metadata: Mapping[str, str]) -> int:
    version = metadata.get("schema_version", "1")
    if not re.fullmatch("[1-9][0-9]{0,8}", version) or int(version) > SCHEMA_VERSION:
        raise PresetError(
            f"{path} has schema version {version[:20]}; this worldsim reads versions up to {SCHEMA_VERSION}",
            hint="it was made by a newer worldsim: update yours",
        )
    return int(version)


def _check_weights(path: Path, found: Mapping[str, StoredTensor], expected: Mapping[str, Tensor]) -> None:
    """Compares the tensors in the header with those that the config requires."""
    for name, tensor in expected.items():
        if name not in found:
            raise PresetError(f"{path} has no tensor {name}", hint=DOWNLOAD_AGAIN_HINT)
        stored = found[name]
        if stored.shape != tuple(tensor.shape):
            raise PresetShapeError(
                f"{path}: {name} is {_format_shape(stored.shape)}, the config asks for {_format_shape(tensor.shape)}",
                hint=f"{CONFIG_FILE} and {WEIGHTS_FILE} must come from the same preset",
            )
        if stored.dtype not in WEIGHT_TYPES:
            raise PresetError(f"{path}: {name} is {stored.dtype}", hint="expected " + ", ".join(WEIGHT_TYPES))
    for name in found:
        if name not in expected:
            raise PresetError(
                f"{path} has an unknown tensor {short_repr(name)}", hint=did_you_mean(name[:100], expected)
            )


def _check_hash(path: Path, expected: str | None, found: str) -> None:
    if expected not in (None, found):
        raise damaged_error(path, f"its content has hash {found[:12]}, expected {short_repr(expected)[1:13]}")


def _format_shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def _config_sha256(mapping: Mapping[str, Any]) -> str:
    """Hash of the parts that the weights depend on, as written: title and play may be edited, defaults may be added."""
    parts = {name: mapping.get(name) for name in ("world", "autoencoder", "model")}
    return _sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode())


def _sha256(*parts: bytes | memoryview) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _read_starts(folder: Path, config: PresetConfig) -> tuple[Start, ...]:
    return tuple(_read_start(path, config) for path in start_files(folder, START_FOLDER))


def _read_start(path: Path, config: PresetConfig) -> Start:
    stored = read_header(path).tensors
    for name in ("frames", "actions"):
        if name not in stored:
            raise PresetError(f"{path} has no {name!r}", hint=DOWNLOAD_AGAIN_HINT)
    if len(stored) > 2:
        raise PresetError(f"{path} contains more than frames and actions", hint=DOWNLOAD_AGAIN_HINT)
    frames, actions = stored["frames"], stored["actions"]
    num_frames = frames.shape[0] if frames.shape else 0
    expected = (num_frames, *config.frame_shape), (num_frames, config.action_spec.size)
    if (frames.shape, actions.shape) != expected:
        raise PresetShapeError(
            f"{path}: frames {_format_shape(frames.shape)}, actions {_format_shape(actions.shape)}; "
            f"the config asks for {_format_shape(expected[0])} and {_format_shape(expected[1])}",
            hint="the start and the config must come from the same preset",
        )
    if frames.dtype != "U8" or actions.dtype != "F32":
        raise PresetError(f"{path}: frames {frames.dtype}, actions {actions.dtype}", hint="expected U8 and F32")
    if num_frames < config.play.context_frames:
        raise PresetError(
            f"{path} has {num_frames} frames, play.context_frames asks for {config.play.context_frames}",
            hint="reduce it in config.json, or provide a longer start",
        )
    arrays = safetensors.numpy.load(path.read_bytes())
    if not (np.abs(arrays["actions"]) <= 1.0).all():
        raise PresetError(f"{path} contains actions outside [-1, 1]", hint=DOWNLOAD_AGAIN_HINT)
    return Start(frames=arrays["frames"], actions=arrays["actions"])


def _write_starts(folder: Path, starts: Sequence[Start]) -> None:
    names = [f"{index:02d}.safetensors" for index in range(len(starts))]
    for name, start in zip(names, starts, strict=True):
        arrays = {"frames": start.frames, "actions": start.actions}
        _write(folder / name, safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in arrays.items()}))
    for path in folder.glob("*.safetensors"):
        if path.name not in names:
            path.unlink()


def _write(path: Path, content: bytes) -> None:
    """Leaves a file with the same content as it is."""
    if not path.is_file() or path.read_bytes() != content:
        atomic_write(path, content, is_durable=True)
