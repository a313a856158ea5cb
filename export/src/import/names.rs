//! The names that published checkpoints give their weights, to those of a model folder. A name that no rule knows is kept, so that the
//! strict load reports it as unused.

use std::collections::BTreeMap;

use crate::checkpoint::{Tensor, Weights};

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
            _ => [
                ("vision_model.embeddings.patch_embedding.", "image.patch."),
                ("vision_model.pre_layrnorm.", "image.ln_pre."),
                ("vision_model.post_layernorm.", "image.norm."),
                ("vision_model.encoder.layers.", "image.blocks."),
                ("text_model.final_layer_norm.", "text.norm."),
                ("text_model.encoder.layers.", "text.blocks."),
            ]
            .iter()
            .find_map(|(old, new)| name.strip_prefix(old).map(|rest| format!("{new}{rest}")))
            .unwrap_or_else(|| name.clone())
            .replace(".layer_norm1.", ".norm1.")
            .replace(".layer_norm2.", ".norm2.")
            .replace(".self_attn.out_proj.", ".attn.proj."),
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
pub(super) fn from_openai(weights: Weights) -> (Weights, Option<f32>) {
    let mut logit_scale = None;
    let mut renamed = Weights::new();
    for (full, mut tensor) in weights {
        let mut name = full.as_str();
        // Wrappers of training scripts, in any nesting.
        while let Some(rest) = ["state_dict.", "module.", "_image_encoder.", "_text_encoder.", "_logit_scale.", "text."]
            .iter()
            .find_map(|p| name.strip_prefix(p))
        {
            name = rest;
        }
        // Sizes that OpenAI stores beside the weights, and the causal mask, which follows from the context.
        if ["input_resolution", "context_length", "vocab_size", "attn_mask"].contains(&name) {
            continue;
        }
        if name == "logit_scale" {
            logit_scale = tensor.data.first().copied();
            continue;
        }
        let target = match name {
            "visual.class_embedding" => "image.class_token".to_string(),
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
            _ => [
                ("visual.conv1.", "image.patch."),
                ("visual.ln_pre.", "image.ln_pre."),
                ("visual.ln_post.", "image.norm."),
                ("visual.transformer.resblocks.", "image.blocks."),
                ("ln_final.", "text.norm."),
                ("transformer.resblocks.", "text.blocks."),
            ]
            .iter()
            .find_map(|(old, new)| name.strip_prefix(old).map(|rest| format!("{new}{rest}")))
            .unwrap_or_else(|| full.clone())
            .replace(".ln_1.", ".norm1.")
            .replace(".ln_2.", ".norm2.")
            .replace(".attn.in_proj_", ".attn.qkv.")
            .replace(".attn.out_proj.", ".attn.proj.")
            .replace(".mlp.c_fc.", ".mlp.fc1.")
            .replace(".mlp.c_proj.", ".mlp.fc2."),
        };
        renamed.insert(target, tensor);
    }
    (renamed, logit_scale)
}

/// Whether these are TCL's names (Cha et al., CVPR 2023).
pub(super) fn is_tcl(weights: &Weights) -> bool {
    weights.keys().any(|name| name.ends_with("masker.sim2mask.w"))
}

/// TCL's state dict to OpenAI's names, its own parts to those of a model folder. Gives back the learned scale and bias of the similarity apart.
///
/// What a training run stores beside the model (optimizer, scaler) is left out.
pub(super) fn from_tcl(weights: Weights) -> (Weights, Option<(f32, f32)>) {
    let nested = weights.keys().any(|name| name.starts_with("model.masker."));
    let (mut scale, mut bias) = (None, None);
    let mut renamed = Weights::new();
    for (full, tensor) in weights {
        let name = match full.strip_prefix("model.") {
            Some(rest) => rest,
            None if nested => continue,
            None => full.as_str(),
        };
        match name {
            "masker.sim2mask.w" => scale = tensor.data.first().copied(),
            "masker.sim2mask.b" => bias = tensor.data.first().copied(),
            "clip_image_encoder.clip_proj.proj" => drop(renamed.insert("image.projection.weight".into(), transposed(tensor))),
            "masker.image_encoder.decoder.image_proj.proj" => {
                drop(renamed.insert("image.head.projection.weight".into(), transposed(tensor)))
            }
            _ => {
                let (target, tensor) = tcl_name(name, tensor);
                renamed.insert(target, tensor);
            }
        }
    }
    (renamed, scale.zip(bias))
}

fn tcl_name(name: &str, tensor: Tensor) -> (String, Tensor) {
    for (old, new) in [
        ("clip_text_encoder.", ""),
        ("clip_image_encoder.clip_visual.", "visual."),
        ("clip_image_encoder.clip_proj.ln.", "visual.ln_post."),
        ("masker.image_encoder.backbone.transformer.resblocks.0.", "image.head.block."),
        ("masker.image_encoder.decoder.image_proj.ln.", "image.head.norm."),
    ] {
        if let Some(rest) = name.strip_prefix(old) {
            return (format!("{new}{rest}"), tensor);
        }
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
