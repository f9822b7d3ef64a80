"""Picture files of every mode and depth; what is none; finding the object of a user's own picture."""

import contextlib
import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from data_processing.formats.pictures import (
    PICTURE_SUFFIXES,
    PhotoConfig,
    Picture,
    grey_on_white,
    read_photo,
    read_picture,
    write_picture,
)

HEIGHT, WIDTH = 40, 60
PLAIN = PhotoConfig()


def ramp() -> np.ndarray:
    """(H, W, 4) with different red, green, blue and alpha in every corner."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 4, y * 6, 255 - x * 2, 100 + y * 3], axis=-1).astype(np.uint8)


def saved(path: Path, mode: str, **options: object) -> Path:
    start = Image.fromarray(ramp()) if mode in ("RGBA", "LA") else Image.fromarray(ramp()[..., :3])
    start.convert(mode).save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["RGBA", "RGB", "LA", "L", "P", "1"])
def test_a_png_of_each_mode(tmp_path: Path, mode: str):
    found = read_picture(saved(tmp_path / "x.png", mode))
    start = Image.fromarray(ramp()) if mode in ("RGBA", "LA") else Image.fromarray(ramp()[..., :3])
    expected = np.array(start.convert(mode).convert("RGBA"))
    assert found.dtype == np.uint8 and np.array_equal(found, expected)
    assert (found[..., 3] < 255).any() == (mode in ("RGBA", "LA"))


@pytest.mark.parametrize(
    ("name", "mode", "off"),
    [
        ("x.jpg", "RGB", 12), ("x.jpeg", "L", 12), ("x.jpg", "CMYK", 12), ("x.bmp", "RGB", 0), ("x.bmp", "1", 0),
        ("x.webp", "RGBA", 25), ("x.tif", "RGB", 0), ("x.tiff", "CMYK", 1), ("x.tif", "LA", 0), ("x.gif", "P", 0),
    ],
)  # fmt: skip
def test_other_formats(tmp_path: Path, name: str, mode: str, off: int):
    found = read_picture(saved(tmp_path / name, mode)).astype(int)
    expected = np.array(Image.fromarray(ramp()[..., :3]).convert(mode).convert("RGBA")).astype(int)
    if mode in ("RGBA", "LA"):
        expected[..., 3] = ramp()[..., 3]
    assert np.abs(found - expected).max() <= off


def test_a_palette_with_transparency(tmp_path: Path):
    image = Image.new("P", (20, 10), 0)
    image.putpalette([200, 0, 0, 0, 0, 250])
    image.paste(1, (5, 0, 20, 10))
    image.save(tmp_path / "x.png", transparency=0)
    found = read_picture(tmp_path / "x.png")
    assert found[0, 0, 3] == 0 and found[0, 10].tolist() == [0, 0, 250, 255]


def deep_png(path: Path, values: np.ndarray, colour: int) -> Path:
    """16 bits a channel; colour type 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, colour: int, channels: int):
    values = (ramp()[..., [0, 3] if channels == 2 else list(range(channels))].astype(np.uint16)) * 257
    found = read_picture(deep_png(tmp_path / "x.png", values, colour)).astype(int)
    shown = ramp().astype(int)
    expected = {
        0: np.dstack([shown[..., 0]] * 3 + [np.full((HEIGHT, WIDTH), 255)]),
        2: np.dstack([shown[..., :3], np.full((HEIGHT, WIDTH), 255)]),
        4: np.dstack([shown[..., 0]] * 3 + [shown[..., 3]]),
        6: shown,
    }[colour]
    assert np.abs(found - expected).max() <= 1


def test_a_sixteen_bit_tiff_and_one_of_floats(tmp_path: Path):
    Image.fromarray(ramp()[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.tif")
    assert np.array_equal(read_picture(tmp_path / "deep.tif")[..., 1], ramp()[..., 0])
    Image.fromarray(ramp()[..., 0].astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match=r"float\.tif: pixels"):
        read_picture(tmp_path / "float.tif")


def test_a_camera_that_was_held_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(ramp()).convert("RGB").save(tmp_path / "x.png", exif=exif)
    expected = np.rot90(ramp(), -1)
    assert np.array_equal(read_picture(tmp_path / "x.png")[..., :3], expected[..., :3])


def test_grey_on_white_is_the_published_formula():
    random = np.random.default_rng(0)
    rgba = random.integers(0, 256, (50, 50, 4), dtype=np.uint8)
    red, green, blue, alpha = np.moveaxis(rgba.astype(float), -1, 0)
    grey = np.rint(0.299 * red + 0.587 * green + 0.114 * blue)
    assert np.array_equal(grey_on_white(rgba), np.rint(grey * (alpha / 255) + 255 * (1 - alpha / 255)))
    assert (grey_on_white(np.zeros((2, 2, 4), np.uint8)) == 255).all()


def animation(path: Path, **options: object) -> Path:
    frames = [Image.new("RGB", (20, 20), (shade, 0, 0)) for shade in (0, 100, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return path


@pytest.mark.parametrize("name", ["x.gif", "x.png", "x.webp", "x.tif"])
def test_what_is_animated_is_refused(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match=name):
        read_picture(animation(tmp_path / name))


def test_a_phones_picture_with_more_behind_it_is_its_first(tmp_path: Path):
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (20, 20), (shade, 0, 0)) for shade in (50, 200)]
    frames[0].save(buffer, format="MPO", save_all=True, append_images=frames[1:])
    (tmp_path / "x.jpg").write_bytes(buffer.getvalue())
    assert abs(int(read_picture(tmp_path / "x.jpg")[5, 5, 0]) - 50) < 5


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.bmp", "x.webp", "x.tif", "x.gif"])
def test_damaged_files_are_one_clear_error(tmp_path: Path, name: str):
    """Cut anywhere, or with bytes changed: a picture, or ValueError; nothing else gets out."""
    file, random = tmp_path / f"damaged-{name}", np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    for length in [0, 1, 7, 30, *random.integers(8, len(content) - len(content) // 8, 40).tolist()]:
        file.write_bytes(content[:length])
        if name == "x.gif" and length > len(content) // 2:
            continue  # rows of a cut GIF may all be there
        with pytest.raises(ValueError, match=f"damaged-{name}"):
            read_picture(file)
    for _ in range(150):
        changed = bytearray(content)
        for place in random.integers(0, min(len(content), 200), 3).tolist():
            changed[place] = int(random.integers(0, 256))
        file.write_bytes(bytes(changed))
        try:
            assert read_picture(file).ndim == 3
        except ValueError as error:
            assert "damaged-" in str(error)


@pytest.mark.parametrize(("name", "content"), [("x.png", b"hello"), ("x.jpg", b"\xff"), ("x.heic", b"ftypheic" * 9)])
def test_what_is_no_picture(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}.*\(PNG, JPEG"):
        read_picture(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        read_picture(tmp_path / "none.png")


def test_the_declared_length_of_a_chunk_is_not_asked_for(tmp_path: Path):
    file = tmp_path / "a.png"
    Image.new("RGB", (40, 30), (200, 10, 10)).save(file)
    data = bytearray(file.read_bytes())
    place = data.index(b"IDAT") - 4
    data[place : place + 4] = struct.pack(">I", 0x7FFFFFFF)
    file.write_bytes(data)
    tracemalloc.start()
    with contextlib.suppress(ValueError):  # all its pixels are there: it may be read
        read_picture(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = b"IHDR" + header
    chunk = struct.pack(">I", len(header)) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + b"\0" * 4)
    with pytest.raises(ValueError, match=r"x\.png"):
        read_picture(tmp_path / "x.png")
    Image.new("1", (12_000, 9_000)).save(tmp_path / "large.png")
    with pytest.raises(ValueError, match="12000x9000 pixels"):
        read_picture(tmp_path / "large.png")


# Finding the object ---------------------------------------------------------------------------------------------------


def scene(background: tuple[int, int, int], *, noise: float = 0.0) -> Image.Image:
    """300x200, a dark table of 100x60 off the middle, from (150, 100): a hole shows what is behind."""
    image = Image.new("RGB", (300, 200), background)
    draw = ImageDraw.Draw(image)
    draw.rectangle((150, 100, 249, 119), fill=(90, 60, 30))
    for left in (150, 230):
        draw.rectangle((left, 120, left + 19, 159), fill=(60, 40, 20))
    draw.rectangle((150, 150, 249, 159), fill=(60, 40, 20))
    random = np.random.default_rng(0)
    return Image.fromarray((np.asarray(image) + random.normal(0, noise, (200, 300, 3))).clip(0, 255).astype(np.uint8))


def object_box(grey_HW: np.ndarray) -> tuple[int, ...]:
    rows, columns = np.nonzero(grey_HW < 200)
    return tuple(int(v) for v in (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1))


def as_photo(path: Path, *, settings: PhotoConfig = PLAIN) -> np.ndarray:
    return read_photo(path, settings, size=100, fill=0.6)


@pytest.mark.parametrize("background", [(255, 255, 255), (120, 200, 120), (10, 10, 60)])
@pytest.mark.parametrize("noise", [0.0, 4.0])
def test_an_object_before_a_uniform_background(tmp_path: Path, background: tuple[int, int, int], noise: float):
    """In the middle, its longer side 60 of 100 pixels, grey, on white; the hole is white too."""
    scene(background, noise=noise).save(tmp_path / "x.png")
    grey = as_photo(tmp_path / "x.png")
    assert grey.shape == (100, 100) and grey.dtype == np.uint8
    assert object_box(grey) == pytest.approx((32, 68, 20, 80), abs=1)
    assert (grey[[0, -1]] == 255).all() and (grey[:, [0, -1]] == 255).all() and grey[53, 50] == 255
    top = 0.299 * 90 + 0.587 * 60 + 0.114 * 30
    assert abs(float(grey[34:42, 25:75].mean()) - top) < 2


def test_alpha_comes_before_the_background(tmp_path: Path):
    image = scene((120, 200, 120)).convert("RGBA")
    alpha = np.zeros((200, 300), np.uint8)
    alpha[100:120, 150:250] = 255
    image.putalpha(Image.fromarray(alpha))
    image.save(tmp_path / "x.png")
    assert object_box(as_photo(tmp_path / "x.png")) == pytest.approx((44, 56, 20, 80), abs=1)


def test_a_given_mask_comes_before_all(tmp_path: Path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 180, (200, 300, 3), dtype=np.uint8))
    image.save(tmp_path / "room.jpg")
    with pytest.raises(ValueError, match=r"room\.jpg:.*room\.mask\.png"):
        as_photo(tmp_path / "room.jpg")
    mask = Image.new("L", image.size, 0)
    ImageDraw.Draw(mask).rectangle((30, 20, 69, 99), fill=255)
    mask.save(tmp_path / "elsewhere.png")
    given = as_photo(tmp_path / "room.jpg", settings=PhotoConfig(mask=tmp_path / "elsewhere.png"))
    mask.save(tmp_path / "room.mask.png")
    beside = as_photo(tmp_path / "room.jpg")
    assert np.array_equal(given, beside) and object_box(given) == pytest.approx((20, 80, 35, 65), abs=1)
    mask.resize((30, 20)).save(tmp_path / "room.mask.png")
    with pytest.raises(ValueError, match=r"room\.mask\.png:.*30x20 pixels.*room\.jpg.*300x200"):
        as_photo(tmp_path / "room.jpg")
    for shade, told in ((0, "no pixel"), (255, "every pixel")):  # the object nowhere, or all over the picture
        Image.new("L", image.size, shade).save(tmp_path / "room.mask.png")
        with pytest.raises(ValueError, match=rf"room\.mask\.png, mask of .*room\.jpg: {told} is the object"):
            as_photo(tmp_path / "room.jpg")


def test_fill_and_objects_at_the_border_of_the_picture(tmp_path: Path):
    image = Image.new("RGB", (100, 50), "white")
    ImageDraw.Draw(image).rectangle((0, 10, 39, 49), fill=(50, 50, 50))
    image.save(tmp_path / "x.png")
    assert object_box(as_photo(tmp_path / "x.png")) == pytest.approx((20, 80, 20, 80), abs=1)
    wide = as_photo(tmp_path / "x.png", settings=PhotoConfig(fill=0.9))
    assert object_box(wide) == pytest.approx((5, 95, 5, 95), abs=1)


def test_specks_are_no_part_of_the_object(tmp_path: Path):
    image = scene((255, 255, 255))
    image.putpixel((3, 3), (0, 0, 0))
    image.save(tmp_path / "x.png")
    assert object_box(as_photo(tmp_path / "x.png")) == pytest.approx((32, 68, 20, 80), abs=1)


def test_a_large_photo_is_as_a_small_one(tmp_path: Path):
    scene((200, 200, 200)).save(tmp_path / "small.png")
    scene((200, 200, 200)).resize((3000, 2000), Image.Resampling.NEAREST).save(tmp_path / "large.jpg", quality=95)
    small, large = as_photo(tmp_path / "small.png").astype(int), as_photo(tmp_path / "large.jpg").astype(int)
    assert np.abs(small - large).mean() < 2


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("RGB", (1, 1)), r"x\.png: 1x1 pixels.* 8"),
        (Image.new("RGB", (200, 200), "white"), r"x\.png: .*background"),
        (Image.new("RGBA", (200, 200), (9, 9, 9, 0)), r"x\.png: .*transparent"),
        (Image.new("L", (200, 200), 77), r"x\.png: .*background"),
    ],
)
def test_pictures_of_nothing(tmp_path: Path, image: Image.Image, message: str):
    image.save(tmp_path / "x.png")
    with pytest.raises(ValueError, match=message):
        as_photo(tmp_path / "x.png")


@pytest.mark.parametrize("wrong", [{"tolerance": 1.0}, {"tolerance": -0.1}, {"fill": 0.01}, {"fill": 1.5}])
def test_settings_that_make_no_sense(wrong: dict):
    with pytest.raises(ValueError, match=r"photo: .*fill.*tolerance"):
        PhotoConfig(**wrong)


def test_a_written_picture_is_read_back(tmp_path: Path):
    grey = ramp()[..., 1]
    write_picture(tmp_path / "deep" / "x.png", Picture(grey))
    assert np.array_equal(read_picture(tmp_path / "deep" / "x.png")[..., 0], grey)
    assert {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif"} <= PICTURE_SUFFIXES
