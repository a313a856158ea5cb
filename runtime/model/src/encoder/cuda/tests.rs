//! The plain graph on the processor's runtime against the encoder of every day: what can be tested of the GPU's path without a GPU.

use image::RgbImage;

use super::faults::one_line;
use super::*;
use crate::device::DeviceFault;
use crate::encoder::{ImageEncoder, Threads};
use crate::input::prepare;

const SIDE_PX: usize = 96;

fn bundle() -> Bundle {
    Bundle::built_in().unwrap()
}

fn input(bundle: &Bundle, seed: u32, width: u32) -> Input {
    let picture = RgbImage::from_fn(width, 96, |x, y| {
        let wave = |speed: f32, turn: f32| (127.0 + 120.0 * (speed * (x as f32 + 0.7 * y as f32) + turn * seed as f32).sin()) as u8;
        image::Rgb([wave(0.11, 1.0), wave(0.23, 2.0), if (x / 24 + y / 24 + seed).is_multiple_of(2) { 220 } else { 30 }])
    });
    prepare(&picture, &bundle.manifest().image, SIDE_PX).unwrap()
}

fn on_processor(bundle: &Bundle, half: bool) -> GraphEncoder {
    GraphEncoder::on_cpu(bundle, half).unwrap()
}

/// The smallest cosine between rows of the same place; rows have unit norm.
fn smallest_cosine(a: &PatchGrid, b: &PatchGrid) -> f32 {
    assert_eq!((a.rows(), a.cols()), (b.rows(), b.cols()));
    let dim = a.patches().dim();
    let rows = a.patches().data().chunks(dim).zip(b.patches().data().chunks(dim));
    rows.chain([(a.global().data(), b.global().data())]).map(|(a, b)| a.iter().zip(b).map(|(x, y)| x * y).sum()).fold(1.0, f32::min)
}

/// The bundle computes in integers, which a GPU's graph does in floats: the two are as near as integers are to floats.
#[test]
fn the_plain_graph_gives_what_the_processors_layers_give() {
    let bundle = bundle();
    let input = input(&bundle, 1, 128);
    let expected = ImageEncoder::load(&bundle, Threads::new(1)).unwrap().encode(&input).unwrap();
    let in_floats = on_processor(&bundle, false);
    let graph = in_floats.onnx.graph.as_ref().unwrap();
    let count = |op: &str| graph.node.iter().filter(|node| node.op_type == op).count();
    assert_eq!((count("MatMulInteger"), count("DynamicQuantizeLinear")), (0, 0), "a product in integers is left");
    assert!(count("MatMul") > 70 && count("DequantizeLinear") > 70);
    let floats = in_floats.encode(&input).unwrap();
    let cosine = smallest_cosine(&floats, &expected);
    assert!((0.995..0.999999).contains(&cosine), "integers and floats: {cosine}");
    let cosine = smallest_cosine(&on_processor(&bundle, true).encode(&input).unwrap(), &floats);
    assert!(cosine >= 0.999, "16-bit floats: {cosine}");
}

#[test]
fn a_batch_gives_what_its_pictures_give_alone() {
    let bundle = bundle();
    // The last one has another size, and goes by itself.
    let inputs = [input(&bundle, 1, 128), input(&bundle, 2, 128), input(&bundle, 3, 96)];
    let encoder = on_processor(&bundle, false);
    let together = encoder.encode_all(&inputs.iter().collect::<Vec<_>>(), 4).unwrap();
    assert_eq!(together.len(), inputs.len());
    // A batch that is not full gives the same numbers: its plan is the same.
    let first = encoder.encode_all(&[&inputs[0]], 4).unwrap();
    assert_eq!(first[0].patches().data(), together[0].patches().data());
    for (i, (input, grid)) in inputs.iter().zip(&together).enumerate() {
        let cosine = smallest_cosine(&encoder.encode(input).unwrap(), grid);
        assert!(cosine >= 0.9999, "picture {i}: {cosine}");
    }
    let others = smallest_cosine(&together[0], &together[1]);
    assert!(others < 0.99, "the pictures differ: {others}");
    encoder.release();
    assert!(encoder.plans.lock().is_empty());
}

#[test]
fn a_devices_words_are_understood() {
    let fault = |text: &str| match judge(text) {
        Some(Error::Device { fault, found, .. }) => {
            assert!(!found.contains('\n'));
            Some(fault)
        }
        _ => None,
    };
    assert_eq!(fault("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")"), Some(DeviceFault::Memory));
    assert_eq!(fault("CUBLAS_STATUS_ALLOC_FAILED"), Some(DeviceFault::Memory));
    assert_eq!(fault("running node 3\nDriverError(CUDA_ERROR_ILLEGAL_ADDRESS)"), Some(DeviceFault::Lost));
    assert_eq!(fault("CUDA_ERROR_DEVICE_UNAVAILABLE"), Some(DeviceFault::Lost));
    assert_eq!(fault("Could not create CUDA context: no header"), Some(DeviceFault::Lost));
    assert_eq!(fault("Missing symbol cudnnCreate: dlsym failed"), Some(DeviceFault::Unusable));
    assert_eq!(one_line("lost\n twice Stack backtrace:\n 0: main"), "lost twice");
    assert_eq!(fault("Clashing resolution for expression"), None);
    assert_eq!(quietly(|| panic!("Unable to load\n \"nvrtc\"")).map(|()| 0), Err("Unable to load \"nvrtc\"".into()));
}
