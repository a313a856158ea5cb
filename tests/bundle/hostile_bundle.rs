//! Bundles with every rule broken once: each is refused, by name, and nothing panics.

use std::borrow::Cow;
use std::time::Duration;

use edge_seg_bundle as bundle;
use edge_seg_bundle::Bundle;
use edge_seg_bundle::MANIFEST_OFFSET;
use edge_seg_tests::{edge_seg, picture};

use crate::tiny::tiny_manifest;

const BLOBS: [(&str, &[u8]); 4] = [("image.onnx", b"image"), ("positions", &[0; 16]), ("text.onnx", b"text"), ("tokenizer.json", b"{}")];

fn valid() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.esb");
    bundle::write(&path, tiny_manifest(), &BLOBS).unwrap();
    std::fs::read(path).unwrap()
}

fn refusal(bytes: Vec<u8>) -> String {
    Bundle::from_bytes("test", Cow::Owned(bytes)).expect_err("the bundle is broken").to_string()
}

/// The same bundle with its manifest's text changed, lengths kept.
fn edited(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = valid();
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap_or_else(|| panic!("{from:?} is in the manifest"));
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    bytes
}

#[test]
fn a_file_that_changes_after_it_was_opened_is_an_error_and_one_that_is_replaced_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.esb");
    let bytes = valid();
    std::fs::write(&path, &bytes).unwrap();
    let open = Bundle::open(&path).unwrap();
    let (name, content) = BLOBS[BLOBS.len() - 1];
    let says = |bundle: &Bundle| bundle.blob(name).unwrap_err().to_string();
    let other = folder.path().join("other.esb");
    std::fs::write(&other, b"another model").unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert_eq!(*open.blob(name).unwrap(), *content);
    // Shortly before it was opened and long before: what is known of a file differs.
    for age in [Duration::ZERO, Duration::from_millis(2100)] {
        std::fs::write(&path, &bytes).unwrap();
        std::thread::sleep(age);
        let open = Bundle::open(&path).unwrap();
        assert_eq!(*open.blob(name).unwrap(), *content);
        let mut changed = bytes.clone();
        *changed.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &changed).unwrap();
        assert!(says(&open).contains(&format!("blob {name:?}")) && says(&open).contains("SHA-256"), "{}", says(&open));
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(says(&open).contains("before the end of the file"), "{}", says(&open));
    }
}

#[test]
fn what_was_written_is_read() {
    let bytes = valid();
    let read = Bundle::from_bytes("test", bytes.clone()).unwrap();
    for (name, content) in BLOBS {
        assert_eq!(*read.blob(name).unwrap(), *content);
    }
    let mut manifest = read.manifest().clone();
    (manifest.blobs, manifest.format) = (vec![], 0);
    assert_eq!(manifest, tiny_manifest());
    assert_eq!(read.signature(), None);
    assert!(read.blob("other").unwrap_err().to_string().contains("image.onnx, positions"));
    assert!(read.manifest().blobs.iter().all(|b| b.offset.is_multiple_of(64)));
    let last = read.manifest().blobs.last().unwrap();
    assert_eq!(last.offset + last.bytes, bytes.len() as u64);
}

#[test]
fn every_truncation_is_refused() {
    let bytes = valid();
    for len in 0..bytes.len() {
        refusal(bytes[..len].to_vec());
    }
}

#[test]
fn every_changed_byte_but_the_signatures_is_refused_or_harmless() {
    let bytes = valid();
    let blobs = Bundle::from_bytes("test", bytes.clone()).unwrap().manifest().blobs[0].offset as usize;
    for at in (0..16).chain(blobs..bytes.len()) {
        let mut broken = bytes.clone();
        broken[at] ^= 0x10;
        refusal(broken);
    }
    for at in MANIFEST_OFFSET..blobs {
        for flip in [1u8, 0x10, 0x80] {
            let mut broken = bytes.clone();
            broken[at] ^= flip;
            // A digit or a letter of free text may change its meaning; what counts is that nothing panics.
            let _ = Bundle::from_bytes("test", Cow::Owned(broken));
        }
    }
}

#[test]
fn rules_are_named_when_broken() {
    let mut longer = valid();
    longer.push(0);
    assert!(refusal(longer).contains("its end after the last blob"));
    for (bytes, kind) in [
        (&b"PK\x03\x04"[..], "a zip file"),
        (b"\x89PNG\r\n", "a picture (PNG)"),
        (b"# a page\n", "a text file"),
        (b"<!DOCTYPE html>\n", "a web page"),
        (b"\x08\x08\x12\x07pytorch", "an ONNX model"),
        (b"\x40\x01\0\0\0\0\0\0{\"a\":1}", "weights (safetensors)"),
        (b"\x01\x02\x03\x04\x05\x06\x07\x08", "[01, 02, 03, 04, 05, 06, 07, 08]"),
        (b"", "an empty file"),
    ] {
        for bytes in [bytes.to_vec(), bytes.repeat(400)] {
            let refused = refusal(bytes);
            assert!(refused.contains(&format!("magic: expected an .esb file, found {kind}")), "{refused}");
            assert!(refused.contains("edge-seg-export bundle"), "{refused}");
        }
    }
    assert!(refusal(valid()[..100].to_vec()).contains("cut off; copy or fetch it again"));
    let mut version = valid();
    version[8] = 2;
    assert!(refusal(version).contains("format version: expected 1, found 2"));
    let mut huge = valid();
    huge[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(refusal(huge).contains("at most 1048576 bytes"));
    assert!(refusal(edited("\"serial\"", "\"serious")).contains("manifest"));
    assert!(refusal(edited("\"serial\"", "\"serram\"")).contains("serram"), "unknown keys are refused by name");
    assert!(refusal(edited("\"patch_px\":16", "\"patch_px\":00")).contains("manifest"));
    assert!(refusal(edited("\"patch_px\":16", "\"patch_px\":31")).contains("image.input_px"));
    assert!(refusal(edited("\"background\":0.5", "\"background\":9.5")).contains("background"));
    assert!(refusal(edited("\"blob\":\"text.onnx\"", "\"blob\":\"t3xt.onnx\"")).contains("text.blob"));
    let mut padding = valid();
    let first = Bundle::from_bytes("test", padding.clone()).unwrap().manifest().blobs[1].offset as usize;
    padding[first - 1] = 1;
    assert!(refusal(padding).contains("zeros before it"));
}

#[test]
fn offsets_that_lie_are_refused() {
    let bytes = valid();
    let end = Bundle::from_bytes("test", bytes.clone()).unwrap().manifest().blobs[0].offset as usize;
    let text = String::from_utf8(bytes[MANIFEST_OFFSET..end].to_vec()).unwrap();
    for (from, to) in [
        ("\"bytes\":16", "\"bytes\":18446744073709551615"),
        ("\"bytes\":16", "\"bytes\":-1"),
        ("\"positions\",\"offset\"", "\"image.onnx\",\"offset\""),
    ] {
        let mut manifest = text.replacen(from, to, 1).trim_end().to_owned().into_bytes();
        assert_ne!(manifest, text.trim_end().as_bytes());
        assert!(manifest.len() <= end - MANIFEST_OFFSET, "the padding is large enough for the change");
        manifest.resize(end - MANIFEST_OFFSET, b' ');
        let mut broken = bytes.clone();
        broken[MANIFEST_OFFSET..end].copy_from_slice(&manifest);
        refusal(broken);
    }
}

#[test]
fn a_bundle_that_does_not_fit_together_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.esb");
    bundle::write(&path, tiny_manifest(), &BLOBS).unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(bundle::write(&path, tiny_manifest(), &BLOBS[..3]).unwrap_err().to_string().contains("tokenizer"));
    assert_eq!(std::fs::read(&path).unwrap(), before, "the old file is whole");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn the_commands_say_what_is_wrong_with_a_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let mut broken = valid();
    *broken.last_mut().unwrap() ^= 1;
    std::fs::write(folder.path().join("broken.esb"), broken).unwrap();
    // Sound by the format's rules, but its encoders are no ONNX files.
    std::fs::write(folder.path().join("hollow.esb"), valid()).unwrap();
    let inspected = edge_seg(folder.path(), &["inspect", "broken.esb"]);
    assert_eq!(inspected.code, 2);
    assert!(inspected.stderr.contains("SHA-256") && inspected.stderr.contains("tokenizer.json"), "{}", inspected.stderr);
    assert_eq!(edge_seg(folder.path(), &["inspect", "hollow.esb", "--json"]).json_lines()[0]["manifest"]["name"], "tiny");
    let cat = picture("cat.jpg");
    let run = edge_seg(folder.path(), &["segment", cat.to_str().unwrap(), "--tags", "cat", "--model", "hollow.esb"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("image encoder"), "{}", run.stderr);
}
