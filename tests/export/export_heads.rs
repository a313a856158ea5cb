//! The dense heads: what Rust writes as ONNX and the engine runs, against the trainer's towers.

use std::path::PathBuf;

use edge_seg::{Bundle, PatchGrid, Placement};
use edge_seg_export::bundle::{self, Release};
use edge_seg_export::checkpoint::{Model, Tensor, read_safetensors};
use edge_seg_export::config::Head;
use edge_seg_export::onnx::Storage;
use edge_seg_model::{ImageEncoder, Input, Threads};
use edge_seg_tests::root;
use safetensors::SafeTensors;

fn data(name: &str) -> PathBuf {
    root().join("tests/data").join(name)
}

fn encode(model: &Model, pixels: &Tensor) -> PatchGrid {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("head.esb");
    bundle::write(&path, model, Storage::F32, &Release::default()).unwrap();
    let bundle = Bundle::open(&path).unwrap();
    let (height, width) = (pixels.shape[2], pixels.shape[3]);
    let placement = Placement::new((width as u32, height as u32), &bundle.manifest().image, width.min(height)).unwrap();
    let input = Input { pixels: pixels.data.clone(), placement };
    ImageEncoder::load(&bundle, Threads::new(1)).unwrap().encode(&input).unwrap()
}

fn difference(found: &[f32], golden: &[f32], dim: usize) -> f32 {
    assert_eq!(found.len(), golden.len());
    let rows = found.chunks_exact(dim).zip(golden.chunks_exact(dim));
    rows.flat_map(|(a, b)| {
        let norm = b.iter().map(|x| x * x).sum::<f32>().sqrt();
        a.iter().zip(b).map(move |(a, b)| (a - b / norm).abs())
    })
    .fold(0.0, f32::max)
}

fn assert_same(model: &Model, golden: &edge_seg_export::checkpoint::Weights, name: &str, size: &str) {
    let grid = encode(model, &golden[&format!("{size}.pixels")]);
    let dim = grid.patches().dim();
    let key = |part: &str| if name.is_empty() { format!("{size}.{part}") } else { format!("{name}.{size}.{part}") };
    let patches = difference(grid.patches().data(), &golden[&key("patches")].data, dim);
    let global = difference(grid.global().data(), &golden[&key("global")].data, dim);
    assert!(patches <= 1e-4 && global <= 1e-4, "{name}, {size}: patches {patches}, global {global}");
}

#[test]
fn training_free_heads_give_the_trainers_embeddings() {
    let path = data("heads.safetensors");
    let golden = read_safetensors(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let heads = &metadata.metadata().as_ref().unwrap()["heads"];
    let heads: serde_json::Map<String, serde_json::Value> = serde_json::from_str(heads).unwrap();
    assert_eq!(heads.len(), 6);
    let mut model = Model::read(&data("tiny-clip")).unwrap();
    for (name, head) in &heads {
        model.config.image.head = serde_json::from_value::<Head>(head.clone()).unwrap();
        for size in ["32x32", "24x40"] {
            assert_same(&model, &golden, name, size);
        }
    }
    // Had a head been mistaken for another, one of these would be equal.
    let values: Vec<_> = heads.keys().map(|name| &golden[&format!("{name}.24x40.patches")].data).collect();
    for (n, a) in values.iter().enumerate() {
        for b in &values[n + 1..] {
            assert!(a.iter().zip(*b).any(|(a, b)| (a - b).abs() > 1e-2));
        }
    }
}

#[test]
fn heads_out_of_range_are_refused() {
    let mut model = Model::read(&data("tiny-clip")).unwrap();
    let head = |json: &str| serde_json::from_str::<Head>(json);
    model.config.image.head =
        head(r#"{"kind": "attention", "similarity": "key-key", "neighbour": -1, "residual": false, "mlp": false}"#).unwrap();
    let refused = model.config.check("here").unwrap_err().to_string();
    assert!(refused.contains("neighbour") && refused.contains("-1"), "{refused}");
    model.config.image.head = head(r#"{"kind": "tcl", "layers": 9}"#).unwrap();
    assert!(model.config.check("here").unwrap_err().to_string().contains("image.head.layers"));
    assert!(head(r#"{"kind": "attention", "similarity": "value-value", "neighbour": 0, "residual": false, "mlp": false}"#).is_err());
    assert!(head(r#"{"kind": "maskclip", "sigma": 1}"#).is_err());
}
