"""What a pack is: the files of a trained run that travel, and pack.json with the size and the SHA-256 of each.

Nothing in a pack is executed: text, JSON, arrays of numbers, and tensors in the safetensors format. A folder may hold
beside its pack what our commands write into runs (meshes/, evaluation/), and hidden files; nothing else.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isofield.run_dir import RunDir
from isofield.runtime.config import build
from isofield.runtime.fingerprint import sha256_of
from isofield.runtime.json_files import parse_json

FORMAT = 1
MANIFEST = "pack.json"
WEIGHTS = "model.safetensors"
REQUIRED = ("README.md", "card.json", "config.yaml", WEIGHTS, "preparation.json")
CALIBRATION = ("calibration.json", "judge.npz")  # both or none
INPUT_CALIBRATION = "input_calibration.json"
OPTIONAL = (*CALIBRATION, INPUT_CALIBRATION, "published.json")
RESULTS = ("meshes", "evaluation")  # what generate.py and evaluate.py write beside them
MOST_BYTES = {  # of each file; what is read whole is small
    MANIFEST: 1 << 20,
    "README.md": 1 << 22,
    "card.json": 1 << 22,
    "config.yaml": 1 << 18,
    "preparation.json": 1 << 27,
    WEIGHTS: 1 << 34,
    "calibration.json": 1 << 27,
    "judge.npz": 1 << 30,
    INPUT_CALIBRATION: 1 << 27,
    "published.json": 1 << 22,
}
AGAIN = "fetch it again, or pack it again: isofield pack RUN OUT"
BLOCK = 1 << 20


@dataclass(frozen=True)
class PackedFile:
    """One file: its bytes and their SHA-256 in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True)
class PackManifest:
    """What pack.json says. `model_hash`: of the weights as they are loaded, as in journals and calibrations."""

    format: int
    made_by: str
    name: str
    checkpoint: str
    step: int
    planned: int | None
    precision: str
    model_hash: str
    files: dict[str, PackedFile]


def parse_manifest(image: bytes, *, where: Path | str) -> PackManifest:
    """The manifest in the bytes of pack.json.

    ValueError when it is damaged, of a newer version, or names what a pack may not hold.
    """
    try:
        # Before it is parsed: the length bounds what a stranger's JSON makes of our memory.
        if len(image) > MOST_BYTES[MANIFEST]:
            raise ValueError(f"{len(image):,} bytes")
        content = parse_json(image)
        if not isinstance(content, dict):
            raise ValueError(f"expected a JSON object, got {type(content).__name__}")
    except ValueError as error:
        raise ValueError(f"{where}: cut or damaged, not JSON ({error}); {AGAIN}") from error
    _refuse_other_versions(content, where)
    manifest = build(PackManifest, content, where=str(where))
    _refuse_other_files(manifest, where)
    return manifest


def refuse_strange_names(names: Collection[str], manifest: PackManifest, *, where: Path | str) -> None:
    """ValueError for a file too many (a pickle, say), then for one that is missing. `names` are without MANIFEST."""
    extra = sorted(set(names) - set(manifest.files))
    if extra:
        raise ValueError(
            f"{where}: holds {_some(extra)}, which its {MANIFEST} does not name: a packed run is the files named there "
            "and nothing else; take it away if you put it there, do not use the pack if you did not"
        )
    missing = sorted(set(manifest.files) - set(names))
    if missing:
        raise ValueError(f"{where}: lacks {_some(missing)}, named in its {MANIFEST}: cut short; {AGAIN}")


def verify_folder(run: RunDir) -> PackManifest:
    """The manifest of a packed run in a folder, after each file but the weights was held against it.

    Weights are held against it when they are read (weights.py). ValueError that names the file; OSError.
    """
    manifest = parse_manifest(_bounded(run.pack_file), where=run.pack_file)
    # Exactly the files that are named: a further one may be a pickle that another program would open.
    names = {entry.name for entry in run.path.iterdir() if not entry.name.startswith(".")}
    refuse_strange_names(names - {MANIFEST, *RESULTS}, manifest, where=run.path)
    for name, expected in manifest.files.items():
        file = run.path / name
        refuse_other_size(file.stat().st_size, expected, where=file)
        if name != WEIGHTS:
            refuse_other_hash(sha256_of(file), expected, where=file)
    return manifest


def refuse_other_size(size: int, expected: PackedFile, *, where: Path | str) -> None:
    """ValueError when a file is not as long as its manifest says."""
    if size != expected.size:
        raise ValueError(f"{where}: {size:,} bytes, {MANIFEST} says {expected.size:,}: cut or changed; {AGAIN}")


def refuse_other_hash(sha256: str, expected: PackedFile, *, where: Path | str) -> None:
    """ValueError when a file is not the one that its manifest names."""
    if sha256 != expected.sha256:
        raise ValueError(
            f"{where}: SHA-256 {sha256[:16]}..., {MANIFEST} says {expected.sha256[:16]}...: changed or damaged; {AGAIN}"
        )


def _refuse_other_versions(content: dict[str, Any], where: Path | str) -> None:
    version = content.get("format")
    if version == FORMAT and type(version) is int:
        return
    if type(version) is int and version > FORMAT:
        made_by = str(content.get("made_by", "a newer isofield"))[:60]
        raise ValueError(
            f"{where}: a pack of format {version}, made by {made_by}; this isofield reads format {FORMAT}: update "
            "isofield (pip install -U isofield)"
        )
    raise ValueError(f"{where}: expected the {MANIFEST} of a packed run, format {FORMAT}; got {str(version)[:60]!r}")


def _refuse_other_files(manifest: PackManifest, where: Path | str) -> None:
    """ValueError for a name that no pack has, wherever it would lead, and for a size that is too large to be meant."""
    unknown = sorted(set(manifest.files) - {*REQUIRED, *OPTIONAL})
    if unknown:
        raise ValueError(f"{where}: names {_some(unknown)}: no file of a packed run")
    missing = [name for name in REQUIRED if name not in manifest.files]
    if missing or len(set(CALIBRATION) & set(manifest.files)) == 1:
        lacking = missing or sorted(set(CALIBRATION) - set(manifest.files))
        raise ValueError(f"{where}: does not name {_some(lacking)}: no whole run was packed; {AGAIN}")
    for name, file in manifest.files.items():
        if not 0 <= file.size <= MOST_BYTES[name]:
            raise ValueError(f"{where}: {name} of {file.size:,} bytes (limit {MOST_BYTES[name]:,})")
    # The name becomes a folder where a pack is unpacked: it must not lead out of there, nor hide.
    if Path(manifest.name).name != manifest.name or manifest.name.startswith(".") or len(manifest.name) > 100:
        raise ValueError(f"{where}: name: expected a plain folder name, got {manifest.name[:100]!r}")


def _bounded(file: Path) -> bytes:
    with open(file, "rb") as handle:
        # One byte more than is allowed tells that there is more, without reading it.
        return handle.read(MOST_BYTES[MANIFEST] + 1)


def _some(names: Collection[str]) -> str:
    """The first of them, for errors: a pack of a stranger may hold any number of any length."""
    shown = [ascii(name[:80]) for name in sorted(names)[:3]]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
