"""Random names and numbers through the label tables of every tool: read back as they were written."""

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_processing.medical.label_tables import json_rows, table_rows

SOME = settings(max_examples=60, deadline=None)
WORDS = st.from_regex(r"[A-Za-zÄöüßé][A-Za-z0-9_\-äé]{0,11}", fullmatch=True)
NUMBERS = st.integers(0, 99).map(str)


@st.composite
def names(draw, blanks=True):
    """As atlases have them: left-hippocampus_CA1, area 4, Heschl 1-2, S1, vertebra L5."""
    words = [draw(WORDS), *draw(st.lists(st.one_of(WORDS, NUMBERS), max_size=3))]
    return (" " if blanks and draw(st.booleans()) else "_").join(words)


@st.composite
def tables(draw, blanks=True):
    """Names by number, each with a colour."""
    ids = draw(st.lists(st.integers(1, 30000), min_size=1, max_size=6, unique=True))
    said = draw(st.lists(names(blanks), min_size=len(ids), max_size=len(ids), unique_by=str.casefold))
    colours = [tuple(draw(st.integers(0, 255)) for _ in range(3)) for _ in ids]
    return list(zip(ids, said, colours, strict=True))


def itksnap(rows):
    head = "# ITK-SnAP Label Description File\n# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL\n"
    lines = [f'{n:5d} {r:5d} {g:4d} {b:4d}        1  1  1    "{name}"' for n, name, (r, g, b) in rows]
    return head + '    0     0    0    0        0  0  0    "Clear Label"\n' + "\n".join(lines) + "\n"


def freesurfer(rows):
    head = "#$Id: FreeSurferColorLUT.txt,v 1.38 $\n\n#No. Label Name:      R   G   B   A\n\n0   Unknown   0 0 0 0\n"
    return head + "\n".join(f"{n:<4d} {name:<40s} {r:<3d} {g:<3d} {b:<3d} 0" for n, name, (r, g, b) in rows) + "\n"


def slicer(rows):
    lines = [f"{n} {name} {r} {g} {b} 255" for n, name, (r, g, b) in rows]
    return "# Color table file x.ctbl\n# 3 values\n" + "\n".join(lines) + "\n"


def mrtrix(rows):
    return "#ID Labelname R G B A\n" + "".join(f"{n}\t{name}\t{r}\t{g}\t{b}\t255\n" for n, name, (r, g, b) in rows)


def workbench(rows):
    return "".join(f"{name}\n{n} {r} {g} {b} 255\n" for n, name, (r, g, b) in rows)


def columns(separator, head):
    def write(rows):
        stream = io.StringIO()
        writer = csv.writer(stream, delimiter=separator)
        writer.writerow(head)
        writer.writerows((n, name, *colour) for n, name, colour in rows)
        return stream.getvalue()

    return write


def nnunet(rows):
    return json.dumps({"labels": {"background": 0, **{name: n for n, name, _ in rows}}})


def nnunet_1(rows):
    return json.dumps({"labels": {"0": "background", **{str(n): name for n, name, _ in rows}}})


WRITERS = {
    "t.label": (itksnap, True),
    "t.txt": (itksnap, True),
    "FreeSurferColorLUT.txt": (freesurfer, True),
    "t.ctbl": (slicer, True),
    "mrtrix.txt": (mrtrix, True),
    "workbench.txt": (workbench, True),
    "t.csv": (columns(",", ("LabelValue", "Name", "Color_R", "Color_G", "Color_B")), True),
    "semicolons.csv": (columns(";", ("id", "name", "r", "g", "b")), True),
    "t.tsv": (columns("\t", ("index", "name", "r", "g", "b")), True),
    "dataset.json": (nnunet, True),
    "first.json": (nnunet_1, True),
}


@pytest.mark.parametrize("file", WRITERS)
@SOME
@given(data=st.data())
def test_names_and_numbers_come_back(file, data):
    write, blanks = WRITERS[file]
    rows = data.draw(tables(blanks))
    text = write(rows)
    found = dict(json_rows(json.loads(text), surely=True) if file.endswith(".json") else table_rows(text, surely=True))
    assert {name: ids for name, ids in found.items() if ids != (0,)} == {name: (n,) for n, name, _ in rows}
