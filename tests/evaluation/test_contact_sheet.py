"""Which frames a contact sheet shows, and where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.stubs import StillModel, scroll_clips, stub_preset
from worldsim.core.errors import StorageError
from worldsim.episodes.video import video_file
from worldsim.evaluation.contact_sheet import (
    CLIP_COLUMNS,
    CLIP_ROWS,
    LABEL_WIDTH_PX,
    TEXT_HEIGHT_PX,
    SheetRow,
    SheetSection,
    clip_sections,
    draw_sheet,
    evaluation_sections,
    write_sheet,
)
from worldsim.evaluation.evaluator import Evaluator

CLIPS = scroll_clips()


def flat_section(*colors: int) -> SheetSection:
    frames = np.stack([np.full((48, 64, 3), color, np.uint8) for color in colors])
    return SheetSection(title="flat", columns=tuple(map(str, colors)), rows=(SheetRow(label="row", frames=frames),))


def test_true_frames_are_above_generated_ones_and_the_last_context_frame_on_the_left() -> None:
    result = Evaluator(stub_preset(StillModel()), mean_image=CLIPS.frames[0, 0]).compare(CLIPS, num_context=4)
    sections = evaluation_sections({"rollout": result, "retrieval": result, "spin": result}, (1, 4, 8))
    rollout = sections[0]
    assert [section.title for section in sections] == ["rollout", "retrieval (return path)", "revisit (second turn)"]
    assert rollout.columns == ("context", "1", "2", "4", "5", "8")
    assert [row.label for row in rollout.rows[:2]] == ["900000 true", "900000 generated"]
    np.testing.assert_array_equal(rollout.rows[0].frames[[0, 1, 3]], CLIPS.frames[0, [3, 4, 7]])
    np.testing.assert_array_equal(rollout.rows[3].frames[1:], result.generated[1, [0, 1, 3, 4, 7]])


def test_frames_are_drawn_enlarged_at_their_row_and_column() -> None:
    sheet = draw_sheet([flat_section(10, 200), flat_section(90)])
    below = TEXT_HEIGHT_PX + 98 + TEXT_HEIGHT_PX
    assert (sheet[TEXT_HEIGHT_PX : TEXT_HEIGHT_PX + 96, LABEL_WIDTH_PX : LABEL_WIDTH_PX + 128] == 10).all()
    assert (sheet[TEXT_HEIGHT_PX : TEXT_HEIGHT_PX + 96, LABEL_WIDTH_PX + 130 : LABEL_WIDTH_PX + 258] == 200).all()
    assert (sheet[below : below + 96, LABEL_WIDTH_PX : LABEL_WIDTH_PX + 128] == 90).all()
    assert sheet[:TEXT_HEIGHT_PX, LABEL_WIDTH_PX:].max() > 200, "no column label"


def test_the_file_is_a_png_of_the_sheet(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sheet.png"
    write_sheet(path, [flat_section(10, 200)])
    with Image.open(path) as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), draw_sheet([flat_section(10, 200)]))


def test_an_unwritable_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_sheet(tmp_path / "file" / "sheet.png", [flat_section(10)])


@pytest.mark.parametrize(("num_frames", "shown"), [(200, CLIP_ROWS * CLIP_COLUMNS), (5, 5), (1, 1)])
def test_a_clip_is_shown_from_its_first_frame_to_its_last(num_frames: int, shown: int, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    with video_file(clip, height_px=48, width_px=64, frames_per_s=17.5) as video:
        for number in range(1, num_frames + 1):
            video.write(np.full((48, 64, 3), number, np.uint8))
    sections = clip_sections(clip, (48, 64, 3))
    numbers = [int(label) for section in sections for label in section.columns]
    frames = np.concatenate([section.rows[0].frames for section in sections])
    assert len(numbers) == shown and numbers[0] == 1 and numbers[-1] == num_frames
    assert np.abs(frames.mean(axis=(1, 2, 3)) - numbers).max() < 4, "each frame is below its own number"
    draw_sheet(sections)
