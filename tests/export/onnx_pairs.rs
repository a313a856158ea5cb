//! Encoders that are ONNX files already, against the outputs of the models that they were exported from; `tests/python/make_onnx_pairs.py`
//! made them, and `tests/python/make_checkpoints.py` the models and the golden outputs.

use std::fs;
use std::path::{Path, PathBuf};

use edge_seg::bundle::Fit;
use edge_seg::{Bundle, Session};
use edge_seg_export::bundle::Release;
use edge_seg_export::onnx::Storage;
use edge_seg_export::pair::{self, Options, Pair};
use edge_seg_tests::root;

use super::export_checkpoints::{golden, largest, units};

fn data(folder: &str, file: &str) -> PathBuf {
    root().join("tests/data/onnx").join(folder).join(file)
}

fn options(folder: &str, image: &str, text: &str) -> Options {
    let checkpoint = root().join("tests/data/checkpoints").join(folder);
    let says = ["processor_config.json", "preprocessor_config.json", "open_clip_config.json"];
    Options {
        image: data(folder, image),
        text: data(folder, text),
        tokenizer: checkpoint.join("tokenizer.json"),
        preprocess: says.into_iter().map(|name| checkpoint.join(name)).find(|path| path.is_file()).unwrap(),
        name: "small".into(),
        patches: None,
        global: None,
        text_output: None,
        leading: None,
        context: None,
        pad_token: None,
        logit_scale: None,
        logit_bias: None,
        templates: vec!["{}".into()],
        input_px: None,
        fit: None,
        licence: "none".into(),
    }
}

fn read(options: &Options) -> Pair {
    pair::read(options).unwrap_or_else(|e| panic!("{}, {}: {e}", options.image.display(), options.text.display()))
}

fn refused(options: &Options) -> String {
    match pair::read(options) {
        Ok(_) => panic!("{} is taken", options.image.display()),
        Err(error) => error.to_string(),
    }
}

fn build(pair: &Pair, storage: Storage) -> Bundle {
    pair.build("test", storage, storage, &Release::default()).unwrap()
}

/// The largest differences of patches, picture and words from the golden ones, as unit vectors.
fn differences(bundle: &Bundle, folder: &str) -> [f32; 3] {
    let (golden, texts) = golden(folder);
    let placement = edge_seg::Placement::new((32, 32), &bundle.manifest().image, 32).unwrap();
    let encoder = edge_seg_model::ImageEncoder::load(bundle, edge_seg_model::Threads::new(1)).unwrap();
    let grid = encoder.encode(&edge_seg_model::Input { pixels: golden["pixels"].data.clone(), placement }).unwrap();
    let dim = bundle.manifest().embedding_dim;
    let session = Session::new(bundle.clone(), &edge_seg::Options::default()).unwrap();
    let of_text = |(n, text): (usize, &String)| {
        largest(session.embed_text(text).unwrap().data(), &units(&golden["text"].data[n * dim..][..dim], dim))
    };
    [
        largest(grid.patches().data(), &units(&golden["patches"].data, dim)),
        largest(grid.global().data(), &units(&golden["global"].data, dim)),
        texts.iter().enumerate().map(of_text).fold(0.0, f32::max),
    ]
}

#[test]
fn files_of_all_exporters_give_the_models_own_embeddings() {
    let mut wrong = Vec::new();
    for (folder, image, text) in [
        ("hf", "image.onnx", "text.onnx"),
        ("hf", "both.onnx", "both.onnx"),
        ("hf", "both.onnx", "text-old.onnx"),
        ("hf", "both.onnx", "text-slim.onnx"),
        ("open-clip", "image.onnx", "text.onnx"),
        ("open-clip", "image-old.onnx", "text.onnx"),
        ("pe-core", "image.onnx", "text.onnx"),
        ("pe-core", "image-old.onnx", "text.onnx"),
        ("siglip-timm", "image.onnx", "text.onnx"),
        ("siglip-timm", "image-old.onnx", "text.onnx"),
        ("mobileclip", "image.onnx", "text.onnx"),
        ("mobileclip", "image-old.onnx", "text.onnx"),
    ] {
        let case = format!("{folder}, {image}, {text}");
        let outcome = pair::read(&options(folder, image, text)).map_err(|e| e.to_string()).and_then(|pair| {
            let products = pair.products(Storage::F32, Storage::F32).map_err(|e| e.to_string())?;
            let bundle = pair.build("test", Storage::F32, Storage::F32, &Release::default()).map_err(|e| e.to_string())?;
            Ok((differences(&bundle, folder), products, pair.notes().to_vec()))
        });
        match outcome {
            // Only the convolutions that make patches are not the kernels' own.
            Ok((found, [image, text], _))
                if found.iter().all(|d| *d <= 1e-4) && image.all - image.own <= 4 && text.own == text.all && image.own > 10
                    // As many as the model has blocks.
                    && image.turned == if folder == "pe-core" { 2 } else { 0 } => {}
            Ok(found) => wrong.push(format!("{case}: {found:?}")),
            Err(error) => wrong.push(format!("{case}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn halves_become_floats_and_matrices_are_stored_in_fewer_bits() {
    let half = differences(&build(&read(&options("hf", "image-half.onnx", "text.onnx")), Storage::F32), "hf");
    assert!(half.iter().all(|d| *d <= 2e-3), "{half:?}");
    let pair = read(&options("pe-core", "image.onnx", "text.onnx"));
    for (storage, most) in [(Storage::F16, 2e-3), (Storage::Int8, 5e-2), (Storage::Int8Dynamic, 2e-1)] {
        let bundle = build(&pair, storage);
        assert_eq!(bundle.manifest().variant, storage.variant());
        let found = differences(&bundle, "pe-core");
        assert!(found.iter().all(|d| *d <= most), "{storage:?}: {found:?}");
    }
}

#[test]
fn patches_are_taken_from_the_output_that_holds_them() {
    let given = read(&options("hf", "dense.onnx", "text.onnx"));
    assert!(given.notes()[0].contains("output patch_embeds; 1 leading tokens"), "{:?}", given.notes());
    let bundle = build(&given, Storage::F32);
    assert_eq!((bundle.manifest().image.patch_px, bundle.manifest().image.fit), (8, Fit::Letterbox));
    // These go through all of the last block, where the golden ones go the value's path.
    assert!(differences(&bundle, "hf")[0] > 1e-3);
    let named = Options { patches: Some("patch_embeds".into()), leading: Some(1), ..options("hf", "dense.onnx", "text.onnx") };
    assert_eq!(build(&read(&named), Storage::F32).blob("image.onnx").unwrap(), bundle.blob("image.onnx").unwrap());
}

#[test]
fn what_is_not_found_is_asked_for_by_name() {
    let usual = || options("hf", "image.onnx", "text.onnx");
    for (options, said) in [
        (Options { patches: Some("last_hidden_state".into()), ..usual() }, "as wide as the text's embedding, found [1, 17, 16]"),
        (Options { patches: Some("none such".into()), ..usual() }, "--patches"),
        (Options { text_output: Some("none such".into()), ..usual() }, "--text-output"),
        (Options { leading: Some(3), ..usual() }, "--leading-tokens"),
        (Options { input_px: Some(64), ..usual() }, "32, which the graph is fixed to, found 64"),
        (Options { fit: Some(Fit::Grid), ..usual() }, "letterbox or squash"),
        (Options { text: data("hf", "image.onnx"), ..usual() }, "expected one that depends on integers alone"),
        (Options { image: data("hf", "text.onnx"), ..usual() }, "expected one that depends on a picture"),
        (Options { image: data("broken", "microsoft.onnx"), ..usual() }, "export without onnxruntime's transformer optimizer"),
        (Options { image: root().join("tests/data/checkpoints/hf/config.json"), ..usual() }, "an ONNX file"),
        (Options { tokenizer: root().join("tests/data/tiny-model/tokenizer.json"), ..usual() }, "below the 10 rows"),
    ] {
        let found = refused(&options);
        assert!(found.contains(said), "{found}");
    }
    let alone = tempfile::tempdir().unwrap();
    fs::copy(data("hf", "image.onnx"), alone.path().join("image.onnx")).unwrap();
    let found = refused(&Options { image: alone.path().join("image.onnx"), ..usual() });
    assert!(found.contains("image.onnx.data beside the ONNX file"), "{found}");
    fs::write(alone.path().join("image.onnx.data"), [0; 40]).unwrap();
    let found = refused(&Options { image: alone.path().join("image.onnx"), ..usual() });
    assert!(found.contains("external data of") && found.contains("40 bytes"), "{found}");
}

/// A bundle whose blob is somebody's graph as it is.
fn with_blob(bundle: &Bundle, name: &str, bytes: &[u8]) -> Bundle {
    let names = ["image.onnx", "text.onnx", "positions.f32", "tokenizer.json"];
    let own = names.map(|name| bundle.blob(name).unwrap().into_owned());
    let blobs: Vec<(&str, &[u8])> = names.into_iter().zip(&own).map(|(of, own)| (of, if of == name { bytes } else { own })).collect();
    edge_seg_bundle::build("swapped".into(), bundle.manifest().clone(), &blobs).unwrap()
}

#[test]
fn a_graph_with_one_input_is_refused_in_words() {
    let bundle = build(&read(&options("hf", "image.onnx", "text.onnx")), Storage::F32);
    let one_input = fs::read(data("open-clip", "image-old.onnx")).unwrap();
    let session = Session::new(with_blob(&bundle, "image.onnx", &one_input), &edge_seg::Options::default());
    let refused = session.expect_err("it takes pixels alone").to_string();
    assert!(refused.contains("pixels and positions") && refused.contains("edge-seg-export bundle"), "{refused}");
    let session = Session::new(with_blob(&bundle, "text.onnx", &one_input), &edge_seg::Options::default()).unwrap();
    let refused = session.embed_text("snow").expect_err("it takes pixels alone").to_string();
    assert!(refused.contains("ids and mask"), "{refused}");
}

#[test]
fn a_size_that_the_graph_does_not_take_is_refused() {
    let bundle = build(&read(&options("hf", "image.onnx", "text.onnx")), Storage::F32);
    let session = Session::new(bundle, &edge_seg::Options::default().with_size_px(64)).unwrap();
    let frame = edge_seg::Frame::still(image::RgbImage::new(40, 30));
    let refused = session.encode(&frame).expect_err("32 alone").to_string();
    assert!(refused.contains("32 x 32 pixels") && refused.contains("64 x 64"), "{refused}");
}

#[test]
fn nothing_is_written_of_a_pair_that_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("x.esb");
    let export = |image: &Path| {
        let checkpoint = root().join("tests/data/checkpoints/hf");
        let mut command = std::process::Command::new(edge_seg_tests::binary("edge-seg-export"));
        command.args(["bundle", "--image-onnx"]).arg(image).arg("--text-onnx").arg(data("hf", "text.onnx"));
        command.arg("--tokenizer").arg(checkpoint.join("tokenizer.json")).arg("--preprocess").arg(checkpoint.join("processor_config.json"));
        command.arg("-o").arg(&out).output().unwrap()
    };
    let ended = export(&data("broken", "microsoft.onnx"));
    assert_eq!((ended.status.code(), out.exists()), (Some(2), false));
    let ended = export(&data("hf", "image.onnx"));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success() && out.exists(), "{said}");
    assert!(said.contains("products run in the runtime's own kernels") && said.contains("patches of 8 pixels"), "{said}");
}
