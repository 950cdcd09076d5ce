"""Images of every kind become the pixels that somebody looking at them would expect."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from ganctl.data.decode import BrokenImage, Target, decode, open_image

AWKWARD = Path(__file__).parents[2] / "shared" / "data" / "awkward"
RGB = Target(4, 3)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(int(v) for v in pixels[y, x]) for y in (0, -1) for x in (0, -1)]


def four_colours(size: int = 8) -> Image.Image:
    """Red, green / blue, white."""
    pixels = np.zeros((size, size, 3), np.uint8)
    half = size // 2
    pixels[:half, :half], pixels[:half, half:], pixels[half:, :half], pixels[half:, half:] = RED, GREEN, BLUE, WHITE
    return Image.fromarray(pixels)


# How a picture with each orientation lies in its file, when it shows red, green / blue, white.
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "lying"),
    [
        (1, None),
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_exif_orientation(orientation: int, lying: Image.Transpose | None, file_format: str) -> None:
    upright = four_colours()
    stored = upright if lying is None else upright.transpose(lying)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if file_format == "WEBP" else {}
    pixels, notes = decode(encoded(stored, file_format, exif=exif, **options), Target(8, 3))
    assert corners(pixels) == [RED, GREEN, BLUE, WHITE]
    if file_format != "TIFF":  # Pillow turns these itself
        assert ("turned by its EXIF orientation" in notes) == (orientation > 1)


def test_damaged_exif_does_not_cost_the_image() -> None:
    sound = Image.Exif()
    sound[0x0112] = 1
    data = encoded(four_colours(), "WEBP", lossless=True, exif=sound).replace(b"MM\0*", b"XX\0*")
    with pytest.raises(SyntaxError):
        open_image(data).getexif()
    assert corners(decode(data, Target(8, 3))[0]) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L", "PA"])
def test_transparency_shows_the_background(mode: str) -> None:
    """Left half opaque black, right half transparent black: dropping alpha instead gives black."""
    alpha = Image.fromarray(np.repeat(np.array([[255, 255, 0, 0]], np.uint8), 4, 0))
    options: dict[str, Any] = {}
    source: bytes | Image.Image
    if mode in ("RGBA", "LA", "PA"):
        image = Image.new(mode, (4, 4))
        image.putalpha(alpha)
        source = image if mode == "PA" else encoded(image)
    else:
        image = Image.fromarray(np.repeat(np.array([[0, 0, 9, 9]], np.uint8), 4, 0)).convert(mode)
        if mode == "P":
            image.putpalette([0, 0, 0] * 256)
        options["transparency"] = (9, 9, 9) if mode == "RGB" else 9
        source = encoded(image, **options)
    pixels, notes = decode(source, Target(4, 3, background=(10, 20, 30)))
    assert (pixels[:, :2] == 0).all()
    assert (pixels[:, 2:] == (10, 20, 30)).all()
    assert "transparent: laid over rgb(10, 20, 30)" in notes


def test_half_transparent_is_mixed_and_opaque_alpha_is_no_news() -> None:
    pixels, notes = decode(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 127))), RGB)
    assert (pixels == 128).all()
    assert "transparent: laid over white" in notes
    pixels, notes = decode(encoded(Image.new("RGBA", (4, 4), (1, 2, 3, 255))), RGB)
    assert (pixels == (1, 2, 3)).all()
    assert not notes


def test_transparent_onto_grey() -> None:
    pixels, notes = decode(encoded(Image.new("LA", (4, 4), (0, 0))), Target(4, 1, background=(200, 200, 200)))
    assert pixels.shape == (4, 4, 1)
    assert (pixels == 200).all()
    assert not any("colour" in note for note in notes)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_scaled_and_not_clipped(file_format: str) -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    image = Image.fromarray(ramp)
    data = b"P5 16 16 65535\n" + ramp.astype(">u2").tobytes() if file_format == "PPM" else encoded(image, file_format)
    pixels, notes = decode(data, Target(16, 1))
    assert (pixels.ravel() == np.arange(256)).all()
    assert notes == {"16 bit: scaled to 8"}


def test_16_bits_of_which_few_are_used_are_mentioned() -> None:
    _, notes = decode(encoded(Image.fromarray(np.full((4, 4), 4095, np.uint16))), Target(4, 1))
    assert "16 bit, but dark: 12 or fewer are used" in notes


@pytest.mark.parametrize("mode", ["F", "I"])
def test_32_bits_are_scaled_by_their_own_range(mode: str) -> None:
    values = np.linspace(-1000, 4100, 256).reshape(16, 16)
    image = Image.fromarray(values.astype(np.float32 if mode == "F" else np.int32))
    pixels, notes = decode(encoded(image, "TIFF"), Target(16, 1))
    assert (pixels.ravel() == np.arange(256)).all()
    assert notes == {"32 bit: scaled by its own range"}


def test_floats_that_are_no_numbers() -> None:
    values = np.array([[0, 1], [np.nan, np.inf]], np.float32)
    pixels, _ = decode(encoded(Image.fromarray(values), "TIFF"), Target(2, 1))
    assert pixels.ravel().tolist() == [0, 255, 0, 255]


def test_one_bit() -> None:
    image = Image.fromarray(np.eye(4, dtype=np.uint8) * 255).convert("1")
    assert (decode(encoded(image), Target(4, 1))[0][..., 0] == np.eye(4) * 255).all()


def test_cmyk_red_is_red() -> None:
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    for data in (encoded(red, "JPEG", quality=100), encoded(red, "TIFF")):
        pixels, notes = decode(data, RGB)
        assert np.abs(pixels.astype(int) - RED).max() <= 3
        assert "CMYK to RGB" in notes


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB"])
def test_other_colour_spaces(mode: str) -> None:
    image = Image.new("RGB", (4, 4), (200, 60, 90))
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.buildTransform(srgb, lab, "RGB", "LAB").apply(image)
        del image.info["icc_profile"]
    else:
        image = image.convert(mode)
    pixels, notes = decode(image, RGB)
    assert np.abs(pixels.astype(int) - (200, 60, 90)).max() <= 4
    assert notes == {f"{mode} to RGB"}


def swapped_profile() -> bytes:
    """An sRGB profile whose red and green primaries are exchanged: an extreme case of a wide-gamut camera."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for i in range(128, 128 + 4 + 12 * int.from_bytes(data[128:132], "big")):
        if data[i : i + 4] == b"rXYZ":
            data[i : i + 4] = b"gXYZ"
        elif data[i : i + 4] == b"gXYZ":
            data[i : i + 4] = b"rXYZ"
    return bytes(data).replace("sRGB".encode("utf-16-be"), "xxxx".encode("utf-16-be"))


def test_colour_profiles_are_applied_and_bad_ones_ignored() -> None:
    red = Image.new("RGB", (4, 4), RED)
    pixels, notes = decode(encoded(red, icc_profile=swapped_profile()), RGB)
    assert np.abs(pixels.astype(int) - GREEN).max() <= 2
    assert notes == {"colour profile: converted to sRGB"}
    for ignored in (ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"nonsense"):
        pixels, notes = decode(encoded(red, icc_profile=ignored), RGB)
        assert (pixels == RED).all()
        assert not notes


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame(file_format: str) -> None:
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encoded(first, file_format, save_all=True, append_images=[second], **options)
    pixels, notes = decode(data, Target(8, 3))
    assert (pixels == RED).all()
    assert notes == {"several frames: the first one"}


def stripes() -> bytes:
    """12 x 4: red, green, blue squares."""
    pixels = np.zeros((4, 12, 3), np.uint8)
    pixels[:, :4], pixels[:, 4:8], pixels[:, 8:] = RED, GREEN, BLUE
    return encoded(Image.fromarray(pixels))


def test_fit_crop() -> None:
    pixels, notes = decode(stripes(), Target(4, 3, "crop"))
    assert (pixels == GREEN).all()
    assert notes == {"not square: centre crop"}


def test_fit_pad() -> None:
    pixels, notes = decode(stripes(), Target(12, 3, "pad", (9, 8, 7)))
    assert (pixels[4:8, :4] == RED).all()
    assert (pixels[4:8, 8:] == BLUE).all()
    assert (pixels[:4] == (9, 8, 7)).all()
    assert (pixels[8:] == (9, 8, 7)).all()
    assert notes == {"not square: padded"}


def test_fit_stretch() -> None:
    pixels, notes = decode(stripes(), Target(12, 3, "stretch"))
    assert (pixels[:, 0] == RED).all()
    assert (pixels[:, -1] == BLUE).all()
    assert notes == {"not square: stretched", "enlarged from less than 12 px"}


def test_padding_of_grey_is_the_background_in_grey() -> None:
    pixels, _ = decode(encoded(Image.new("L", (4, 2), 7)), Target(4, 1, "pad", (50, 50, 50)))
    assert pixels[..., 0].tolist() == [[50] * 4, [7] * 4, [7] * 4, [50] * 4]


def test_shrinking_averages_and_enlarging_keeps() -> None:
    fine = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    pixels, _ = decode(encoded(fine), Target(8, 1))
    assert np.abs(pixels.astype(int) - 127).max() <= 8  # taking every eighth pixel gives 0 or 255
    pixels, notes = decode(encoded(Image.new("RGB", (1, 1), (1, 2, 3))), RGB)
    assert (pixels == (1, 2, 3)).all()
    assert notes == {"enlarged from less than 4 px"}


@pytest.mark.parametrize("side", [150, 200, 1000])
def test_large_jpeg_is_what_a_full_decode_gives(side: int) -> None:
    blobs = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    data = encoded(blobs.resize((side, side), Image.Resampling.BICUBIC), "JPEG", quality=95)
    pixels, _ = decode(data, Target(32, 3))
    whole = np.asarray(Image.open(io.BytesIO(data)).resize((32, 32), Image.Resampling.LANCZOS))
    assert np.abs(pixels.astype(int) - whole).mean() <= 4


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(3000, 3), (3, 3000), (100_000, 1), (1, 1), (1, 500)])
def test_extreme_shapes(fit: Any, size: tuple[int, int]) -> None:
    pixels, _ = decode(encoded(Image.new("RGB", size, (7, 7, 7))), Target(16, 3, fit, (7, 7, 7)))
    assert pixels.shape == (16, 16, 3)
    assert (pixels == 7).all()


def test_between_grey_and_colour() -> None:
    pixels, notes = decode(encoded(Image.new("L", (4, 4), 77)), RGB)
    assert (pixels == 77).all()
    assert notes == {"grey to RGB"}
    pixels, notes = decode(encoded(Image.new("RGB", (4, 4), GREEN)), Target(4, 1))
    assert (pixels == 150).all()  # 0.587 of 255, as ITU-R 601 has it
    assert notes == {"colour to grey"}


def test_a_plugin_may_give_an_image() -> None:
    image = four_colours()
    assert corners(decode(image, Target(8, 3))[0]) == [RED, GREEN, BLUE, WHITE]
    with pytest.raises(TypeError, match="not ndarray"):
        decode(np.zeros((4, 4, 3)), RGB)  # type: ignore[arg-type]


def test_decompression_bombs_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("L", (150, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    # Pillow only warns up to twice its limit.
    with pytest.raises(BrokenImage, match=r"^Image size \(15000 pixels\) exceeds limit of 10000 pixels$"):
        decode(data, RGB)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5_000)
    with pytest.raises(BrokenImage, match="exceeds limit"):
        open_image(data)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_cut_short_is_broken(file_format: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = encoded(noise, file_format)
    decode(data, RGB)
    with pytest.raises(BrokenImage) as caught:
        decode(data[: len(data) // 2], RGB)
    assert "\n" not in str(caught.value)
    assert 0 < len(str(caught.value)) < 200


def test_every_way_of_being_damaged_is_a_broken_image() -> None:
    """Flip bytes all over files of every format: whatever Pillow raises, ganctl raises one thing."""
    random = np.random.default_rng(1)
    broken = 0
    for file_format in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF"):
        data = bytearray(encoded(four_colours(32), file_format))
        for _ in range(40):
            bad = bytearray(data)
            for place in random.integers(0, min(len(bad), 200), 4):
                bad[place] = random.integers(256)
            try:
                decode(bytes(bad), RGB)
            except BrokenImage:
                broken += 1
    assert broken > 50


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\x89PNG\r\n\x1a\n"]
)
def test_not_an_image(data: bytes) -> None:
    with pytest.raises(BrokenImage, match="not an image"):
        decode(data, RGB)


def test_nothing_is_printed(tmp_path: Path) -> None:
    """Neither warnings nor what Pillow logs: in a process of its own, as pytest catches both."""
    file = tmp_path / "odd.tif"
    file.write_bytes(encoded(four_colours(), "TIFF", tiffinfo={270: "text"})[:-3])
    code = (
        "import sys, logging, pathlib, warnings\n"
        "from ganctl.data.decode import *\n"
        "logging.getLogger('PIL.TiffImagePlugin').error('noise')\n"
        "try: decode(pathlib.Path(sys.argv[1]).read_bytes(), Target(4, 3))\n"
        "except BrokenImage: pass\n"
    )
    done = subprocess.run([sys.executable, "-W", "always", "-c", code, str(file)], capture_output=True, check=True)
    assert done.stdout + done.stderr == b""


@pytest.mark.skipif(not AWKWARD.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_real_awkward_files(fit: Any) -> None:
    broken = {}
    for path in sorted(AWKWARD.iterdir()):
        if path.suffix == ".tsv":
            continue
        try:
            pixels, _ = decode(path.read_bytes(), Target(32, 3, fit))
            assert pixels.shape == (32, 32, 3)
        except BrokenImage as error:
            broken[path.name] = str(error)
    lines = [line.split("\t") for line in (AWKWARD / "MANIFEST.tsv").read_text().splitlines()[1:]]
    assert set(broken) == {line[0] for line in lines if line[-1] != "ok"}


@pytest.mark.skipif(not AWKWARD.is_dir(), reason="needs ../shared/data")
def test_real_photograph_stands_upright() -> None:
    """Three files of one portrait, each lying in another way."""
    images = [decode((AWKWARD / f"hopper_orientation_{n}.jpg").read_bytes(), Target(64, 3))[0] for n in (2, 6, 8)]
    for image in images[1:]:
        assert np.abs(image.astype(int) - images[0]).mean() < 4


@pytest.mark.skipif(not AWKWARD.is_dir(), reason="needs ../shared/data")
def test_content_decides_the_format() -> None:
    named = [decode((AWKWARD / name).read_bytes(), RGB)[0] for name in ("made_webp_named.jpg", "flower.webp")]
    assert (named[0] == named[1]).all()
