//! An encoder of every kind.

use edge_seg::Bundle;
use edge_seg_export::bundle::{self as export_bundle, Release};
use edge_seg_export::checkpoint::Model;
use edge_seg_export::config::Head;
use edge_seg_export::onnx::Storage;
use edge_seg_tests::root;
use safetensors::SafeTensors;

/// Encoders of every head that the exporter writes, by name, beside the built-in one.
pub fn encoders() -> Vec<(String, Bundle)> {
    let golden = std::fs::read(root().join("tests/data/heads.safetensors")).expect("the tests' own data");
    let (_, metadata) = SafeTensors::read_metadata(&golden).expect("the tests' own data");
    let heads = &metadata.metadata().as_ref().expect("the tests' own data")["heads"];
    let heads: serde_json::Map<String, serde_json::Value> = serde_json::from_str(heads).expect("the tests' own data");
    let folder = tempfile::tempdir().expect("the tests' own data");
    let write = |model: &Model| {
        let path = folder.path().join("head.esb");
        export_bundle::write(&path, model, Storage::F32, &Release::default()).expect("the tests' own data");
        Bundle::open(&path).expect("the tests' own data")
    };
    let mut model = Model::read(&root().join("tests/data/tiny-clip")).expect("the tests' own data");
    let mut found = Vec::new();
    for (name, head) in heads {
        model.config.image.head = serde_json::from_value::<Head>(head).expect("the tests' own data");
        found.push((name, write(&model)));
    }
    assert_eq!(found.len(), 6);
    found.push(("fusion".into(), write(&Model::read(&root().join("tests/data/tiny-model")).expect("the tests' own data"))));
    found.push(("built-in".into(), Bundle::built_in().expect("the tests' own data")));
    found
}
