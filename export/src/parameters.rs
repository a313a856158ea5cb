//! Which weights an architecture has, by their names in a model folder, with their shapes.

use crate::config::{Global, Head, ModelConfig, TextArch};

/// Name and shape of every weight that `config` needs, image tower first.
pub fn parameters(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let mut list = List(Vec::new());
    let image = &config.image;
    let (width, patch) = (image.width, image.patch_px);
    list.add("image.patch.weight", &[width, 3, patch, patch]);
    if image.patch_bias {
        list.add("image.patch.bias", &[width]);
    }
    list.add("image.class_token", &[width]);
    list.add("image.positions", &[1 + image.grid[0] * image.grid[1], width]);
    if image.pre_norm {
        list.norm("image.ln_pre", width);
    }
    for n in 0..image.layers {
        list.block(&format!("image.blocks.{n}"), width, image.mlp_width);
    }
    list.norm("image.norm", width);
    match &image.head {
        Head::Fusion { taps, hidden } => {
            for i in 0..taps.len() {
                list.norm(&format!("image.head.norms.{i}"), width);
            }
            list.linear("image.head.fc1", *hidden, taps.len() * width);
            list.linear("image.head.fc2", config.embedding_dim, *hidden);
        }
        Head::Maskclip {} | Head::Attention { .. } => list.add("image.head.projection.weight", &[config.embedding_dim, width]),
        Head::Tcl { layers } => {
            list.block("image.head.block", width, image.mlp_width);
            for n in 0..2 * layers {
                list.norm(&format!("image.head.convs.{n}.norm"), width);
                list.add(&format!("image.head.convs.{n}.conv.weight"), &[width, width, 3, 3]);
                list.add(&format!("image.head.convs.{n}.conv.bias"), &[width]);
                list.add(&format!("image.head.convs.{n}.gate"), &[1]);
            }
            list.norm("image.head.norm", width);
            list.add("image.head.projection.weight", &[config.embedding_dim, width]);
            if image.global == Global::Class {
                list.add("image.projection.weight", &[config.embedding_dim, width]);
            }
        }
    }

    let text = &config.text;
    list.add("text.word_embeddings", &[text.vocab, text.width]);
    list.add("text.position_embeddings", &[text.positions, text.width]);
    if text.arch == TextArch::Bert {
        list.add("text.type_embedding", &[text.width]);
        list.norm("text.embedding_norm", text.width);
    }
    for n in 0..text.layers {
        list.block(&format!("text.blocks.{n}"), text.width, text.mlp_width);
    }
    if text.arch == TextArch::Clip {
        list.norm("text.norm", text.width);
    }
    if text.projection {
        list.add("text.projection.weight", &[config.embedding_dim, text.width]);
    }
    list.0
}

struct List(Vec<(String, Vec<usize>)>);

impl List {
    fn add(&mut self, name: &str, shape: &[usize]) {
        self.0.push((name.into(), shape.to_vec()));
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.add(&format!("{name}.weight"), &[width]);
        self.add(&format!("{name}.bias"), &[width]);
    }

    fn linear(&mut self, name: &str, out: usize, inputs: usize) {
        self.add(&format!("{name}.weight"), &[out, inputs]);
        self.add(&format!("{name}.bias"), &[out]);
    }

    fn block(&mut self, name: &str, width: usize, mlp: usize) {
        self.norm(&format!("{name}.norm1"), width);
        self.linear(&format!("{name}.attn.qkv"), 3 * width, width);
        self.linear(&format!("{name}.attn.proj"), width, width);
        self.norm(&format!("{name}.norm2"), width);
        self.linear(&format!("{name}.mlp.fc1"), mlp, width);
        self.linear(&format!("{name}.mlp.fc2"), width, mlp);
    }
}
