"""job.json: which preparation a folder belongs to; another one is refused there."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from data_processing.preparation.config import DataConfig
from data_processing.store.shape_set import JOB_FILE, read_json
from data_processing.store.shards import SCHEMA
from isofield.runtime.atomic_files import write_text

SHOWN = 3  # names in a message


def open_job(config: DataConfig, settings: Mapping[str, Any], job_names: Sequence[str], command: str) -> None:
    """Write job.json, or check that it is the same job. ValueError that names what differs and the way out.

    `settings`: what decides the content; `job_names`: of all shapes, in order.
    """
    # What decides the bytes of a data set, and nothing else: workers and device may change between two runs.
    comparable = {
        **settings,
        "input": str(config.input.resolve()),
        "shard_size": config.shard_size,
        "schema": SCHEMA,
    }
    folder, job_names = config.folder, list(job_names)
    plain = {"command": command, "settings": comparable, "names": job_names}
    file = folder / JOB_FILE
    if not file.is_file():
        write_text(file, json.dumps(plain, indent=1) + "\n")
        return
    try:
        content = read_json(file)
    except ValueError as error:
        raise ValueError(f"{error}: remove that file first; the shapes are kept") from error
    # Settings before names: other settings may well be the reason why other shapes are listed.
    differences = _differences(content.get("settings"), comparable)
    way_out = f"Choose another place with --set output=FOLDER, or delete {folder} to make it anew"
    if differences:
        raise ValueError(f"{folder} was made with other settings: {'; '.join(differences)}. {way_out}")
    if content.get("names") != job_names:
        listed = content.get("names")
        there = {name for name in listed if isinstance(name, str)} if isinstance(listed, list) else set()
        now = set(job_names)
        changes = f"{_some(now - there)} new, {_some(there - now)} gone"
        raise ValueError(
            f"{config.input} has other shapes than {folder} was made from: {changes}. {way_out}; "
            "of a data set older than known layouts: --set layout=folders"
        )


def _differences(there: Any, now: Any, key: str = "") -> list[str]:
    if isinstance(there, dict) and isinstance(now, dict):
        keys = sorted({*there, *now})
        return [line for k in keys for line in _differences(there.get(k), now.get(k), f"{key}.{k}" if key else k)]
    return [] if there == now else [f"{key}: {there!r} there, {now!r} now"]


def _some(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:SHOWN])
    return f"{len(names)} ({shown}{', ...' if len(names) > SHOWN else ''})" if names else "0"
