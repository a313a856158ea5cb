//! 16-bit floats on the processor: `--half`.

use std::process::Command;

use edge_seg::Bundle;
use edge_seg_export::bundle::{self, Release};
use edge_seg_export::checkpoint::Model;
use edge_seg_export::onnx::Storage;
use edge_seg_kernels::{KERNELS_VARIABLE, kernels};
use edge_seg_model::{ImageEncoder, Threads, prepare};
use edge_seg_tests::{edge_seg, picture, root, test_name};

/// The reference computes in 16 bits as all kernels do, to the last bit, so it says for a processor that this machine is not what the
/// option does to a model. Kernels are chosen once in a process: this test runs itself in another one.
#[test]
fn patches_in_sixteen_bits_are_those_in_thirty_two() {
    if !kernels().has_f16() {
        let mut itself = Command::new(std::env::current_exe().unwrap());
        itself.args(["--exact", &test_name(module_path!(), "patches_in_sixteen_bits_are_those_in_thirty_two"), "--nocapture"]);
        let ended = itself.env(KERNELS_VARIABLE, "scalar").output().unwrap();
        let told = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&ended.stderr));
        return;
    }
    // The built-in model's products are of integers, which the option leaves as they are.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.esb");
    let model = Model::read(&root().join("tests/data/tiny-model")).unwrap();
    bundle::write(&path, &model, Storage::Int8, &Release::default()).unwrap();
    let bundle = Bundle::open(&path).unwrap();
    let (full, half) = (ImageEncoder::load(&bundle, Threads::new(1)).unwrap(), ImageEncoder::load_half(&bundle, Threads::new(1)).unwrap());
    let (mut least, mut sum, mut count) = (1.0f64, 0.0, 0);
    for name in ["coffee.jpg"] {
        let input = prepare(&image::open(picture(name)).unwrap().into_rgb8(), &bundle.manifest().image, 96).unwrap();
        let (full, half) = (full.encode(&input).unwrap(), half.encode(&input).unwrap());
        for row in 0..full.patches().rows() {
            let pairs = full.patches().row(row).iter().zip(half.patches().row(row));
            let cosine: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            (least, sum, count) = (least.min(cosine), sum + cosine, count + 1);
        }
        assert_ne!(full.patches().data(), half.patches().data(), "the option does something");
    }
    println!("cosine of {count} patches: mean {}, least {least}", sum / f64::from(count));
    assert!(count > 20 && sum / f64::from(count) >= 0.999 && least >= 0.999, "mean {}, least {least}", sum / f64::from(count));
}

#[test]
fn a_processor_without_sixteen_bit_floats_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let photo = picture("cat.jpg");
    let ended = edge_seg(folder.path(), &["segment", photo.to_str().unwrap(), "--tags", "cat", "--size", "64", "--half"]);
    match kernels().has_f16() {
        true => assert_eq!(ended.code, 0, "{}", ended.stderr),
        false => assert!(ended.code == 2 && ended.stderr.contains("--half") && ended.stderr.contains("fp16"), "{}", ended.stderr),
    }
}
