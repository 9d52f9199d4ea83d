"""A recorded session as a dataset on the Hub: the files to upload and the dataset card. No network.

Does not own: the upload (`presets.hub`).
"""

from __future__ import annotations

import json
from pathlib import Path

from worldsim.episodes.format import LEROBOT_VERSION, SESSION_FILE
from worldsim.episodes.reader import RecordedSession

CARD = "README.md"
PUSHED_SUFFIXES = (".json", ".mp4", ".parquet")
"""Other files in the folder are not uploaded."""

_CARD = """---
license: other
tags:
- LeRobot
- worldsim
configs:
- config_name: default
  data_files: data/*/*.parquet
---

# {name}

{episodes} episode(s), {frames} frames ({minutes:.1f} minutes) of the world model `{preset}` played with worldsim, as a
LeRobotDataset {version}: one mp4 and one parquet per episode, {frame_encoding}.

| | |
|---|---|
| frame size | {width}x{height} |
| frames per second | {rate:g} |
| inputs | {inputs} |
| weights | `{sha256}` |

In a row, `action` is the action that led to that frame. `meta/worldsim.json` holds what is needed to reproduce every
frame.

```sh
worldsim train PRESET --data {repo}
```
"""


def files_to_push(session: RecordedSession, repo: str) -> dict[str, Path | bytes]:
    """Path in the repository to a local file or to content. Local preset paths are removed from the metadata."""
    folder = session.folder
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in PUSHED_SUFFIXES)
    files: dict[str, Path | bytes] = {path.relative_to(folder).as_posix(): path for path in paths}
    own = json.loads((folder / SESSION_FILE).read_text(encoding="utf-8"))
    if Path(own["header"]["preset_ref"]).is_absolute():
        own["header"]["preset_ref"] = session.header.preset
        files[SESSION_FILE.as_posix()] = (json.dumps(own, indent=2) + "\n").encode()
    return files | {CARD: data_card(session, repo).encode()}


def data_card(session: RecordedSession, repo: str) -> str:
    """Markdown with the Hub's YAML header."""
    header = session.header
    height_px, width_px, _ = header.frame_shape
    return _CARD.format(
        name=repo.split("/")[-1],
        repo=repo,
        episodes=len(session.episodes),
        frames=session.num_frames,
        minutes=session.num_frames / header.frames_per_s / 60,
        preset=header.preset,
        version=LEROBOT_VERSION,
        frame_encoding="lossless" if session.is_lossless else "near-lossless and upscaled by an integer factor",
        width=width_px,
        height=height_px,
        rate=header.frames_per_s,
        inputs=", ".join((*header.action_spec.buttons, *header.action_spec.axes)),
        sha256=header.preset_sha256[:12] or "none",
    )
