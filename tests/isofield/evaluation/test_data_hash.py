"""The hash of ground truths: of their files' content and names, not of where they lie or how they were prepared."""

from pathlib import Path

import pytest
import trimesh

from data_processing.store.shape_set import open_shapes
from isofield.evaluation.data_hash import data_hash_of
from isofield.evaluation.pairs import Pair, StoredTruth
from tests.small_sets import write_prepared, write_viewed

pytestmark = pytest.mark.usefixtures("one_thread")


def stored_pairs(path: Path, against: str = "source") -> list[Pair]:
    names = open_shapes(path).names
    return [Pair(name, "boxes", None, StoredTruth(path, n, against)) for n, name in enumerate(names)]


def test_two_preparations_of_the_same_files_have_one_hash(tmp_path: Path):
    one = write_prepared(tmp_path / "one", shapes=2)
    other = write_viewed(tmp_path / "other", shapes=2, views=1, size=16)
    pairs = stored_pairs(one)
    assert data_hash_of(pairs) == data_hash_of(stored_pairs(other)) == data_hash_of(pairs[::-1])
    assert data_hash_of(pairs[:1]) != data_hash_of(pairs)
    # Voxels of a data set are no file of their own: nobody knows.
    assert data_hash_of(stored_pairs(one, against="voxels")) is None
    # Another content under the same name is another truth, and one that is gone is unknown.
    before, source = data_hash_of(pairs), open_shapes(other).source(0)
    trimesh.creation.box(extents=(1, 1, 9)).export(source)
    assert data_hash_of(stored_pairs(other)) != before
    source.unlink()
    assert data_hash_of(stored_pairs(other)) is None
