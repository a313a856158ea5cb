//! What an import reads: a file of weights, alone or in a folder with its descriptions.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::files::{WEIGHTS, read_json};
#[cfg(feature = "hub")]
use super::hub;
use super::{pickle, tokenizer};
use crate::checkpoint::{Contents, read_contents};
use crate::{Error, Result};

/// Endings of files of weights under any other name.
const ENDINGS: [&str; 7] = [".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pth.tar", ".pt.tar"];

/// A place with weights.
pub(super) struct Source {
    /// Its name in errors.
    pub place: String,
    /// What was decided in finding it.
    pub notes: Vec<String>,
    folder: Option<PathBuf>,
    file: PathBuf,
}

/// The name on the hub that is meant by its address, or by itself where it looks like one.
fn id_of(name: &str) -> Option<&str> {
    let of_address =
        name.strip_prefix("https://").and_then(|rest| rest.strip_prefix("huggingface.co/").or_else(|| rest.strip_prefix("hf.co/")));
    let id = of_address.unwrap_or(name).trim_end_matches('/');
    let (owner, model) = id.split_once('/')?;
    let is_plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let is_name = is_plain(owner) && is_plain(model) && !owner.starts_with('.') && !Path::new(owner).exists();
    let is_file = ENDINGS.iter().any(|ending| model.ends_with(ending));
    (is_name && !is_file).then_some(id)
}

impl Source {
    /// A file, a folder, or `hf:owner/name[@revision]`.
    pub(super) fn find(name: &str) -> Result<Self> {
        let path = match name.strip_prefix("hf:") {
            #[cfg(feature = "hub")]
            Some(id) => hub::fetch(id)?,
            #[cfg(not(feature = "hub"))]
            Some(_) => {
                return Err(Error::file(name, "source", "a file or a folder, or a build with the feature `hub`", "a name on the hub"));
            }
            None => PathBuf::from(name),
        };
        if !path.exists()
            && let Some(id) = id_of(name)
        {
            return Err(Error::file(
                name,
                "source",
                "a file, a folder or hf:OWNER/NAME",
                format!("none of that name here; did you mean hf:{id}?"),
            ));
        }
        if !path.is_dir() {
            return Ok(Self { place: name.into(), notes: Vec::new(), folder: None, file: path });
        }
        if let Some(file) = WEIGHTS.iter().map(|n| path.join(n)).find(|p| p.exists()) {
            return Ok(Self { place: name.into(), notes: Vec::new(), folder: Some(path), file });
        }
        let mut names: Vec<String> =
            std::fs::read_dir(&path).map_err(Error::io(&path))?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        if names.iter().any(|n| n == ".metadata") || names.iter().any(|n| n.ends_with(".distcp")) {
            let expected = "one file; python -m torch.distributed.checkpoint.format_utils dcp_to_torch_save FOLDER FILE.pt makes it";
            return Err(Error::file(name, "folder", expected, "a distributed checkpoint (DCP), whose tensors lie in pieces"));
        }
        if names.iter().any(|n| n == "adapter_config.json") {
            let expected = "the model that the adapter belongs to, and the adapter by --lora FOLDER";
            return Err(Error::file(name, "folder", expected, "an adapter of peft alone"));
        }
        let known = |n: &&String| ENDINGS.iter().any(|ending| n.ends_with(ending)) && !is_no_model(n);
        let found: Vec<&String> = names.iter().filter(known).collect();
        // `save_pretrained(variant="fp16")` puts the variant's name before the ending.
        let variants: Vec<&String> = found.iter().copied().filter(|n| is_variant(n)).collect();
        let found = if variants.len() == 1 { variants } else { found };
        match found[..] {
            [only] => Ok(Self {
                place: name.into(),
                notes: vec![format!("weights: {only}, the folder's only ones")],
                file: path.join(only),
                folder: Some(path.clone()),
            }),
            [] => Err(Error::file(name, "folder", WEIGHTS.join(", "), if names.is_empty() { "nothing".into() } else { names.join(", ") })),
            _ => {
                let found = found.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
                Err(Error::file(name, "folder", format!("{}; or name one of the folder's files as the source", WEIGHTS.join(", ")), found))
            }
        }
    }

    pub(super) fn contents(&self) -> Result<Contents> {
        if self.file.to_string_lossy().ends_with(".index.json") { read_shards(&self.file) } else { read_weights(&self.file) }
    }

    /// Whether descriptions may lie beside the weights.
    pub(super) fn is_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// A JSON file of the folder, if it is there.
    pub(super) fn json(&self, name: &str) -> Result<Option<Value>> {
        let Some(path) = self.folder.as_ref().map(|f| f.join(name)) else { return Ok(None) };
        if path.try_exists().map_err(Error::io(&path))? { read_json(&path).map(Some) } else { Ok(None) }
    }

    /// `given`, or the folder's own tokenizer, made from its vocabulary where it has no tokenizer.json.
    pub(super) fn tokenizer(&self, given: Option<&Path>) -> Result<Vec<u8>> {
        if let Some(path) = given {
            return tokenizer::read(path);
        }
        if let Some(folder) = &self.folder {
            let (ready, vocabulary) = (folder.join("tokenizer.json"), folder.join("vocab.json"));
            if ready.exists() {
                return tokenizer::read(&ready);
            }
            if vocabulary.exists() && folder.join("merges.txt").exists() {
                return tokenizer::from_vocabulary(&vocabulary, &folder.join("merges.txt"));
            }
        }
        let expected = "tokenizer.json (or vocab.json and merges.txt) beside the weights, or one named by --tokenizer: CLIP's \
                        tokenizer.json, or its vocabulary file bpe_simple_vocab_16e6.txt, from which one is made";
        Err(Error::file(&self.place, "tokenizer", expected, "none"))
    }
}

fn is_variant(name: &str) -> bool {
    [("model.", ".safetensors"), ("pytorch_model.", ".bin")].iter().any(|(start, end)| {
        name.strip_prefix(start)
            .and_then(|rest| rest.strip_suffix(end))
            .is_some_and(|variant| !variant.is_empty() && !variant.contains('.'))
    })
}

/// Files that training scripts leave beside a model's weights.
fn is_no_model(name: &str) -> bool {
    ["optimizer", "scheduler", "scaler", "rng_state", "random_states", "training_args", "adapter_model"].iter().any(|n| name.starts_with(n))
}

/// The shards that an index names; every tensor from the shard that the index gives it to.
fn read_shards(index: &Path) -> Result<Contents> {
    let place = index.display().to_string();
    let map = read_json(index)?;
    let map =
        map["weight_map"].as_object().ok_or_else(|| Error::file(&place, "weight_map", "names of tensors and of their files", "none"))?;
    let mut files: Vec<&str> = Vec::new();
    for (name, file) in map {
        let file = file.as_str().filter(|f| !f.is_empty() && !f.contains(['/', '\\']) && *f != "..");
        let file = file.ok_or_else(|| Error::file(&place, name, "the name of a file beside the index", map[name].to_string()))?;
        if !files.contains(&file) {
            files.push(file);
        }
    }
    files.sort_unstable();
    let mut all = Contents::default();
    for file in files {
        let path = index.with_file_name(file);
        if !path.exists() {
            return Err(Error::file(&place, "weight_map", format!("the shard {file} beside the index"), "none"));
        }
        let shard = read_weights(&path)?;
        let here = |name: &String| map.get(name).is_none_or(|f| f == file);
        all.weights.extend(shard.weights.into_iter().filter(|(name, _)| here(name)));
        all.others.extend(shard.others.into_iter().filter(|(name, _)| here(name)));
    }
    if let Some(absent) = map.keys().find(|name| !all.weights.contains_key(*name) && !all.others.contains_key(*name)) {
        return Err(Error::file(&place, absent, "a tensor in the shard that the index names", format!("none in {}", map[absent])));
    }
    Ok(all)
}

/// Reads a file of weights of any format that is known, by what it begins with.
pub(super) fn read_weights(path: &Path) -> Result<Contents> {
    let mut start = Vec::new();
    std::fs::File::open(path).map_err(Error::io(path))?.take(16).read_to_end(&mut start).map_err(Error::io(path))?;
    let refuse = |expected: &str, found: &str| Err(Error::file(path.display().to_string(), "file", expected, found));
    let expected = "weights as safetensors or as torch.save writes them (.safetensors, .pt, .pth, .bin, .ckpt)";
    let header = start.first_chunk::<8>().map(|b| u64::from_le_bytes(*b));
    match &start[..] {
        [b'P', b'K', ..] | [0x80, 2..=5, ..] => pickle::read(path),
        [_, _, _, _, _, _, _, _, b'{', ..] if header.is_some_and(|len| len < 1 << 32) => read_contents(path),
        [b'G', b'G', b'U', b'F', ..] => refuse(expected, "a GGUF file, whose weights are quantized: take the model that it was made from"),
        [0x89, b'H', b'D', b'F', ..] => {
            refuse(expected, "an HDF5 file (TensorFlow, Keras): take the PyTorch or safetensors weights of the model")
        }
        [0x08, _, 0x12, ..] | [0x08, _, 0x1a, ..] | [0x08, _, 0x3a, ..] => refuse(
            expected,
            "an ONNX file, which is a graph and not weights; try: edge-seg-export bundle --image-onnx IMAGE.onnx --text-onnx TEXT.onnx",
        ),
        b"version https://" => refuse("the file itself (git lfs pull fetches it)", "a pointer of Git LFS"),
        [] => refuse(expected, "an empty file"),
        _ if start.starts_with(&edge_seg_bundle::MAGIC) => refuse(
            expected,
            "a model bundle (.esb), which is ready to run; try: edge-seg inspect, or edge-seg-export extract for the files in it",
        ),
        _ if path.extension().is_some_and(|e| e == "safetensors") => read_contents(path),
        _ => refuse(expected, edge_seg_bundle::kind_of(&start).unwrap_or("something else")),
    }
}
