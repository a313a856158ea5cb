use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{ArgGroup, Args, ValueEnum};
use edge_seg::{TagScore, expand_inputs, read_picture, read_tags_file, score_tags, split_caption};
use serde::Serialize;

use super::{ModelArgs, Outcome, print_json, warn_of_many};

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
    /// Print the best N words only.
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    #[command(flatten)]
    model: ModelArgs,
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
struct Line<'a> {
    input: String,
    score: String,
    threshold: f32,
    backend: &'static str,
    tags: Vec<Tag<'a>>,
}

#[derive(Serialize)]
struct Tag<'a> {
    name: &'a str,
    score: f32,
    selected: bool,
}

pub fn run(args: &TagsArgs) -> Result<Outcome> {
    if args.caption.is_none() && matches!(args.score, ScoreArg::Text | ScoreArg::ImageText) {
        bail!("--score text and image-text compare words with a --caption, and none was given");
    }
    let classes = match (&args.caption, &args.vocabulary) {
        (Some(caption), _) => split_caption(caption, args.keep_stop_words)?,
        (_, Some(file)) => read_tags_file(file)?,
        _ => unreachable!("clap asks for one of them"),
    };
    warn_of_many(classes.iter().map(|c| c.words.len()).sum());
    let session = args.model.session()?;
    let bank = session.tag_bank(&classes, &[])?;
    let caption = args.caption.as_deref().map(|c| session.embed_text(c)).transpose()?;
    let kind = match args.score {
        ScoreArg::Pixel => TagScore::Pixel,
        ScoreArg::Image => TagScore::Image,
        ScoreArg::Text => TagScore::Text,
        ScoreArg::ImageText => TagScore::ImageText,
    };
    let manifest = session.bundle().manifest();
    let mut outcome = Outcome::Done;
    for input in expand_inputs(&args.inputs) {
        let scored = input.and_then(|path| {
            let encoded = session.encode(&read_picture(&path)?)?;
            Ok((path, score_tags(kind, &encoded.grid, &bank, caption.as_ref().map(|c| c.data()), manifest.into())?))
        });
        match scored {
            Ok((path, scores)) => {
                let mut tags: Vec<_> = bank
                    .names()
                    .iter()
                    .zip(scores)
                    .map(|(name, score)| Tag { name, score, selected: score >= manifest.tag_threshold })
                    .collect();
                tags.sort_by(|a, b| b.score.total_cmp(&a.score));
                tags.truncate(args.top.unwrap_or(usize::MAX));
                let score = args.score.to_possible_value().map_or_else(String::new, |v| v.get_name().into());
                print_json(&Line {
                    input: path.display().to_string(),
                    score,
                    threshold: manifest.tag_threshold,
                    backend: session.backend(),
                    tags,
                })?;
            }
            Err(e) => {
                eprintln!("edge-seg: {e}");
                outcome = Outcome::SomeFailed;
            }
        }
    }
    Ok(outcome)
}
