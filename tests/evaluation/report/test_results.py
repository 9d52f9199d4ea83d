"""Reading result files, and errors about damaged ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from worldsim.core.errors import ResultsError
from worldsim.evaluation.report.results import Note, RunScore, read_results

RUN = {
    "kind": "comparison",
    "architecture": "full",
    "seed": 3,
    "updates": 40,
    "train_s": 1.5,
    "frames": 640,
    "parameters": 1000,
    "scores": {"retrieval_psnr": {"value": 20.0, "per_seed": [19.0, 21.0]}, "spin_psnr": {"value": None}},
}
SAMPLE = {"frame": 100, "ms": 1.0, "ms_ratio": 1.0, "state_bytes": 10, "resident_ratio": 1.0}
COST = {"kind": "cost", "architectures": {"full": {"training": [], "generation": [SAMPLE]}}}
EVALUATION = {"preset": "maze", "one_step": {"psnr": 20.0}, "notes": "More blur."}


def written(folder: Path, name: str, data: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_a_folder_is_read_by_file_extension(tmp_path: Path) -> None:
    written(tmp_path, "a.json", [RUN, {**RUN, "seed": 4}])
    written(tmp_path, "b.json", COST)
    written(tmp_path, "c.json", EVALUATION)
    (tmp_path / "tried.md").write_text("No gain.", encoding="utf-8")
    (tmp_path / "sheet.png").write_bytes(b"\x89PNG\r\n...")
    (tmp_path / "weights.bin").write_bytes(b"\0")
    results = read_results([tmp_path])
    assert [run.seed for run in results.runs] == [3, 4]
    assert (len(results.costs), len(results.evaluations)) == (1, 1)
    assert results.notes == [
        Note(title="c", text="More blur."),
        Note(title="tried", text="No gain.", is_markdown=True),
    ]
    assert [name for name, _ in results.sheets] == ["sheet"]
    assert [name for name, _ in results.origins] == ["a.json", "a.json", "b.json", "c.json"]


def test_non_finite_scores_are_omitted(tmp_path: Path) -> None:
    (run,) = read_results([written(tmp_path, "run.json", RUN)]).runs
    assert run.scores == {"retrieval_psnr": RunScore(value=20.0, per_seed=(19.0, 21.0))}
    assert (run.experiment, run.by_distance, run.references) == ("", {}, {})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (7, "contains 7, not results"),
        ({"kind": "diary"}, "unknown kind 'diary'"),
        ({"scores": {}}, "unknown kind None"),
        ({**RUN, "seed": "three"}, "'seed' is 'three', not a number"),
        ({key: RUN[key] for key in RUN if key != "updates"}, "'updates' is None"),
        ({**RUN, "architecture": None}, "'architecture' is None"),
        ({**RUN, "scores": [1]}, "'scores' is [1]"),
        ({**RUN, "scores": {"psnr": 20}}, "score 'psnr' is 20"),
        ({**RUN, "by_distance": {"psnr": [1, 2]}}, "by_distance is"),
        ({**RUN, "by_steps": [[1, 2]]}, "by_steps is"),
        ({**RUN, "references": {"psnr": 3}}, "references is"),
        ({"kind": "cost"}, "'architectures' is None"),
        ({"kind": "cost", "architectures": {"full": {"training": []}}}, "full has no 'generation'"),
        ({"kind": "cost", "architectures": {"full": {"training": [{"ms": 1}], "generation": []}}}, "'context_frames'"),
    ],
)
def test_errors_name_the_file(data: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ResultsError) as error:
        read_results([written(tmp_path, "run.json", data)])
    assert message in error.value.message and "run.json" in error.value.message


@pytest.mark.parametrize("content", [b'{"kind": "co', b'{"kind": NaN}', b"\xff\xfe", b"[" * 100_000])
def test_a_truncated_or_invalid_json_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.json"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match=r"cut\.json is damaged"):
        read_results([path])


def test_missing_files_and_folders_without_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="cannot be read: No such file"):
        read_results([tmp_path / "gone.json"])
    with pytest.raises(ResultsError, match="contains no results"):
        read_results([tmp_path])


def test_a_sheet_that_is_not_a_png_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "sheet.png").write_bytes(b"GIF89a")
    with pytest.raises(ResultsError, match="not a PNG"):
        read_results([tmp_path])
