"""Type words, get masks: open-vocabulary segmentation of pictures and video, offline, on plain processors.

>>> import edge_seg
>>> model = edge_seg.Model()                            # the model in the package, or a bundle's path
>>> words = model.words(["dog", "grass", "red car"])
>>> found = model.segment("photo.jpg", words)           # a path, a numpy array, a PIL image, a tensor
>>> found.labels, found.scores, found.mask("dog")       # numpy arrays

Pictures are uint8 of height x width x 3, red first; ``order="bgr"`` takes OpenCV's, and picamera2's RGB888, whose bytes are blue first.
Boxes are left, top, width, height in pixels. Scores, thresholds and shares are 0 to 1. Times are seconds, unless a name says otherwise.

Threads may share a `Model` and what it gives; the interpreter is let go while something is computed. What was made before a fork raises
`ForkedError` in the child.
"""

from ._native import (
    BundleError,
    ClassMeasures,
    DataError,
    DeviceError,
    EdgeSegError,
    Encoded,
    EncoderError,
    Evaluation,
    Event,
    Example,
    ForkedError,
    FoundClass,
    Hidden,
    Hide,
    ImageError,
    Index,
    IndexContents,
    IndexWriter,
    Labelling,
    Live,
    LiveFrame,
    Model,
    OptionError,
    PictureLabels,
    Region,
    Rules,
    RulesError,
    Segmentation,
    Sighting,
    Source,
    SourceError,
    Thing,
    Words,
    WordsError,
    __version__,
    evaluate,
    label,
    merge_labels,
    read_picture,
    read_words,
)

import numpy as _numpy  # pyright: ignore[reportUnusedImport] - a missing one is told now, and not by the first array

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
