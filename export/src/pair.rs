//! Any pair of encoders that are ONNX files already, as a bundle.
//!
//! What the files do not say is found by looking at the graph and by running it: which output holds the patches, how many leading tokens
//! are none, whether other sizes are taken. What cannot be found is asked for by name.

use std::path::{Path, PathBuf};

use edge_seg_bundle::{self as bundle, Bundle, Card, Fit, ImageManifest, Manifest, Positions, TextManifest};
use edge_seg_model::{Frame, GraphTensor, Numbers, Session, graph_products, parse_classes, run_graph, run_text_graph};
use serde_json::Value;

use crate::bundle::{IMAGE_BLOB, POSITIONS_BLOB, Release, TEXT_BLOB, TOKENIZER_BLOB};
use crate::import::preprocess::Input;
use crate::import::tokenizer;
use crate::onnx::Storage;
use crate::onnx::foreign::{Declared, Foreign, ImageEnd, Layout, TextEnd};
use crate::{Error, Result};

/// Two encoders and what they do not say themselves.
#[derive(Debug, Clone)]
pub struct Options {
    /// The image encoder; the same file as the text encoder if it holds both.
    pub image: PathBuf,
    /// The text encoder.
    pub text: PathBuf,
    /// `tokenizer.json`, or CLIP's vocabulary file.
    pub tokenizer: PathBuf,
    /// preprocessor_config.json, processor_config.json or open_clip_config.json, or `clip` for CLIP's own.
    pub preprocess: PathBuf,
    /// The model's name.
    pub name: String,
    /// The value that holds the patches' embeddings.
    pub patches: Option<String>,
    /// The value that holds the picture's embedding.
    pub global: Option<String>,
    /// The output that holds the text's embedding.
    pub text_output: Option<String>,
    /// Tokens before the patches.
    pub leading: Option<usize>,
    /// Longest token sequence, where the graph takes any.
    pub context: Option<usize>,
    /// Token that fills up sentences; the tokenizer's if none.
    pub pad_token: Option<i64>,
    /// Factor on cosines.
    pub logit_scale: Option<f32>,
    /// Added to the scaled cosine of models that are trained with a sigmoid.
    pub logit_bias: Option<f32>,
    /// Sentences that a word is put into.
    pub templates: Vec<String>,
    /// Side of the input, where the graph takes several.
    pub input_px: Option<usize>,
    /// How a picture is brought to the input.
    pub fit: Option<Fit>,
    /// The licence of the weights.
    pub licence: String,
}

/// Two encoders that have been understood.
pub struct Pair {
    image: Foreign,
    text: Foreign,
    tokenizer: Vec<u8>,
    manifest: Manifest,
    notes: Vec<String>,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pair {{ {:?} }}", self.manifest)
    }
}

/// Products that the runtime's own kernels compute, of all, in one encoder.
pub use edge_seg_model::GraphProducts;

const CLIP_SCALE: f32 = 100.0;
/// Lengths that are tried where a text encoder does not say its own.
const LENGTHS: [usize; 9] = [512, 256, 128, 77, 64, 48, 32, 16, 8];
/// Class and register tokens are no more than these.
const MOST_LEADING: usize = 64;

struct Text {
    graph: Foreign,
    context: usize,
    pad: i64,
    dim: usize,
}

struct Image {
    graph: Foreign,
    side: usize,
    grid: usize,
    fixed: bool,
    how: String,
}

/// Reads and understands a pair.
///
/// # Errors
/// [`Error::File`] for files that cannot be read, or graphs in which something is not found: it says what, and the option that names it.
pub fn read(options: &Options) -> Result<Pair> {
    let (input, side) = Input::file(&options.preprocess, options.fit)?;
    let tokenizer = tokenizer::read(&options.tokenizer)?;
    let mut notes = Vec::new();
    let text = text(options, &tokenizer, &mut notes)?;
    let image = image(options, text.dim, options.input_px.or(side), &mut notes)?;
    let fit = match (image.fixed, input.fit) {
        (true, Fit::Grid) if options.fit.is_some() => {
            let expected = "letterbox or squash, as the image encoder takes one size alone";
            return Err(Error::Option { option: "--fit".into(), expected: expected.into(), found: "grid".into() });
        }
        (true, Fit::Grid) => {
            notes.push(format!(
                "pictures are put into a square of {} pixels (letterbox), the only size that the image encoder takes; --fit squash fills it",
                image.side
            ));
            Fit::Letterbox
        }
        (_, fit) => fit,
    };
    let logit_scale = options.logit_scale.unwrap_or_else(|| {
        notes.push(format!("logit scale: {CLIP_SCALE}, where CLIP's training ends, as no file says it; --logit-scale names another"));
        CLIP_SCALE
    });
    notes.insert(0, format!("patches: {}", image.how));
    let positions = Positions::new(POSITIONS_BLOB, image.grid, image.grid, 1);
    let mut image_manifest = ImageManifest::new(IMAGE_BLOB, image.side / image.grid, image.side, positions);
    (image_manifest.fit, image_manifest.interpolation) = (fit, input.interpolation);
    (image_manifest.mean, image_manifest.std) = (input.mean, input.std);
    image_manifest.head = Some(image.how.clone());
    let card = Card::new(format!("{} from ONNX files", options.name))
        .with_licence(&options.licence)
        .with_training_data("see the source of the weights")
        .with_measured("nothing: thresholds are the runtime's own")
        .with_limits("see the source of the weights");
    let text_manifest = TextManifest::new(TEXT_BLOB, TOKENIZER_BLOB, text.context, text.pad);
    let mut manifest = Manifest::new(&options.name, image_manifest, text_manifest, text.dim, logit_scale, card);
    manifest.variant = Storage::F32.variant().into();
    manifest.logit_bias = options.logit_bias;
    manifest.templates = if options.templates.is_empty() { vec!["a photo of a {}.".into()] } else { options.templates.clone() };
    Ok(Pair { image: image.graph, text: text.graph, tokenizer, manifest, notes })
}

impl Pair {
    /// What was found and how, a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The bundle, with matrices stored so, once it has embedded a picture and a word.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the runtime does not run it.
    pub fn build(&self, place: &str, image: Storage, text: Storage, release: &Release) -> Result<Bundle> {
        let [image_onnx, text_onnx] = [self.image.clone().stored(image), self.text.clone().stored(text)].map(|graph| graph.encode());
        let positions = &self.manifest.image.positions;
        let positions = vec![0u8; 4 * (1 + positions.rows * positions.cols) * positions.width];
        let mut manifest = self.manifest.clone();
        (manifest.variant, manifest.serial, manifest.boards) = (image.variant().into(), release.serial, release.boards.clone());
        let blobs: [(&str, &[u8]); 4] =
            [(IMAGE_BLOB, &image_onnx), (TEXT_BLOB, &text_onnx), (POSITIONS_BLOB, &positions), (TOKENIZER_BLOB, &self.tokenizer)];
        let bundle = bundle::build(place.into(), manifest, &blobs)?;
        let session = Session::new(bundle.clone(), &edge_seg_model::Options::default())?;
        session.encode(&Frame::still(image::RgbImage::from_pixel(64, 48, image::Rgb([90, 140, 60]))))?;
        session.word_bank(&parse_classes("words", "dog")?, &[])?;
        Ok(bundle)
    }

    /// Writes the bundle to `path`, whole or not at all.
    ///
    /// # Errors
    /// As [`Self::build`], and if the file system refuses.
    pub fn write(&self, path: &Path, image: Storage, text: Storage, release: &Release) -> Result<()> {
        let built = self.build(&path.display().to_string(), image, text, release)?;
        let blobs = [IMAGE_BLOB, TEXT_BLOB, POSITIONS_BLOB, TOKENIZER_BLOB].map(|name| built.blob(name).map(|bytes| (name, bytes)));
        let blobs = blobs.into_iter().collect::<Result<Vec<_>, _>>()?;
        let blobs: Vec<(&str, &[u8])> = blobs.iter().map(|(name, bytes)| (*name, bytes.as_ref())).collect();
        Ok(bundle::write(path, built.manifest().clone(), &blobs)?)
    }

    /// Products of both encoders, of pictures first, as they would be stored.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the runtime refuses a graph.
    pub fn products(&self, image: Storage, text: Storage) -> Result<[GraphProducts; 2]> {
        let (manifest, context) = (&self.manifest, self.manifest.text.context);
        let side = manifest.image.input_px;
        let patches = manifest.image.positions.rows * manifest.image.positions.cols;
        let pixels = [floats(&[1, 3, side, side]), floats(&[1, 1 + patches, 1])];
        let words = [integers(&[1, context]), integers(&[1, context])];
        Ok([
            graph_products(&self.image.clone().stored(image).encode(), &pixels)?,
            graph_products(&self.text.clone().stored(text).encode(), &words)?,
        ])
    }
}

fn floats(shape: &[usize]) -> GraphTensor {
    // Numbers of a picture's size without a pattern, the same at each run.
    let count = shape.iter().product::<usize>();
    GraphTensor::floats(shape, (0..count).map(|i| ((i * 7919) % 2003) as f32 / 1001.0 - 1.0).collect())
}

fn integers(shape: &[usize]) -> GraphTensor {
    GraphTensor::integers(shape, vec![1; shape.iter().product()])
}

fn is_integer(input: &Declared) -> bool {
    [6, 7].contains(&input.elem_type)
}

fn listed<'a>(values: impl IntoIterator<Item = &'a Declared>) -> String {
    let one = |value: &Declared| {
        let dims = value.dims.as_ref().map(|dims| dims.iter().map(|d| d.map_or("?".into(), |d| d.to_string())).collect::<Vec<_>>());
        format!("{} [{}]", value.name, dims.map_or("...".into(), |dims| dims.join(", ")))
    };
    let all: Vec<String> = values.into_iter().map(one).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

fn wrong(graph: &Foreign, part: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::file(&graph.place, part, expected, found)
}

fn text(options: &Options, tokenizer: &[u8], notes: &mut Vec<String>) -> Result<Text> {
    let file = Foreign::read(&options.text)?;
    let inputs = file.inputs();
    let is_words = |needs: &std::collections::BTreeSet<String>| {
        !needs.is_empty() && needs.iter().all(|name| inputs.iter().any(|input| input.value == *name && is_integer(input)))
    };
    let outputs: Vec<Declared> = match &options.text_output {
        None => file.outputs().into_iter().filter(|output| is_words(&file.needs(&output.value))).collect(),
        Some(name) => {
            let value = file.value(name).ok_or_else(|| wrong(&file, "--text-output", "a value of the graph", name.as_str()))?;
            vec![Declared { value, name: name.clone(), elem_type: 1, dims: None }]
        }
    };
    if outputs.is_empty() {
        return Err(wrong(&file, "outputs", "one that depends on integers alone, the token ids", listed(&file.outputs())));
    }
    let part = file.part(&outputs.iter().map(|output| output.value.clone()).collect::<Vec<_>>());
    let (inputs, mut ids, mut mask) = (part.inputs(), Vec::new(), None);
    for input in &inputs {
        let name = input.name.to_lowercase();
        if name.contains("mask") {
            mask = Some(input.value.clone());
        } else if name.contains("position") {
            return Err(wrong(
                &part,
                &format!("input {}", input.name),
                "token ids and a mask",
                "positions; export the encoder without them",
            ));
        } else if !name.contains("type") {
            ids.push(input);
        }
    }
    let [ids] = ids[..] else {
        return Err(wrong(&part, "inputs", "one of token ids, and perhaps an attention mask", listed(&inputs)));
    };
    let declared = ids.dims.as_ref().and_then(|dims| dims.get(1).copied()).flatten();
    let said: Value = serde_json::from_slice(tokenizer).unwrap_or_default();
    let longest = said["truncation"]["max_length"].as_u64().and_then(|n| usize::try_from(n).ok());
    let shaped = |length: usize| part.inputs().iter().map(|_| integers(&[1, length])).collect::<Vec<_>>();
    let context = match declared.or(options.context).or(longest) {
        Some(context) => context,
        None => {
            let onnx = part.encode();
            let runs = |length: &usize| run_graph(&onnx, &shaped(*length)).is_ok();
            LENGTHS
                .into_iter()
                .find(runs)
                .ok_or_else(|| wrong(&part, "context", "--context with the longest sentence in tokens", "none that runs"))?
        }
    };
    let facts = part.facts(&shaped(context))?;
    let wide = |output: &&Declared| facts.get(&output.value).is_some_and(|fact| matches!(fact.shape[..], [1, dim] if dim > 1));
    let found: Vec<&Declared> = outputs.iter().filter(wide).collect();
    let named = found.iter().find(|output| ["text_embeds", "text_features", "sentence_embedding"].contains(&output.name.as_str()));
    let output = match (&found[..], named) {
        ([one], _) => *one,
        (_, Some(named)) => *named,
        _ => {
            let expected = "one embedding [batch, E] of the text; --text-output names it";
            let found = if found.is_empty() { listed(&outputs) } else { listed(found) };
            return Err(wrong(&part, "outputs", expected, found));
        }
    };
    let dim = facts[&output.value].shape[1];
    let pad = options.pad_token.or_else(|| said["padding"]["pad_id"].as_i64()).or_else(|| {
        let pads = ["<pad>", "[PAD]", "<|pad|>"];
        said["added_tokens"].as_array()?.iter().find(|token| pads.iter().any(|pad| token["content"] == *pad))?["id"].as_i64()
    });
    let pad = pad.unwrap_or(0);
    if let Some(vocabulary) = part.vocabulary(&ids.value) {
        tokenizer::check(&options.tokenizer.display().to_string(), tokenizer, vocabulary, None)?;
    }
    let end = TextEnd { ids: &ids.value, mask: mask.as_deref(), output: &output.value, pad, dim };
    let part = part.part(std::slice::from_ref(&output.value));
    let full = part.text_tower(&end, Some(context));
    let facts = full.facts(&[integers(&[1, context]), integers(&[1, context])])?;
    let full = full.simplified(&facts).0;
    let lengths = [3.min(context), 5.min(context), context];
    let sentences: Vec<Vec<i64>> = lengths.iter().map(|n| (0..*n as i64).map(|i| 1 + i % 5).collect()).collect();
    let answers = run_text_graph(&full.encode(), &sentences)?;
    let mut graph = full;
    if declared.is_none() {
        let any = part.text_tower(&end, None);
        let same = run_text_graph(&any.encode(), &sentences).is_ok_and(|found| found.iter().zip(&answers).all(|(a, b)| close(a, b)));
        if same {
            graph = any;
        } else {
            notes.push(format!("sentences are filled up to {context} tokens: the text encoder does not take fewer"));
        }
    }
    notes.push(format!("text: {} {} numbers, at most {context} tokens", output.name, dim));
    Ok(Text { graph, context, pad, dim })
}

fn close(a: &GraphTensor, b: &GraphTensor) -> bool {
    let (Numbers::Floats(a), Numbers::Floats(b)) = (&a.numbers, &b.numbers) else { return false };
    let norm = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    a.len() == b.len() && dot >= (1.0 - 1e-4) * norm(a) * norm(b)
}

fn image(options: &Options, dim: usize, side: Option<usize>, notes: &mut Vec<String>) -> Result<Image> {
    let file = Foreign::read(&options.image)?;
    let inputs = file.inputs();
    let is_picture = |input: &Declared| !is_integer(input) && input.dims.as_ref().is_none_or(|dims| dims.len() == 4);
    let of_picture = |value: &str| {
        let needs = file.needs(value);
        !needs.is_empty() && needs.iter().all(|name| inputs.iter().any(|input| input.value == *name && is_picture(input)))
    };
    let outputs: Vec<Declared> = file.outputs().into_iter().filter(|output| of_picture(&output.value)).collect();
    let value = |option: &str, name: &Option<String>| match name {
        None => Ok(None),
        Some(name) => match file.value(name).filter(|value| of_picture(value)) {
            Some(value) => Ok(Some(value)),
            None => Err(wrong(&file, option, "a value that depends on the picture alone", name.as_str())),
        },
    };
    let (named, named_global) = (value("--patches", &options.patches)?, value("--global", &options.global)?);
    let values: Vec<String> = outputs.iter().map(|output| output.value.clone()).chain(named.clone()).chain(named_global.clone()).collect();
    if values.is_empty() {
        let expected = "one that depends on a picture [batch, 3, height, width] alone";
        return Err(wrong(&file, "outputs", expected, listed(&file.outputs())));
    }
    let part = file.part(&values);
    let inputs = part.inputs();
    let [picture] = &inputs[..] else { return Err(wrong(&part, "inputs", "one picture [batch, 3, height, width]", listed(&inputs))) };
    let sizes = picture.dims.clone().unwrap_or_else(|| vec![None; 4]);
    if sizes[1].is_some_and(|channels| channels != 3) {
        return Err(wrong(&part, &format!("input {}", picture.name), "3 channels on the second axis", listed([picture])));
    }
    let declared = match (sizes[2], sizes[3]) {
        (Some(height), Some(width)) if height != width => {
            return Err(wrong(&part, &format!("input {}", picture.name), "a square", listed([picture])));
        }
        (height, width) => height.or(width),
    };
    if let (Some(declared), Some(asked)) = (declared, options.input_px)
        && declared != asked
    {
        return Err(Error::Option {
            option: "--input-px".into(),
            expected: format!("{declared}, which the graph is fixed to"),
            found: asked.to_string(),
        });
    }
    let side = declared
        .or(side)
        .ok_or_else(|| wrong(&part, "size", "--input-px with the side of the input", "none in the graph or the preprocessing"))?;
    let pixels = |side: usize| floats(&[1, 3, side, side]);
    let facts = part.facts(&[pixels(side)])?;
    let shape = |value: &str| facts.get(value).map_or(&[][..], |fact| &fact.shape[..]);
    let is_global = |value: &str| matches!(shape(value), [1, n] | [n] | [1, n, 1, 1] | [1, 1, n] if *n == dim);
    let layout = |value: &str| match *shape(value) {
        [1, tokens, width] if width == dim && tokens > 1 => Some(Layout::Tokens),
        [1, width, rows, cols] if width == dim && rows * cols > 1 => Some(Layout::Channels { first: true }),
        [1, rows, cols, width] if width == dim && rows * cols > 1 => Some(Layout::Channels { first: false }),
        _ => None,
    };
    let globals: Vec<&Declared> = outputs.iter().filter(|output| is_global(&output.value)).collect();
    let preferred = globals.iter().find(|output| ["image_embeds", "image_features"].contains(&output.name.as_str()));
    let global = named_global.clone().or_else(|| preferred.or(globals.first()).map(|output| output.value.clone()));
    if let Some(named) = &named_global
        && !is_global(named)
    {
        return Err(wrong(&part, "--global", format!("[1, {dim}], as wide as the text's embedding"), format!("{:?}", shape(named))));
    }
    let mut found: Vec<&Declared> = outputs.iter().filter(|output| layout(&output.value).is_some()).collect();
    // Tokens of the same width from which the embedding is only made are in another space.
    found.retain(|output| global.as_ref().is_none_or(|global| !part.makes(&output.value, global)));
    if found.len() > 1 {
        let named: Vec<&Declared> =
            found.iter().copied().filter(|output| output.name.contains("patch") || output.name.contains("dense")).collect();
        if named.len() == 1 {
            found = named;
        }
    }
    let as_it_is = match (&named, &found[..]) {
        (Some(named), _) if layout(named).is_none() => {
            let expected = format!("[1, patches, {dim}] or [1, {dim}, rows, columns], as wide as the text's embedding");
            return Err(wrong(&part, "--patches", expected, format!("{:?}", shape(named))));
        }
        (Some(named), _) => Some((named.clone(), options.patches.clone().unwrap_or_default())),
        (None, [one]) => Some((one.value.clone(), one.name.clone())),
        (None, []) => None,
        (None, several) => {
            return Err(wrong(&part, "outputs", "one with the patches; --patches names it", listed(several.iter().copied())));
        }
    };
    let (mut graph, patches, mut how) = match &as_it_is {
        Some((value, name)) => (
            part.part(&[Some(value.clone()), global.clone()].into_iter().flatten().collect::<Vec<_>>()),
            value.clone(),
            format!("output {name}"),
        ),
        None => {
            let Some(global) = &global else {
                let expected = format!("patches [1, patches, {dim}], or the picture's embedding [1, {dim}]; the text's has {dim} numbers");
                return Err(wrong(&part, "outputs", expected, shapes(&outputs, &shape)));
            };
            let part = part.part(std::slice::from_ref(global));
            let (mut graph, attentions) = part.simplified(&facts);
            let own = graph.facts(&[pixels(side)])?;
            let dense = graph.dense(global, &attentions, &own).map_err(|why| {
                let expected = "an output with the patches' embeddings, or a graph in which they are found; --patches names a value";
                wrong(&graph, "patches", expected, format!("none: {why}; outputs: {}", shapes(&outputs, &shape)))
            })?;
            (graph, dense.patches, dense.how.to_owned())
        }
    };
    // The grid: that of the last convolution before tokens are made, or the patches' own.
    let layout = as_it_is.as_ref().map_or(Layout::Tokens, |(value, _)| layout(value).unwrap_or(Layout::Tokens));
    let tokens = match &as_it_is {
        Some((value, _)) => match (layout, shape(value)) {
            (Layout::Tokens, [_, tokens, _]) => *tokens,
            (Layout::Channels { first: true }, [_, _, rows, cols]) | (Layout::Channels { first: false }, [_, rows, cols, _]) => rows * cols,
            _ => 0,
        },
        None => graph.tokens_of(&patches, &[pixels(side)])?,
    };
    let square = |count: usize| (1..=count).find(|n| n * n >= count).filter(|n| n * n == count && side.is_multiple_of(*n));
    let counted = match options.leading {
        Some(leading) => tokens.checked_sub(leading).and_then(square).map(|grid| (leading, grid)),
        None => {
            let of_map = graph
                .map_sides(&patches, &facts)
                .into_iter()
                .rev()
                .find(|grid| grid * grid <= tokens && tokens - grid * grid <= MOST_LEADING);
            let of_map = of_map.filter(|grid| side.is_multiple_of(*grid)).map(|grid| (tokens - grid * grid, grid));
            of_map.or_else(|| (0..MOST_LEADING.min(tokens)).find_map(|leading| square(tokens - leading).map(|grid| (leading, grid))))
        }
    };
    let Some((leading, grid)) = counted else {
        let expected = "a square of patches behind --leading-tokens others";
        return Err(wrong(&part, "patches", expected, format!("{tokens} tokens for a picture of {side} pixels")));
    };
    let end = ImageEnd { patches: &patches, layout, leading, global: global.as_deref(), dim };
    let patch = side / grid;
    let shaped = |side: usize| {
        let grid = side / patch;
        [pixels(side), GraphTensor::floats([1, 1 + grid * grid, 1], vec![0.0; 1 + grid * grid])]
    };
    let free = declared.is_none() && as_it_is.is_some() && {
        let any = graph.image_tower(&end, None);
        let runs = |side: usize| {
            run_graph(&any.encode(), &shaped(side)).is_ok_and(|found| found[0].shape == [1, (side / patch) * (side / patch), dim])
        };
        runs(side) && runs(side + patch)
    };
    if !free && as_it_is.is_some() {
        graph = graph.simplified(&facts).0;
    }
    let graph = graph.image_tower(&end, (!free).then_some(side));
    let answer = run_graph(&graph.encode(), &shaped(side))?;
    let Numbers::Floats(numbers) = &answer[0].numbers else { return Err(wrong(&part, "patches", "floats", "integers")) };
    if numbers.iter().any(|x| !x.is_finite()) {
        return Err(wrong(&part, "patches", "finite numbers", "others, for a picture of noise"));
    }
    let unit = numbers.chunks_exact(dim).all(|row| (row.iter().map(|x| x * x).sum::<f32>().sqrt() - 1.0).abs() < 1e-3);
    how =
        format!("{how}; {leading} leading tokens left out; {}", if unit { "normalised in the graph" } else { "normalised by the runtime" });
    let size = if free { "any size".into() } else { format!("{side} x {side} pixels alone") };
    notes.push(format!("image: {} {size}, patches of {patch} pixels, {grid} x {grid} of them", picture.name));
    Ok(Image { graph, side, grid, fixed: !free, how })
}

fn shapes<'a>(outputs: &[Declared], shape: &dyn Fn(&str) -> &'a [usize]) -> String {
    let all: Vec<String> = outputs.iter().map(|output| format!("{} {:?}", output.name, shape(&output.value))).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}
