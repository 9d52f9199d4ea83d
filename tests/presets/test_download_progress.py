"""How far a download has come, in words."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from worldsim.core.errors import HubError
from worldsim.presets import hub
from worldsim.presets.download_progress import download_with_progress
from worldsim.presets.hub import PresetListing, RemoteFile
from worldsim.presets.resolve import HubRef

SIZE_BYTES = 4_000_000


@pytest.fixture
def blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = RemoteFile(name="model.safetensors", num_bytes=SIZE_BYTES, git_sha1=None, sha256=None)
    monkeypatch.setattr(hub, "cached_folder", lambda ref: None)
    monkeypatch.setattr(hub, "blobs_folder", lambda ref: tmp_path)
    monkeypatch.setattr(hub, "list_files", lambda ref: PresetListing(ref=ref, commit="0" * 40, files=(file,)))
    return tmp_path


def test_a_download_says_its_share_as_it_grows(blobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def download(listing: PresetListing) -> Path:
        for tenths in (0, 1, 2, 5):
            (blobs / "x.incomplete").write_bytes(bytes(tenths * SIZE_BYTES // 10))
            deadline = time.monotonic() + 10
            while f"fetching someone/tiny: {10 * tenths} %, {tenths * 0.4:.1f} of 4.0 MB" not in said:
                assert time.monotonic() < deadline, said
                time.sleep(0.01)
        return blobs

    monkeypatch.setattr(hub, "download", download)
    download_with_progress("someone/tiny", said.append)
    assert said[0] == "asking the Hub for someone/tiny" and len(said) == 5
    time.sleep(0.3)
    assert len(said) == 5, "it still looks"


def test_a_download_that_breaks_raises_and_is_no_longer_watched(blobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(listing: PresetListing) -> Path:
        raise HubError("lost", hint="")

    monkeypatch.setattr(hub, "download", download)
    said: list[str] = []
    with pytest.raises(HubError):
        download_with_progress("someone/tiny", said.append)
    (blobs / "x.incomplete").write_bytes(bytes(SIZE_BYTES))
    time.sleep(0.3)
    assert [line for line in said if "fetching" in line] in ([], ["fetching someone/tiny: 0 %, 0.0 of 4.0 MB"])


def test_what_is_here_is_not_asked_for(
    tiny_preset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(ref: HubRef) -> PresetListing:
        raise AssertionError("asked")

    said: list[str] = []
    monkeypatch.setattr(hub, "list_files", no)
    monkeypatch.setattr(hub, "cached_folder", lambda ref: tmp_path)
    for ref in ("maze", str(tiny_preset_folder), "someone/tiny"):
        download_with_progress(ref, said.append)
    assert said == []
