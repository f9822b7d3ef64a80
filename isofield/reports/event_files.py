"""Numbers and pictures of a training, read back from its TensorBoard event files.

Each start of a training wrote a file of its own. One that went on from an earlier step says so in its file, and what
was noted beyond that step before it is dropped, as TensorBoard does.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isofield.runtime.atomic_files import refuse_large
from isofield.runtime.reasons import reason_of

PATTERN = "events.out.tfevents.*"
MAX_BYTES = 1 << 32
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass
class TrainingEvents:
    """By name, in the order of steps: values, and PNG files as bytes. `notes`: what could not be read."""

    scalars: dict[str, dict[int, float]] = field(default_factory=dict)
    pictures: dict[str, dict[int, bytes]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def drop_from(self, step: int) -> None:
        """Forget what was noted at a step and after it."""
        for group in (self.scalars, self.pictures):
            of_names: Iterable[dict[int, Any]] = group.values()
            for of_name in of_names:
                for later in [noted for noted in of_name if noted >= step]:
                    del of_name[later]


def read_events(folder: Path) -> TrainingEvents:
    """All event files of a folder. FileNotFoundError when there is none; ValueError for one that is too large.

    A file that is cut, as of a training that was killed, or damaged is read up to there, and a note says so.
    """
    files = sorted(folder.glob(PATTERN), key=_in_order)
    if not files:
        raise FileNotFoundError(f"{folder} has no event files ({PATTERN}): nothing was trained there, or not by us")
    events = TrainingEvents()
    for file in files:
        refuse_large(file, MAX_BYTES)
        _read_into(events, file)
    return events


def _in_order(file: Path) -> list[tuple[int, str]]:
    """Names end in seconds, host, process and a count: of one second the tenth comes after the ninth."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in file.name.split(".")]


def _read_into(events: TrainingEvents, file: Path) -> None:
    # Imported only now: it takes a second.
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    try:
        for record in _records(file):
            event = Event.FromString(record)
            if event.HasField("session_log") and event.session_log.status == SessionLog.START:
                events.drop_from(event.step)
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    events.scalars.setdefault(value.tag, {})[event.step] = value.simple_value
                elif value.HasField("image") and value.image.encoded_image_string.startswith(PNG):
                    events.pictures.setdefault(value.tag, {})[event.step] = value.image.encoded_image_string
    except (ValueError, DecodeError) as error:
        place = reason_of(error, otherwise="a place where it is cut or damaged")
        events.notes.append(f"{file}: read up to {place}; what follows there is missing here")


def _records(file: Path) -> Iterator[bytes]:
    """Bytes of one event after the other. ValueError that says where the file is cut or damaged."""
    from tensorboard.compat.tensorflow_stub import errors
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

    reader: Any = PyRecordReader_New(str(file))
    while True:
        try:
            reader.GetNext()
        except errors.OutOfRangeError:
            return
        except errors.DataLossError as error:
            raise ValueError("a place where it is cut or damaged") from error
        yield reader.record()
