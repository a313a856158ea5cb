//! Figures that were published, to compare with ours: Jo et al., "TTD: Text-Tag Self-Distillation", ECCV 2024. Percent.

/// Data sets of the columns of [`SEGMENTATION`].
pub const SETS: [&str; 6] = ["VOC", "Context", "Object", "Stuff", "City", "ADE"];

/// mIoU of open-vocabulary segmentation, for [`SETS`].
pub const SEGMENTATION: [(&str, [f64; 6]); 4] = [
    ("MaskCLIP", [29.3, 21.1, 15.5, 14.7, 21.6, 10.4]),
    ("MaskCLIP + TTD", [43.1, 31.0, 26.5, 19.4, 32.0, 12.7]),
    ("TCL", [55.0, 33.8, 31.6, 22.4, 24.0, 15.6]),
    ("TCL + TTD", [61.1, 37.4, 37.4, 23.7, 27.0, 17.0]),
];

/// Tag selection on CC3M-TagMask: precision, recall, F1, accuracy, mAP.
pub const TAGS: [(&str, [Option<f64>; 5]); 5] = [
    ("TCL image", [Some(92.5), Some(28.6), Some(43.7), Some(79.5), Some(83.2)]),
    ("TCL text", [Some(85.6), Some(29.7), Some(44.1), Some(79.0), Some(82.1)]),
    ("TCL pixel", [Some(82.9), Some(74.5), Some(78.5), Some(88.6), Some(90.3)]),
    ("TCL + TTD pixel", [Some(88.3), Some(78.0), Some(82.8), Some(91.0), Some(93.7)]),
    ("NLTK nouns", [Some(59.8), Some(83.7), Some(69.8), Some(79.6), None]),
];

/// Text-level segmentation on CC3M-TagMask: CaptionIoU, mFPR, mFNR.
pub const CAPTIONS: [(&str, [f64; 3]); 4] = [
    ("MaskCLIP", [41.0, 17.9, 41.1]),
    ("MaskCLIP + TTD", [50.2, 25.6, 24.2]),
    ("TCL", [60.4, 19.9, 19.8]),
    ("TCL + TTD", [65.5, 16.3, 18.2]),
];
