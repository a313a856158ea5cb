"""Segments pictures and video by words. The package `edge_seg` is its public name."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from os import PathLike
from types import TracebackType
from typing import Any, Literal, Protocol, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

class _HasArrayInterface(Protocol):
    @property
    def __array_interface__(self) -> dict[str, Any]: ...

class _HasArray(Protocol):
    def __array__(self) -> NDArray[Any]: ...

class _HasDLPack(Protocol):
    def __dlpack__(self) -> Any: ...

_Path: TypeAlias = str | PathLike[str] | PathLike[bytes]
# As Python's own functions take names, also those that are no text.
_File: TypeAlias = _Path | bytes
# uint8 [height, width, 3], [height, width, 4] (the last is left out), [height, width, 1] or [height, width]; or a file's path.
_Picture: TypeAlias = _Path | NDArray[np.uint8] | _HasArrayInterface | _HasArray | _HasDLPack
# "cat, red car: sports car, -wall", a list with one entry a word, or a mapping from names to other words for the same thing.
_WordsLike: TypeAlias = Words | str | Sequence[str] | Mapping[str, str | Sequence[str]]
_Order: TypeAlias = Literal["rgb", "bgr"]
_Pace: TypeAlias = Literal["auto", "live", "every"]
_Box: TypeAlias = tuple[int, int, int, int]
_Format: TypeAlias = Literal["coco", "cvat", "voc", "yolo", "label-studio", "sheet"]
_Refine: TypeAlias = Literal["none", "guided", "pamr"]
_HideBy: TypeAlias = Literal["fill", "pixelate", "blur"]
_Examples: TypeAlias = Mapping[str, Example | Iterable[Example]]
# With a time zone, or seconds since 1970 as time.time() gives them.
_Time: TypeAlias = datetime | float
_Names: TypeAlias = Literal["plain", "synonyms"]
# Called with how many pictures are done, and of how many; what it raises ends the run.
_Progress: TypeAlias = Callable[[int, int], object]

__all__ = [
    "BundleError",
    "ClassMeasures",
    "DataError",
    "DeviceError",
    "EdgeSegError",
    "Encoded",
    "EncoderError",
    "Evaluation",
    "Event",
    "Example",
    "ForkedError",
    "FoundClass",
    "Hidden",
    "Hide",
    "ImageError",
    "Index",
    "IndexContents",
    "IndexWriter",
    "Labelling",
    "Live",
    "LiveFrame",
    "Model",
    "OptionError",
    "PictureLabels",
    "Region",
    "Rules",
    "RulesError",
    "Segmentation",
    "Sighting",
    "Source",
    "SourceError",
    "Thing",
    "Words",
    "WordsError",
    "__version__",
    "evaluate",
    "label",
    "merge_labels",
    "read_picture",
    "read_words",
]

__version__: str

class EdgeSegError(Exception):
    """What edge_seg raises. The message says what was expected, what was found, and where."""

class BundleError(EdgeSegError):
    """A bundle, or a file of keys, cannot be used, or may not run here."""

class ImageError(EdgeSegError):
    """A picture cannot be read, or an array is none."""

class WordsError(EdgeSegError):
    """Words cannot be used."""

class OptionError(EdgeSegError):
    """An option is out of its range, or names what this machine or build lacks."""

class EncoderError(EdgeSegError):
    """An encoder cannot be loaded or run."""

class DeviceError(EdgeSegError):
    """A GPU that was asked for cannot be used, or failed."""

class SourceError(EdgeSegError):
    """A source of frames, or the program that reads it, does not work."""

class RulesError(EdgeSegError):
    """Rules cannot be used."""

class DataError(EdgeSegError):
    """Labels, tables of classes or captions, the record of a run, or an index, cannot be used."""

class ForkedError(EdgeSegError):
    """The process was forked from one that made the object, whose threads did not come with it."""

def read_picture(file: _Path | bytes) -> NDArray[np.uint8]:
    """Reads a picture's file, upright: uint8 of height × width × 3, red first. A path, or the file's bytes."""

def read_words(file: _File) -> dict[str, list[str]]:
    """Reads a file of words in any form that docs/words.md lists: names with other words for the same thing, as Model.words() takes them."""

def label(
    images: _File | Iterable[_File],
    words: _WordsLike | None,
    out: _File,
    *,
    model: Model | None = None,
    captions: _File | None = None,
    formats: _Format | Iterable[_Format] | None = None,
    tag_threshold: float | None = None,
    background: float | None = None,
    least_share: float = 0.001,
    coco_masks: Literal["rle", "polygon"] = "rle",
    pictures: Literal["link", "copy", "none"] = "link",
    label_studio_prefix: str = "/data/local-files/?d=",
    part: str | None = None,
    progress: _Progress | None = None,
) -> Labelling:
    """Labels pictures by words, for other tools to read or to train on: what `edge-seg-export label` does, and the same files.

    images: pictures, folders of pictures, or globs; file names must differ.
    words: what is looked for in every picture; None with captions, a table of the columns file and caption, for words picture by picture.
    out: the folder to write. What an earlier run with the same options has done there, also one that was stopped, is not done again.
    model: the model in the package if None. It works on several pictures at once, on as many threads as it has.
    formats: what is written; all of them if None.
    tag_threshold: the score in 0..1 from which a word counts as present; the model's own if None.
    background: the score in 0..1 below which a pixel belongs to no word; the model's own if None.
    least_share: regions smaller than this share of the picture are dropped.
    coco_masks: how coco.json and cvat.xml hold masks. pictures: how pictures get beside labels in voc and yolo.
    part: "I/N" for the I-th of N parts of the pictures alone, for another machine each; merge_labels() joins them.
    """

def merge_labels(
    out: _File,
    parts: Sequence[_File],
    *,
    formats: _Format | Iterable[_Format] | None = None,
    coco_masks: Literal["rle", "polygon"] = "rle",
    pictures: Literal["link", "copy", "none"] = "link",
    label_studio_prefix: str = "/data/local-files/?d=",
) -> Labelling:
    """Joins the parts that label(..., part="I/N") wrote, all of them, in any order, to what one run would have written."""

def evaluate(
    *,
    model: Model | None = None,
    preset: str | None = None,
    data: _File | None = None,
    split: str | None = None,
    images: _File | None = None,
    labels: _File | None = None,
    classes: _File | None = None,
    view: str | None = None,
    values: str | None = None,
    ignore: Sequence[int] = (),
    label_pixels: Literal["upright", "stored"] = "upright",
    only: _File | None = None,
    protocol: Literal["edge", "paper"] = "edge",
    names: _Names | Iterable[_Names] | None = None,
    templates: str | Iterable[str] | None = None,
    background: float | str | Iterable[float | str | None] | None = None,
    background_words: str | Iterable[str] | None = None,
    present_only: bool = False,
    tag_threshold: float | str | Iterable[float | str | None] | None = None,
    word_thresholds: _File | None = None,
    refine: _Refine | Iterable[_Refine] | None = None,
    size: int | None = None,
    scales: Sequence[float] = (),
    flip: bool = False,
    windows: str | None = None,
    record: _File | None = None,
    html: _File | None = None,
    progress: _Progress | None = None,
) -> list[Evaluation]:
    """Measures a model on labelled pictures: what `edge-seg-export eval` does, whose options these are, with the same numbers.

    preset, data: a data set of the literature, such as "voc21", and its folder. Or any pictures:
    images, labels: a folder of pictures and one of label pictures of the same stems, or a file of COCO instances;
    classes, view: the table of classes, and its column that numbers the classes to tell apart.
    names, templates, background, tag_threshold, refine: several of each are measured in every combination, one Evaluation each, on one
    encoding of each picture. Thresholds are 0..1, "none", or "LOW..HIGH/STEP".
    record: a file that keeps what is done; a run that was stopped goes on there. html: a report to write.
    """

@final
class Model:
    """A loaded model. Several threads may share one.

    bundle: a bundle's path or bytes; the model in the package if None.
    keys: who must have signed it: a file of a public key or a folder of them, or a mapping from names to the texts of such files.
    size: side of the prepared input in pixels; the model's own if None.
    threads: as many as the processor has if None.
    refine: moves the borders of masks to the picture's edges.
    word_cache: a folder that keeps words' embeddings between runs, for long vocabularies.
    languages: those whose words are looked for by their English meaning, such as "de,fr"; "all" or "off".
    """

    def __new__(
        cls,
        bundle: _Path | bytes | None = None,
        *,
        keys: _File | Mapping[str, str] | None = None,
        size: int | None = None,
        threads: int | None = None,
        device: Literal["cpu", "cuda", "auto"] = "cpu",
        half: bool = False,
        refine: bool = False,
        word_cache: _File | None = None,
        languages: str = "all",
    ) -> Model: ...
    def meaning(self, word: str) -> str | None:
        """What is looked for in a word's place: its English meaning, or the word itself; None if nothing knows it."""

    def words(
        self,
        words: _WordsLike | None,
        *,
        examples: _Examples | None = None,
        thresholds: Mapping[str, float] | None = None,
        off: Sequence[str] | None = None,
        left_out: Sequence[str] | None = None,
        background: float | Literal["model"] | None = "model",
    ) -> Words:
        """Words to look for, with their embeddings.

        words: ``"cat, red car: sports car, -wall"``, a list with one such entry a word, or a mapping from names to other words for the
        same thing. A minus marks a word for what is to be left out. None, or nothing, beside examples; ready words take settings and examples.
        examples: one Example or several by the name of their word. A name that the words have too is looked for by its text as well, another
        one by its examples alone, behind the others; counter-examples show what a word does not mean.
        thresholds: what single words must score, in 0..1, in place of the common threshold.
        off: words that keep their label and get no pixels.
        left_out: more words for what is to be left out.
        background: the common threshold in 0..1; None for none, "model" for the model's own.
        """

    def example(
        self, image: _Picture, box: Sequence[int] | None = None, *, order: _Order = "rgb", counter: bool = False
    ) -> Example:
        """What a box of a picture shows, to be looked for as a word is: words(..., examples={"my mug": example}).

        box: left, top, width, height in pixels; all of the picture if None. One without a pixel of the picture is an OptionError.
        counter: whether it shows what the word does not mean.
        """

    def hide(
        self,
        words: str | Sequence[str] | Mapping[str, str | Sequence[str]],
        *,
        by: _HideBy = "fill",
        margin: float = 0.05,
        threshold: float | None = None,
        max_age: float = 2.0,
    ) -> Hide:
        """Words whose things are to be hidden in pictures and video. They compete with no word that is looked for, and need not be one.

        by: one dark grey, squares of their mean colours, or the same with soft passages.
        margin: how far around them is hidden too, as a share of the picture's short side, 0..1.
        threshold: the score in 0..1 from which they are hidden; a third of the model's background threshold if None.
        max_age: in video, seconds beyond which masks are too old and whole frames are hidden.
        """

    def segment(
        self,
        image: _Picture,
        words: _WordsLike,
        *,
        order: _Order = "rgb",
        hide: Hide | None = None,
        timestamp: float = 0.0,
        sequence: int = 0,
    ) -> Segmentation:
        """Finds words in a picture.

        image: a path, an array of uint8, a PIL image, or what has __array_interface__, __array__ or __dlpack__.
        order: the order of an array's channels. Files and PIL's images say it themselves.
        hide: what no picture of the outcome shows; masks are found in the whole picture.
        timestamp: seconds, for rules.
        """

    def encode(self, image: _Picture, *, order: _Order = "rgb") -> Encoded:
        """Embeds a picture's patches, for several lists of words, search or clustering."""

    def embed_text(self, text: str) -> NDArray[np.float32]:
        """Embeds a text as it is: float32 [dim], unit-norm."""

    def tags(
        self, image: _Picture, words: _WordsLike, *, threshold: float | None = None, order: _Order = "rgb"
    ) -> list[tuple[str, float]]:
        """Which words a picture shows, best first: those that reach the threshold, the model's own if None."""

    def label(
        self,
        image: _Picture,
        words: _WordsLike,
        *,
        file: str | None = None,
        tag_threshold: float | None = None,
        background: float | None = None,
        least_share: float = 0.001,
        order: _Order = "rgb",
    ) -> PictureLabels:
        """Labels a picture: the words that it shows, their masks cut into connected regions; edge_seg.label() does so for many.

        file: the picture's name; the path without one.
        """

    @property
    def name(self) -> str:
        """The model's name, such as "mini"."""

    @property
    def variant(self) -> str:
        """How its weights are stored and computed."""

    @property
    def size(self) -> int:
        """Side of the prepared input in pixels."""

    @property
    def dim(self) -> int:
        """Numbers of an embedding."""

    @property
    def threshold(self) -> float:
        """The score in 0..1 below which a pixel belongs to no word."""

    @property
    def backend(self) -> str:
        """What runs the encoders."""

    @property
    def kernels(self) -> str:
        """Which kernels score and draw."""

@final
class Words:
    """Words with their embeddings and thresholds, made by Model.words(). They do not change: with_... gives others."""

    @property
    def names(self) -> list[str]:
        """Names in the order of the labels: label k is names[k - 1]."""

    @property
    def classes(self) -> list[tuple[str, list[str]]]:
        """For each name the words that are scored; the best one counts."""

    @property
    def examples(self) -> dict[str, list[Example]]:
        """What shows them, of those that are shown, by their names."""

    @property
    def left_out(self) -> list[str]:
        """Words for what is to be left out."""

    @property
    def thresholds(self) -> dict[str, float]:
        """Thresholds of single words, in 0..1."""

    @property
    def off(self) -> list[str]:
        """Words that keep their label and get no pixels."""

    @property
    def background(self) -> float | None:
        """The common threshold in 0..1; None where there is none."""

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """Embeddings of all words, class by class, those to be left out last: float32 [words, dim], unit-norm rows. A copy."""

    def with_threshold(self, name: str, threshold: float) -> Words:
        """The same words, of which one must reach a score of its own, in 0..1."""

    def with_off(self, name: str) -> Words:
        """The same words, of which one keeps its label and gets no pixels."""

    def with_background(self, threshold: float | None) -> Words:
        """The same words with another common threshold: 0 to 1, or None for none."""

    def __contains__(self, name: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...

@final
class Encoded:
    """A picture's embeddings, made by Model.encode()."""

    @property
    def patches(self) -> NDArray[np.float32]:
        """An embedding of each patch: float32 [rows, columns, dim], unit-norm in the last axis. A copy."""

    @property
    def embedding(self) -> NDArray[np.float32]:
        """The whole picture's embedding: float32 [dim], unit-norm. A copy."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""

    def patch_box(self, row: int, column: int) -> _Box | None:
        """The picture's pixels that a patch shows any of: left, top, width, height; None for a patch that is not there."""

    def segment(self, words: _WordsLike, *, hide: Hide | None = None) -> Segmentation:
        """Finds words, without encoding the picture once more."""

    def example(self, box: Sequence[int] | None = None, *, counter: bool = False) -> Example:
        """What a box of the picture shows, or all of it, as Model.example(), without encoding the picture once more."""

@final
class Example:
    """What a box of a picture shows, made by Model.example(): numbers of one model. Equal ones hold the same; they can be pickled, as to_json() rounds them."""

    @property
    def counter(self) -> bool:
        """Whether it shows what the word does not mean."""

    @property
    def model(self) -> str:
        """The digest of the model that made it: to others it means nothing."""

    def countering(self) -> Example:
        """The same as one of what the word does not mean."""

    def to_json(self) -> str:
        """All of it in one line, numbers to five places: what saved sets of words hold."""

    @classmethod
    def from_json(cls, text: str) -> Example:
        """Reads what to_json() wrote. Its numbers are rounded, so it equals the first one only if that was read from such a text, too."""

    def __eq__(self, other: object, /) -> bool: ...

@final
class Hide:
    """Words whose things are hidden, made by Model.hide()."""

    @property
    def names(self) -> list[str]:
        """The words' names."""

    @property
    def by(self) -> _HideBy:
        """What is put in their place: "fill", "pixelate" or "blur"."""

    @property
    def margin(self) -> float:
        """How far around them is hidden too, as a share of the picture's short side."""

    @property
    def threshold(self) -> float:
        """The score in 0..1 from which they are hidden."""

    @property
    def max_age(self) -> float:
        """In video, seconds beyond which masks are too old, and whole frames are hidden."""

    def show(self, image: _Picture, *, order: _Order = "rgb") -> NDArray[np.uint8]:
        """A picture without what the words cover in it, upright: uint8 [height, width, 3], red first."""

@final
class Hidden:
    """What is hidden of a picture."""

    @property
    def share(self) -> float:
        """Share of the picture's pixels, in 0..1."""

    @property
    def age(self) -> float:
        """Seconds since the frame was captured that it was hidden by; 0 of a picture."""

    @property
    def whole(self) -> Literal["no-masks", "old-masks"] | None:
        """Why all of it is hidden: no frame of this scene has been looked at, or that was too long ago; None otherwise."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Where: bool [height, width]."""

@final
class Segmentation:
    """The masks and scores of a picture."""

    @property
    def labels(self) -> NDArray[np.uint16]:
        """The label of every pixel, 0 for the background, k for the k-th word: uint16 [height, width], to be read alone."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """Each word's score in 0..1, that of its best patch: float32 [words]."""

    @property
    def logits(self) -> NDArray[np.float32]:
        """Scores before masks are drawn, the background's first: float32 [1 + words, rows, columns] of patches. A copy."""

    @property
    def names(self) -> list[str]:
        """Names in the order of the labels: label k is names[k - 1]."""

    @property
    def classes(self) -> list[FoundClass]:
        """What was found of each word, in their order, whether it has pixels or not."""

    @property
    def hidden(self) -> Hidden | None:
        """What is hidden of the picture; None where nothing was asked to be."""

    @property
    def picture(self) -> NDArray[np.uint8]:
        """The picture that the masks are of, upright and without what is hidden: uint8 [height, width, 3], red first. A copy."""

    @property
    def background_share(self) -> float:
        """Share of the pixels that belong to no word."""

    @property
    def sequence(self) -> int:
        """The frame's number in its source."""

    @property
    def timestamp(self) -> float:
        """The frame's time in seconds since its source started."""

    @property
    def milliseconds(self) -> dict[str, float]:
        """Milliseconds of each stage: prepare, plan, encode, score, mask."""

    @property
    def backend(self) -> str:
        """What ran the encoder."""

    def mask(self, word: str | int) -> NDArray[np.bool_]:
        """A word's mask, by its name or label; label 0 is the background: bool [height, width]."""

    def overlay(self, *, opacity: float = 0.5, outline: bool = True, legend: bool = True) -> NDArray[np.uint8]:
        """The picture with masks laid over it: uint8 [height, width, 3], red first."""

    def to_supervision(self, *, regions: bool = False) -> Any:
        """What was found as `supervision.Detections`, one for each word with pixels, or for each connected region."""

    def _repr_png_(self) -> bytes: ...
    def __getitem__(self, name: str, /) -> FoundClass: ...
    def __contains__(self, name: object, /) -> bool: ...
    def __iter__(self) -> Iterator[FoundClass]: ...
    def __len__(self) -> int: ...

@final
class FoundClass:
    """What was found of one word."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> int:
        """Its label in Segmentation.labels."""

    @property
    def score(self) -> float:
        """The score of its best patch, in 0..1."""

    @property
    def area(self) -> int:
        """Pixels of its mask."""

    @property
    def share(self) -> float:
        """Their share of the picture, in 0..1."""

    @property
    def box(self) -> _Box | None:
        """The smallest box around its mask in pixels: left, top, width, height; None without pixels."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Its mask: bool [height, width]."""

    def rle(self) -> dict[str, Any]:
        """Its mask as COCO's compressed run lengths: {"size": [height, width], "counts": str}."""

    def polygons(self, tolerance: float = 1.0) -> list[NDArray[np.int32]]:
        """The outer outline of each connected region, corner by corner along pixel edges: int32 [corners, 2] each, x and y."""

@final
class Rules:
    """Zones of the picture and conditions on words: what a rule file holds."""

    def __new__(cls, text: str) -> Rules: ...
    @classmethod
    def read(cls, path: _File) -> Rules:
        """Reads a rule file."""

    @property
    def words(self) -> list[str]:
        """Words that the rules are about, each once."""

    @property
    def states(self) -> dict[str, bool]:
        """Each rule's name and whether an event of it is on."""

    @property
    def tallies(self) -> list[dict[str, Any]]:
        """What was counted so far in their zones (word, zone, count, entered, left) and over their lines (word, line, to_right, to_left)."""

    def look(self, found: Segmentation | LiveFrame, *, timestamp: float | None = None) -> list[Event]:
        """Looks at one picture's masks, or a frame's with its things, at a time in seconds, its own without another. OptionError where it is before that of the last look: another video needs Rules of its own."""

@final
class Event:
    """The beginning or the end of a rule's event."""

    @property
    def rule(self) -> str: ...
    @property
    def event(self) -> Literal["noticed", "cleared", "started", "ended"]:
        """"noticed", "cleared", "started" or "ended"."""

    @property
    def time(self) -> str:
        """When, by the wall's clock: RFC 3339 in UTC."""

    @property
    def sequence(self) -> int: ...
    @property
    def timestamp(self) -> float:
        """The frame's time in seconds."""

    @property
    def duration(self) -> float:
        """Seconds for which the condition has held, or held until the event ended."""

    @property
    def measured(self) -> list[dict[str, Any]]:
        """What the frame shows of each word that the rule is about: word, zone or line, share, score, and where they are counted the number of
        its things (count) and of which ones (ids); what is usual, from lowest to highest, where the rule asks for that."""

@final
class Source:
    """Pictures of a file, a folder, a stream or a camera, one after the other: uint8 [height, width, 3] each, red first."""

    def __new__(cls, uri: _Path, *, pace: _Pace = "auto", repeat: bool = False) -> Source: ...
    @property
    def sequence(self) -> int | None:
        """The number of the picture that came last; None before the first."""

    @property
    def timestamp(self) -> float | None:
        """The time of the picture that came last, in seconds since the start; None before the first."""

    def close(self) -> None:
        """Lets the source go; no more pictures come."""

    def __enter__(self) -> Source: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None: ...
    def __iter__(self) -> Source: ...
    def __next__(self) -> NDArray[np.uint8]: ...

@final
class Live:
    """Video that is being segmented: an iterator of frames with their masks, and a context manager that lets the camera go.

    source: a name as `edge-seg run --source` takes it, or an iterable of pictures, which is read on a thread of the session's own.
    rules: what they find is in each frame's events.
    things: words whose things are counted and followed: "all", "person, car" or a list. Words that are added later may be among them.
    things_least: least share of the picture that a thing covers. things_patience: seconds out of sight for which it keeps its number.
    hide: what no frame shows. Frames are hidden whole until a first one was looked at, and while masks are too old.
    pace: "live" takes the newest frame and loses the others, "every" lets the source wait; "auto" leaves it to the source.
    keys: the encoder runs on every so many frames (an int), or in a share of the time (a float up to 1.0); on every frame if None.
    carry: how masks get to the frames between.
    smoothing: time constant in seconds of the smoothing of scores over key frames.
    """

    def __new__(
        cls,
        model: Model,
        source: _Path | Iterable[_Picture],
        words: _WordsLike,
        *,
        order: _Order = "rgb",
        rules: Rules | None = None,
        things: str | Sequence[str] | None = None,
        things_least: float = 0.0005,
        things_patience: float = 2.0,
        hide: Hide | None = None,
        pace: _Pace = "auto",
        keys: int | float | None = None,
        carry: Literal["scores", "labels", "still"] = "scores",
        smoothing: float = 0.0,
        scene_cuts: bool = True,
        repeat: bool = False,
    ) -> Live: ...
    @property
    def words(self) -> list[str]:
        """The words that are looked for, in the order of the labels."""

    def set_words(self, words: _WordsLike) -> None:
        """Looks for other words from the next frame on; frames go on with the old ones while these are encoded."""

    def adjust(self, name: str, *, threshold: float | None = None, on: bool | None = None) -> None:
        """Changes a word's threshold in 0..1, or whether it is looked for; what is None stays."""

    @property
    def counters(self) -> dict[str, int]:
        """Frames counted since the start: captured, dropped, segmented, late."""

    def stop(self) -> None:
        """Ends the threads and lets the source go."""

    def __enter__(self) -> Live: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None: ...
    def __iter__(self) -> Live: ...
    def __next__(self) -> LiveFrame: ...

@final
class LiveFrame:
    """A frame of video with its masks."""

    @property
    def found(self) -> Segmentation:
        """Its masks and scores."""

    @property
    def picture(self) -> NDArray[np.uint8]:
        """Its pixels: uint8 [height, width, 3], red first. A copy."""

    @property
    def sequence(self) -> int:
        """Its number in its source."""

    @property
    def timestamp(self) -> float:
        """Its time in seconds since the source started."""

    @property
    def key(self) -> bool:
        """Whether its masks come from its own embeddings."""

    @property
    def key_sequence(self) -> int:
        """The frame that its masks come from."""

    @property
    def latency(self) -> float:
        """Seconds from the frame's arrival to its masks."""

    @property
    def dropped(self) -> int:
        """Frames lost so far because a newer one came before they were taken."""

    @property
    def late(self) -> int:
        """Frames so far whose masks took longer than frames are apart."""

    @property
    def events(self) -> list[Event]:
        """What rules found in it."""

    @property
    def things(self) -> list[Thing]:
        """The things that it shows, by number. OptionError where Live was not asked to follow any."""

    @property
    def counts(self) -> dict[str, int]:
        """How many things of each word that is counted it shows. OptionError where Live was not asked to follow any."""

    @property
    def tallies(self) -> list[dict[str, Any]]:
        """What was counted so far in zones (word, zone, count, entered, left) and over lines (word, line, to_right, to_left) of the rules."""

    @property
    def hidden(self) -> Hidden | None:
        """What is hidden of its picture; None where nothing was asked to be."""

    def to_supervision(self) -> Any:
        """Its things as `supervision.Detections`, their numbers as tracker_id."""

@final
class Thing:
    """A thing in a frame of video: an instance of a word, with a number that stays with it."""

    @property
    def id(self) -> int:
        """Its number, from 1, which no other thing of the session gets."""

    @property
    def name(self) -> str:
        """Its word."""

    @property
    def label(self) -> int:
        """That word's label in Segmentation.labels."""

    @property
    def score(self) -> float:
        """The score of its best patch, in 0..1."""

    @property
    def area(self) -> int:
        """Its pixels."""

    @property
    def box(self) -> _Box:
        """The smallest box around it in pixels: left, top, width, height."""

    @property
    def centroid(self) -> tuple[float, float]:
        """The mean of its pixels' centres in pixels: x, y."""

    @property
    def foot(self) -> tuple[float, float]:
        """Where it stands, the middle of its box's lowest row of pixels: x, y."""

    @property
    def age(self) -> float:
        """Seconds since it was first seen."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Its mask: bool [height, width]."""

    def rle(self) -> dict[str, Any]:
        """Its mask as COCO's compressed run lengths: {"size": [height, width], "counts": str}."""

    def polygons(self, tolerance: float = 1.0) -> list[NDArray[np.int32]]:
        """The outer outline of each of its parts, corner by corner along pixel edges: int32 [corners, 2] each, x and y."""

@final
class IndexWriter:
    """Keeps what pictures and video show, to be searched. What it was given is in the file, whatever ends the program.

    path: an index to go on with, or a new one. Another model's, or one that somebody writes, is a DataError.
    limit: most bytes that it takes, from 4 MiB on; beyond it the oldest goes out.
    frame_bytes: what a frame takes on average; one that shows nothing new takes less.
    interval: seconds between frames of video that are taken, at least.
    """

    def __new__(
        cls, path: _File, model: Model, *, limit: int = 1 << 30, frame_bytes: int = 10400, interval: float = 1.0
    ) -> IndexWriter: ...
    def add(self, seen: Encoded | LiveFrame, camera: str, *, time: _Time | None = None, at: float | None = None) -> bool:
        """Puts a picture, or a frame of video, into the index; tells whether it did: a frame whose embeddings are in it, or that comes
        sooner than the interval, is left out.

        camera: what answers call it. A frame of which something is hidden is an OptionError: its embeddings tell of that too.
        time: when it was captured; if None, when the frame came, or now.
        at: of a picture, seconds since its source began.
        """

    def sync(self) -> None:
        """Sees to it that what was put in outlasts a loss of power, too."""

    def close(self) -> None:
        """Lets the file go, as the end of a `with` does."""

    def __enter__(self) -> IndexWriter: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None: ...

@final
class Index:
    """An index of what was seen, to be searched; `edge-seg run --index` writes such, too. It may be written meanwhile."""

    def __new__(cls, path: _File) -> Index: ...
    def search(
        self,
        model: Model,
        words: _WordsLike,
        *,
        threshold: float | None = None,
        since: _Time | timedelta | None = None,
        until: _Time | timedelta | None = None,
        gap: float = 5.0,
        most: int = 20,
    ) -> list[Sighting]:
        """When, on what camera and where words were seen: the best of each word first, word after word.

        words: also such as are shown by examples. An index of another model is a DataError.
        threshold: the score in 0..1 from which a frame shows a word; the model's own for tags if None.
        since, until: times, or a timedelta for so long ago.
        gap: frames of a camera that lie no more seconds apart are one answer.
        most: answers a word.
        """

    def contents(self) -> IndexContents:
        """What it holds; all of it is read for that."""

    @property
    def model(self) -> str:
        """The digest of the model that made it: no other one can search it."""

@final
class IndexContents:
    """What an index holds."""

    @property
    def frames(self) -> int:
        """Frames, or pictures."""

    @property
    def embeddings(self) -> int:
        """Embeddings that they left."""

    @property
    def first(self) -> datetime | None:
        """Time of the first frame, in UTC; None without frames."""

    @property
    def last(self) -> datetime | None:
        """Time of the last frame, in UTC; None without frames."""

    @property
    def cameras(self) -> list[str]:
        """Names of cameras and files."""

@final
class Sighting:
    """When and where a word was seen: one frame, or several in a row."""

    @property
    def name(self) -> str:
        """Which of the words."""

    @property
    def score(self) -> float:
        """The score of the best frame, in 0..1; of a model without calibrated scores and a word alone its cosine."""

    @property
    def camera(self) -> str:
        """The camera's name, or the file."""

    @property
    def first(self) -> datetime:
        """Time of the first frame, in UTC."""

    @property
    def best(self) -> datetime:
        """Time of the best frame, in UTC."""

    @property
    def last(self) -> datetime:
        """Time of the last frame, in UTC."""

    @property
    def at(self) -> float:
        """Seconds since the source began, of the best frame."""

    @property
    def frames(self) -> int:
        """How many frames."""

    @property
    def box(self) -> _Box:
        """Where it is in the best frame, in that frame's pixels: left, top, width, height."""

    @property
    def size(self) -> tuple[int, int]:
        """That frame's width and height in pixels."""

    def thumbnail(self) -> bytes | None:
        """The small picture of the best frame, a JPEG; None if it has none, or has gone out of the index meanwhile."""

    def _repr_jpeg_(self) -> bytes | None: ...

@final
class Region:
    """A connected region of one class."""

    @property
    def name(self) -> str: ...
    @property
    def score(self) -> float:
        """The class's pixel-tag score in the picture, in 0..1."""

    @property
    def area(self) -> int:
        """Its pixels."""

    @property
    def box(self) -> _Box:
        """The smallest box around it in pixels: left, top, width, height."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Its mask: bool [height, width]."""

    def rle(self) -> dict[str, Any]:
        """Its mask as COCO's compressed run lengths: {"size": [height, width], "counts": str}."""

@final
class PictureLabels:
    """A picture's labels. Equal ones hold the same; they can be pickled."""

    @property
    def file(self) -> str:
        """The picture's name."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def regions(self) -> list[Region]:
        """Connected regions, class by class, each in reading order."""

    def to_json(self) -> str:
        """All of it in one line, as labels.jsonl has it."""

    @classmethod
    def from_json(cls, text: str) -> PictureLabels:
        """The inverse of to_json."""

    def __eq__(self, other: object, /) -> bool: ...

@final
class Labelling:
    """What a run of labelling gave."""

    @property
    def pictures(self) -> list[PictureLabels]:
        """Each picture's labels, in the order of the pictures."""

    @property
    def classes(self) -> list[str]:
        """Names of the classes in the order of their numbers in the files."""

    @property
    def failed(self) -> list[tuple[str, str]]:
        """Pictures that could not be labelled, and why."""

@final
class ClassMeasures:
    """Measures of one class, over all pictures."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> int: ...
    @property
    def iou(self) -> float | None:
        """TP / (TP + FP + FN), in 0..1; None where neither labels nor predictions hold it."""

    @property
    def fpr(self) -> float | None:
        """FP / (TP + FP + FN)."""

    @property
    def fnr(self) -> float | None:
        """FN / (TP + FP + FN)."""

    @property
    def truth(self) -> int:
        """Pixels that have it."""

    @property
    def predicted(self) -> int:
        """Pixels that were given it."""

@final
class Evaluation:
    """What was measured of one combination of options."""

    @property
    def run(self) -> str:
        """The options in words."""

    @property
    def miou(self) -> float | None:
        """Mean IoU of the classes that the labels hold, in 0..1; None where there is nothing to measure."""

    @property
    def miou_any(self) -> float | None:
        """The same, of the classes that labels or predictions hold."""

    @property
    def mfpr(self) -> float | None:
        """Mean of FP / (TP + FP + FN)."""

    @property
    def mfnr(self) -> float | None:
        """Mean of FN / (TP + FP + FN)."""

    @property
    def pixel_accuracy(self) -> float | None:
        """Share of the labelled pixels that are right."""

    @property
    def pictures(self) -> int:
        """Pictures measured."""

    @property
    def failed(self) -> list[tuple[str, str]]:
        """Pictures that were left out, since they or their labels cannot be read, and why."""

    @property
    def labels(self) -> list[str]:
        """Names of the labels, the background's first: those of confusion's rows and columns."""

    @property
    def per_class(self) -> list[ClassMeasures]:
        """One by one, in the order of the labels."""

    @property
    def confusion(self) -> NDArray[np.uint64]:
        """Pixels by true and predicted label: uint64 [labels, labels], truth by rows."""

    @property
    def details(self) -> dict[str, Any]:
        """All that `edge-seg-export eval --json` tells."""
