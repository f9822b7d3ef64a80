"""Where packs out of zips and from the hub lie: a folder for each content, in the user's cache.

Results of such a run go there too, where no --out says otherwise.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from isofield.packs.manifest import BLOCK, MANIFEST, PackedFile, PackManifest, refuse_other_hash, refuse_other_size
from isofield.run_dir import RunDir, make_folder
from isofield.runtime.atomic_files import replacing
from isofield.runtime.fingerprint import sha256_of
from isofield.runtime.user_cache import user_cache

VARIABLE = "ISOFIELD_CACHE"
DIGITS = 16  # of the manifest's SHA-256 in the name of a folder


def cache_folder() -> Path:
    """ISOFIELD_CACHE, or isofield/ in what the system calls the user's cache."""
    if own := os.environ.get(VARIABLE):
        return Path(own)
    return user_cache() / "Cache" if sys.platform == "win32" else user_cache()


def install(
    manifest: PackManifest, image: bytes, open_file: Callable[[str], IO[bytes]], *, where: Path | str
) -> RunDir:
    """The folder of a pack, filled with what is not there yet. `image`: of pack.json, whose hash names the folder.

    `open_file` opens a file of the pack by its name. Several processes may do this at once: each file is replaced
    whole, with the same bytes. ValueError when a file is not that of the manifest; OSError that names the folder.
    """
    folder = cache_folder() / "packs" / f"{manifest.name}-{sha256_of(image)[:DIGITS]}"
    run = RunDir(make_folder(folder))
    # What an earlier start has left is taken if it is whole.
    for name, expected in manifest.files.items():
        if not _is_there(run.path / name, expected):
            with open_file(name) as source:
                _copy(source, run.path / name, expected, where=f"{where}: {name}")
    # The manifest comes last: without it the folder is no run.
    if not run.is_packed or run.pack_file.read_bytes() != image:
        with replacing(run.pack_file) as temporary:
            temporary.write_bytes(image)
    return run


def _is_there(file: Path, expected: PackedFile) -> bool:
    return file.is_file() and file.stat().st_size == expected.size and sha256_of(file) == expected.sha256


def _copy(source: IO[bytes], target: Path, expected: PackedFile, *, where: str) -> None:
    """Never more bytes than were announced, and nothing stays that is not what was announced."""
    assert target.name != MANIFEST
    size = 0
    with replacing(target) as temporary, open(temporary, "wb") as copy:

        def copied() -> Iterator[bytes]:
            nonlocal size
            while block := source.read(min(BLOCK, expected.size - size + 1)):
                size += len(block)
                if size > expected.size:
                    return
                copy.write(block)
                yield block

        sha256 = sha256_of(copied())
        refuse_other_size(size, expected, where=where)
        refuse_other_hash(sha256, expected, where=where)
