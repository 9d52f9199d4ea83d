"""The preset folder: what is saved is what is loaded, and what does not fit is refused before any tensor is read."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from worldsim.core.errors import ConfigError, PresetError, PresetShapeError, StorageError, WorldsimError
from worldsim.presets.config import PresetConfig
from worldsim.presets.store import load_preset, save_preset, verify


def rewrite_weights(folder: Path, change: Callable[[dict[str, torch.Tensor], dict[str, str]], None]) -> None:
    path = folder / "model.safetensors"
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    del metadata["data_sha256"]  # as in a file from before that hash
    tensors = safetensors.torch.load_file(path)
    change(tensors, metadata)
    safetensors.torch.save_file(tensors, path, metadata)


def edit_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def test_a_saved_preset_loads_unchanged(tiny_preset_folder: Path, tiny_config: PresetConfig, tmp_path: Path) -> None:
    first = load_preset(tiny_preset_folder)
    save_preset(tmp_path / "again", first.config, first.autoencoder, first.model, first.starts)
    second = load_preset(tmp_path / "again")
    assert second.config == tiny_config
    assert len(second.starts) == len(first.starts) == 2
    for module_a, module_b in ((first.model, second.model), (first.autoencoder, second.autoencoder)):
        state_b = module_b.state_dict()
        assert all(torch.equal(tensor, state_b[name]) for name, tensor in module_a.state_dict().items())
    for start_a, start_b in zip(first.starts, second.starts, strict=True):
        assert (start_a.frames == start_b.frames).all()
        assert (start_a.actions == start_b.actions).all()


def test_the_hash_is_stable_and_depends_on_every_weight(tiny_preset_copy: Path) -> None:
    before = load_preset(tiny_preset_copy).sha256
    assert load_preset(tiny_preset_copy).sha256 == before

    def nudge(tensors: dict[str, torch.Tensor], _: dict[str, str]) -> None:
        next(iter(tensors.values())).add_(1.0)

    rewrite_weights(tiny_preset_copy, nudge)
    assert load_preset(tiny_preset_copy).sha256 != before


def test_loading_does_not_change_the_random_state(tiny_preset_folder: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load_preset(tiny_preset_folder)
    assert torch.equal(torch.rand(1), expected)


def test_the_networks_are_ready_to_play(tiny_preset_folder: Path) -> None:
    preset = load_preset(tiny_preset_folder)
    assert not preset.model.training
    assert not any(p.requires_grad for module in (preset.model, preset.autoencoder) for p in module.parameters())


def test_bfloat16_matrices_are_loaded_as_float32(tiny_preset_folder: Path, tmp_path: Path) -> None:
    full = load_preset(tiny_preset_folder)
    save_preset(tmp_path, full.config, full.autoencoder, full.model, full.starts, dtype=torch.bfloat16)
    half = load_preset(tmp_path)
    size, full_size = ((f / "model.safetensors").stat().st_size for f in (tmp_path, tiny_preset_folder))
    assert size < 0.65 * full_size
    state = half.model.state_dict()
    for name, tensor in full.model.state_dict().items():
        assert state[name].dtype == torch.float32
        expected = tensor.bfloat16().float() if tensor.ndim >= 2 else tensor
        assert torch.equal(state[name], expected), name


def test_metadata_records_the_origin_of_the_weights(tiny_preset_folder: Path) -> None:
    metadata = load_preset(tiny_preset_folder).metadata
    assert metadata["schema_version"] == "2"
    assert metadata["license"] == "apache-2.0"
    assert metadata["trained_on"] == "nothing"
    assert {"config_sha256", "data_sha256", "source_commit"} <= metadata.keys()


def test_the_same_content_gives_the_same_bytes(tiny_preset_folder: Path, tmp_path: Path) -> None:
    preset = load_preset(tiny_preset_folder)
    for name in ("a", "b"):
        metadata = {key: preset.metadata[key] for key in sorted(preset.metadata, reverse=name == "b")}
        save_preset(tmp_path / name, preset.config, preset.autoencoder, preset.model, preset.starts, metadata)
    a, b = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b"))
    assert a == b == (tiny_preset_folder / "model.safetensors").read_bytes()


def test_a_preset_without_a_card_gets_a_plain_one(tiny_preset_folder: Path, tmp_path: Path) -> None:
    preset = load_preset(tiny_preset_folder)
    save_preset(tmp_path, preset.config, preset.autoencoder, preset.model, preset.starts)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert preset.config.title in card


def test_saving_keeps_other_files_and_removes_old_starts(tiny_preset_copy: Path) -> None:
    (tiny_preset_copy / "preset.toml").write_text("mine", encoding="utf-8")
    preset = load_preset(tiny_preset_copy)
    save_preset(tiny_preset_copy, preset.config, preset.autoencoder, preset.model, preset.starts[:1])
    assert (tiny_preset_copy / "preset.toml").read_text(encoding="utf-8") == "mine"
    assert (tiny_preset_copy / "README.md").exists(), "no card given: the card stays"
    assert len(load_preset(tiny_preset_copy).starts) == 1


def test_title_and_play_may_be_edited_by_hand(tiny_preset_copy: Path) -> None:
    edit_config(tiny_preset_copy, title="Mine", play={"num_steps": 4, "context_frames": 2})
    config = load_preset(tiny_preset_copy).config
    assert (config.title, config.play.num_steps) == ("Mine", 4)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def truncate(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        os.truncate(folder / name, (folder / name).stat().st_size - 64)

    return damage


def garble(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"PK\x03\x04" + bytes(64))


def weights(change: Callable[[dict[str, torch.Tensor], dict[str, str]], None]) -> Callable[[Path], None]:
    return lambda folder: rewrite_weights(folder, change)


def drop_a_tensor(tensors: dict[str, torch.Tensor], _: dict[str, str]) -> None:
    del tensors["model.final_norm.weight"]


def add_a_tensor(tensors: dict[str, torch.Tensor], _: dict[str, str]) -> None:
    tensors["model.final_norm.weights"] = torch.zeros(1)


def reshape_a_tensor(tensors: dict[str, torch.Tensor], _: dict[str, str]) -> None:
    tensors["model.final_norm.weight"] = torch.zeros(7)


def be_newer(_: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    metadata["schema_version"] = "3"


def config(**values: object) -> Callable[[Path], None]:
    return lambda folder: edit_config(folder, **values)


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def no_starts(folder: Path) -> None:
    for path in (folder / "start").iterdir():
        path.unlink()


def start_of_another_size(folder: Path) -> None:
    frames, actions = torch.zeros(6, 24, 32, 3, dtype=torch.uint8), torch.zeros(6, 5)
    safetensors.torch.save_file({"frames": frames, "actions": actions}, folder / "start" / "00.safetensors")


def start_without_actions(folder: Path) -> None:
    frames = torch.zeros(6, 48, 64, 3, dtype=torch.uint8)
    safetensors.torch.save_file({"frames": frames}, folder / "start" / "00.safetensors")


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (remove("model.safetensors"), PresetError, "has no model.safetensors"),
        (remove("config.json"), PresetError, "has no config.json"),
        (truncate("model.safetensors"), PresetError, "model.safetensors is damaged or truncated"),
        (garble, PresetError, "model.safetensors is damaged or truncated"),
        (pickle_only, PresetError, "pytorch_model.bin: a pickle can run arbitrary code"),
        (weights(drop_a_tensor), PresetError, "has no tensor model.final_norm.weight"),
        (weights(add_a_tensor), PresetError, "has an unknown tensor 'model.final_norm.weights'"),
        (weights(reshape_a_tensor), PresetShapeError, "model.final_norm.weight is 7, the config asks for 24"),
        (weights(be_newer), PresetError, "has schema version 3; this worldsim reads versions up to 2"),
        (config(schema_version=3), PresetError, "has schema version 3; this worldsim reads versions up to 2"),
        (config(tint="red"), ConfigError, "config.json: unknown key 'tint'"),
        (config(world={"maps": [7]}), PresetError, "was saved with another config"),
        (config(play={"context_frames": 99}), PresetError, "has 6 frames, play.context_frames asks for 99"),
        (no_starts, PresetError, "holds no start"),
        (truncate("start/00.safetensors"), PresetError, "00.safetensors is damaged or truncated"),
        (start_of_another_size, PresetShapeError, "frames 6x24x32x3, actions 6x5; the config asks for 6x48x64x3"),
        (start_without_actions, PresetError, "has no 'actions'"),
    ],
)
def test_a_damaged_preset_is_rejected_with_the_reason(
    damage: Callable[[Path], None], error: type[WorldsimError], message: str, tiny_preset_copy: Path
) -> None:
    damage(tiny_preset_copy)
    with pytest.raises(WorldsimError) as caught:
        load_preset(tiny_preset_copy)
    assert message in caught.value.message
    assert type(caught.value) is error
    assert caught.value.hint


def test_a_start_keeps_enough_frames_for_the_context(tiny_preset_folder: Path) -> None:
    preset = load_preset(tiny_preset_folder)
    assert all(len(start.frames) >= preset.config.play.context_frames for start in preset.starts)


def test_weights_of_another_size_are_rejected_by_shape(tiny_preset_copy: Path) -> None:
    mapping = json.loads((tiny_preset_copy / "config.json").read_text(encoding="utf-8"))
    edit_config(tiny_preset_copy, autoencoder=mapping["autoencoder"] | {"latent_channels": 8})
    with pytest.raises(PresetShapeError, match="the config asks for"):
        load_preset(tiny_preset_copy)


def test_a_failed_save_leaves_the_old_weights_intact(tiny_preset_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preset = load_preset(tiny_preset_copy)
    with torch.no_grad():
        next(preset.model.parameters()).add_(1.0)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        save_preset(tiny_preset_copy, preset.config, preset.autoencoder, preset.model, preset.starts)
    monkeypatch.undo()
    assert load_preset(tiny_preset_copy).sha256 == preset.sha256
    assert not list(tiny_preset_copy.rglob(".*"))


def test_a_config_and_weights_of_different_saves_do_not_load_together(
    tiny_preset_copy: Path, tiny_config: PresetConfig
) -> None:
    other = replace(tiny_config, world=replace(tiny_config.world, maps=(2,)))
    preset = load_preset(tiny_preset_copy)
    weights_before = (tiny_preset_copy / "model.safetensors").read_bytes()
    save_preset(tiny_preset_copy, other, preset.autoencoder, preset.model, preset.starts)
    (tiny_preset_copy / "model.safetensors").write_bytes(weights_before)
    with pytest.raises(PresetError, match="saved with another config"):
        load_preset(tiny_preset_copy)


def flip_a_weight(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def link_out(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).rename(folder.parent / "elsewhere")
        (folder / name).symlink_to(folder.parent / "elsewhere")

    return damage


def pipe(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return damage


def upscale(name: str, size: int) -> Callable[[Path], None]:
    """A sparse file: as large as it says, and nothing on the disk."""
    return lambda folder: os.truncate(folder / name, size)


def strange_name(folder: Path) -> None:
    (folder / "start" / "00.safetensors").rename(folder / "start" / "a\nb.safetensors")


def many_starts(folder: Path) -> None:
    for index in range(300):
        (folder / "start" / f"{index:03d}.safetensors").touch()


def wild_actions(folder: Path) -> None:
    frames, actions = torch.zeros(6, 48, 64, 3, dtype=torch.uint8), torch.full((6, 5), float("nan"))
    safetensors.torch.save_file({"frames": frames, "actions": actions}, folder / "start" / "00.safetensors")


HOSTILE = [
    (flip_a_weight, "its content has hash"),
    (link_out("config.json"), "config.json is a link out of the preset"),
    (link_out("model.safetensors"), "model.safetensors is a link out of the preset"),
    (link_out("start"), "start is a link out of the preset"),
    (link_out("start/01.safetensors"), "01.safetensors is a link out of the preset"),
    (pipe("config.json"), "config.json is not a regular file"),
    (pipe("start/00.safetensors"), "00.safetensors is not a regular file"),
    (upscale("config.json", 10**9), "config.json has 1000000000 bytes"),
    (upscale("model.safetensors", 10**12), "model.safetensors has 1000000000000 bytes"),
    (upscale("start/00.safetensors", 10**9), "00.safetensors has 1000000000 bytes"),
    (strange_name, "a start is named 'a\\nb.safetensors'"),
    (many_starts, "holds more than 256 starts"),
    (wild_actions, "contains actions outside [-1, 1]"),
]


@pytest.mark.parametrize(("damage", "message"), HOSTILE)
def test_a_hostile_folder_is_rejected_by_load_and_verify(
    damage: Callable[[Path], None], message: str, tiny_preset_copy: Path
) -> None:
    damage(tiny_preset_copy)
    for read in (load_preset, verify):
        with pytest.raises(PresetError) as caught:
            read(tiny_preset_copy)
        assert message in caught.value.message
        assert "\n" not in caught.value.message


def test_verify_reports_what_it_compared_without_loading_weights(tiny_preset_folder: Path) -> None:
    verified = verify(tiny_preset_folder)
    assert verified.hashes == ("config", "weights")
    assert (verified.name, verified.num_starts) == ("tiny", 2)
    assert verified.sha256 == load_preset(tiny_preset_folder).sha256
    assert verified.num_bytes == sum(
        path.stat().st_size for path in tiny_preset_folder.rglob("*") if path.name != "README.md" and path.is_file()
    )


def as_hub_snapshot(folder: Path, cache: Path) -> Path:
    """The same preset as the Hub's cache keeps it: links into a store where large files are named by their hash."""
    snapshot = cache / "models--some--one" / "snapshots" / "0123"
    blobs = snapshot.parent.parent / "blobs"
    blobs.mkdir(parents=True)
    for path in (p for p in folder.rglob("*") if p.is_file()):
        name = hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copy(path, blobs / name)
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blobs / name, link.parent))
    return snapshot


def test_a_snapshot_in_the_hubs_cache_loads_and_is_compared_with_the_hubs_hash(
    tiny_preset_folder: Path, tmp_path: Path
) -> None:
    snapshot = as_hub_snapshot(tiny_preset_folder, tmp_path)
    assert load_preset(snapshot).config.name == "tiny"
    assert verify(snapshot).hashes == ("config", "weights", "hub")
    blob = (snapshot / "model.safetensors").resolve()
    blob.rename(blob.with_name("0" * 64))
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(blob.with_name("0" * 64))
    with pytest.raises(PresetError, match="its content has hash"):
        verify(snapshot)


def test_loading_imports_no_compiler(tiny_preset_folder: Path) -> None:
    code = f"from worldsim.presets.store import load_preset; load_preset({str(tiny_preset_folder)!r})"
    check = "; import sys; sys.exit('sympy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code + check], check=False).returncode == 0


def test_loading_allocates_no_memory_for_mismatched_weights(tiny_preset_copy: Path) -> None:
    mapping = json.loads((tiny_preset_copy / "config.json").read_text(encoding="utf-8"))
    edit_config(tiny_preset_copy, model=mapping["model"] | {"width": 8184, "num_layers": 128, "num_heads": 1})
    before_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PresetShapeError, match="the config asks for"):
        load_preset(tiny_preset_copy)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_bytes < 100_000, "kB"
