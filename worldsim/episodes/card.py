"""A recorded session as a data set on the Hub: its files and the card beside them. No network.

Owns: what goes up, and the card's words. Does not own: the way up (`presets.hub`).
"""

from __future__ import annotations

import json
from pathlib import Path

from worldsim.episodes.format import LEROBOT_VERSION, SESSION_FILE
from worldsim.episodes.reader import RecordedSession

CARD = "README.md"
PUSHED_SUFFIXES = (".json", ".mp4", ".parquet")
"""Nothing else that lies in the folder goes up."""

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
LeRobotDataset {version}: one mp4 and one parquet per episode, {pictures}.

| | |
|---|---|
| picture | {width}x{height} |
| frames per second | {rate:g} |
| inputs | {inputs} |
| weights | `{sha256}` |

In a row, `action` is the one that led to that frame. `meta/worldsim.json` holds what makes every frame again.

```sh
worldsim train PRESET --data {repo}
```
"""


def files_to_push(session: RecordedSession, repo: str) -> dict[str, Path | bytes]:
    """Name in the repository to a file or to what is written there. Where presets lie on this disk stays private."""
    folder = session.folder
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in PUSHED_SUFFIXES)
    files: dict[str, Path | bytes] = {path.relative_to(folder).as_posix(): path for path in paths}
    own = json.loads((folder / SESSION_FILE).read_text(encoding="utf-8"))
    if Path(own["header"]["preset_ref"]).is_absolute():
        own["header"]["preset_ref"] = session.header.preset
        files[SESSION_FILE.as_posix()] = (json.dumps(own, indent=2) + "\n").encode()
    return files | {CARD: data_card(session, repo).encode()}


def data_card(session: RecordedSession, repo: str) -> str:
    """Markdown with the Hub's header."""
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
        pictures="lossless" if session.is_lossless else "enlarged by a whole number for watching",
        width=width_px,
        height=height_px,
        rate=header.frames_per_s,
        inputs=", ".join((*header.action_spec.buttons, *header.action_spec.axes)),
        sha256=header.preset_sha256[:12] or "none",
    )
