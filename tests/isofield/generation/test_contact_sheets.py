"""Contact sheets: where each picture lands, one scale for all, a place for what is missing."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image, ImageSequence

from data_processing.geometry.rendering import BACKGROUND
from isofield.generation.contact_sheets import sheet, tiles, write_animation, write_overview


@pytest.fixture
def files(tmp_path: Path) -> list[Path | None]:
    """A small box, a shape without a mesh, and the same box twice as large."""
    small, large = tmp_path / "small.ply", tmp_path / "large.ply"
    trimesh.creation.box((0.2, 0.3, 0.1)).export(small)
    trimesh.creation.box((0.4, 0.6, 0.2)).export(large)
    return [small, None, large]


def test_one_frame_for_all(files: list[Path | None]):
    small, absent, large = (tile < BACKGROUND for tile in tiles(files))
    assert large.sum() == pytest.approx(4 * small.sum(), rel=0.15)  # perspective
    assert absent.sum() == 2 * 96  # the two strokes of a cross
    assert (tiles([None, None]) < BACKGROUND).sum() == 4 * 96


def test_meshes_of_frames_of_their_own_fill_their_tiles(files: list[Path | None]):
    small, _, large = (tile < BACKGROUND for tile in tiles(files, one_scale=False))
    assert large.sum() == pytest.approx(small.sum(), rel=0.02) and small.sum() > 1000


def test_a_sheet_reads_like_a_page():
    pictures = np.arange(1, 12, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), dtype=np.uint8)
    page = sheet(pictures, columns=4)
    assert page.shape == (12, 16)
    assert page[0, ::4].tolist() == [1, 2, 3, 4] and page[8, ::4].tolist() == [9, 10, 11, BACKGROUND]
    assert sheet(pictures[:2], columns=4).shape == (4, 8)


def test_an_animation_goes_there_and_back(tmp_path: Path):
    pictures = np.linspace(10, 240, 4).astype(np.uint8)[:, None, None] * np.ones((1, 8, 8), dtype=np.uint8)
    write_animation(tmp_path / "walk.gif", pictures)
    with Image.open(tmp_path / "walk.gif") as animation:
        greys = [int(np.asarray(frame.convert("L"))[0, 0]) for frame in ImageSequence.Iterator(animation)]
    assert len(greys) == 6
    np.testing.assert_allclose(greys, [10, 86, 163, 240, 163, 86], atol=2)


def test_files_of_samples_and_of_a_walk(files: list[Path | None], tmp_path: Path):
    assert [file.name for file in write_overview(tmp_path, files, walk=False)] == ["sheet.png"]
    assert [file.name for file in write_overview(tmp_path, files, walk=True)] == ["strip.png", "walk.gif"]
