"""A trained autoencoder and its pack; every test has a cache of its own."""

from pathlib import Path

import pytest

from isofield.run_dir import RunDir
from tests.isofield.packs.tiny_runs import Images, images_in, packed, trained_autoencoder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where packs out of zips and from the hub go."""
    monkeypatch.setenv("ISOFIELD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def autoencoder(boxes: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """Trained for 15 steps. Nothing may be written into it."""
    return trained_autoencoder(boxes, tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def images(autoencoder: RunDir, tmp_path_factory: pytest.TempPathFactory) -> Images:
    """The files of its pack by name."""
    return images_in(packed(autoencoder, tmp_path_factory.mktemp("packed") / "tiny"))
