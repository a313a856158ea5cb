//! rten as `runtime/benches/engines.rs` runs this project's engine, with the same commands on stdin.
//!
//! ```text
//! rten-worker image ENCODER.onnx PIXELS.f32 SIDE POSITIONS.f32 WIDTH      threads by RTEN_NUM_THREADS
//! rten-worker text ENCODER.onnx IDS.i64
//! ```

use std::io::{BufRead, Write};

use rten::{Model, ValueOrView};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["image", onnx, pixels, side, positions, width] => {
            let (side, width): (usize, usize) = (side.parse().unwrap(), width.parse().unwrap());
            let (pixels, positions) = (floats(pixels), floats(positions));
            let pixels = NdTensor::from_data([1, 3, side, side], pixels);
            let positions = NdTensor::from_data([1, positions.len() / width, width], positions);
            serve(onnx, |model| {
                let inputs: Vec<(_, ValueOrView)> =
                    vec![(model.node_id("pixels").unwrap(), pixels.view().into()), (model.node_id("positions").unwrap(), positions.view().into())];
                model.run(inputs, &[model.node_id("patches").unwrap(), model.node_id("global").unwrap()], None).unwrap().swap_remove(0)
            });
        }
        ["text", onnx, ids] => {
            let ids: Vec<i32> = read(ids).chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as i32).collect();
            let mask = NdTensor::from_data([1, ids.len()], vec![1i32; ids.len()]);
            let ids = NdTensor::from_data([1, ids.len()], ids);
            serve(onnx, |model| {
                let inputs: Vec<(_, ValueOrView)> =
                    vec![(model.node_id("ids").unwrap(), ids.view().into()), (model.node_id("mask").unwrap(), mask.view().into())];
                model.run(inputs, &[model.node_id("text").unwrap()], None).unwrap().swap_remove(0)
            });
        }
        _ => eprintln!("rten-worker: run by runtime/benches/engines.py"),
    }
}

fn serve(onnx: &str, run: impl Fn(&Model) -> rten::Value) {
    let (mut bytes, mut model, mut found) = (Vec::new(), None, None);
    println!("ok");
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("open", _) => bytes = read(onnx),
            ("load", _) => model = Some(Model::load(std::mem::take(&mut bytes)).unwrap()),
            ("run", times) => (0..times.parse().unwrap()).for_each(|_| found = Some(run(model.as_ref().expect("load first")))),
            ("save", file) => {
                let values: rten_tensor::Tensor<f32> = found.take().expect("run first").try_into().unwrap();
                std::fs::write(file, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()).unwrap();
            }
            _ => panic!("expected a command, found {line:?}"),
        }
        println!("ok");
        std::io::stdout().flush().unwrap();
    }
}

fn floats(path: &str) -> Vec<f32> {
    read(path).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"))
}
