"""Under which id a run is known to a tracker: kept in its logs, so that a resumed training goes on there."""

import json

from isofield.run_dir import RunDir
from isofield.runtime.atomic_files import write_text
from isofield.runtime.json_files import read_object


def kept_id(run: RunDir, tracker: str) -> str | None:
    """None where the run is new to it, or what is there is none."""
    file = run.logs / f"{tracker}.json"
    if not file.is_file():
        return None
    known = read_object(file, again="remove it: the tracker starts a new run").get("id")
    return known if isinstance(known, str) and known.isalnum() else None


def keep_id(run: RunDir, tracker: str, known: str) -> None:
    """For the next start."""
    write_text(run.logs / f"{tracker}.json", json.dumps({"id": known}) + "\n")
