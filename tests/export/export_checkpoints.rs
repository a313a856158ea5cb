//! Checkpoints as today's libraries write them, against the outputs of those libraries; `tests/python/make_checkpoints.py` made them.

use std::fs;
use std::path::{Path, PathBuf};

use edge_seg::bundle::Fit;
use edge_seg::{Bundle, Session};
use edge_seg_export::bundle::{self, Release};
use edge_seg_export::checkpoint::{Model, Tensor, Weights};
use edge_seg_export::import::{Options, import};
use edge_seg_export::onnx::Storage;
use edge_seg_tests::root;
use safetensors::SafeTensors;

fn data(name: &str) -> PathBuf {
    root().join("tests/data/checkpoints").join(name)
}

fn options() -> Options {
    Options {
        name: "small".into(),
        tokenizer: None,
        key: None,
        lora: None,
        lora_alpha: None,
        base: None,
        head: None,
        partial: false,
        activation: None,
        head_width: None,
        text_head_width: None,
        pool_heads: None,
        preprocess: None,
        fit: None,
        templates: vec!["{}".into()],
        input_px: None,
        licence: "none".into(),
    }
}

fn path(name: &str) -> String {
    data(name).to_str().unwrap().to_owned()
}

fn refused(source: &str, options: &Options) -> String {
    match import(source, options) {
        Ok(_) => panic!("{source} is imported"),
        Err(error) => error.to_string(),
    }
}

/// The golden tensors, and the texts that were encoded.
pub(super) fn golden(folder: &str) -> (Weights, Vec<String>) {
    let bytes = fs::read(data(folder).join("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = file.iter().filter(|(_, view)| view.dtype() == safetensors::Dtype::F32);
    let weights = floats.map(|(name, view)| {
        let data = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        (name.to_owned(), Tensor::new(view.shape(), data))
    });
    let weights = weights.collect();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    (weights, serde_json::from_str(&metadata.metadata().as_ref().unwrap()["texts"]).unwrap())
}

pub(super) fn units(rows: &[f32], dim: usize) -> Vec<f32> {
    rows.chunks_exact(dim)
        .flat_map(|row| {
            let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter().map(move |x| x / norm)
        })
        .collect()
}

pub(super) fn largest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Holds what the runtime makes of an import against the library's own outputs, to 1e-4 of the unit vectors.
fn assert_golden(model: &Model, folder: &str) {
    let (golden, texts) = golden(folder);
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("x.esb");
    bundle::write(&file, model, Storage::F32, &Release::default()).unwrap();
    let bundle = Bundle::open(&file).unwrap();
    let placement = edge_seg::Placement::new((32, 32), &bundle.manifest().image, 32).unwrap();
    let encoder = edge_seg_model::ImageEncoder::load(&bundle, edge_seg_model::Threads::new(1)).unwrap();
    let grid = encoder.encode(&edge_seg_model::Input { pixels: golden["pixels"].data.clone(), placement }).unwrap();
    let dim = model.config.embedding_dim;
    let patches = largest(grid.patches().data(), &units(&golden["patches"].data, dim));
    let global = largest(grid.global().data(), &units(&golden["global"].data, dim));
    assert!(patches <= 1e-4 && global <= 1e-4, "{folder}: patches {patches}, global {global}");
    let session = Session::new(bundle, &edge_seg::Options::default()).unwrap();
    for (n, text) in texts.iter().enumerate() {
        let found = session.embed_text(text).unwrap();
        let difference = largest(found.data(), &units(&golden["text"].data[n * dim..][..dim], dim));
        assert!(difference <= 1e-4, "{folder}: {text:?}: {difference}");
    }
}

#[test]
fn every_family_gives_its_librarys_embeddings() {
    let small = Options { head_width: Some(8), ..options() };
    for (folder, options) in [
        ("hf", options()),
        ("hf-shards", options()),
        ("open-clip", options()),
        ("clipa", options()),
        ("siglip", options()),
        ("siglip-timm", small.clone()),
        ("pe-core", Options { pool_heads: Some(4), ..small.clone() }),
        ("mobileclip", small.clone()),
        ("eva02", small),
        ("metaclip2", options()),
        ("metaclip2-mt5", options()),
        ("tips", options()),
    ] {
        let model = import(&path(folder), &options).unwrap_or_else(|e| panic!("{folder}: {e}"));
        assert_eq!(model.config.preprocess.mean, [0.5; 3], "{folder}: the files say so");
        let fit = if folder == "siglip-timm" { Fit::Squash } else { Fit::Grid };
        assert_eq!(model.config.preprocess.fit, fit, "{folder}");
        assert_golden(&model, folder);
    }
}

#[test]
fn each_tower_has_its_own_activation_and_sigmoid_models_their_bias() {
    let model = import(&path("hf"), &options()).unwrap();
    assert_ne!(model.config.image.activation, model.config.text.activation);
    let model = import(&path("siglip"), &options()).unwrap();
    assert!(model.config.logit_bias.is_some() && !model.config.image.class_token);
}

#[test]
fn adapters_of_peft_are_merged_as_peft_merges_them() {
    for (adapter, base) in [
        ("lora-dora", "hf-shards"),
        ("lora-whole", "hf-shards"),
        ("lora-tables", "hf-shards"),
        ("lora-bin", "hf-shards"),
        ("lora-attention", "open-clip"),
    ] {
        let model = import(&path(base), &Options { lora: Some(data(adapter)), ..options() }).unwrap_or_else(|e| panic!("{adapter}: {e}"));
        assert_golden(&model, adapter);
    }
}

/// A copy of an adapter with another value under a key of its configuration.
fn changed(adapter: &str, place: &Path, key: &str, value: serde_json::Value) -> PathBuf {
    for entry in fs::read_dir(data(adapter)).unwrap() {
        let entry = entry.unwrap().path();
        fs::copy(&entry, place.join(entry.file_name().unwrap())).unwrap();
    }
    let config = place.join("adapter_config.json");
    let mut read: serde_json::Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    read[key] = value;
    fs::write(&config, read.to_string()).unwrap();
    place.to_owned()
}

#[test]
fn adapters_that_cannot_be_merged_are_refused_by_name() {
    for (key, value, words) in [
        ("init_lora_weights", "pissa_niter_8".into(), ["pissa_niter_8", "path_initial_model_for_weight_conversion"]),
        ("init_lora_weights", "some_new_start".into(), ["some_new_start", "moved them"]),
        ("peft_type", "LOKR".into(), ["LOKR", "merge_and_unload"]),
        ("layer_replication", serde_json::json!([[0, 2]]), ["layer_replication", "merge_and_unload"]),
        ("r", 0.into(), ["r:", "a positive number"]),
    ] {
        let place = tempfile::tempdir().unwrap();
        let lora = Some(changed("lora-bin", place.path(), key, value));
        let message = refused(&path("hf-shards"), &Options { lora, ..options() });
        assert!(words.iter().all(|word| message.contains(word)), "{key}: {message}");
    }
    let other = refused(&path("open-clip"), &Options { lora: Some(data("lora-bin")), ..options() });
    assert!(other.contains("text_model.encoder.layers.0"), "the same at each run: {other}");
    let alone = refused(&path("lora-bin"), &options());
    assert!(alone.contains("--lora"), "{alone}");
}

#[test]
fn the_version_of_peft_tells_how_often_an_outputs_delta_counts() {
    let place = tempfile::tempdir().unwrap();
    let lora = |adapter: PathBuf| import(&path("open-clip"), &Options { lora: Some(adapter), ..options() }).unwrap();
    let (plain, twice) = (import(&path("open-clip"), &options()).unwrap(), lora(data("lora-attention")));
    let once = lora(changed("lora-attention", place.path(), "peft_version", "0.22.0".into()));
    let of = |model: &Model| model.weights["image.blocks.0.attn.proj.weight"].data.clone();
    for ((plain, once), twice) in of(&plain).iter().zip(of(&once)).zip(of(&twice)) {
        assert!((2.0 * (once - plain) - (twice - plain)).abs() < 1e-5);
    }
}

#[test]
fn what_is_no_tensor_is_passed_over_and_named() {
    let files =
        Options { tokenizer: Some(data("files/tokenizer.json")), activation: Some(edge_seg_export::config::Activation::Gelu), ..options() };
    let files = Options { head_width: Some(8), text_head_width: Some(4), ..files };
    let clip = Options { preprocess: Some("clip".into()), ..files.clone() };
    let model = import(&path("files/extras.pt"), &files).unwrap();
    assert_golden(&model, "files");
    let said = model.report.passed_over.join("\n");
    for name in ["args: argparse.Namespace", "path: pathlib", "dtype: torch.bfloat16", "epoch: a number", "large: a number", "step: Long"] {
        assert!(said.contains(name), "{name} is not in\n{said}");
    }
    assert!(model.report.notes.iter().any(|note| note.contains("--preprocess")), "what was taken is said: {:?}", model.report.notes);
    assert!(import(&path("files/extras.pt"), &clip).unwrap().report.notes.is_empty());
    assert_golden(&import(&path("files/legacy.pt"), &files).unwrap(), "files");
    let message = refused(&path("files/module.pt"), &files);
    assert!(message.contains("open_clip.model.CLIP") && message.contains("state_dict()"), "{message}");
    let asked = refused(&path("files/extras.pt"), &Options { head_width: None, text_head_width: None, ..files });
    assert!(asked.contains("--head-width") && asked.contains("--text-head-width"), "{asked}");
}

/// A copy of a folder without one of its files.
fn without(folder: &str, file: &str) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(data(folder)).unwrap() {
        let entry = entry.unwrap().path();
        if entry.file_name().unwrap() != file {
            fs::copy(&entry, place.path().join(entry.file_name().unwrap())).unwrap();
        }
    }
    place
}

#[test]
fn a_folder_that_lacks_a_part_is_refused_with_the_parts_name() {
    for (folder, file, words) in [
        ("hf", "processor_config.json", "--preprocess"),
        ("siglip", "preprocessor_config.json", "--preprocess"),
        ("hf", "tokenizer.json", "--tokenizer"),
        ("hf-shards", "model-00002-of-00004.safetensors", "the shard model-00002-of-00004.safetensors"),
        ("siglip", "config.json", "ln_pre"),
        ("clipa", "open_clip_config.json", "preprocess"),
        ("tips", "config.json", "config.json"),
    ] {
        let place = without(folder, file);
        let message = refused(place.path().to_str().unwrap(), &options());
        assert!(message.contains(words), "{folder} without {file}: {message}");
    }
    let place = without("hf", "processor_config.json");
    let given = Options { preprocess: Some(data("hf/processor_config.json")), ..options() };
    let model = import(place.path().to_str().unwrap(), &given).unwrap();
    assert_eq!(model.config.preprocess.mean, [0.5; 3]);
}

/// Names of weights alone, as a file of safetensors.
fn named(names: &[&str]) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let one = [0u8; 4];
    let views = names.iter().map(|name| (*name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &one).unwrap()));
    safetensors::serialize_to_file(views, None, &place.path().join("model.safetensors")).unwrap();
    place
}

#[test]
fn image_towers_without_words_are_refused_by_name() {
    for names in [
        // PE-Spatial in Meta's form, and in timm's.
        &["class_embedding", "conv1.weight", "positional_embedding", "transformer.resblocks.0.ls_1.gamma"][..],
        &["blocks.0.attn.qkv.weight", "blocks.0.gamma_1", "patch_embed.proj.weight", "pos_embed"],
    ] {
        let place = named(names);
        let message = refused(place.path().to_str().unwrap(), &options());
        assert!(message.contains("PE-Spatial") && message.contains("PE-Core") && message.contains("text tower is missing"), "{message}");
    }
}

#[test]
fn a_cleaning_that_is_not_had_is_named() {
    let place = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(data("metaclip2")).unwrap() {
        let entry = entry.unwrap().path();
        fs::copy(&entry, place.path().join(entry.file_name().unwrap())).unwrap();
    }
    let file = place.path().join("open_clip_config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    for (key, value) in [("clean", "stem"), ("tokenizer_mode", "clips")] {
        config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = serde_json::json!({key: value});
        fs::write(&file, config.to_string()).unwrap();
        let message = refused(place.path().to_str().unwrap(), &options());
        assert!(message.contains(key) && message.contains(value), "{message}");
    }
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    // This one ends with id 1 of 10, and the model pools at the last entry.
    let other = Options { tokenizer: Some(data("hf/tokenizer.json")), ..options() };
    let message = refused(&path("open-clip"), &other);
    assert!(message.contains("tokenizer") && message.contains("ends each text with id 9"), "{message}");
}

/// A weight of a checkpoint, changed and written beside its descriptions.
fn with_weight(folder: &str, name: &str, change: impl Fn(&mut Tensor) -> safetensors::Dtype) -> tempfile::TempDir {
    let place = without(folder, "golden.safetensors");
    let file = ["model.safetensors", "open_clip_model.safetensors"].map(|f| place.path().join(f)).into_iter().find(|f| f.exists()).unwrap();
    let weights = edge_seg_export::checkpoint::read_safetensors(&file).unwrap();
    let named: Vec<_> = weights
        .into_iter()
        .map(|(n, mut tensor)| {
            let kind = if n == name { change(&mut tensor) } else { safetensors::Dtype::F32 };
            let bytes: Vec<u8> = match kind {
                safetensors::Dtype::F32 => tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect(),
                _ => tensor.data.iter().map(|_| 1).collect(),
            };
            (n, tensor.shape, kind, bytes)
        })
        .filter(|(_, _, _, bytes)| !bytes.is_empty())
        .collect();
    let views =
        named.iter().map(|(n, shape, kind, bytes)| (n.clone(), safetensors::tensor::TensorView::new(*kind, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, &file).unwrap();
    place
}

#[test]
fn a_weight_that_is_missing_transposed_or_of_another_type_is_named() {
    let small = Options { head_width: Some(8), pool_heads: Some(4), ..options() };
    for (folder, name, canonical) in [
        ("hf", "vision_model.encoder.layers.1.mlp.fc1.weight", "image.blocks.1.mlp.fc1.weight"),
        ("siglip", "vision_model.head.mlp.fc2.weight", "image.head.pool.mlp.fc2.weight"),
        ("tips", "vision_encoder.blocks.1.attn.qkv.weight", "image.blocks.1.attn.qkv.weight"),
        ("pe-core", "visual.trunk.attn_pool.kv.weight", "image.head.pool.attn.qkv.weight"),
        ("clipa", "transformer.resblocks.1.attn.in_proj_weight", "text.blocks.1.attn.qkv.weight"),
        ("siglip-timm", "visual.trunk.attn_pool.kv.weight", "image.head.pool.attn.qkv.weight"),
        ("eva02", "visual.trunk.blocks.1.mlp.fc1_g.weight", "image.blocks.1.mlp.gate.weight"),
        ("eva02", "visual.trunk.blocks.0.mlp.fc1_g.weight", "image.blocks.0.mlp.gate.weight"),
        ("metaclip2", "transformer.resblocks.1.attn.in_proj_weight", "text.blocks.1.attn.qkv.weight"),
    ] {
        let gone = with_weight(folder, name, |tensor| {
            *tensor = Tensor::new([0], vec![]);
            safetensors::Dtype::F32
        });
        let message = refused(gone.path().to_str().unwrap(), &small);
        assert!(message.contains(canonical), "{folder} without {name}: {message}");
        let turned = with_weight(folder, name, |tensor| {
            tensor.shape.reverse();
            safetensors::Dtype::F32
        });
        let message = refused(turned.path().to_str().unwrap(), &small);
        let part = canonical.trim_end_matches(".weight").rsplit('.').next().unwrap();
        assert!(message.contains(part) || message.contains("kv.weight"), "{folder}, {name} transposed: {message}");
        let integers = with_weight(folder, name, |_| safetensors::Dtype::I8);
        let message = refused(integers.path().to_str().unwrap(), &small);
        assert!(message.contains(name) && message.contains("I8"), "{folder}, {name} as integers: {message}");
    }
    // The same numbers under a name that is no weight are passed over.
    let counted = with_weight("hf", "logit_scale", |_| safetensors::Dtype::F32);
    assert!(import(counted.path().to_str().unwrap(), &options()).is_ok());
}

/// PE-Core in Meta's own form, whose file holds OpenAI's names for the blocks and PyTorch's own attention for the pooling.
#[test]
fn pe_core_in_metas_own_form_gives_the_same() {
    let weights = edge_seg_export::checkpoint::read_safetensors(&data("pe-core/open_clip_model.safetensors")).unwrap();
    let mut named: std::collections::BTreeMap<String, Tensor> = Default::default();
    let joined = |kind: &str| {
        let [q, kv] = ["q", "kv"].map(|part| &weights[&format!("visual.trunk.attn_pool.{part}.{kind}")]);
        let mut shape = q.shape.clone();
        shape[0] *= 3;
        Tensor::new(shape, [q.data.as_slice(), &kv.data].concat())
    };
    named.insert("visual.attn_pool.attn.in_proj_weight".into(), joined("weight"));
    named.insert("visual.attn_pool.attn.in_proj_bias".into(), joined("bias"));
    for (name, tensor) in &weights {
        let name = name.strip_prefix("text.").unwrap_or(name);
        if name.contains("attn_pool.q.") || name.contains("attn_pool.kv.") || name.ends_with("trunk.head.bias") {
            continue;
        }
        let (mut tensor, mut name) = (tensor.clone(), name.to_owned());
        for (timm, meta) in [
            ("visual.trunk.blocks.", "visual.transformer.resblocks."),
            ("visual.trunk.attn_pool.latent", "visual.attn_pool.probe"),
            ("visual.trunk.attn_pool.norm.", "visual.attn_pool.layernorm."),
            ("visual.trunk.attn_pool.proj.", "visual.attn_pool.attn.out_proj."),
            ("visual.trunk.attn_pool.mlp.fc1.", "visual.attn_pool.mlp.c_fc."),
            ("visual.trunk.attn_pool.mlp.fc2.", "visual.attn_pool.mlp.c_proj."),
            ("visual.trunk.patch_embed.proj.", "visual.conv1."),
            ("visual.trunk.cls_token", "visual.class_embedding"),
            ("visual.trunk.pos_embed", "visual.positional_embedding"),
            ("visual.trunk.norm_pre.", "visual.ln_pre."),
            ("visual.trunk.norm.", "visual.ln_post."),
            ("visual.trunk.head.weight", "visual.proj"),
        ] {
            if let Some(rest) = name.strip_prefix(timm) {
                name = format!("{meta}{rest}");
            }
        }
        if name.contains("visual.transformer") {
            name = name.replace(".attn.qkv.", ".attn.in_proj_").replace(".attn.proj.", ".attn.out_proj.").replace(".norm1.", ".ln_1.");
            name = name.replace(".norm2.", ".ln_2.").replace(".mlp.fc1.", ".mlp.c_fc.").replace(".mlp.fc2.", ".mlp.c_proj.");
        }
        if ["visual.class_embedding", "visual.positional_embedding"].contains(&name.as_str()) {
            tensor.shape.retain(|n| *n > 1);
        }
        if name == "visual.proj" {
            let [rows, columns] = tensor.shape[..] else { panic!("a matrix") };
            let data = (0..columns).flat_map(|c| (0..rows).map(move |r| (r, c))).map(|(r, c)| tensor.data[r * columns + c]).collect();
            tensor = Tensor::new([columns, rows], data);
        }
        named.insert(name, tensor);
    }
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("PE-Core.safetensors");
    let bytes: Vec<Vec<u8>> = named.values().map(|t| t.data.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views = named.iter().zip(&bytes).map(|((name, tensor), bytes)| {
        (name.clone(), safetensors::tensor::TensorView::new(safetensors::Dtype::F32, tensor.shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, &file).unwrap();
    let small = Options { head_width: Some(8), text_head_width: Some(4), pool_heads: Some(4), ..options() };
    let small =
        Options { tokenizer: Some(data("pe-core/tokenizer.json")), activation: Some(edge_seg_export::config::Activation::Gelu), ..small };
    let meta = import(file.to_str().unwrap(), &small).unwrap();
    let timm = import(&path("pe-core"), &small).unwrap();
    assert!(meta.report.notes.iter().any(|note| note.contains("PE-Core's own")), "{:?}", meta.report.notes);
    assert_eq!((meta.config.image.rotary, meta.config.image.heads), (timm.config.image.rotary, timm.config.image.heads));
    let bias = &timm.weights["image.head.projection.bias"].data;
    for (name, tensor) in &meta.weights {
        assert!(timm.weights[name] == *tensor, "{name}");
    }
    assert_eq!(timm.weights.len(), meta.weights.len() + 1, "timm's form has a bias besides, of {}", bias.len());
}
