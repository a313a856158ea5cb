//! Runs one encoder as `engines.py` asks, so that this project's engine and others take turns on the same file and input.
//!
//! ```text
//! engines pack BASE.esb image|text ENCODER.onnx OUT.esb     a bundle with that encoder alone
//! engines image BUNDLE.esb PIXELS.f32 SIDE THREADS          pixels [3, SIDE, SIDE], little-endian
//! engines text BUNDLE.esb IDS.i64 THREADS
//! engines graph BUNDLE.esb PIXELS.f32 SIDE PICTURES gpu|cpu f32|f16
//!     the graph that a GPU gets, on one or on the processor; pixels [PICTURES, 3, SIDE, SIDE]
//! ```
//! All but the first obey lines on stdin and answer each with `ok`: `open` reads the bundle, `load` loads the encoder and makes its plan,
//! `run N` runs it N times, `save FILE` writes what the last run gave, little-endian f32.

use std::borrow::Cow;
use std::io::{BufRead, Write};
use std::path::Path;

use edge_seg::Placement;
use edge_seg_bundle as bundle;
use edge_seg_bundle::Bundle;
use edge_seg_model::{GraphEncoder, ImageEncoder, Input, TextEncoder, Threads};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["pack", base, kind, onnx, out] => pack(base, kind, onnx, out),
        ["image", bundle, pixels, side, threads] => {
            let side = side.parse().unwrap();
            let pixels = floats(pixels);
            serve(
                bundle,
                |bundle| {
                    let encoder = ImageEncoder::load(bundle, Threads::new(threads.parse().unwrap())).unwrap();
                    let placement = Placement::new((side, side), &bundle.manifest().image, side as usize).unwrap();
                    let input = Input { pixels: pixels.clone(), placement };
                    encoder.plan_for(&input).unwrap();
                    (encoder, input)
                },
                |(encoder, input)| encoder.encode(input).unwrap().patches().data().to_vec(),
            );
        }
        ["graph", bundle, pixels, side, pictures, device, width] => {
            let (side, pictures): (u32, usize) = (side.parse().unwrap(), pictures.parse().unwrap());
            let pixels = floats(pixels);
            let half = width == "f16";
            serve(
                bundle,
                |bundle| {
                    let encoder = match device {
                        "gpu" => GraphEncoder::on_gpu(bundle, half),
                        _ => GraphEncoder::on_cpu(bundle, half),
                    };
                    let placement = Placement::new((side, side), &bundle.manifest().image, side as usize).unwrap();
                    let inputs = pixels.chunks_exact(pixels.len() / pictures).map(|pixels| Input { pixels: pixels.into(), placement });
                    (encoder.unwrap_or_else(|e| panic!("{e}")), inputs.collect::<Vec<_>>())
                },
                |(encoder, inputs)| {
                    let grids = encoder.encode_all(&inputs.iter().collect::<Vec<_>>(), pictures).unwrap_or_else(|e| panic!("{e}"));
                    let left = encoder.unsupported_ops();
                    assert!(left.is_empty(), "left to the processor: {left:?}");
                    grids.iter().flat_map(|grid| grid.patches().data().iter().copied()).collect()
                },
            );
        }
        ["text", bundle, ids, _threads] => {
            let ids: Vec<i64> = read(ids).chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect();
            serve(bundle, |bundle| TextEncoder::load(bundle).unwrap(), |encoder| encoder.encode(&ids).unwrap());
        }
        _ => eprintln!("engines: run by runtime/benches/engines.py"),
    }
}

fn serve<E>(path: &str, load: impl Fn(&Bundle) -> E, run: impl Fn(&E) -> Vec<f32>) {
    let (mut bundle, mut encoder, mut found) = (None, None, Vec::new());
    println!("ok");
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("open", _) => bundle = Some(Bundle::open(path.as_ref()).unwrap()),
            ("load", _) => encoder = bundle.as_ref().map(&load),
            ("run", times) => (0..times.parse().unwrap()).for_each(|_| found = run(encoder.as_ref().expect("load first"))),
            ("save", file) => std::fs::write(file, found.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()).unwrap(),
            _ => panic!("expected a command, found {line:?}"),
        }
        println!("ok");
        std::io::stdout().flush().unwrap();
    }
}

/// A bundle checks every blob that it holds, so the one to be timed holds no other encoder.
fn pack(base: &str, kind: &str, onnx: &str, out: &str) {
    let base = Bundle::open(base.as_ref()).unwrap();
    let manifest = base.manifest().clone();
    let onnx = read(onnx);
    let blobs: Vec<(String, Cow<[u8]>)> = manifest
        .blobs
        .iter()
        .map(|blob| {
            let encoder =
                if blob.name == manifest.image.blob { Some("image") } else { (blob.name == manifest.text.blob).then_some("text") };
            let bytes: Cow<[u8]> = match encoder {
                Some(encoder) if encoder == kind => onnx.as_slice().into(),
                Some(_) => b"-".as_slice().into(),
                None => base.blob(&blob.name).unwrap(),
            };
            (blob.name.clone(), bytes)
        })
        .collect();
    let blobs: Vec<(&str, &[u8])> = blobs.iter().map(|(name, bytes)| (name.as_str(), &**bytes)).collect();
    bundle::write(Path::new(out), manifest.clone(), &blobs).unwrap();
}

fn floats(path: &str) -> Vec<f32> {
    read(path).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"))
}
