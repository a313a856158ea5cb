//! What comes in a bundle, masks as other tools write them, and frames as drivers hand them over.

use std::sync::{Arc, LazyLock};

use edge_seg_bundle::Bundle;
use edge_seg_export::bundle::{IMAGE_BLOB, TEXT_BLOB, build};
use edge_seg_export::checkpoint::Model;
use edge_seg_export::quantize::Storage;
use edge_seg_live::source::{Layout, Matrix, PixelFormat, Range, YuvDecoder};
use edge_seg_model::region::{Mask, class_counts, regions};
use edge_seg_model::{LabelMap, Options, Session, WordTokenizer, plan_graph};

use super::{chosen, file, said, text};

const CONFIG: &[u8] = include_bytes!("../data/tiny-model/config.json");
const WEIGHTS: &[u8] = include_bytes!("../data/tiny-model/model.safetensors");
pub const TOKENIZER: &[u8] = include_bytes!("../data/tiny-model/tokenizer.json");

/// A model of random weights, in so many bits.
fn tiny(storage: Storage) -> Bundle {
    let config = file("tiny/config.json", CONFIG);
    file("tiny/model.safetensors", WEIGHTS);
    file("tiny/tokenizer.json", TOKENIZER);
    let model = Model::read(config.parent().expect("a folder")).expect("a model");
    build("tiny", &model, &storage.into(), &storage.into()).expect("a bundle")
}

/// A session whose encoders take no time.
pub static SESSION: LazyLock<Arc<Session>> = LazyLock::new(|| {
    let options = Options::default().with_size_px(32).with_threads(1);
    Arc::new(Session::new(tiny(Storage::F32), &options).expect("a session"))
});

pub fn graph(bytes: &[u8]) {
    let Some((kind, onnx)) = bytes.split_first() else { return };
    said(plan_graph(onnx, kind % 2 == 0));
}

pub fn graph_seeds() -> Vec<Vec<u8>> {
    let [small, plain] = [Storage::Int8Dynamic, Storage::F32].map(tiny);
    let blob = |bundle: &Bundle, name: &str| bundle.blob(name).expect("a graph").to_vec();
    let (texts, image) = ([blob(&small, TEXT_BLOB), blob(&plain, TEXT_BLOB)], blob(&small, IMAGE_BLOB));
    chosen(&[(0, &texts[0]), (0, &texts[1]), (1, &image), (1, include_bytes!("../data/onnx/broken/microsoft.onnx"))])
}

/// A `tokenizer.json` of any bytes, and texts for it where it is one.
pub fn tokenizer(bytes: &[u8]) {
    const CONTEXT: usize = 24;
    let Some(tokenizer) = said(WordTokenizer::read("tiny", "tokenizer.json", bytes, CONTEXT)) else { return };
    for text in ["a", "dog on the sea", "Élan, 3 \u{1f525}s", ""] {
        if let Some(ids) = said(tokenizer.encode(text)) {
            assert!(ids.len() <= CONTEXT, "{} ids", ids.len());
        }
    }
}

pub fn tokenizer_seeds() -> Vec<Vec<u8>> {
    [TOKENIZER, include_bytes!("../data/clip-sources/tokenizer.json"), include_bytes!("../data/tiny-clip/tokenizer.json")]
        .map(<[u8]>::to_vec)
        .into()
}

/// Texts for the tokenizer of the model in the program.
pub fn tokens(bytes: &[u8]) {
    static BUILT_IN: LazyLock<(WordTokenizer, usize)> = LazyLock::new(|| {
        let bundle = Bundle::built_in().expect("the built-in bundle");
        let of = &bundle.manifest().text;
        let json = bundle.blob(&of.tokenizer).expect("a tokenizer");
        (WordTokenizer::read("mini", &of.tokenizer, &json, of.context).expect("a tokenizer"), of.context)
    });
    let Some(text) = text(bytes) else { return };
    let (tokenizer, context) = &*BUILT_IN;
    if let Some(ids) = said(tokenizer.encode(text)) {
        assert!(ids.len() <= *context && ids.iter().all(|id| *id >= 0), "{ids:?} of {text:?}");
    }
}

pub fn token_seeds() -> Vec<Vec<u8>> {
    super::all(&["a photo of a red car", "Élan 3,5 m² — naïve", "狗 在 草地 上", "\u{1f469}\u{200d}\u{1f692} [UNK] ##ing"])
}

/// Whether each pixel's centre lies within a closed line, by the rule of even and odd.
fn filled(line: &[[f64; 2]], width: usize, height: usize) -> Vec<bool> {
    let inside = |x: f64, y: f64| {
        let ends = line.iter().zip(line.iter().cycle().skip(1));
        let crossed = ends.filter(|(a, b)| (a[1] <= y) != (b[1] <= y) && x < a[0] + (y - a[1]) * (b[0] - a[0]) / (b[1] - a[1]));
        crossed.count() % 2 == 1
    };
    (0..width * height).map(|i| inside((i % width) as f64 + 0.5, (i / width) as f64 + 0.5)).collect()
}

fn bits(mask: &Mask, width: usize, height: usize) -> Vec<bool> {
    (0..width * height).map(|i| mask.contains(i % width, i / width)).collect()
}

/// Run lengths and outlines are read back as what was written, and any other text is refused or is that of a mask.
pub fn masks(bytes: &[u8]) {
    let Some(([width, height], rest)) = bytes.split_first_chunk().map(|(size, rest)| (size.map(|side| usize::from(side % 12)), rest))
    else {
        return;
    };
    if let Some(mask) = text(rest).and_then(|text| Mask::from_counts(text, width, height)) {
        let again = Mask::from_counts(&mask.counts(width, height), width, height);
        assert!(again.is_some_and(|again| again == mask), "{mask:?} is read back as another");
    }
    let labels: Vec<u16> = rest.iter().take(width * height).map(|byte| u16::from(byte % 4)).collect();
    let whole = labels.len() == width * height;
    let map = LabelMap { width: width as u32, height: height as u32, labels };
    let classes = class_counts(&map, 3);
    for (label, counts) in (1..).zip(&classes).filter(|_| whole && width * height > 0) {
        let mask = Mask::from_counts(counts, width, height);
        let found = mask.map_or(vec![false; width * height], |mask| bits(&mask, width, height));
        assert!(found.iter().zip(&map.labels).all(|(bit, of)| *bit == (*of == label)), "class {label} of {:?}", map.labels);
    }
    let height = map.labels.len().div_ceil(width.max(1));
    for (_, mask) in regions(&map.labels, width, 1) {
        let read = Mask::from_counts(&mask.counts(width, height), width, height);
        assert!(read.is_some_and(|read| read == mask), "{mask:?} is read back as another");
        assert_eq!(mask.rows_rle().iter().skip(1).step_by(2).map(|run| u64::from(*run)).sum::<u64>(), mask.area());
        for tolerance in [0.0, 0.25] {
            assert!(filled(&mask.contour(tolerance), width, height) == bits(&mask, width, height), "{mask:?} at {tolerance}");
        }
        assert!(mask.outline(1.0).len() >= 2, "an outline of {mask:?}");
    }
}

pub fn mask_seeds() -> Vec<Vec<u8>> {
    let rings = [b"\x07\x07".as_slice(), b"0110010111101110100101111110110001111010101111110"].concat();
    vec![rings, b"\x08\x0663W1".to_vec(), b"\x04\x040000111122223333".to_vec()]
}

/// A driver's buffer, of any length and of lines of any length.
pub fn capture(bytes: &[u8]) {
    use PixelFormat::*;
    const FORMATS: [PixelFormat; 18] =
        [Rgb24, Bgr24, Rgba, Bgra, Yuyv, Uyvy, Yvyu, Vyuy, Nv12, Nv21, Nv16, Nv61, I420, Yv12, I411, I422, I444, Grey];
    let Some(([kind, width, height, line, more], buffer)) = bytes.split_first_chunk() else { return };
    let format = FORMATS[usize::from(*kind) % FORMATS.len()];
    let (width, height) = (u32::from(*width), u32::from(*height));
    let line = usize::from(u16::from_le_bytes([*line, *more]));
    let Some(layout) = said(Layout::padded(format, width, height, line)) else { return };
    let (matrix, range) = if kind & 128 == 0 { (Matrix::Bt601, Range::Limited) } else { (Matrix::Bt709, Range::Full) };
    let mut picture = Default::default();
    let decoded = said(YuvDecoder::new(matrix, range).decode(&layout, buffer, &mut picture)).is_some();
    assert_eq!(decoded, buffer.len() >= layout.bytes(), "{layout:?} of {} bytes", buffer.len());
    assert!(!decoded || picture.dimensions() == (width, height), "{:?}", picture.dimensions());
}

pub fn capture_seeds() -> Vec<Vec<u8>> {
    let frame = |kind: u8, size: [u8; 2], line: u8| [&[kind, size[0], size[1], line, 0], [90; 96].as_slice()].concat();
    vec![frame(0, [4, 4], 0), frame(4, [8, 4], 20), frame(8, [8, 6], 10), frame(12, [7, 5], 0), frame(17, [9, 9], 0)]
}
