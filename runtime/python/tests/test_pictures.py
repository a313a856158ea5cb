"""Every way that Python's users hold a picture gives the same masks."""

import os
import shutil
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import CAT, WORDS
from numpy.typing import NDArray
from PIL import Image

import edge_seg


class Interface:
    """What a tensor or another library's array shows of itself."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self.array = array
        self.__array_interface__ = array.__array_interface__


class Converts:
    def __init__(self, array: NDArray[np.uint8]) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[np.uint8]:
        return self.array


class Packed:
    def __init__(self, array: NDArray[np.uint8]) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def padded(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lines with bytes between them, as cameras' buffers have."""
    height, width, channels = array.shape
    wide = np.full((height, width + 13, channels), 99, np.uint8)
    wide[:, :width] = array
    return wide[:, :width]


def with_alpha(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate([array, np.full((*array.shape[:2], 1), 17, np.uint8)], axis=2)


HELD: dict[str, Callable[[NDArray[np.uint8]], tuple[Any, str]]] = {
    "rgb": lambda a: (a, "rgb"),
    "bgr": lambda a: (np.ascontiguousarray(a[..., ::-1]), "bgr"),
    "bgr by view": lambda a: (a[..., ::-1], "bgr"),
    "padded": lambda a: (padded(a), "rgb"),
    "picamera2's RGB888, in padded lines": lambda a: (padded(np.ascontiguousarray(a[..., ::-1])), "bgr"),
    "columns first": lambda a: (np.asfortranarray(a), "rgb"),
    "upside down twice": lambda a: (np.ascontiguousarray(a[::-1])[::-1], "rgb"),
    "channels first, by view": lambda a: (np.ascontiguousarray(a.transpose(2, 0, 1)).transpose(1, 2, 0), "rgb"),
    "rgba": lambda a: (with_alpha(a), "rgb"),
    "bgra": lambda a: (with_alpha(a[..., ::-1]), "bgr"),
    "to be read alone": lambda a: (np.frombuffer(a.tobytes(), np.uint8).reshape(a.shape), "rgb"),
    "interface": lambda a: (Interface(a), "rgb"),
    "array": lambda a: (Converts(a), "rgb"),
    "dlpack": lambda a: (Packed(a), "rgb"),
    "pil": lambda a: (Image.fromarray(a), "rgb"),
    "opencv": lambda a: (cv2.cvtColor(a, cv2.COLOR_RGB2BGR), "bgr"),
    "a part of a larger one": lambda a: (np.pad(a, ((3, 5), (2, 7), (0, 0)))[3:-5, 2:-7], "rgb"),
    "every other line of twice as many": lambda a: (np.repeat(a, 2, axis=0)[::2], "rgb"),
    "one line many times": lambda a: (np.lib.stride_tricks.as_strided(a, a.shape, a.strides, writeable=False), "rgb"),
    "a matrix's class": lambda a: (np.ma.masked_array(a), "rgb"),
}


@pytest.mark.parametrize("held", HELD)
def test_a_picture_is_the_same_however_it_is_held(model: edge_seg.Model, cat: NDArray[np.uint8], held: str) -> None:
    expected = model.segment(CAT, WORDS)
    image, order = HELD[held](cat)
    found = model.segment(image, WORDS, order=order)  # type: ignore[arg-type]
    assert (found.picture == cat).all()
    assert (found.labels == expected.labels).all()
    assert expected.labels.shape == cat.shape[:2] and expected.labels.dtype == np.uint16
    assert set(np.unique(expected.labels)) > {0}


def test_tensors_are_pictures(model: edge_seg.Model, cat: NDArray[np.uint8]) -> None:
    if find_spec("torch") is None:
        assert os.environ.get("EDGE_SEG_TESTS_REQUIRE") != "all", "PyTorch is installed"
        pytest.skip("PyTorch is not installed")
    torch: Any = import_module("torch")
    expected = model.segment(cat, WORDS).labels
    tensor = torch.from_numpy(cat.copy())
    channels_first = tensor.permute(2, 0, 1).contiguous()
    for held in (tensor, channels_first.permute(1, 2, 0), torch.utils.dlpack.from_dlpack(tensor)):
        assert (model.segment(held, WORDS).labels == expected).all()
    with pytest.raises(edge_seg.ImageError, match="numpy.moveaxis"):
        model.segment(channels_first, WORDS)
    with pytest.raises(edge_seg.ImageError, match="found float32"):
        model.segment(tensor.float() / 255, WORDS)


def test_files_in_memory_are_arrays(cat: NDArray[np.uint8], tmp_path: Path) -> None:
    assert (edge_seg.read_picture(CAT.read_bytes()) == cat).all()
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(CAT).save(turned, exif=exif)
    for picture in (edge_seg.read_picture(turned), edge_seg.read_picture(turned.read_bytes())):
        assert picture.shape == (cat.shape[1], cat.shape[0], 3), "upright"
    for broken in (b"", b"no picture", CAT.read_bytes()[:1000]):
        with pytest.raises(edge_seg.ImageError, match="bytes"):
            edge_seg.read_picture(broken)


class Named:
    """As an entry of os.scandir(b"...")."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def __fspath__(self) -> bytes:
        return self.name


HOLDERS: list[Callable[[bytes], Any]] = [os.fsdecode, bytes, Named, lambda name: Path(os.fsdecode(name))]


@pytest.mark.parametrize("held", HOLDERS, ids=["str", "bytes", "PathLike", "Path"])
def test_files_may_have_any_name(model: edge_seg.Model, cat: NDArray[np.uint8], held: Callable[[bytes], Any], tmp_path: Path) -> None:
    """Names are bytes on Linux, whatever text they are."""
    folder = os.fsencode(tmp_path) + b"/caf\xe9 \xff"
    os.mkdir(folder)

    def name(of: str, text: str | None = None) -> Any:
        path = folder + b"/\xe9" + of.encode()
        if text is not None:
            with open(path, "w") as file:
                file.write(text)
        return held(path)

    picture = folder + b"/cat.jpg"
    shutil.copy(CAT, os.fsdecode(picture))
    if held is not bytes:  # these are a file's contents where a picture or a bundle may be in memory
        assert (edge_seg.read_picture(held(picture)) == cat).all()
        assert (model.segment(held(picture), WORDS).labels == model.segment(cat, WORDS).labels).all()
        assert (model.encode(held(picture)).embedding == model.encode(cat).embedding).all()
        bundle = name("mini.esb")
        os.link(Path(__file__).parents[2] / "models" / "mini.esb", bundle)
        assert edge_seg.Model(bundle, size=64).name == "mini"
        with pytest.raises(FileNotFoundError):
            model.segment(name("none.jpg"), WORDS)
    assert edge_seg.read_words(name("words.txt", "cat\nwall\n")) == {"cat": [], "wall": []}
    assert edge_seg.Rules.read(name("rules.toml", "")).words == []
    edge_seg.Model(size=64, word_cache=name("cache")).words(WORDS)
    assert os.listdir(name("cache"))
    with pytest.raises(FileNotFoundError) as missing:
        edge_seg.Model(CAT, keys=name("keys"))
    assert os.fsencode(missing.value.filename) == folder + b"/\xe9keys"
    with edge_seg.IndexWriter(name("seen.index"), model) as index:
        index.add(model.encode(cat), "hall")
    assert edge_seg.Index(name("seen.index")).contents().frames == 1
    with pytest.raises(FileNotFoundError):
        edge_seg.evaluate(model=model, images=name("images"), labels=name("labels"))
    with pytest.raises(TypeError, match="expected a path .str, bytes or os.PathLike., found int"):
        edge_seg.Index(5)  # type: ignore[arg-type]


def test_pixels_of_every_size_arrive_as_they_are(model: edge_seg.Model) -> None:
    random = np.random.default_rng(5)
    for shape in [(1, 1, 3), (3, 1, 3), (1, 4, 3), (7, 5, 3), (4, 3, 4), (5, 7, 1), (3, 3), (1, 1), (4, 1), (3, 4)]:
        array = random.integers(0, 256, shape, np.uint8)
        whole = array[..., None] if array.ndim == 2 else array
        expected = np.repeat(whole, 3, axis=2) if whole.shape[2] == 1 else whole[..., :3]
        assert (model.segment(array, "cat").picture == expected).all(), shape
        if whole.shape[2] != 1:
            assert (model.segment(array, "cat", order="bgr").picture == expected[..., ::-1]).all(), shape


def test_pil_pictures_are_as_their_files(model: edge_seg.Model, tmp_path: Path) -> None:
    small = Image.open(CAT).convert("RGB").resize((90, 60))
    clear = small.copy()
    clear.putalpha(Image.linear_gradient("L").resize((90, 60)))
    palette = small.convert("P", palette=Image.Palette.ADAPTIVE)
    for name, picture in [("grey", small.convert("L")), ("clear", clear), ("palette", palette), ("bits", small.convert("1")), ("la", clear.convert("LA")), ("clear palette", clear.quantize(16, Image.Quantize.FASTOCTREE))]:
        path = tmp_path / f"{name}.png"
        picture.save(path)
        assert (model.segment(picture, "cat").picture == edge_seg.read_picture(path)).all(), name


def test_pil_pictures_are_as_pil_converts_them(model: edge_seg.Model) -> None:
    small = Image.open(CAT).convert("RGB").resize((90, 60))
    for mode in ("CMYK", "YCbCr", "HSV", "L", "P", "1", "RGBX"):
        held = small.convert(mode)
        assert (model.segment(held, "cat").picture == np.asarray(held.convert("RGB"))).all(), mode


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((4, 4, 3), ">u2"), "found >u2|found uint16"),
        (np.zeros((4, 4, 3), np.int8), "scale it to 0..255"),
        (np.zeros((4, 4, 3), np.complex64), "expected an array of uint8, found complex64"),
        (np.zeros((4, 4, 3), "S1"), "expected an array of uint8"),
        (np.array([[None]]), "expected an array of uint8, found object"),
        (np.zeros((4, 0), np.uint8), "found shape \\[4, 0\\]"),
        (np.zeros((4, 4, 3), np.float32), "uint8, found float32; try: \\(image \\* 255\\)"),
        (np.zeros((4, 4), bool), "astype\\(numpy.uint8\\) \\* 255"),
        (np.zeros((4, 4, 3), np.uint16), "scale it to 0..255"),
        (np.zeros((4, 4, 2), np.uint8), "found shape \\[4, 4, 2\\]"),
        (np.zeros((3, 40, 50), np.uint8), "numpy.moveaxis\\(image, 0, -1\\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), "one picture of the batch"),
        (np.zeros((0, 4, 3), np.uint8), "found shape \\[0, 4, 3\\]"),
        (np.zeros((4,), np.uint8), "height × width"),
        (np.zeros((), np.uint8), "height × width"),
        (np.zeros((70000, 1, 3), np.uint8), "65536"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(model: edge_seg.Model, image: NDArray[np.uint8], said: str) -> None:
    with pytest.raises(edge_seg.ImageError, match=said):
        model.segment(image, "cat")


def test_what_is_no_picture_is_told(model: edge_seg.Model, tmp_path: Path) -> None:
    for nothing in [5, None, b"bytes", object()]:
        with pytest.raises(TypeError, match="numpy array, a PIL image, a path"):
            model.segment(nothing, "cat")  # type: ignore[arg-type]
    for held in (b"bytes", bytearray(b"bytes"), memoryview(b"bytes")):
        with pytest.raises(TypeError, match=r"try: edge_seg.read_picture\(bytes\(data\)\)"):
            model.segment(held, "cat")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError) as missing:
        model.segment(tmp_path / "none.jpg", "cat")
    assert missing.value.filename == str(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(edge_seg.ImageError, match="text.jpg"):
        model.segment(str(tmp_path / "text.jpg"), "cat")
    with pytest.raises(edge_seg.ImageError, match="mode I;16"):
        model.segment(Image.new("I;16", (4, 4)), "cat")
    with pytest.raises(edge_seg.OptionError, match='order: expected "rgb", or "bgr"'):
        model.segment(np.zeros((4, 4, 3), np.uint8), "cat", order="gbr")  # type: ignore[arg-type]
