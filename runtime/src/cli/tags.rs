use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use clap::{ArgGroup, Args, ValueEnum};
use edge_seg::{Meaning, WordScore, expand_inputs, score_words};
use edge_seg_kernels::Precision;
use edge_seg_model::render::JsonVersion;
use serde::Serialize;

use super::args::ModelArgs;
use super::flags::{caption_of, classes_of, in_list, needs};
use super::input::{read_input, tell_unquoted, warn_of_many};
use super::meanings::tell_meanings;
use super::output::{Outcome, print_json};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("words").required(true))]
pub struct TagsArgs {
    /// Pictures, folders of pictures, or globs.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<String>,
    /// A sentence whose words are scored.
    #[arg(long, group = "words", value_name = "SENTENCE")]
    caption: Option<String>,
    /// With --caption: score words like "the" and "on" as well.
    #[arg(long, requires = "caption")]
    keep_stop_words: bool,
    /// File with one class a line: `name`, or `name: synonym, synonym`.
    #[arg(long, group = "words", value_name = "FILE")]
    vocabulary: Option<PathBuf>,
    /// How words are scored.
    #[arg(long, value_enum, default_value_t = ScoreArg::Pixel)]
    score: ScoreArg,
    /// Take JPEGs whose coded data are damaged as well, and say so.
    #[arg(long)]
    keep_damaged: bool,
    /// Print the best N words only.
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// How the words' embeddings are stored for pixel scores: fewer bits are faster and coarser.
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    precision: PrecisionArg,
    /// With --vocabulary: folder that keeps the words' embeddings for the next run, or `none` [default: edge-seg in the user's cache folder].
    #[arg(long, value_name = "DIR", requires = "vocabulary")]
    word_cache: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PrecisionArg {
    F32,
    F16,
    Int8,
}

impl From<PrecisionArg> for Precision {
    fn from(arg: PrecisionArg) -> Self {
        match arg {
            PrecisionArg::F32 => Precision::F32,
            PrecisionArg::F16 => Precision::F16,
            PrecisionArg::Int8 => Precision::Int8,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScoreArg {
    /// Each word's best patch.
    Pixel,
    /// Softmax over the words of the whole picture's embedding.
    Image,
    /// Softmax over the words of the caption's embedding.
    Text,
    /// The mean of image and text.
    ImageText,
}

#[derive(Serialize)]
struct TagsLine<'a> {
    version: JsonVersion,
    input: String,
    score: String,
    threshold: f32,
    backend: &'static str,
    tags: Vec<Tag<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    meanings: &'a BTreeMap<String, Meaning>,
    milliseconds: Milliseconds,
}

#[derive(Serialize)]
struct Milliseconds {
    read: f64,
    encode: f64,
    score: f64,
}

#[derive(Serialize)]
struct Tag<'a> {
    name: &'a str,
    score: f32,
    selected: bool,
}

pub fn run(args: &TagsArgs) -> Result<Outcome> {
    // clap asks for no option that another one excludes.
    needs("--keep-stop-words", args.keep_stop_words, "--caption", args.caption.is_some())?;
    needs("--word-cache", args.word_cache.is_some(), "--vocabulary", args.vocabulary.is_some())?;
    ensure!(args.top != Some(0), "--top: expected 1 or more, found 0");
    if args.caption.is_none() && matches!(args.score, ScoreArg::Text | ScoreArg::ImageText) {
        bail!("--score text and image-text compare words with a --caption, and none was given");
    }
    let classes = match (&args.caption, &args.vocabulary) {
        (Some(caption), _) => caption_of(caption, args.keep_stop_words, "--vocabulary")?,
        (_, Some(file)) => classes_of(file)?,
        _ => unreachable!("clap asks for one of them"),
    };
    warn_of_many(classes.iter().map(|c| c.words.len()).sum());
    let mut session = args.model.session()?;
    if let Some(folder) = args.cache_folder() {
        session = session.with_word_cache(&folder);
    }
    let meanings = tell_meanings(&session, &classes, &[]);
    let bank = session.word_bank(&classes, &[]).map_err(|e| in_list(e, args.vocabulary.as_deref()))?.with_precision(args.precision.into());
    if let Some(fault) = session.word_cache_fault() {
        eprintln!("edge-seg: the words' embeddings are not kept for the next run: {fault} (--word-cache none asks for that)");
    }
    let caption = args.caption.as_deref().map(|c| session.embed_text(c)).transpose()?;
    let kind = match args.score {
        ScoreArg::Pixel => WordScore::Pixel,
        ScoreArg::Image => WordScore::Image,
        ScoreArg::Text => WordScore::Text,
        ScoreArg::ImageText => WordScore::ImageText,
    };
    let manifest = session.bundle().manifest();
    let mut outcome = Outcome::Done;
    for input in expand_inputs(&args.inputs) {
        let scored = input.and_then(|path| {
            let mut clock = Clock(Instant::now());
            let frame = read_input(&path, args.keep_damaged)?;
            let read = clock.lap_ms();
            let encoded = session.encode(&frame)?;
            let encode = clock.lap_ms();
            let scores = score_words(kind, &encoded.grid, &bank, caption.as_ref().map(|c| c.data()), manifest.into())?;
            Ok((path, scores, Milliseconds { read, encode, score: clock.lap_ms() }))
        });
        match scored {
            Ok((path, scores, milliseconds)) => {
                let mut tags: Vec<_> = bank
                    .names()
                    .iter()
                    .zip(scores)
                    .map(|(name, score)| Tag { name, score, selected: score >= manifest.tag_threshold })
                    .collect();
                tags.sort_by(|a, b| b.score.total_cmp(&a.score));
                tags.truncate(args.top.unwrap_or(usize::MAX));
                let score = args.score.to_possible_value().map_or_else(String::new, |v| v.get_name().into());
                print_json(&TagsLine {
                    version: JsonVersion,
                    input: path.display().to_string(),
                    score,
                    threshold: manifest.tag_threshold,
                    backend: session.backend(),
                    tags,
                    meanings: &meanings,
                    milliseconds,
                })?;
            }
            Err(e) => {
                eprintln!("edge-seg: {}", super::flags::told(&e.into()));
                outcome = Outcome::SomeFailed;
            }
        }
    }
    tell_unquoted(&args.inputs);
    Ok(outcome)
}

impl TagsArgs {
    /// Where words' embeddings are kept, if anywhere.
    fn cache_folder(&self) -> Option<PathBuf> {
        self.vocabulary.as_ref()?;
        match &self.word_cache {
            Some(none) if none.as_os_str() == "none" => None,
            Some(folder) => Some(folder.clone()),
            None => edge_seg_bundle::files::cache_folder(),
        }
    }
}

struct Clock(Instant);

impl Clock {
    fn lap_ms(&mut self) -> f64 {
        let before = std::mem::replace(&mut self.0, Instant::now());
        1e3 * (self.0 - before).as_secs_f64()
    }
}
