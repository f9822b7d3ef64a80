"""MetaImage files of any writer: names of fields, order, bytes and packing vary, the mask and its place do not."""

import zlib

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_processing.formats.scans import read_scan_mask
from tests.data_processing.scan_files import random_affine

SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TYPES = {"MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_USHORT": "u2", "MET_SHORT": "i2", "MET_UINT": "u4", "MET_INT": "i4",
         "MET_FLOAT": "f4", "MET_DOUBLE": "f8"}  # fmt: skip
FLIP = np.diag([-1.0, -1, 1, 1])  # LPS, as the format has it, to RAS


def words(values):
    return " ".join(f"{value:.17g}" for value in np.ravel(values))


@st.composite
def files(draw):
    """The bytes of a header and of voxels, the mask, its affine, and whether both go into one file."""
    generator = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    mask = np.zeros(draw(st.tuples(*[st.integers(4, 9)] * 3)), bool)
    low = generator.integers(0, 2, 3)
    mask[tuple(slice(start, start + size) for start, size in zip(low, generator.integers(1, 3, 3), strict=True))] = True
    spacing = [draw(st.floats(0.3, 4)) for _ in range(3)]
    affine = random_affine(generator, spacing, mirrored=draw(st.booleans()))
    if draw(st.booleans()):
        affine[:3, :3] = np.diag([edge * draw(st.sampled_from([-1, 1])) for edge in spacing])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    lps = FLIP @ affine
    name, kind = draw(st.sampled_from(sorted(TYPES.items())))
    big, packed, local = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    label = draw(st.integers(1, 100))
    voxels = (mask * label).astype(f"{'>' if big else '<'}{kind}").tobytes(order="F")
    data = zlib.compress(voxels) if packed else voxels
    place = draw(st.sampled_from(["Offset", "Position", "Origin"]))
    fields = [
        ("BinaryData", "True"),
        (draw(st.sampled_from(["BinaryDataByteOrderMSB", "ElementByteOrderMSB"])), str(big)),
        (draw(st.sampled_from(["TransformMatrix", "Rotation", "Orientation"])), words((lps[:3, :3] / spacing).T)),
        (place, words(lps[:3, 3])),
        ("ElementSpacing", words(spacing)),
        ("DimSize", " ".join(map(str, mask.shape))),
        ("ElementType", name),
    ]
    fields += [("CompressedData", "True"), ("CompressedDataSize", str(len(data)))] if packed else []
    further = [("CenterOfRotation", "0 0 0"), ("AnatomicalOrientation", "RAI"), ("Comment", "made by nobody")]
    fields += draw(st.lists(st.sampled_from(further), unique=True, max_size=3))
    fields = [("ObjectType", "Image"), ("NDims", "3"), *draw(st.permutations(fields))]
    sign = draw(st.sampled_from([" = ", "=", " =  "]))
    file = "LOCAL" if local else draw(st.sampled_from(["voxels.raw", "voxels.zraw", "the voxels.raw"]))
    ending = draw(st.sampled_from(["\n", "\r\n"])) if not local else "\n"
    head = "".join(f"{key}{sign}{value}{ending}" for key, value in [*fields, ("ElementDataFile", file)])
    return head.encode(), data, mask, affine, file


@SOME
@given(found=files())
def test_the_mask_and_its_place(tmp_path, found):
    head, data, mask, affine, file = found
    path = tmp_path / ("scan.mha" if file == "LOCAL" else "scan.mhd")
    path.write_bytes(head + data if file == "LOCAL" else head)
    if file != "LOCAL":
        (tmp_path / file).write_bytes(data)
    grid = read_scan_mask(path)
    places = [np.argwhere(one) @ matrix[:3, :3].T + matrix[:3, 3] for one, matrix in (
        (grid.occupancy, grid.index_to_world), (mask, affine))]  # fmt: skip
    assert len(places[0]) == len(places[1])
    order = [one[np.lexsort(np.rint(one * 100).T)] for one in places]
    np.testing.assert_allclose(order[0], order[1], atol=2e-3)


@SOME
@given(found=files(), at=st.floats(0, 1), value=st.integers(0, 255), cut=st.booleans())
def test_damaged_headers_and_voxels_are_errors_of_the_file(tmp_path, found, at, value, cut):
    head, data, _, _, file = found
    path = tmp_path / ("scan.mha" if file == "LOCAL" else "scan.mhd")
    content = bytearray(head + data if file == "LOCAL" else head)
    place = int(at * (len(content) - 1))
    content[place] = value
    path.write_bytes(content[:place] if cut else content)
    if file != "LOCAL":
        (tmp_path / file).write_bytes(data[: len(data) // 2] if cut else data)
    try:
        read_scan_mask(path)
    except (ValueError, OSError) as error:
        assert "scan.mh" in str(error) and "itk" not in str(error).lower() and len(str(error)) < 600
