//! Published checkpoints of one small CLIP, as each family lays them out, against the model folder of the same weights.

use std::path::{Path, PathBuf};

use edge_seg_export::checkpoint::{Model, Weights, read_safetensors};
use edge_seg_export::config::Activation;
use edge_seg_export::import::{self, Options, pickle, write};
use edge_seg_tests::root;

fn data(name: &str) -> PathBuf {
    root().join("tests/data").join(name)
}

fn options() -> Options {
    Options {
        name: "tiny-clip".into(),
        tokenizer: Some(data("tiny-clip/tokenizer.json")),
        key: None,
        lora: None,
        lora_alpha: None,
        base: None,
        head: None,
        partial: false,
        activation: Some(Activation::QuickGelu),
        head_width: Some(16),
        text_head_width: Some(8),
        pool_heads: None,
        preprocess: None,
        fit: None,
        templates: vec!["{}".into()],
        input_px: None,
        licence: "Apache-2.0".into(),
    }
}

/// As [`options`], with a tokenizer whose end is the vocabulary's last entry, where OpenAI's tower looks for it.
fn openai() -> Options {
    Options { tokenizer: Some(data("clip-sources/tokenizer.json")), ..options() }
}

fn import(source: &Path, options: &Options) -> edge_seg_export::Result<Model> {
    import::import(source.to_str().unwrap(), options)
}

fn expected() -> Model {
    Model::read(&data("tiny-clip")).unwrap()
}

fn assert_same(found: &Weights, expected: &Weights) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, tensor) in expected {
        assert!(found[name] == *tensor, "{name} differs");
    }
}

#[test]
fn a_hugging_face_folder_says_everything_itself() {
    let model = import(
        &data("clip-sources/hf"),
        &Options { tokenizer: None, activation: None, head_width: None, text_head_width: None, ..options() },
    )
    .unwrap();
    let expected = expected();
    assert_same(&model.weights, &expected.weights);
    assert_eq!((&model.config.image, &model.config.text), (&expected.config.image, &expected.config.text));
    assert_eq!((model.config.embedding_dim, model.config.context), (expected.config.embedding_dim, expected.config.context));
    assert_eq!(model.config.preprocess, expected.config.preprocess);
    let logit_scale = read_safetensors(&data("clip-sources/hf/model.safetensors")).unwrap()["logit_scale"].data[0];
    assert_eq!(model.config.logit_scale, logit_scale.exp());
}

#[test]
fn openais_state_dict_and_torchscript_hold_the_same_weights() {
    for file in ["clip-sources/openai.pt", "clip-sources/script.pt"] {
        let model = import(&data(file), &openai()).unwrap();
        let expected = expected();
        assert_same(&model.weights, &expected.weights);
        assert_eq!(model.config.image, expected.config.image, "{file}");
        assert!((model.config.logit_scale - 100.0).abs() < 0.1, "{}", model.config.logit_scale);
    }
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let model = import(&data("clip-sources/openai.pt"), &openai()).unwrap();
    write(folder.path(), &model).unwrap();
    let again = Model::read(folder.path()).unwrap();
    assert_eq!(again.config, model.config);
    assert_same(&again.weights, &model.weights);
}

#[test]
fn a_lora_is_merged_where_it_belongs() {
    let lora = data("clip-sources/lora");
    let model = import(&data("clip-sources/hf"), &Options { lora: Some(lora.clone()), ..options() }).unwrap();
    let merged = &read_safetensors(&lora.join("merged.safetensors")).unwrap()["merged"];
    let (name, width) = ("image.blocks.1.attn.qkv.weight", 32);
    let before = expected();
    let (found, before) = (&model.weights[name].data, &before.weights[name].data);
    let value = 2 * width * width;
    assert_eq!(found[..value], before[..value], "query and key have no LoRA");
    let difference = found[value..].iter().zip(&merged.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference < 1e-5, "{difference}");
    assert!(found[value..] != before[value..]);
    // OpenAI's names are not those that this LoRA was made for.
    let refused = import(&data("clip-sources/openai.pt"), &Options { lora: Some(lora), ..options() }).unwrap_err().to_string();
    assert!(refused.contains("vision_model.encoder.layers.1.self_attn.v_proj.weight"), "{refused}");
}

#[test]
fn a_pickle_that_wants_to_run_something_is_refused_by_name() {
    let refused = pickle::read(&data("clip-sources/hostile.pt")).unwrap_err().to_string();
    assert!(refused.contains("system") && refused.contains("nothing of it was run"), "{refused}");
    assert!(!Path::new("hacked").exists());
}

#[test]
fn what_the_source_does_not_say_must_be_said() {
    let file = data("clip-sources/openai.pt");
    let no_tokenizer = import(&file, &Options { tokenizer: None, ..options() }).unwrap_err().to_string();
    assert!(no_tokenizer.contains("--tokenizer"), "{no_tokenizer}");
    let no_activation = import(&file, &Options { activation: None, ..options() }).unwrap_err().to_string();
    assert!(no_activation.contains("--activation"), "{no_activation}");
    let heads = import(&file, &Options { head_width: Some(5), ..options() }).unwrap_err().to_string();
    assert!(heads.contains("image.heads"), "{heads}");
}

#[test]
fn cut_and_changed_archives_are_refused() {
    let whole = std::fs::read(data("clip-sources/openai.pt")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pt");
    for cut in [0, 1, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(pickle::read(&path).is_err(), "cut at {cut}");
    }
    let mut changed = whole;
    let middle = changed.len() / 2;
    changed[middle] ^= 0x55;
    std::fs::write(&path, &changed).unwrap();
    assert!(pickle::read(&path).is_err(), "the archive's checksums cover its entries");
}

#[test]
fn a_file_of_another_kind_is_named() {
    let refused = import(&data("tiny-clip/config.json"), &options()).unwrap_err().to_string();
    assert!(refused.contains("config.json") && refused.contains(".safetensors"), "{refused}");
}
