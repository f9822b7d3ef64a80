"""One door for every run that a user names.

A folder of runs/, a packed folder, a zip of it, hf:OWNER/NAME@REVISION, or pretrained/NAME that comes along.
"""

import zipfile
from pathlib import Path

from data_processing.store.published_hdf5 import published_files
from isofield.packs.cache import install
from isofield.packs.hub import PREFIX, fetch_from_hub
from isofield.packs.manifest import AGAIN, MANIFEST, parse_manifest, verify_folder
from isofield.packs.zips import unpack_zip
from isofield.run_dir import RunDir
from isofield.runtime.shipped import PRETRAINED, find_pack, pack_names


def find_run(given: Path | str | RunDir) -> RunDir:
    """The run; packed ones are checked. Of a zip and of the hub it lies in the cache, and so do its results; so it is
    with pretrained/NAME where the current directory has no such folder.

    Nothing is said of a folder that is not there: what is asked of the run then says so. ValueError for packs that are
    damaged or are none, and for any other file.
    """
    if isinstance(given, RunDir):
        return given
    text = given if isinstance(given, str) else given.as_posix()
    # A folder of that very name goes before an address: nothing is fetched that lies here.
    run = RunDir(given)
    if text.startswith(PREFIX) and not run.path.exists():
        run = fetch_from_hub(text)
    elif not run.path.exists() and run.path.parts[:1] == (PRETRAINED,):
        run = _shipped(run.path.as_posix())
    elif run.path.is_file():
        if not zipfile.is_zipfile(run.path):
            raise ValueError(
                f"{given}: a file that is no zip, or one cut short; expected the folder of a run, a zip that `isofield "
                "pack RUN OUT.zip` made, or hf:OWNER/NAME@REVISION"
            )
        run = unpack_zip(run.path)
    if run.is_packed:
        verify_folder(run)
    elif run.weights_file.is_file():
        raise ValueError(f"{run.path}: holds {run.weights_file.name} but no {MANIFEST}: a pack cut short; {AGAIN}")
    return run


def _shipped(text: str) -> RunDir:
    """A packed run that comes along, in the cache: where the program is installed, nobody writes."""
    folder = find_pack(text)
    if folder is None:
        known = ", ".join(f"{PRETRAINED}/{name}" for name in pack_names())
        raise ValueError(
            f"{text}: no such folder, nor does a run of that name come along; there are: {known or 'none'}"
        )
    image = (folder / MANIFEST).read_bytes()
    manifest = parse_manifest(image, where=folder / MANIFEST)
    return install(manifest, image, lambda name: open(folder / name, "rb"), where=folder)


def find_data(run: RunDir, named: Path, given: Path | None) -> Path:
    """The data set that was given with --data, or the one that the run's config names.

    FileNotFoundError where a packed run names one that is not here: data sets do not travel.
    """
    if given is None and run.is_packed and not (named.exists() or published_files(named)):
        raise FileNotFoundError(
            f"{run.path} is a packed run, its data set {named} does not travel: say with --data where it lies"
        )
    return given or named
