//! Model folders that are wrong, one way at a time: each is refused, and the message says where.

use std::fs;
use std::path::{Path, PathBuf};

use edge_seg_export::Error;
use edge_seg_export::checkpoint::{Model, Tensor, Weights, read_npz, read_safetensors};
use edge_seg_tests::root;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

fn tiny() -> PathBuf {
    root().join("tests/data/tiny-model")
}

/// A copy of the tiny model whose weights and configuration are changed.
fn changed(weights: impl FnOnce(&mut Weights), config: impl FnOnce(String) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut all = read_safetensors(&tiny().join("model.safetensors")).unwrap();
    weights(&mut all);
    write(&folder.path().join("model.safetensors"), &all);
    fs::write(folder.path().join("config.json"), config(fs::read_to_string(tiny().join("config.json")).unwrap())).unwrap();
    fs::copy(tiny().join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    folder
}

fn write(path: &Path, weights: &Weights) {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = weights
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shape.clone(), tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    let views = bytes.iter().map(|(name, shape, data)| (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    serialize_to_file(views, None, path).unwrap();
}

fn refusal(folder: &tempfile::TempDir) -> Error {
    Model::read(folder.path()).expect_err("this folder must be refused")
}

#[test]
fn the_tiny_model_is_read_whole() {
    let model = Model::read(&tiny()).unwrap();
    assert!(model.report.is_exact());
    assert_eq!(model.report.applied.len(), model.weights.len());
}

#[test]
fn a_missing_weight_is_named_with_the_one_that_may_be_meant() {
    let folder = changed(
        |w| {
            let tensor = w.remove("image.norm.weight").unwrap();
            w.insert("image.norm.wieght".into(), tensor);
        },
        |c| c,
    );
    let Error::Weights { report, .. } = refusal(&folder) else { panic!("not a report") };
    assert_eq!((report.missing.len(), report.unused.len()), (1, 1));
    let text = report.to_string();
    assert!(text.contains("missing `image.norm.weight`") && text.contains("did you mean `image.norm.wieght`?"), "{text}");
}

#[test]
fn unused_and_misshapen_weights_are_named() {
    let folder = changed(
        |w| {
            w.insert("image.decoder.weight".into(), Tensor::new([2, 2], vec![0.0; 4]));
            let tensor = w.get_mut("image.blocks.0.attn.proj.weight").unwrap();
            tensor.shape.reverse();
            tensor.shape.push(1);
        },
        |c| c,
    );
    let text = refusal(&folder).to_string();
    assert!(text.contains("unused `image.decoder.weight` [2, 2]"), "{text}");
    assert!(text.contains("image.blocks.0.attn.proj.weight: expected shape [32, 32], found [32, 32, 1]"), "{text}");
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let folder = changed(|w| w.get_mut("text.embedding_norm.bias").unwrap().data[3] = f32::NAN, |c| c);
    let text = refusal(&folder).to_string();
    assert!(text.contains("text.embedding_norm.bias") && text.contains("NaN at element 3"), "{text}");
}

#[test]
fn configurations_that_cannot_be_are_refused_by_key() {
    for (from, to, key) in [
        ("\"format\": 1", "\"format\": 2", "format"),
        ("\"name\"", "\"nmae\"", "nmae"),
        ("\"heads\": 2", "\"heads\": 5", "image.heads"),
        ("\"layers\": 2", "\"layers\": 0", "image.layers"),
        ("\"layers\": 2", "\"layers\": 99999999999", "image.layers"),
        ("\"width\": 32", "\"width\": -1", "line"),
        ("\"block1\"", "\"block9\"", "image.head.taps"),
        ("\"block1\"", "\"middle\"", "middle"),
        ("\"gelu\"", "\"swish\"", "swish"),
        ("\"input_px\": 32", "\"input_px\": 33", "preprocess.input_px"),
        ("\"logit_scale\": 20.0", "\"logit_scale\": 0", "logit_scale"),
        ("\"background\": 0.5", "\"background\": 1.5", "background"),
        ("\"{}\"", "\"a photo\"", "templates"),
        ("\"pad_token\": 0", "\"pad_token\": 16", "pad_token"),
        ("\"projection\": false", "\"projection\": false, \"extra\": 1", "extra"),
    ] {
        let folder = changed(
            |_| {},
            |c| {
                assert!(c.contains(from), "{from}");
                c.replacen(from, to, 1)
            },
        );
        let text = refusal(&folder).to_string();
        assert!(text.contains(key) && text.contains("config.json"), "{from} to {to}: {text}");
    }
}

#[test]
fn cut_and_foreign_files_are_refused() {
    let whole = fs::read(tiny().join("model.safetensors")).unwrap();
    let folder = changed(|_| {}, |c| c);
    let path = folder.path().join("model.safetensors");
    let mut vast = whole.clone();
    vast[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    for bytes in [&whole[..0], &whole[..4], &whole[..100], &whole[..whole.len() - 1], b"not a safetensors file", &vast] {
        fs::write(&path, bytes).unwrap();
        assert!(refusal(&folder).to_string().contains("model.safetensors"));
    }
    fs::write(&path, &whole).unwrap();
    assert!(Model::read(folder.path()).is_ok());
    for (name, bytes) in [("tokenizer.json", &b"{}"[..]), ("tokenizer.json", b"["), ("config.json", b"")] {
        let before = fs::read(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name), bytes).unwrap();
        assert!(refusal(&folder).to_string().contains(name));
        fs::write(folder.path().join(name), before).unwrap();
    }
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    assert!(refusal(&folder).to_string().contains("tokenizer.json"));
}

#[test]
fn a_file_that_is_no_archive_is_no_npz() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.npz");
    fs::write(&path, b"PK\x03\x04 and then nothing").unwrap();
    assert!(matches!(read_npz(&path), Err(Error::File { .. })));
}

#[test]
fn timms_vision_transformer_fits_the_canonical_names() {
    let Some(data) = edge_seg_tests::data() else { return };
    let (weights, dropped) = edge_seg_export::checkpoint::vit_from_timm(read_npz(&data.join("weights/vit_tiny_patch16_224.npz")).unwrap());
    assert!(dropped.iter().all(|name| name.starts_with("head.")), "{dropped:?}");
    assert_eq!(weights["image.positions"].shape, [197, 192]);
    assert_eq!(weights["image.class_token"].shape, [192]);
    assert_eq!(weights["image.patch.weight"].shape, [192, 3, 16, 16]);
    assert_eq!(weights["image.blocks.11.attn.qkv.weight"].shape, [576, 192]);
    assert_eq!(weights.len(), 4 + 12 * 12 + 2, "class token, positions, patch, twelve blocks, norm");
}
