"""A packed run in a zip: every name, kind and size is looked at before anything is written."""

import contextlib
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from isofield.packs.cache import install
from isofield.packs.manifest import (
    AGAIN,
    MANIFEST,
    MOST_BYTES,
    PackManifest,
    parse_manifest,
    refuse_other_size,
    refuse_strange_names,
)
from isofield.run_dir import RunDir
from isofield.runtime.json_files import leads_out

MOST_MEMBERS = 100
MOST_PACKED = 50  # times smaller than unpacked: weights hardly pack at all, text about five times
PACKING = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError)


def unpack_zip(path: Path) -> RunDir:
    """The pack in a zip, as a folder in the cache that is named by its content. The zip may hold it in one folder.

    ValueError when it is cut, holds what no pack holds, leads out, links, or unpacks to more than it may.
    """
    with _one_error(path), zipfile.ZipFile(path) as archive:
        members = _members(archive, path)
        if MANIFEST not in members:
            raise ValueError(f"{path}: no {MANIFEST} in it: expected a zip that `isofield pack RUN OUT.zip` made")
        image = _read_manifest(archive, members[MANIFEST], path)
        manifest = parse_manifest(image, where=f"{path}: {MANIFEST}")
        refuse_strange_names(set(members) - {MANIFEST}, manifest, where=path)
        _refuse_other_sizes(members, manifest, path)
        return install(manifest, image, lambda name: archive.open(members[name]), where=path)


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The files by their names in the pack. ValueError for what is no plain file of a flat folder."""
    # Names as the zip spells them, before anything is taken apart: a stranger's zip may climb, link, or hold a file
    # twice.
    infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        raise ValueError(f"{path}: {len(infos):,} files in it: no packed run")
    for info in infos:
        name = ascii(info.filename[:80])
        if leads_out(info.filename.rstrip("/")) or "\\" in info.filename or ":" in info.filename:
            raise ValueError(f"{path}: {name} in it leads out of the folder that it would be unpacked into")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"{path}: {name} in it is a link or a device, no file")
        if info.flag_bits & 1 or info.compress_type not in PACKING:
            raise ValueError(f"{path}: {name} in it is encrypted, or packed by a method other than deflate")
    names = [info.filename for info in infos if not info.is_dir()]
    top = _top_folder(names)
    members = {info.filename.removeprefix(top): info for info in infos if not info.is_dir()}
    if len(members) < len(names):
        raise ValueError(f"{path}: holds a file twice")
    return members


def _top_folder(names: list[str]) -> str:
    """The folder that all lie in, with its slash, as `zip -r` makes it; empty where there is none."""
    # One folder around everything is how people zip a folder: it is taken off.
    tops = {name.partition("/")[0] for name in names if "/" in name}
    top = f"{tops.pop()}/" if len(tops) == 1 else ""
    return top if all(name.startswith(top) for name in names) else ""


def _read_manifest(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> bytes:
    if info.file_size > MOST_BYTES[MANIFEST]:
        raise ValueError(f"{path}: {MANIFEST} of {info.file_size:,} bytes (limit {MOST_BYTES[MANIFEST]:,})")
    with archive.open(info) as handle:
        return handle.read(MOST_BYTES[MANIFEST] + 1)


def _refuse_other_sizes(members: dict[str, zipfile.ZipInfo], manifest: PackManifest, path: Path) -> None:
    """What the zip declares is what the manifest says, and no more than such a zip can honestly hold."""
    for name, expected in manifest.files.items():
        refuse_other_size(members[name].file_size, expected, where=f"{path}: {name}")
    declared, held = sum(info.file_size for info in members.values()), path.stat().st_size
    if declared > MOST_PACKED * held:
        raise ValueError(f"{path}: {held:,} bytes that would unpack to {declared:,}: weights do not pack like that")


@contextlib.contextmanager
def _one_error(path: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGED as error:
        raise ValueError(f"{path}: cut or damaged, no whole zip ({str(error)[:200]}); {AGAIN}") from error
