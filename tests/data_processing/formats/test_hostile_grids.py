"""Attacks on the readers of arrays, MATLAB, NIfTI and HDF5 files: no code, no file outside, no memory, no hang."""

import gzip
import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import scipy.io

from data_processing.formats.nifti import read_mask
from data_processing.formats.npy import read_npz
from data_processing.formats.point_clouds import read_cloud
from data_processing.formats.voxel_files import read_voxels
from data_processing.medical.label_volumes import label_volume
from data_processing.store.published_hdf5 import PublishedFile
from data_processing.store.shards import Shard
from tests.hostile import SECRET, limited, refusal
from tests.small_sets import write_published

BOX = np.pad(np.ones((2, 3, 4), np.uint8), 1)
ZEROS = 1 << 31  # bytes that bombs unpack to


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    (tmp_path / "inside").mkdir()
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["b"], file["bi"] = np.ones((16, 16, 16, 1), np.uint8), np.ones((16, 16, 16), np.uint8)
        file["voxels"] = np.ones((1, 64, 64, 64, 1), np.uint8)
    (tmp_path / "secret.raw").write_bytes(SECRET.encode() * 1000)
    return tmp_path / "inside"


class Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def npy(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=True)
    return stream.getvalue()


def declared(shape: object, descr: str = "|u1") -> bytes:
    """A .npy that declares a shape and holds nothing."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def zipped(members: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def deflated(head: bytes, *, zeros: int, wrap: int = -15) -> bytes:
    """A deflated stream of any number of zeros: one block again and again."""
    packer, block = zlib.compressobj(9, zlib.DEFLATED, wrap), bytes(1 << 22)
    start = packer.compress(head + block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + again * (zeros // len(block)) + packer.flush()


def deflated_zeros(member: str, head: bytes = b"") -> bytes:
    """An archive of two megabytes with a member that unpacks to 2 GB of zeros."""
    body, total = deflated(head, zeros=ZEROS), len(head) + ZEROS + (1 << 22)
    name, size = member.encode(), len(body)
    local = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 8, 0, 0, 0, size, total, len(name), 0) + name
    entry = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, 0, size, total, len(name), *[0] * 6)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, len(entry) + len(name), len(local) + size, 0)
    return local + body + entry + name + end


LONG_HEADER = b"\x93NUMPY\x02\x00" + struct.pack("<I", ZEROS - 1)
ARRAYS = {
    "objects.npy": npy(np.array([[Evil(), 1, 2]], dtype=object)),
    "records.npy": npy(np.zeros((3, 3, 3), dtype=[("a", "O")])),
    "huge.npy": declared((1 << 20, 1 << 20, 1 << 20)),
    "billion.npy": declared((1000, 1000, 1000), "<f8"),
    "negative.npy": declared((-1, 4, 4)),
    "nested.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000,
    "levels.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"-" * 8999 + b"1",
    "endless_number.npy": declared("(1" + "0" * 5000 + ",1,1)"),
    "code.npy": declared("(__import__('os').mkdir('executed'),1,1)"),
    "subarray.npy": declared((4, 4, 4), "(1000000,1000000)u1"),
    "objects.npz": zipped({"grid.npy": npy(np.full((2, 2, 2), None))}),
    "pickle.npz": zipped({"grid.npy": b"\x80\x04cos\nsystem\n(S'touch executed'\ntR."}),
    "declares.npz": zipped({"grid.npy": declared((1000, 1000, 1000), "<f8")}),
    "long_header.npz": lambda: deflated_zeros("grid.npy", LONG_HEADER),
    "bomb.npz": lambda: deflated_zeros("grid.npy", declared((1 << 15, 1 << 15, 4), "<f8")),
    "other_packing.npz": zipped({"grid.npy": npy(BOX)}, zipfile.ZIP_LZMA),
    "up.npz": zipped({"../../grid.txt": b"x"}),
    "names.npz": zipped({f"{'x' * 500}{number}.npy": npy(BOX) for number in range(200)}),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(inside: Path, name: str):
    content = ARRAYS[name]
    (inside / name).write_bytes(content() if callable(content) else content)
    refusal(read_voxels, inside / name)
    assert not Path("executed").exists()


def test_texts_without_a_letter_have_a_number_all_the_same(inside: Path):
    """A judge of a quintillion names of no length takes no memory, and for ever."""
    (inside / "names.npz").write_bytes(zipped({"names.npy": declared((10**18,), "<U0")}))
    refusal(lambda path: read_npz(path, most=1 << 30), inside / "names.npz")


@pytest.mark.parametrize("suffix", [".binvox", ".xyz", ".pcd", ".ply"])
def test_files_that_are_mostly_a_hole(inside: Path, suffix: str):
    path = inside / f"hole{suffix}"
    path.write_bytes(HEADS[suffix])
    os.truncate(path, 1 << 40)
    assert "limit" in refusal(read_voxels if suffix == ".binvox" else read_cloud, path)


HEADS = {
    ".binvox": b"#binvox 1\ndim 255 1 1\ndata\n\x01\xff",
    ".xyz": b"0 0 0\n",
    ".pcd": b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 34359738368\nDATA binary\n",
    ".ply": b"ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nend_header\n",
}


@pytest.mark.parametrize("key", ["points", "normals"])
def test_clouds_in_archives(inside: Path, key: str):
    members = {"points.npy": npy(np.eye(3)), f"{key}.npy": declared((1 << 28, 3), "<f8")}
    (inside / "cloud.npz").write_bytes(zipped(members))
    refusal(read_cloud, inside / "cloud.npz")
    (inside / "cloud.npz").write_bytes(deflated_zeros(f"{key}.npy", LONG_HEADER))
    if key == "points":
        refusal(read_cloud, inside / "cloud.npz")


def matlab(name: str, inside: Path) -> None:
    """`b` and `bi` of HSP as a stranger would have them."""
    good = {"b": np.ones((1, 16, 16, 16), np.uint8), "bi": np.ones((16, 16, 16), np.uint8)}
    cells = np.empty((1, 16, 16, 16), object)
    cells[:] = "x"
    change = {"cells": {"b": cells}, "structs": {"b": np.zeros((1, 16, 16, 16), dtype=[("a", "O")])}}
    path = inside / f"{name}.mat"
    scipy.io.savemat(path, good | change.get(name, {}))
    data = bytearray(path.read_bytes())
    place = data.index(struct.pack("<4i", 1, 16, 16, 16))
    if name == "huge":
        data[place : place + 4] = struct.pack("<i", 262_144)
    elif name == "negative":
        data[place : place + 4] = struct.pack("<i", -1)
    elif name == "twice":
        first = bytearray(data[128 : data.index(b"bi") - 44])
        at = first.index(struct.pack("<4i", 1, 16, 16, 16))
        first[at : at + 4] = struct.pack("<i", 200_000)
        data[128:128] = first
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["cells", "structs", "huge", "negative", "twice"])
def test_matlab_files(inside: Path, name: str):
    matlab(name, inside)
    refusal(read_voxels, inside / f"{name}.mat")


LINKS = {
    "external": lambda file: file.__setitem__("b", h5py.ExternalLink("../secret.h5", "b")),
    "soft": lambda file: file.__setitem__("b", h5py.SoftLink("/bi")),
    "dangling": lambda file: file.__setitem__("b", h5py.SoftLink("/nowhere")),
    "cyclic": lambda file: file.__setitem__("b", h5py.SoftLink("/b")),
    "group": lambda file: file.create_group("b"),
    "strings": lambda file: file.create_dataset("b", data=np.full((16, 16, 16, 1), "x", dtype=h5py.string_dtype())),
    "references": lambda file: file.create_dataset("b", shape=(16, 16, 16, 1), dtype=h5py.ref_dtype),
    "no_chunks": lambda file: file.create_dataset(
        "b", shape=(16, 16, 16, 1 << 18), chunks=(16, 16, 16, 64), dtype="f4"
    ),
    "one_chunk": lambda file: file.create_dataset("b", shape=(16, 16, 16, 1), chunks=(16, 16, 16, 1), dtype="u1"),
    "endless": lambda file: file.create_dataset(
        "b", shape=(16, 16, 16, 1 << 40), chunks=(16, 16, 16, 64), dtype="u1", compression="gzip"
    ),
    "foreign_filter": lambda file: file.create_dataset("b", data=np.ones((16, 16, 16, 1), "u1"), compression="lzf"),
    "large_chunk": lambda file: file.create_dataset(
        "b", shape=(16, 16, 16, 1), maxshape=(None,) * 4, chunks=(256, 256, 256, 60), dtype="u1", compression="gzip"
    ),
    "many_chunks": lambda file: file.create_dataset("b", data=np.ones((16, 16, 16, 2), "u1"), chunks=(1, 1, 1, 1)),
    "many_blocks": lambda file: file.create_dataset(
        "b", data=np.ones((16, 16, 16, 5000), "u1"), compression="gzip", chunks=(16, 16, 16, 5000)
    ),
    "many_keys": lambda file: [file.create_group(f"{'x' * 200}{number}") for number in range(200)],
    "outside": lambda file: file.create_dataset(
        "b", shape=(16, 16, 16, 1), dtype="u1", external=[("../secret.raw", 0, 4096)]
    ),
}


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((16, 16, 16, 1), dtype="u1")
    layout[:] = h5py.VirtualSource("../secret.h5", "b", (16, 16, 16, 1))
    file.create_virtual_dataset("b", layout)


def packed_zeros(file: h5py.File) -> None:
    """A chunk of 4096 bytes whose 5000 hold the beginning of millions."""
    source = file.create_dataset("b", shape=(16, 16, 16, 1), chunks=(16, 16, 16, 1), dtype="u1", compression="gzip")
    source.id.write_direct_chunk((0, 0, 0, 0), deflated(b"", zeros=1 << 22, wrap=15)[:5000])


def packed_more(file: h5py.File) -> None:
    """A chunk that unpacks to a thousand times its size."""
    source = file.create_dataset("b", shape=(16, 16, 16, 1), chunks=(16, 16, 16, 1), dtype="u1", compression="gzip")
    source.id.write_direct_chunk((0, 0, 0, 0), zlib.compress(b"\1" * (4 << 20), 9))


@pytest.mark.parametrize(
    "attack", [*LINKS.values(), virtual, packed_zeros, packed_more], ids=[*LINKS, "virtual", "bomb", "more"]
)
def test_matlab_files_that_are_hdf5(
    inside: Path, attack, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    monkeypatch.chdir(inside)  # links are found from the file and from here
    with h5py.File(inside / "x.mat", "w") as file:
        attack(file)
        file["bi"] = np.ones((16, 16, 16), np.uint8)
    text = refusal(read_voxels, inside / "x.mat")
    assert SAID.get(request.node.callspec.id, "") in text


SAID = {"large_chunk": "chunks of", "many_chunks": "in 8192 chunks", "many_blocks": "1 to 4096 blocks"}


def test_published_files_with_rows_that_are_not_there(inside: Path):
    path = write_published(inside, train=1, test=1)
    with h5py.File(path, "r+") as file:
        for key in list(file):
            shape, chunk = file[key].shape, file[key].chunks
            del file[key]
            file.create_dataset(key, shape=(1 << 40, *shape[1:]), dtype="u1", chunks=chunk, compression="gzip")
    refusal(PublishedFile, path)


@pytest.mark.parametrize("key", ["header", "voxels"])
def test_shards_that_declare_more_than_the_file_has(inside: Path, key: str):
    """An early allocated data set whose shape and length were raised together."""
    with h5py.File(inside / "0.h5", "w") as file:
        file.create_dataset(key, data=np.zeros(12345, np.uint8))
    data = (inside / "0.h5").read_bytes()
    assert data.count(struct.pack("<Q", 12345)) >= 2
    (inside / "0.h5").write_bytes(data.replace(struct.pack("<Q", 12345), struct.pack("<Q", 1 << 27)))
    refusal(Shard, inside / "0.h5")


def nifti(changes: dict[str, object], *, extra: bytes = b"") -> bytes:
    image = nibabel.Nifti1Image(BOX, np.eye(4))
    header = bytearray(image.to_bytes()[:348])
    for key, value in changes.items():
        dtype, place = nibabel.Nifti1Header.template_dtype.fields[key][:2]
        header[place : place + dtype.itemsize] = np.array(value, dtype=dtype.base).tobytes()
    return bytes(header) + (extra or bytes(4) + BOX.tobytes())


def cifti(xml: bytes) -> bytes:
    """A NIfTI-2 file that the library would take for another kind, and parse."""
    header, xml = nibabel.Nifti2Header(), xml + b" " * (-(len(xml) + 8) % 16)
    header.set_data_shape((1, 1, 1, 1, 4, 5))
    header["intent_code"], header["vox_offset"], header["magic"] = 3002, 552 + len(xml), b"n+2\0\r\n\x1a\n"
    return bytes(header.binaryblock) + b"\1\0\0\0" + struct.pack("<ii", len(xml) + 8, 32) + xml + bytes(480)


ENTITIES = b"".join(b'<!ENTITY a%d "%s">' % (n + 1, b"&a%d;" % n * 10) for n in range(9))
BOMB = b'<!DOCTYPE x [<!ENTITY a0 "' + b"x" * 1000 + b'">' + ENTITIES + b']><CIFTI Version="2">&a9;</CIFTI>'
EXTENSIONS = struct.pack("<4sii8s", b"\x01\0\0\0", 16, 6, b"")[:4] + struct.pack("<ii8x", 16, 6) * (1 << 20)
DIMS = [3, 4, 5, 6, 1, 1, 1, 1]
SCANS = {
    "huge.nii": nifti({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}),
    "huge.nii.gz": nifti({"dim": [3, 1000, 1000, 1000, 1, 1, 1, 1]}),
    "negative.nii": nifti({"dim": [3, -4, 5, 6, 1, 1, 1, 1]}),
    "many_axes.nii": nifti({"dim": [32000, 4, 5, 6, 1, 1, 1, 1]}),
    "offset.nii.gz": nifti({"vox_offset": 3e9}),
    "offset_nan.nii": nifti({"vox_offset": np.nan}),
    "offset_infinite.nii": nifti({"vox_offset": np.inf}),
    "offset_negative.nii": nifti({"vox_offset": -400.0}),
    "slope_nan_shift.nii": nifti({"scl_slope": 1.0, "scl_inter": np.inf}),
    "doubles.nii.gz": nifti({"dim": [3, 1000, 1000, 1000, 1, 1, 1, 1], "datatype": 64, "bitpix": 64}),
    "complex.nii": nifti({"datatype": 32, "bitpix": 64}),
    "colours.nii": nifti({"datatype": 128, "bitpix": 24}),
    "affine_nan.nii": nifti({"sform_code": 1, "srow_x": [np.nan] * 4}),
    "extensions.nii.gz": nifti({"vox_offset": float(352 + 16 * (1 << 20))}, extra=EXTENSIONS + BOX.tobytes()),
    "not_really.nii.gz": b"\x1f\x8b" + bytes(50),
    "cifti_bomb.nii": cifti(BOMB),
    "cifti_levels.nii": cifti(b'<CIFTI Version="2"><Matrix>' + b"<MetaData>" * 1000),
    "cut_start.nii": bytes(3),
}


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("read", [read_mask, label_volume])
def test_scans(inside: Path, name: str, read):
    packed = name.endswith(".gz") and not name.startswith("not")
    (inside / name).write_bytes(gzip.compress(SCANS[name], 1) if packed else SCANS[name])
    refusal(read, inside / name)


def test_labels_beyond_all_numbers(inside: Path):
    (inside / "scan.nii").write_bytes(nifti({"scl_slope": 1e38, "scl_inter": 1e38}))
    assert "2e+38" in refusal(label_volume, inside / "scan.nii")


def test_a_scan_with_gigabytes_behind_it_is_read_as_far_as_it_is_meant(inside: Path):
    """2 GB of zeros behind the voxels of a small file, and rubbish behind another."""
    block = gzip.compress(bytes(1 << 24), 9)
    scan = nifti({"vox_offset": 352.0})
    (inside / "more.nii.gz").write_bytes(gzip.compress(scan) + block * (ZEROS >> 24))
    for read in (read_mask, lambda path: label_volume(path).values):
        with limited():
            read(inside / "more.nii.gz")
    (inside / "rubbish.nii.gz").write_bytes(gzip.compress(scan) + b"rubbish" * 100)
    refusal(read_mask, inside / "rubbish.nii.gz")
    refusal(label_volume, inside / "rubbish.nii.gz")
