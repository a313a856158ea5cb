//! What is no model that can be imported, by its name and with the way on.

use serde_json::Value;

use super::state::State;
use crate::{Error, Result};

/// Architectures by a mark in their names of weights, with what is imported in their place.
const OTHERS: [(&str, &str, &str); 17] = [
    ("visual.layer1.0.", "a ResNet image tower (RN50 and its kin), whose patches have no tokens", TRANSFORMERS),
    ("visual.trunk.stages.", "an image tower of convolutions (MobileCLIP's FastViT, ConvNeXt)", TRANSFORMERS),
    ("visual.trunk.stem.", "an image tower of convolutions (MobileCLIP's FastViT, ConvNeXt)", TRANSFORMERS),
    ("text_decoder.", "a captioner (CoCa) beside the CLIP", TRANSFORMERS),
    ("qformer.", "BLIP-2, whose picture and words meet in a Q-Former", TRANSFORMERS),
    ("text_encoder.embeddings.word_embeddings", "BLIP or ALIGN", TRANSFORMERS),
    ("text.transformer.embeddings.", "a text tower of Hugging Face (BERT, RoBERTa, mT5) inside open_clip", TRANSFORMERS),
    ("text.transformer.encoder.", "a text tower of Hugging Face (RoBERTa, mT5) inside open_clip", TRANSFORMERS),
    ("roberta.embeddings.", "AltCLIP, whose text tower is XLM-RoBERTa", TRANSFORMERS),
    ("text_model.embeddings.word_embeddings", "Chinese-CLIP, whose text tower is a BERT", TRANSFORMERS),
    ("mit.position_embedding", "X-CLIP, a model of videos", TRANSFORMERS),
    ("prompts_visual_ln.", "X-CLIP, a model of videos", TRANSFORMERS),
    ("decoder.reduces.", "CLIPSeg, which has a decoder of its own", "the CLIP that it was made from"),
    ("query_embed.", "OWL-ViT or another detector", TRANSFORMERS),
    ("vision_encoder.blocks.0.mlp.w12.", "TIPS v2 with SwiGLU (g14), which is not imported yet", "TIPS v2 B14, L14 or So400m14"),
    ("visual.attn_pool.query", "a captioner (CoCa), whose image tower pools by queries", TRANSFORMERS),
    ("image_encoder.model.network.", "MobileCLIP in Apple's own form", "the open_clip form, whose names begin with visual."),
];
const TRANSFORMERS: &str =
    "a CLIP whose towers are plain transformers: OpenAI, open_clip's ViT (LAION, DFN, MetaCLIP, CLIPA), TinyCLIP, TCL";

/// Refuses what is known to be no CLIP of transformers.
///
/// # Errors
/// [`Error::File`] that names what it is, what is missing, and what to take in its place.
pub(super) fn check(place: &str, state: &State, config: Option<&Value>) -> Result<()> {
    let has = |name: &str| state.weights.contains_key(name);
    let any = |mark: &str| state.weights.keys().any(|name| name.starts_with(mark));
    let refuse = |expected: &str, found: &str| Err(Error::file(place, "model", expected, found));
    if let Some(kind) = config.and_then(|c| c["model_type"].as_str())
        && kind == "siglip2"
        && state.weights.get("vision_model.embeddings.patch_embedding.weight").is_some_and(|w| w.shape.len() == 2)
    {
        return refuse(TRANSFORMERS, "SigLIP 2 NaFlex, whose patches come in any number: take the model of a fixed size");
    }
    if let Some((_, found, expected)) = OTHERS.iter().find(|(mark, _, _)| any(mark)) {
        return refuse(expected, found);
    }
    // PE-Spatial, PE-Lang, DINO: an image tower that was trained without words, in Meta's form and in timm's.
    let bare = (has("conv1.weight") && any("transformer.resblocks.")) || (has("patch_embed.proj.weight") && any("blocks."));
    if bare && !any("visual.") {
        let expected =
            "both towers: PE-Core, of the same makers, has them; a plain ViT of timm's is a recipe's `backbone`, which learns words";
        return refuse(
            expected,
            "an image tower alone, such as PE-Spatial, whose patches are in no space of words: the text tower is missing",
        );
    }
    let image =
        any("vision_model.") || any("visual.") || any("clip_image_encoder.") || any("vision_encoder.") || has("embeddings.class_embedding");
    let text = any("text_model.")
        || any("transformer.resblocks.")
        || any("text.")
        || any("clip_text_encoder.")
        || any("text_encoder.")
        || any("token_embedding.")
        || has("embeddings.token_embedding.weight");
    let both = "both towers in one file or folder, as CLIPModel.save_pretrained or open_clip writes them";
    let of_peft = any("base_model.model.");
    match (image, text) {
        (true, true) => Ok(()),
        // A TCL that was stored without CLIP's own weights, which --base brings.
        _ if any("masker.") => Ok(()),
        (true, false) => refuse(both, "an image tower alone: the text tower is missing"),
        (false, true) => refuse(both, "a text tower alone: the image tower is missing"),
        (false, false) if any("lora_") || state.weights.keys().any(|n| n.contains("lora_")) || of_peft => {
            refuse("the model that the LoRA belongs to as the source, and this file by --lora", "a LoRA alone")
        }
        (false, false) => {
            let objects: Vec<_> = state.others.iter().filter(|(_, kind)| kind.contains('.')).collect();
            if objects.iter().any(|(_, kind)| kind.contains("DTensor") || kind.contains("ShardedTensor")) {
                let expected = "whole tensors: torch.save(get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, \
                                cpu_offload=True)), FILE) of torch.distributed.checkpoint.state_dict";
                return refuse(expected, "sharded tensors (DTensor), of which this file holds a part");
            }
            if let Some((name, kind)) = objects.first() {
                let at = if name.is_empty() { String::new() } else { format!(" at {name}") };
                let expected = "weights: torch.save(model.state_dict(), FILE) in the program that has the class";
                return refuse(expected, &format!("an object of class {kind}{at}, of which nothing was made or run"));
            }
            let known: Vec<_> = state.weights.keys().chain(state.others.keys()).take(5).map(String::as_str).collect();
            refuse(
                TRANSFORMERS,
                &format!("none of their names, but {}", if known.is_empty() { "nothing".into() } else { known.join(", ") }),
            )
        }
    }
}
