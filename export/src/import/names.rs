//! The names that published checkpoints give their weights, to those of a model folder. A name that no rule knows is kept, so that the
//! strict load reports it as unused.

use std::collections::BTreeMap;

use crate::weights::{Tensor, Weights};

/// What the layers of a block are called in Hugging Face's CLIP, and here.
const HUGGING_FACE_BLOCK: [(&str, &str); 3] =
    [(".layer_norm1.", ".norm1."), (".layer_norm2.", ".norm2."), (".self_attn.out_proj.", ".attn.proj.")];

/// The same in OpenAI's CLIP, and in what was written after it.
const OPENAI_BLOCK: [(&str, &str); 8] = [
    (".ln_1.", ".norm1."),
    (".ln_2.", ".norm2."),
    (".attn.in_proj_", ".attn.qkv."),
    (".attn.out_proj.", ".attn.proj."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.fc1_x.", ".mlp.fc1."),
    (".mlp.fc1_g.", ".mlp.gate."),
    (".mlp.c_proj.", ".mlp.fc2."),
];

/// `name` with the first of `starts` that it has replaced, `whole` where it has none; then every layer of a block as `block` calls it.
fn renamed_by(name: &str, whole: &str, starts: &[(&str, &str)], block: &[(&str, &str)]) -> String {
    let start = starts.iter().find_map(|(old, new)| name.strip_prefix(old).map(|rest| format!("{new}{rest}")));
    block.iter().fold(start.unwrap_or_else(|| whole.into()), |name, (old, new)| name.replace(old, new))
}

/// Hugging Face's `CLIPModel`. Gives back `logit_scale` apart.
pub(super) fn from_hugging_face(weights: Weights) -> (Weights, Option<f32>) {
    let mut logit_scale = None;
    let mut renamed = Weights::new();
    // Query, key and value of a block wait here for one another.
    let mut parts: BTreeMap<String, [Option<Tensor>; 3]> = BTreeMap::new();
    for (name, tensor) in weights {
        if name == "logit_scale" {
            logit_scale = tensor.data.first().copied();
            continue;
        }
        // Counting numbers, which some tools store as floats.
        if name.ends_with("embeddings.position_ids") {
            continue;
        }
        let target = match name.as_str() {
            "visual_projection.weight" => "image.head.projection.weight".to_string(),
            "text_projection.weight" => "text.projection.weight".into(),
            "vision_model.embeddings.class_embedding" => "image.class_token".into(),
            "vision_model.embeddings.position_embedding.weight" => "image.positions".into(),
            "text_model.embeddings.token_embedding.weight" => "text.word_embeddings".into(),
            "text_model.embeddings.position_embedding.weight" => "text.position_embeddings".into(),
            "vision_model.head.probe" => "image.head.pool.probe".into(),
            _ => renamed_by(
                &name,
                &name,
                &[
                    ("vision_model.embeddings.patch_embedding.", "image.patch."),
                    ("vision_model.pre_layrnorm.", "image.ln_pre."),
                    ("vision_model.post_layernorm.", "image.norm."),
                    ("vision_model.encoder.layers.", "image.blocks."),
                    ("vision_model.head.attention.in_proj_", "image.head.pool.attn.qkv."),
                    ("vision_model.head.attention.out_proj.", "image.head.pool.attn.proj."),
                    ("vision_model.head.layernorm.", "image.head.pool.norm."),
                    ("vision_model.head.mlp.", "image.head.pool.mlp."),
                    ("text_model.head.", "text.projection."),
                    ("text_model.final_layer_norm.", "text.norm."),
                    ("text_model.encoder.layers.", "text.blocks."),
                ],
                &HUGGING_FACE_BLOCK,
            ),
        };
        let part = [".self_attn.q_proj.", ".self_attn.k_proj.", ".self_attn.v_proj."].iter().position(|p| target.contains(p));
        match part {
            Some(part) => {
                let joined = target.replace([".self_attn.q_proj.", ".self_attn.k_proj.", ".self_attn.v_proj."][part], ".attn.qkv.");
                parts.entry(joined).or_default()[part] = Some(tensor);
            }
            None => drop(renamed.insert(target, tensor)),
        }
    }
    for (name, parts) in parts {
        // With a part missing the load report names the whole.
        if let [Some(q), Some(k), Some(v)] = parts
            && q.shape == k.shape
            && k.shape == v.shape
        {
            let mut shape = q.shape.clone();
            shape[0] *= 3;
            renamed.insert(name, Tensor::new(shape, [q.data, k.data, v.data].concat()));
        }
    }
    (renamed, logit_scale)
}

/// OpenAI's state dict, which open_clip and TinyCLIP share. Gives back `logit_scale` apart.
pub(super) fn from_openai(mut weights: Weights) -> (Weights, Option<f32>) {
    fold_stem(&mut weights);
    let mut logit_scale = None;
    let mut renamed = Weights::new();
    for (full, mut tensor) in weights {
        let mut name = full.as_str();
        // open_clip's text tower where it is a module of its own.
        name = name.strip_prefix("text.").unwrap_or(name);
        // Sizes that OpenAI stores beside the weights, and the causal mask, which follows from the context.
        if ["input_resolution", "context_length", "vocab_size", "attn_mask"].contains(&name) {
            continue;
        }
        if name == "logit_scale" {
            logit_scale = tensor.data.first().copied();
            continue;
        }
        let target = match name {
            "visual.trunk.pos_embed" => "image.positions".to_string(),
            "visual.trunk.cls_token" => "image.class_token".into(),
            "visual.trunk.attn_pool.latent" => "image.head.pool.probe".into(),
            "visual.attn_pool.probe" => "image.head.pool.probe".into(),
            "visual.class_embedding" => "image.class_token".into(),
            "visual.positional_embedding" => "image.positions".into(),
            "visual.proj" => {
                tensor = transposed(tensor);
                "image.head.projection.weight".into()
            }
            "text_projection" => {
                tensor = transposed(tensor);
                "text.projection.weight".into()
            }
            "positional_embedding" => "text.position_embeddings".into(),
            "token_embedding.weight" => "text.word_embeddings".into(),
            _ => renamed_by(
                name,
                &full,
                &[
                    ("text_projection.", "text.projection."),
                    ("visual.trunk.patch_embed.proj.", "image.patch."),
                    ("visual.trunk.norm.", "image.norm."),
                    ("visual.trunk.norm_pre.", "image.ln_pre."),
                    ("visual.trunk.blocks.", "image.blocks."),
                    ("visual.trunk.attn_pool.proj.", "image.head.pool.attn.proj."),
                    ("visual.trunk.attn_pool.", "image.head.pool."),
                    ("visual.trunk.head.", "image.head.projection."),
                    ("visual.attn_pool.attn.in_proj_", "image.head.pool.attn.qkv."),
                    ("visual.attn_pool.attn.out_proj.", "image.head.pool.attn.proj."),
                    ("visual.attn_pool.layernorm.", "image.head.pool.norm."),
                    ("visual.attn_pool.mlp.", "image.head.pool.mlp."),
                    ("visual.conv1.", "image.patch."),
                    ("visual.ln_pre.", "image.ln_pre."),
                    ("visual.ln_post.", "image.norm."),
                    ("visual.transformer.resblocks.", "image.blocks."),
                    ("ln_final.", "text.norm."),
                    ("transformer.resblocks.", "text.blocks."),
                ],
                &OPENAI_BLOCK,
            ),
        };
        renamed.insert(target, tensor);
    }
    join_parts(&mut renamed);
    // timm keeps the pooling attention's query apart from its key and value.
    for kind in ["weight", "bias"] {
        let [query, pair] = ["q", "kv"].map(|part| format!("image.head.pool.{part}.{kind}"));
        if let (Some(q), Some(kv)) = (renamed.get(&query), renamed.get(&pair))
            && q.shape[1..] == kv.shape[1..]
            && kv.shape[0] == 2 * q.shape[0]
        {
            let (mut shape, data) = (q.shape.clone(), [q.data.as_slice(), &kv.data].concat());
            shape[0] *= 3;
            renamed.remove(&query);
            renamed.remove(&pair);
            renamed.insert(format!("image.head.pool.attn.qkv.{kind}"), Tensor::new(shape, data));
        }
    }
    (renamed, logit_scale)
}

/// EVA-02's query, key and value, of which the key has no bias.
fn join_parts(weights: &mut Weights) {
    let queries: Vec<String> = weights.keys().filter(|name| name.ends_with(".attn.q_proj.weight")).cloned().collect();
    for query in queries {
        let block = query.trim_end_matches("q_proj.weight");
        let part = |weights: &Weights, part: &str, kind: &str| weights.get(&format!("{block}{part}_proj.{kind}")).cloned();
        let parts = ["q", "k", "v"].map(|name| part(weights, name, "weight"));
        let biases = ["q", "v"].map(|name| part(weights, name, "bias"));
        // With a part missing the load report names the whole.
        let ([Some(q), Some(k), Some(v)], [Some(of_q), Some(of_v)]) = (parts, biases) else { continue };
        let alike = q.shape == k.shape && k.shape == v.shape && of_q.shape == of_v.shape && of_q.data.len() == q.shape[0];
        if !alike {
            continue;
        }
        for name in ["q_proj.weight", "k_proj.weight", "v_proj.weight", "q_proj.bias", "v_proj.bias"] {
            weights.remove(&format!("{block}{name}"));
        }
        let (mut shape, width) = (q.shape.clone(), of_q.data.len());
        shape[0] *= 3;
        weights.insert(format!("{block}qkv.weight"), Tensor::new(shape, [q.data, k.data, v.data].concat()));
        weights.insert(format!("{block}qkv.bias"), Tensor::new([3 * width], [of_q.data, vec![0.0; width], of_v.data].concat()));
    }
}

/// TIPS v2 of Hugging Face. Gives back the temperature apart.
///
/// Layer scales go into the layers before them, and the text tower's positions, which it computes, into a table.
pub(super) fn from_tips(weights: Weights, positions: usize, by_root: bool) -> (Weights, Option<f32>) {
    let mut temperature = None;
    let mut renamed = Weights::new();
    for (name, mut tensor) in weights {
        let target = match name.as_str() {
            "temperature" => {
                temperature = tensor.data.first().copied();
                continue;
            }
            // What stood for a hidden patch in training.
            "vision_encoder.mask_token" => continue,
            "vision_encoder.pos_embed" => "image.positions".to_string(),
            "vision_encoder.cls_token" => "image.class_token".into(),
            "vision_encoder.register_tokens" => "image.registers".into(),
            "text_encoder.token_embedding.weight" => {
                if by_root && let [_, width] = tensor.shape[..] {
                    tensor.data.iter_mut().for_each(|x| *x *= (width as f32).sqrt());
                    renamed.insert("text.position_embeddings".into(), sines(positions, width));
                }
                "text.word_embeddings".into()
            }
            _ => renamed_by(
                &name,
                &name,
                &[
                    ("vision_encoder.patch_embed.proj.", "image.patch."),
                    ("vision_encoder.norm.", "image.norm."),
                    ("vision_encoder.blocks.", "image.blocks."),
                    ("text_encoder.ln_final.", "text.norm."),
                    ("text_encoder.transformer.resblocks.", "text.blocks."),
                ],
                &OPENAI_BLOCK,
            ),
        };
        renamed.insert(target, tensor);
    }
    fold_layer_scales(&mut renamed);
    (renamed, temperature)
}

/// Puts each block's layer scales into the rows of the layers before them.
fn fold_layer_scales(weights: &mut Weights) {
    let scales: Vec<String> = weights.keys().filter(|name| name.ends_with(".ls1.gamma") || name.ends_with(".ls2.gamma")).cloned().collect();
    for name in scales {
        let (block, which) = name.rsplit_once(".ls").unwrap_or_default();
        let layer = if which.starts_with('1') { "attn.proj" } else { "mlp.fc2" };
        let fits = |kind: &str| weights.get(&format!("{block}.{layer}.{kind}")).is_some_and(|t| t.shape[0] == weights[&name].data.len());
        if !fits("weight") || !fits("bias") {
            continue; // the load report names it
        }
        let Some(scale) = weights.remove(&name) else { continue };
        for kind in ["weight", "bias"] {
            if let Some(tensor) = weights.get_mut(&format!("{block}.{layer}.{kind}")) {
                let row = tensor.data.len() / scale.data.len();
                tensor.data.chunks_exact_mut(row).zip(&scale.data).for_each(|(row, s)| row.iter_mut().for_each(|x| *x *= s));
            }
        }
    }
}

/// Sines, then cosines, of a place times falling frequencies (Vaswani et al. 2017, as fairseq lays them out).
fn sines(rows: usize, width: usize) -> Tensor {
    let half = width / 2;
    let step = 10_000f64.ln() / (half.max(2) - 1) as f64;
    let row = |at: usize| {
        let angles: Vec<f64> = (0..half).map(|k| at as f64 * (-step * k as f64).exp()).collect();
        let both: Vec<f32> = angles.iter().map(|a| a.sin() as f32).chain(angles.iter().map(|a| a.cos() as f32)).collect();
        both.into_iter().chain(std::iter::repeat_n(0.0, width % 2))
    };
    Tensor::new([rows, width], (0..rows).flat_map(row).collect())
}

/// MobileCLIP's stem: each convolution but the last with its batch norm folded in.
fn fold_stem(weights: &mut Weights) {
    let stem = "visual.trunk.patch_embed.backbone.";
    let last = (0..8).take_while(|n| weights.contains_key(&format!("{stem}{n}.conv.weight"))).last();
    for n in 0..last.map_or(0, |last| last + 1) {
        let part = |kind: &str| format!("{stem}{n}.{kind}");
        let target = if Some(n) == last { "image.patch".to_owned() } else { format!("image.stem.{n}") };
        let norm = ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"].map(|kind| weights.get(&part(kind)).cloned());
        let bias = weights.get(&part("conv.bias")).cloned();
        let Some(mut weight) = weights.get(&part("conv.weight")).cloned() else { continue };
        let rows = weight.shape.first().copied().unwrap_or(0);
        let bias = match (norm, bias) {
            ([Some(gain), Some(shift), Some(mean), Some(variance)], None)
                if [&gain, &shift, &mean, &variance].iter().all(|t| t.data.len() == rows) =>
            {
                let factors: Vec<f32> = gain.data.iter().zip(&variance.data).map(|(g, v)| g / (v + BATCH_NORM_EPS).sqrt()).collect();
                let row = weight.data.len() / rows.max(1);
                weight.data.chunks_exact_mut(row.max(1)).zip(&factors).for_each(|(row, f)| row.iter_mut().for_each(|x| *x *= f));
                let values = shift.data.iter().zip(&mean.data).zip(&factors).map(|((s, m), f)| s - m * f);
                Tensor::new([rows], values.collect())
            }
            ([None, None, None, None], Some(bias)) => bias,
            _ => continue, // the load report names what is left
        };
        for kind in ["conv.weight", "conv.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"] {
            weights.remove(&part(kind));
        }
        weights.insert(format!("{target}.weight"), weight);
        weights.insert(format!("{target}.bias"), bias);
    }
}

/// PyTorch's own.
const BATCH_NORM_EPS: f32 = 1e-5;

/// Drops axes of one that some publishers put before tokens and positions, and gives a tower whose positions are the patches' alone a first
/// row of zeros, as a model folder has it.
pub(super) fn settle_tokens(weights: &mut Weights) {
    for (name, rank) in [("image.positions", 2), ("image.class_token", 1), ("image.registers", 2), ("image.head.pool.probe", 1)] {
        if let Some(tensor) = weights.get_mut(name) {
            while tensor.shape.len() > rank && tensor.shape[0] == 1 {
                tensor.shape.remove(0);
            }
        }
    }
    let squares = |rows: usize| ((rows as f64).sqrt().round() as usize).pow(2) == rows;
    let without_class = weights.get("image.positions").is_some_and(|t| squares(t.shape[0]) && !squares(t.shape[0].wrapping_sub(1)));
    if (without_class || !weights.contains_key("image.class_token"))
        && let Some(positions) = weights.get_mut("image.positions")
        && let [rows, width] = positions.shape[..]
    {
        positions.shape = vec![1 + rows, width];
        positions.data.splice(0..0, std::iter::repeat_n(0.0, width));
    }
}

/// Whether these are TCL's names (Cha et al., CVPR 2023).
pub(super) fn is_tcl(weights: &Weights) -> bool {
    weights.contains_key("masker.sim2mask.w")
}

/// TCL's state dict to OpenAI's names, its own parts to those of a model folder. Gives back the learned scale and bias of the similarity apart.
pub(super) fn from_tcl(weights: Weights) -> (Weights, Option<(f32, f32)>) {
    let (mut scale, mut bias) = (None, None);
    let mut renamed = Weights::new();
    for (name, tensor) in weights {
        match name.as_str() {
            "masker.sim2mask.w" => scale = tensor.data.first().copied(),
            "masker.sim2mask.b" => bias = tensor.data.first().copied(),
            "clip_image_encoder.clip_proj.proj" => drop(renamed.insert("image.projection.weight".into(), transposed(tensor))),
            "masker.image_encoder.decoder.image_proj.proj" => {
                drop(renamed.insert("image.head.projection.weight".into(), transposed(tensor)))
            }
            _ => {
                let (target, tensor) = tcl_name(&name, tensor);
                renamed.insert(target, tensor);
            }
        }
    }
    (renamed, scale.zip(bias))
}

fn tcl_name(name: &str, tensor: Tensor) -> (String, Tensor) {
    let starts = [
        ("clip_text_encoder.", ""),
        ("clip_image_encoder.clip_visual.", "visual."),
        ("clip_image_encoder.clip_proj.ln.", "visual.ln_post."),
        ("masker.image_encoder.backbone.transformer.resblocks.0.", "image.head.block."),
        ("masker.image_encoder.decoder.image_proj.ln.", "image.head.norm."),
    ];
    let renamed = renamed_by(name, name, &starts, &[]);
    if renamed != name {
        return (renamed, tensor);
    }
    // net.LAYER.conv.* and net.LAYER.conv2.*
    let layer = name.strip_prefix("masker.image_encoder.decoder.decoder.net.").and_then(|rest| rest.split_once('.'));
    if let Some((layer, rest)) = layer
        && let Ok(layer) = layer.parse::<usize>()
        && let Some((second, rest)) = rest.strip_prefix("conv.").map(|r| (0, r)).or_else(|| rest.strip_prefix("conv2.").map(|r| (1, r)))
    {
        let target = format!("image.head.convs.{}.", 2 * layer.min(1 << 16) + second);
        return match rest {
            "gate.gate" => (target + "gate", Tensor::new([tensor.data.len()], tensor.data)),
            _ => (target + rest, tensor),
        };
    }
    (name.into(), tensor)
}

fn transposed(tensor: Tensor) -> Tensor {
    let [rows, columns] = tensor.shape[..] else { return tensor };
    let data = (0..columns).flat_map(|c| (0..rows).map(move |r| (r, c))).map(|(r, c)| tensor.data[r * columns + c]).collect();
    Tensor::new([columns, rows], data)
}
