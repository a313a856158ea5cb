//! The two encoders, run by tract. No other module names it.

mod backend;
mod batcher;
mod constants;
mod cost;
mod cuda;
mod embedding;
mod fallback;
mod floats;
mod fuse;
mod image;
mod layers;
mod limits;
mod names;
mod parse;
mod positions;
mod tensors;
mod text;
mod threads;
mod trial;

use std::sync::Arc;

use edge_seg_bundle::Bundle;
use edge_seg_kernels::kernels;

pub(crate) use backend::{Encoder, MaskRequest, Masks, Stop};
pub use cost::count_macs;
pub use cuda::{GraphEncoder, choose_device, probe_cuda};
pub use image::ImageEncoder;
pub use text::TextEncoder;
pub use threads::Threads;
pub use trial::{GraphFact, GraphProducts, GraphTensor, Numbers, graph_facts, graph_products, plan_graph, run_graph, run_text_graph};

use crate::device::{Choice, Device};
use crate::options::Options;
use crate::{Error, Result};

/// Loads a bundle's image encoder where the options want it, and says where that is and why. Where that was left open, 16-bit floats are
/// taken if they are there.
///
/// # Errors
/// As [`ImageEncoder::load_half`], and [`Error::Device`] if a GPU is asked for and cannot be used.
pub(crate) fn load(bundle: &Bundle, options: &Options, threads: Threads) -> Result<(Box<dyn Encoder>, Choice)> {
    let only_on_gpu = |option: &str, asked: bool| match asked && options.device == Device::Cpu {
        true => Err(Error::Option { option: option.into(), expected: "device cuda or auto".into(), found: "device cpu".into() }),
        false => Ok(()),
    };
    only_on_gpu("gpu_masks", options.gpu_masks)?;
    only_on_gpu("batch", options.batch.is_some_and(|pictures| pictures > 1))?;
    let pictures = options.batch.unwrap_or(1);
    if !(1..=MAX_PICTURES).contains(&pictures) {
        let expected = format!("1 to {MAX_PICTURES} pictures");
        return Err(Error::Option { option: "batch".into(), expected, found: pictures.to_string() });
    }
    let mut choice = choose_device(options.device)?;
    if choice.device == Device::Cpu {
        let auto = options.device == Device::Auto;
        if options.half && (!auto || kernels().has_f16()) {
            return Ok((Box::new(ImageEncoder::load_half(bundle, threads)?), choice));
        }
        if options.half {
            choice.why += "; it computes in 32-bit floats, having no others";
        }
        return Ok((Box::new(ImageEncoder::load(bundle, threads)?), choice));
    }
    let gpu = GraphEncoder::with_masks(bundle, options)?;
    let gpu = Box::new(batcher::DynamicBatcher::new(Arc::new(gpu), pictures)?);
    let spare = options.on_fallback.clone().map(|on_fallback| {
        let (bundle, threads) = (bundle.clone(), threads.clone());
        let spare: fallback::FallbackLoader = Box::new(move || Ok(Box::new(ImageEncoder::load(&bundle, threads.clone())?)));
        (spare, on_fallback)
    });
    Ok((Box::new(fallback::FallbackEncoder::new(gpu, spare)), choice))
}

/// A batch beyond this gains little, and its memory is taken at once.
const MAX_PICTURES: usize = 64;
