"""The card of a packed run: card.json for programs, README.md (with the header that model hubs read) for people."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import isofield
from data_processing.loading.network_inputs import CLOUDS
from data_processing.medical.totalsegmentator import NAMED_TABLES
from data_processing.preparation.config import DataConfig
from data_processing.store.shape_set import StoredShapes, open_shapes
from isofield.contract import TrainsOnCodes
from isofield.packs.manifest import WEIGHTS
from isofield.packs.weights import Precision
from isofield.packs.writing.field_change import FieldChange
from isofield.packs.writing.portable import portable
from isofield.registry import LoadedRun
from isofield.run_dir import RunDir
from isofield.runtime.config import to_plain
from isofield.runtime.json_files import Row, read_object
from isofield.runtime.number_text import short

HUB_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*")  # as hubs name them: mit, cc-by-4.0
# Beside each number.
CONDITIONS = ("input_points", "points", "seed", "resolution", "scale", "units", "tolerance_mm", "fit_steps", "poses")


@dataclass(frozen=True)
class PackedWeights:
    """What the card says of the weights. `change`: of the field, by rounding; None where nothing was rounded."""

    precision: Precision
    sha256: str
    model_hash: str  # as they are loaded
    change: FieldChange | None
    bound: float


@dataclass(frozen=True)
class CardText:
    """What only the packer knows: the licence of the weights, and Markdown that goes in as it is."""

    licence: str = ""
    about: str = ""


def card_of(
    run: RunDir,
    loaded: LoadedRun,
    preparation: DataConfig,
    weights: PackedWeights,
    text: CardText,
    *,
    which: str,
    seconds: float,
) -> Row:
    """Everything that can be said of a run, as plain data. Nothing in it names the packer's machine.

    `which`: the checkpoint, trained for so many `seconds`.
    """
    config = loaded.config
    state = loaded.model.state_dict()
    return {
        "name": config.name,
        "made_by": f"isofield {isofield.__version__}",
        "model": {"type": config.model["type"], "parameters": sum(value.numel() for value in state.values())},
        "input": to_plain(config.data.input),
        "training": {
            "checkpoint": which,
            "step": loaded.step,
            "minutes": round(seconds / 60, 1),
            "unfinished": bool(loaded.unfinished),
        },
        "data": _data(config.data.path, config.data.categories),
        "licence": text.licence or "not stated",
        "weights": {
            "file": WEIGHTS,
            "sha256": weights.sha256,
            "model_hash": weights.model_hash,
            "precision": weights.precision,
            "field_change": None if weights.change is None else to_plain(weights.change) | {"bound": weights.bound},
        },
        "protocols": (protocols := evaluations_of(run, loaded.model_hash, weights.model_hash)),
        "again": _again(loaded, preparation),
        "limits": _limits(run, loaded, preparation, weights, protocols),
    }


def evaluations_of(run: RunDir, *model_hashes: str) -> list[Row]:
    """The means in the run's evaluation folder, without those that were made with other weights.

    `model_hashes`: of the run's weights and of those that travel. Where these are rounded, evaluate the pack, lay its
    evaluation/ into the run's, and pack again: the card then says how good what arrives is.
    """
    tables = []
    for file in sorted(run.evaluation.glob("*.json")):
        evaluation = read_object(file, again="evaluate again, or take it away")
        settings = evaluation.get("settings")
        if not isinstance(evaluation.get("mean"), dict) or not isinstance(settings, dict):
            continue  # something else that lies there
        # Numbers of other weights are not those of this pack; of an evaluation before hashes were noted nobody knows,
        # and the card says so.
        made_with = settings.get("model_hash")
        if made_with is not None and made_with not in model_hashes:
            continue
        tables.append(
            {
                **{key: evaluation.get(key) for key in ("protocol", "split", "n", "failed_count", "mean")},
                "settings": {key: settings[key] for key in CONDITIONS if settings.get(key) is not None},
                "model_hash": made_with or "not recorded",
            }
        )
    return tables


def card_text(card: Row, about: str, *, unfinished: str) -> str:
    """README.md. `unfinished`: in words, where the training was not to its end."""
    licence = card["licence"] if HUB_LICENCE.fullmatch(card["licence"]) else "other"
    model, weights = card["model"], card["weights"]
    # Lines of Markdown from top to bottom; the header between dashes is what hubs of models read.
    training, cloud = card["training"], card["input"]["kind"] in CLOUDS
    shown = ", ".join(f"{key} {card['input'][key]}" for key in ("kind", "resolution", *(["points"] if cloud else [])))
    trained = f"step {training['step']:,} after {training['minutes']:g} minutes (checkpoint {training['checkpoint']})"
    lines = [
        "---",
        "library_name: isofield",
        f"license: {licence}",
        "tags: [isofield, implicit-3d-shapes]",
        "---",
        f"# {card['name']}",
        "",
        f"`{model['type']}`, {model['parameters']:,} numbers, a run of isofield packed by {card['made_by']}.",
        "",
        *([about.strip(), ""] if about.strip() else []),
        "| | |",
        "|---|---|",
        f"| input | {shown} |",
        f"| training | {trained}{unfinished} |",
        f"| data | {_cell(_data_line(card['data']))} |",
        f"| licence | {_cell(card['licence'])} |",
        f"| weights | {weights['file']}, {weights['precision']}, SHA-256 `{weights['sha256']}` |",
        f"| model hash | `{weights['model_hash']}` |",
        "",
        "## Use",
        "",
        "    isofield generate --run FOLDER_OF_THIS_FILE --input your.ply",
        "",
        "A zip of the folder will do, or `hf:OWNER/NAME@REVISION` where it lies on a hub. Nothing in it is executed.",
        "",
        "## How good it is",
        "",
        *_protocol_lines(card["protocols"]),
        "",
        "## Make it again",
        "",
        *(f"    {line}" for line in card["again"]),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in card["limits"]),
    ]
    return "\n".join(lines) + "\n"


def _data(path: Path, categories: tuple[str, ...]) -> Row:
    """Of the data set, as far as it is still there to be asked."""
    data: Row = {"name": path.name, "categories": list(categories)}
    try:
        shapes = open_shapes(path)
    except (OSError, ValueError):
        return data
    data["shapes"] = {split: len(members) for split, members in sorted(shapes.splits.items())}
    if isinstance(shapes, StoredShapes):
        licences = Counter(licence or "not stated" for licence in shapes.index.licences)
        data["licences"] = dict(sorted(licences.items()))
    return data


def _data_line(data: Row) -> str:
    counts = ", ".join(f"{count} {split}" for split, count in data.get("shapes", {}).items())
    licences = ", ".join(f"{name} ({count})" for name, count in data.get("licences", {}).items())
    parts = [data["name"], ", ".join(data["categories"]), counts, f"licences: {licences}" if licences else ""]
    return "; ".join(part for part in parts if part)


def _again(loaded: LoadedRun, preparation: DataConfig) -> list[str]:
    """The commands; what they take from elsewhere is in capitals."""
    config = loaded.config
    credits = "" if preparation.licences is None else " licences=CREDITS"
    initial = " model.init_from=RUN" if isinstance(loaded.model, TrainsOnCodes) else ""
    return [
        f"isofield prepare --config preparation.json --set input=FOLDER name=DATASET output=null{credits}",
        f"isofield train --config config.yaml --set name={config.name}-again data.path=datasets/DATASET{initial}",
    ]


def _limits(
    run: RunDir, loaded: LoadedRun, preparation: DataConfig, weights: PackedWeights, protocols: list[Row]
) -> list[str]:
    limits = []
    if loaded.unfinished:
        limits.append("Its training was not finished: thin or small parts may be missing, or everything.")
    if loaded.step == 0:
        limits.append("No step was trained here: the weights were imported; the commands above train others.")
    if run.published_file.is_file():
        limits.append("The weights were published by others: published.json says by whom.")
    if weights.change is not None:
        before = any(table["model_hash"] != weights.model_hash for table in protocols)
        measured = "Numbers above of another model hash were measured before the rounding." if before else ""
        limits.append(
            f"Weights are rounded to {weights.precision}: the field moves by at most {weights.change} on three probes "
            f"(bound {weights.bound:.2%} of the span). {measured}".rstrip()
        )
    if preparation.labels is not None and preparation.labels.table not in (None, *NAMED_TABLES):
        table = portable(str(preparation.labels.table))
        limits.append(f"A table names the labels of scans ({table}) and is not here: lay it beside them.")
    limits.append("It knows shapes like those it was trained on; of others it makes what is nearest to them.")
    return limits


def _protocol_lines(tables: list[Row]) -> list[str]:
    if not tables:
        return ["Nothing was measured with these weights before they were packed."]
    lines = ["| protocol | split | shapes | failed | means | conditions | model |", "|---|---|---|---|---|---|---|"]
    for table in tables:
        means = ", ".join(f"{key} {short(value)}" for key, value in table["mean"].items() if _is_number(value))
        conditions = ", ".join(f"{key} {_condition(value)}" for key, value in table["settings"].items())
        cells = [table["protocol"], table["split"] or "", table["n"], table["failed_count"], means, conditions]
        lines.append("| " + " | ".join(_cell(str(cell)) for cell in [*cells, table["model_hash"]]) + " |")
    return lines


def _condition(value: Any) -> str:
    """Of units, which card.json has all, that of the distance that tables are read for."""
    return f"of chamfer: {value.get('chamfer', 'see card.json')}" if isinstance(value, Mapping) else str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) or value is None


def _cell(text: str) -> str:
    """In one cell of a table, whatever it holds."""
    return " ".join(text.split()).replace("|", "\\|")
