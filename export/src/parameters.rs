//! Which weights an architecture has, by their names in a model folder, with their shapes.

use crate::config::{Global, Head, ModelConfig, TextArch};

/// Name and shape of every weight that `config` needs, image tower first.
pub fn parameters(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let mut list = List(Vec::new());
    let image = &config.image;
    let (width, [channels, patch]) = (image.width, image.patch_kernel());
    let mut inputs = 3;
    for (n, [channels, side]) in image.stem.iter().enumerate() {
        list.add(&format!("image.stem.{n}.weight"), &[*channels, inputs, *side, *side]);
        list.add(&format!("image.stem.{n}.bias"), &[*channels]);
        inputs = *channels;
    }
    list.add("image.patch.weight", &[width, channels, patch, patch]);
    if image.patch_bias {
        list.add("image.patch.bias", &[width]);
    }
    if image.class_token {
        list.add("image.class_token", &[width]);
    }
    if image.registers > 0 {
        list.add("image.registers", &[image.registers, width]);
    }
    list.add("image.positions", &[1 + image.grid[0] * image.grid[1], width]);
    if image.pre_norm {
        list.norm("image.ln_pre", width);
    }
    for n in 0..image.layers {
        let name = format!("image.blocks.{n}");
        list.block(&name, width, image.mlp_width);
        if image.gated {
            list.norm(&format!("{name}.attn.norm"), width);
            list.linear(&format!("{name}.mlp.gate"), image.mlp_width, width);
            list.norm(&format!("{name}.mlp.norm"), image.mlp_width);
        }
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
        Head::Maskclip {} | Head::Attention { .. } if !image.projection => {}
        Head::Maskclip {} | Head::Attention { .. } => {
            list.add("image.head.projection.weight", &[config.embedding_dim, width]);
            if image.projection_bias {
                list.add("image.head.projection.bias", &[config.embedding_dim]);
            }
        }
        Head::Pooled { mlp_width, projection, projection_bias, .. } => {
            list.add("image.head.pool.probe", &[width]);
            list.linear("image.head.pool.attn.qkv", 3 * width, width);
            list.linear("image.head.pool.attn.proj", width, width);
            list.norm("image.head.pool.norm", width);
            list.linear("image.head.pool.mlp.fc1", *mlp_width, width);
            list.linear("image.head.pool.mlp.fc2", width, *mlp_width);
            if *projection {
                list.add("image.head.projection.weight", &[config.embedding_dim, width]);
            }
            if *projection_bias {
                list.add("image.head.projection.bias", &[config.embedding_dim]);
            }
        }
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
            if image.global != Global::Mean {
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
    if text.arch != TextArch::Bert {
        list.norm("text.norm", text.width);
    }
    if text.projection {
        list.add("text.projection.weight", &[config.embedding_dim, text.width]);
        if text.projection_bias {
            list.add("text.projection.bias", &[config.embedding_dim]);
        }
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
