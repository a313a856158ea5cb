//! What is trained and what is served: the engine against the trainer's PyTorch, from one model folder.

use std::collections::HashMap;
use std::path::PathBuf;

use edge_seg::{Bundle, PatchGrid, Placement};
use edge_seg_export::bundle::{self, Release};
use edge_seg_export::checkpoint::{Model, Tensor, read_safetensors};
use edge_seg_export::onnx::Storage;
use edge_seg_model::{ImageEncoder, Input, TextEncoder, Threads};
use edge_seg_tests::root;
use safetensors::SafeTensors;

/// BERT and a fusion head by the trainer's own PyTorch; CLIP and the MaskCLIP head by Hugging Face transformers.
const MODELS: [&str; 2] = ["tiny-model", "tiny-clip"];

fn folder(model: &str) -> PathBuf {
    root().join("tests/data").join(model)
}

fn bundle_of(model: &str, storage: Storage) -> Bundle {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.esb");
    bundle::write(&path, &Model::read(&self::folder(model)).unwrap(), storage, &Release::default()).unwrap();
    Bundle::open(&path).unwrap()
}

struct Golden {
    floats: HashMap<String, Tensor>,
    ids: Vec<Vec<i64>>,
}

fn golden(model: &str) -> Golden {
    let bytes = std::fs::read(folder(model).join("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let integers = |name: &str| -> Vec<Vec<i64>> {
        let view = file.tensor(name).unwrap();
        let row_bytes = view.shape()[1] * 8;
        view.data().chunks_exact(row_bytes).map(|row| row.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()).collect()
    };
    let real = |(ids, mask): (Vec<i64>, Vec<i64>)| ids.into_iter().zip(mask).filter(|(_, m)| *m == 1).map(|(id, _)| id).collect();
    let ids = integers("text.ids").into_iter().zip(integers("text.mask")).map(real).collect();
    let floats = file
        .iter()
        .filter(|(_, view)| view.dtype() == safetensors::Dtype::F32)
        .map(|(name, view)| {
            let data = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            (name.to_string(), Tensor::new(view.shape(), data))
        })
        .collect();
    Golden { floats, ids }
}

fn encode(bundle: &Bundle, pixels: &Tensor) -> PatchGrid {
    let encoder = ImageEncoder::load(bundle, Threads::new(1)).unwrap();
    let (height, width) = (pixels.shape[2], pixels.shape[3]);
    // A picture that has the encoder's size already needs no resize, so that the golden numbers reach it as they are.
    let placement = Placement::new((width as u32, height as u32), &bundle.manifest().image, width.min(height)).unwrap();
    assert_eq!(placement.input_px, (width as u32, height as u32));
    encoder.encode(&Input { pixels: pixels.data.clone(), placement }).unwrap()
}

fn units(rows: &[f32], dim: usize) -> Vec<f32> {
    rows.chunks_exact(dim)
        .flat_map(|row| {
            let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter().map(move |x| x / norm)
        })
        .collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The smallest cosine between rows of unit norm.
fn worst_cosine(a: &[f32], b: &[f32], dim: usize) -> f32 {
    assert_eq!(a.len(), b.len());
    let dot = |(a, b): (&[f32], &[f32])| a.iter().zip(b).map(|(a, b)| a * b).sum();
    a.chunks_exact(dim).zip(b.chunks_exact(dim)).map(dot).fold(1.0, f32::min)
}

fn assert_same_picture(bundle: &Bundle, golden: &Golden, size: &str) {
    let grid = encode(bundle, &golden.floats[&format!("{size}.pixels")]);
    let dim = grid.patches().dim();
    let patches = units(&golden.floats[&format!("{size}.patches")].data, dim);
    let global = units(&golden.floats[&format!("{size}.global")].data, dim);
    let (of_patches, of_global) = (largest_difference(grid.patches().data(), &patches), largest_difference(grid.global().data(), &global));
    assert!(of_patches <= 1e-4 && of_global <= 1e-4, "{}, {size}: patches {of_patches}, global {of_global}", bundle.manifest().name);
}

#[test]
fn the_image_encoder_gives_pytorchs_embeddings() {
    for (model, size) in [("tiny-model", "32x32"), ("tiny-model", "24x40"), ("tiny-clip", "32x32")] {
        assert_same_picture(&bundle_of(model, Storage::F32), &golden(model), size);
    }
}

/// onnxruntime computes the same weights in floats, the shipped image encoder in integers: noise, which the golden pictures are, costs more
/// than photos do.
#[test]
fn the_shipped_bundle_gives_onnxruntimes_embeddings() {
    let (bundle, golden) = (Bundle::built_in().unwrap(), golden("mini"));
    for size in ["48x80", "64x64"] {
        let grid = encode(&bundle, &golden.floats[&format!("{size}.pixels")]);
        let dim = grid.patches().dim();
        let of_patches = worst_cosine(grid.patches().data(), &units(&golden.floats[&format!("{size}.patches")].data, dim), dim);
        let of_global = worst_cosine(grid.global().data(), &units(&golden.floats[&format!("{size}.global")].data, dim), dim);
        assert!(of_patches >= 0.99 && of_global >= 0.998, "{size}: patches {of_patches}, global {of_global}");
        assert!(of_patches < 1.0 - 1e-6, "integers must differ, or they were not used: {of_patches}");
    }
    let encoder = TextEncoder::load(&bundle).unwrap();
    let expected = &golden.floats["text.text"];
    for (tokens, row) in golden.ids.iter().zip(expected.data.chunks_exact(expected.shape[1])) {
        let difference = largest_difference(&units(&encoder.encode(tokens).unwrap(), row.len()), &units(row, row.len()));
        assert!(difference <= 1e-4, "{tokens:?}: {difference}");
    }
}

#[test]
fn the_text_encoder_gives_pytorchs_embeddings_without_its_padding() {
    for model in MODELS {
        let (bundle, golden) = (bundle_of(model, Storage::F32), golden(model));
        let encoder = TextEncoder::load(&bundle).unwrap();
        let expected = &golden.floats["text.text"];
        for (tokens, row) in golden.ids.iter().zip(expected.data.chunks_exact(expected.shape[1])) {
            let found = encoder.encode(tokens).unwrap();
            let difference = largest_difference(&found, row);
            assert!(difference <= 1e-4, "{model}, {tokens:?}: {difference}");
        }
    }
}

#[test]
fn fewer_bits_keep_the_direction() {
    for (model, storage, least) in [
        ("tiny-model", Storage::F16, 0.99999),
        ("tiny-model", Storage::Int8, 0.999),
        ("tiny-clip", Storage::F16, 0.99999),
        ("tiny-clip", Storage::Int8, 0.998),
    ] {
        let (bundle, golden) = (bundle_of(model, storage), golden(model));
        let grid = encode(&bundle, &golden.floats["32x32.pixels"]);
        let dim = grid.patches().dim();
        let cosine = worst_cosine(grid.patches().data(), &units(&golden.floats["32x32.patches"].data, dim), dim);
        assert!(cosine >= least, "{model}, {storage:?}: {cosine}");
        assert!(storage == Storage::F16 || cosine < 1.0 - 1e-6, "int8 must differ, or it was not used: {cosine}");
        let text = TextEncoder::load(&bundle).unwrap();
        let expected = &golden.floats["text.text"];
        for (tokens, row) in golden.ids.iter().zip(expected.data.chunks_exact(expected.shape[1])) {
            let cosine = worst_cosine(&units(&text.encode(tokens).unwrap(), row.len()), &units(row, row.len()), row.len());
            assert!(cosine >= least, "{model}, {storage:?}, {tokens:?}: {cosine}");
        }
    }
}

#[test]
fn int8_takes_a_quarter_of_the_matrices() {
    let sizes = [Storage::F32, Storage::F16, Storage::Int8].map(|storage| {
        let bundle = bundle_of("tiny-model", storage);
        bundle.blob("image.onnx").unwrap().len() + bundle.blob("text.onnx").unwrap().len()
    });
    assert!(sizes[0] > sizes[1] && sizes[1] > sizes[2], "{sizes:?}");
}

#[test]
fn a_bundle_says_what_its_folder_says() {
    let model = Model::read(&folder("tiny-model")).unwrap();
    let bundle = bundle_of("tiny-model", Storage::Int8);
    let manifest = bundle.manifest();
    assert_eq!(manifest.name, model.config.name);
    assert_eq!(manifest.variant, "int8-storage");
    assert_eq!(manifest.card, model.config.card);
    assert_eq!(manifest.logit_bias, model.config.logit_bias);
    assert_eq!(manifest.image.head.as_deref(), Some("fusion"));
    let layout = &manifest.image.positions;
    let positions = bundle.floats(&layout.blob, (1 + layout.rows * layout.cols) * layout.width).unwrap();
    assert_eq!(positions, read_safetensors(&folder("tiny-model").join("model.safetensors")).unwrap()["image.positions"].data);
    assert_eq!(*bundle.blob("tokenizer.json").unwrap(), *model.tokenizer);
}
