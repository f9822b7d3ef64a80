"""Scenes and maps of an analysis, opened by 3D Slicer's own library: what it finds, and where in the patient.

SLICER_PYTHON names a Python that has it: `python -m venv slicer && slicer/bin/pip install slicer-core`.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from data_processing.medical.masks import read_crop
from data_processing.medical.structures import LabelConfig, StructureConfig
from isofield.outliers.analysis.rows import new_row
from isofield.outliers.analysis.slicer_scene import write_scene
from isofield.outliers.comparison.maps import NamedSegment, write_map, write_segments
from tests.data_processing.scan_files import body, save, turned

PYTHON = os.environ.get("SLICER_PYTHON")
LIVER = LabelConfig((StructureConfig("liver", (5,)),))
COLOURS = ((0.75, 0.75, 0.75), (0.86, 0.16, 0.16))
OPEN = """
import json, sys, vtk, slicer_core
from vtk.util.numpy_support import vtk_to_numpy

def placed(image, matrix, value):  # how many voxels, and their middle in RAS, mm
    grid = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions(), order="F") == value
    start, indices = image.GetExtent()[::2], grid.nonzero()
    middle = [float(axis.mean()) + first for axis, first in zip(indices, start)]
    return int(grid.sum()), list(matrix.MultiplyPoint([*middle, 1]))[:3]

scene, found = slicer_core.vtkMRMLScene(), {}
scene.SetURL(sys.argv[1])
assert scene.Connect()
for node in [scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())]:
    matrix = vtk.vtkMatrix4x4()
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        node.GetIJKToRASMatrix(matrix)
        found[node.GetName()] = placed(node.GetImageData(), matrix, 5)
    if node.IsA("vtkMRMLSegmentationNode"):
        segments = []
        for segment in map(node.GetSegmentation().GetNthSegment, range(node.GetSegmentation().GetNumberOfSegments())):
            image = segment.GetRepresentation("Binary labelmap")
            image.GetImageToWorldMatrix(matrix)
            segments.append([segment.GetName(), segment.GetColor(), *placed(image, matrix, segment.GetLabelValue())])
        found[node.GetName()] = [node.GetDisplayNode().GetVisibility(), segments]
print(json.dumps(found))
"""


@pytest.mark.skipif(PYTHON is None, reason="SLICER_PYTHON names no Python that has slicer-core")
@pytest.mark.parametrize(("axes", "flips"), [((0, 1, 2), (0, 0, 0)), ((2, 0, 1), (1, 0, 1)), ((1, 0, 2), (0, 1, 0))])
def test_slicer_finds_all_of_a_scene_where_it_is(axes: tuple[int, ...], flips: tuple[int, ...], tmp_path: Path):
    values, affine = body()
    out, inputs, name = tmp_path / "out \u00fc", tmp_path / "in", "scan '1' \u00e9.nii.gz"
    stored, matrix = turned(values, affine, axes, flips)
    for folder in (out / "masks", out / "scans", inputs):
        folder.mkdir(parents=True)
    crop = read_crop(save(inputs / name, stored, matrix), "liver", LIVER)
    agreement = crop.occupancy.astype(np.uint8)
    agreement[tuple(np.argwhere(agreement)[0])] = 2
    named = [NamedSegment(1, "liver: both", COLOURS[0]), NamedSegment(2, "liver: extra", COLOURS[1])]
    write_segments(out / "masks/a 50%20.seg.nrrd", agreement, crop, named)
    write_map(out / "masks/r.nii.gz", crop.occupancy, crop)
    row = new_row("s", name, "liver", "OK", "", agreement="masks/a 50%20.seg.nrrd", repaired="masks/r.nii.gz")
    assert write_scene(out / "scans/s.mrml", [row], out=out, inputs=inputs)
    done = subprocess.run([str(PYTHON), "-c", OPEN, out / "scans/s.mrml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])

    image: Any = nibabel.load(inputs / name)
    inside = np.argwhere(np.asanyarray(image.dataobj) == 5)
    middle = nibabel.affines.apply_affine(image.affine, inside.mean(axis=0))
    count, at = found[f"input {name}"]
    assert count == len(inside) and np.allclose(at, middle, atol=1e-3)
    shown, ((_, _, count, at),) = found["liver repaired"]
    assert not shown and count == len(inside) and np.allclose(at, middle, atol=1e-3)
    shown, segments = found["liver agreement"]
    assert shown and [segment[0] for segment in segments] == ["liver: both", "liver: extra"]
    assert np.allclose([segment[1] for segment in segments], COLOURS, atol=0.01)
    assert [segment[2] for segment in segments] == [len(inside) - 1, 1]
    both = (segments[0][2] * np.array(segments[0][3]) + np.array(segments[1][3])) / len(inside)
    assert np.allclose(both, middle, atol=1e-3)
