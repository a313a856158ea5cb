//! A measurement from its options to its summary.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use edge_seg_bundle::Bundle;
use edge_seg_model::Background;
use serde::Deserialize;

use super::ensemble::{Ensemble, Looks, Windows};
use super::fit;
use super::left_out::{LeftOut, unless_all};
use super::log::{Log, Settings};
use super::pamr::Pamr;
use super::report;
use super::segmentation::{PictureCounts, Protocol};
use super::source::Found;
use super::summary::{Run, Summary};
use super::templates::{Lexicon, Templates};
use super::variant::{Refine, Variant};
use super::{Names, View};
use crate::{Error, Result};

/// What is done to masks, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "program", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Refinement {
    /// Nothing.
    None,
    /// Pixel-adaptive mask refinement: ten rounds, by the pixels around at six distances.
    Pamr,
    /// The guided filter that boards use.
    Guided,
}

/// How pictures are measured. Of lists every combination is, on one encoding of each picture.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What is not given is as TTD's authors have it: 448 px, scales 1, 0.5, 1.5, 2, flip, windows, PAMR, the preset's threshold.
    pub paper: bool,
    /// Words that stand for a class; for presets both, else plain.
    pub names: Vec<Names>,
    /// What words are put into, as [`Templates::named`] has it; the model's own if none.
    pub templates: Vec<String>,
    /// Score below which a pixel belongs to no class: 0 to 1, `none`, `paper` (the preset's), `LOW..HIGH/STEP`; the model's in a view with
    /// a background, else none.
    pub background: Vec<String>,
    /// Words for what is to be left out; `preset` alone for those of the preset's engineered names.
    pub background_words: Vec<String>,
    /// Offer only the classes that a picture's own labels hold.
    pub present_only: bool,
    /// Offer only the classes whose pixel-tag score reaches this: 0 to 1 (at least the best one), or `none`.
    pub tag_threshold: Vec<String>,
    /// A table of each class's own threshold.
    pub word_thresholds: Option<PathBuf>,
    /// What is done to masks.
    pub refine: Vec<Refinement>,
    /// Side of the prepared input in pixels; the model's if none.
    pub size_px: Option<usize>,
    /// Factors on that side.
    pub scales: Vec<f32>,
    /// Look at each picture mirrored as well.
    pub flip: bool,
    /// Look at squares of the scaled picture, `SIDE/STRIDE` in pixels, or `input`.
    pub windows: Option<String>,
}

/// A measurement that is ready to run.
#[derive(Debug)]
pub struct Measurement<'a> {
    /// The pictures.
    pub found: &'a Found,
    /// What their labels mean.
    pub view: View,
    /// What is drawn.
    pub variants: Vec<Variant>,
    /// What a record says of it.
    pub settings: Settings,
    ensemble: Ensemble,
    present_only: bool,
}

impl Options {
    fn looks(&self, bundle: &Bundle) -> Result<Looks> {
        let size_px = self.size_px.or(self.paper.then_some(448));
        let side_px = size_px.unwrap_or(bundle.manifest().image.input_px);
        let windows = match self.windows.as_deref().or(self.paper.then_some("input")) {
            None => None,
            Some("input") => Some(Windows { side_px, stride_px: side_px / 2 }),
            Some(text) => {
                let parts = text.split_once('/').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
                let (side_px, stride_px) = parts.ok_or_else(|| wrong("--windows", "SIDE/STRIDE in pixels", format!("{text:?}")))?;
                Some(Windows { side_px, stride_px })
            }
        };
        let scales = if self.scales.is_empty() && self.paper { vec![1.0, 0.5, 1.5, 2.0] } else { self.scales.clone() };
        Ok(Looks { size_px, scales, flip: self.flip || self.paper, windows })
    }

    fn variants(&self, bundle: &Bundle, found: &Found, view: &View) -> Result<Vec<Variant>> {
        let default_names = if found.preset.is_some() { &[Names::Plain, Names::Synonyms][..] } else { &[Names::Plain] };
        let names = if self.names.is_empty() { default_names } else { &self.names };
        let default_refine = [if self.paper { Refinement::Pamr } else { Refinement::None }];
        let refine = if self.refine.is_empty() { &default_refine[..] } else { &self.refine };
        let templates = match self.templates.as_slice() {
            [] => vec![Templates::model()],
            named => named.iter().map(|t| Templates::named(t)).collect::<Result<_>>()?,
        };
        let backgrounds = self.backgrounds(found, view, bundle.manifest().background)?;
        let tags = match self.tag_threshold.as_slice() {
            [] => vec![None],
            given => given.iter().map(|t| share("--tag-threshold", t)).collect::<Result<_>>()?,
        };
        let background_words = match (self.background_words.as_slice(), found.preset) {
            ([word], Some(preset)) if word == "preset" => {
                let words = preset.background_words();
                if words.is_empty() {
                    return Err(wrong("--background-words", "a preset that has some", preset.name));
                }
                words
            }
            (words, _) => words.to_vec(),
        };
        let word_thresholds = self.word_thresholds.as_deref().map(|path| fit::read(path, view)).transpose()?;
        if word_thresholds.is_some() && backgrounds.contains(&Background::None) {
            return Err(wrong("--word-thresholds", "--background with it: each competes with one", "none"));
        }
        let mut variants = Vec::new();
        for &name in names {
            let classes = found.view(name)?.classes;
            for template in &templates {
                for &tag_threshold in &tags {
                    for &refine in refine {
                        for &background in &backgrounds {
                            let mut variant = Variant {
                                name: String::new(),
                                names: name,
                                classes: classes.clone(),
                                templates: template.clone(),
                                background,
                                background_words: background_words.clone(),
                                tag_threshold,
                                word_thresholds: word_thresholds.clone(),
                                refine: match refine {
                                    Refinement::None => Refine::None,
                                    Refinement::Pamr => Refine::Pamr(Pamr::default()),
                                    Refinement::Guided => Refine::Guided,
                                },
                            };
                            variant.name = variant.spelled();
                            variants.push(variant);
                        }
                    }
                }
            }
        }
        Ok(variants)
    }

    fn backgrounds(&self, found: &Found, view: &View, default: f32) -> Result<Vec<Background>> {
        let paper = || found.preset.map(|p| p.paper_background).ok_or_else(|| wrong("--background paper", "--preset with it", "none"));
        if self.background.is_empty() {
            let default = if self.paper { paper()? } else { default };
            return Ok(vec![if view.background { Background::Threshold(default) } else { Background::None }]);
        }
        let mut all = Vec::new();
        for text in &self.background {
            if text == "paper" {
                all.push(Background::Threshold(paper()?));
            } else if let Some((low, rest)) = text.split_once("..") {
                let unread = || wrong("--background", "LOW..HIGH/STEP", format!("{text:?}"));
                let (high, step) = rest.split_once('/').ok_or_else(unread)?;
                let parsed = [low, high, step].map(|x| x.parse::<f32>().ok().filter(|x| (0.0..=1.0).contains(x)));
                let [Some(low), Some(high), Some(step)] = parsed else { return Err(unread()) };
                if step < 0.001 || low > high {
                    return Err(unread());
                }
                let steps = ((high - low) / step + 1e-3) as usize;
                all.extend((0..=steps).map(|i| Background::Threshold(((low + i as f32 * step) * 1e4).round() / 1e4)));
            } else {
                all.push(share("--background", text)?.map_or(Background::None, Background::Threshold));
            }
        }
        Ok(all)
    }
}

impl<'a> Measurement<'a> {
    /// Makes one ready. `loading` says where `bundle` is loaded and on how many threads; `further` is what else changes the predictions of
    /// all variants, spelled out.
    ///
    /// # Errors
    /// [`Error::Option`] if an option is out of its range, and as [`Ensemble::new`].
    pub fn new(
        bundle: &Bundle,
        found: &'a Found,
        options: &Options,
        loading: &edge_seg_model::Options,
        further: impl IntoIterator<Item = String>,
    ) -> Result<Self> {
        let view = found.view(Names::Plain)?;
        let looks = options.looks(bundle)?;
        let ensemble = Ensemble::new(bundle, &looks, loading)?;
        let variants = options.variants(bundle, found, &view)?;
        let mut words = vec![format!("{} px", ensemble.session().size_px())];
        if !looks.scales.is_empty() {
            words.push(format!("scales {:?}", looks.scales));
        }
        words.extend(looks.flip.then(|| "flip".to_string()));
        words.extend(looks.windows.map(|w| format!("windows {}/{}", w.side_px, w.stride_px)));
        words.extend(options.present_only.then(|| "present only".to_string()));
        words.extend(further);
        let manifest = bundle.manifest();
        let settings = Settings {
            record: 2,
            model: format!("{} ({})", manifest.name, manifest.variant),
            digest: bundle.digest().into(),
            view: found.view_name.clone(),
            background_class: view.background,
            classes: view.classes.iter().map(|c| c.name.clone()).collect(),
            variants: variants.iter().map(|v| v.name.clone()).collect(),
            protocol: words.join("; "),
        };
        Ok(Self { found, view, variants, settings, ensemble, present_only: options.present_only })
    }

    /// How its predictions are made.
    pub fn protocol(&self) -> Protocol<'_> {
        Protocol {
            looks: &self.ensemble,
            view: &self.view,
            variants: &self.variants,
            present_only: self.present_only,
            clip: self.found.preset.is_some_and(|p| p.clip),
            lexicon: Lexicon::default(),
        }
    }

    /// Measures the pictures that `record` does not hold yet, on `threads` threads, as many as the processor has if none. `done` is told of
    /// each, from several threads, at the start how many the record holds, and of none before each word that is embedded; what it answers
    /// with an error ends the run, and what is done is in the record. Pictures that are left out are given back as well, beside [`Found::left_out`].
    ///
    /// # Errors
    /// As [`Protocol::evaluate`], the first picture's if none can be read, [`Error::File`] if the record is one of other settings, [`Error::Io`] if threads cannot be started.
    pub fn run(
        &self,
        protocol: &Protocol<'_>,
        record: Option<&Path>,
        threads: Option<usize>,
        done: impl Fn(usize) -> Result<()> + Sync,
    ) -> Result<(Vec<PictureCounts>, Vec<LeftOut>)> {
        let log = record.map(|path| Log::open::<PictureCounts>(path, &self.settings)).transpose()?;
        let (log, mut counts) = log.map_or((None, Vec::new()), |(log, done)| (Some(log), done));
        let wanted: HashSet<&str> = self.found.pairs.iter().map(|p| p.stem.as_str()).collect();
        counts.retain(|c| wanted.contains(c.picture.as_str()));
        let known: HashSet<String> = counts.iter().map(|c| c.picture.clone()).collect();
        done(known.len())?;
        let measure = || {
            let unknown = |pair: &super::pictures::Pair| !known.contains(&pair.stem);
            let stop = || done(0).is_err();
            protocol.evaluate(&self.found.pairs, unknown, &stop, |picture| {
                log.as_ref().zip(picture).map_or(Ok(()), |(log, picture)| log.add(picture))?;
                done(1)
            })
        };
        let (measured, left_out) = self.in_parallel(threads, measure)??;
        counts.extend(measured);
        let left_out = unless_all(&counts, left_out)?;
        // A resumed run reports what an unbroken one does.
        counts.sort_by(|a, b| a.picture.cmp(&b.picture));
        Ok((counts, left_out))
    }

    /// Runs `work`, which uses rayon: whole pictures side by side use the cores better than one picture's matrix products do.
    ///
    /// # Errors
    /// [`Error::Io`] if threads cannot be started.
    pub fn in_parallel<R: Send>(&self, threads: Option<usize>, work: impl FnOnce() -> R + Send) -> Result<R> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build();
        let pool = pool.map_err(|error| Error::io("threads")(std::io::Error::other(error)))?;
        Ok(pool.install(|| self.ensemble.session().with_busy_encoder(work))?)
    }

    /// Writes a report with plots and pictures, in one file.
    ///
    /// # Errors
    /// As [`report::page`], and [`Error::Runtime`] if the file system refuses.
    pub fn write_report(&self, path: &Path, protocol: &Protocol<'_>, summary: &Summary<'_>, counts: &[PictureCounts]) -> Result<()> {
        let page = report::page(summary, protocol, &self.found.pairs, counts)?;
        Ok(edge_seg_bundle::files::replace_file(path, page.as_bytes())?)
    }

    /// What was found, for tables, JSON and reports.
    pub fn summary(&self, counts: &[PictureCounts]) -> Summary<'_> {
        let mut times: Vec<f64> = counts.iter().map(|c| c.encode_ms).collect();
        times.sort_by(f64::total_cmp);
        let manifest = self.ensemble.session().bundle().manifest();
        Summary {
            model: &manifest.name,
            variant: &manifest.variant,
            digest: &self.settings.digest,
            pictures: counts.len(),
            left_out: self.found.pairs.len() + self.found.left_out.len() - counts.len(),
            view: &self.found.view_name,
            layout: &self.found.layout,
            protocol: &self.settings.protocol,
            size_px: self.ensemble.session().size_px(),
            backend: self.ensemble.session().backend(),
            published: self.found.preset.and_then(|p| p.published),
            background_class: self.view.background,
            labels: std::iter::once("background".to_string()).chain(self.view.classes.iter().map(|c| c.name.clone())).collect(),
            runs: self.variants.iter().enumerate().map(|(i, v)| Run::new(i, v, counts, &self.view)).collect(),
            halves: fit::halves(&self.variants, counts, &self.view),
            encode_ms_median: times.get(times.len() / 2).copied().unwrap_or(0.0),
        }
    }
}

fn wrong(option: &str, expected: &str, found: impl Into<String>) -> Error {
    Error::Option { option: option.into(), expected: expected.into(), found: found.into() }
}

/// A share from 0 to 1, or none.
fn share(option: &str, text: &str) -> Result<Option<f32>> {
    if text == "none" {
        return Ok(None);
    }
    let value = text.parse().ok().filter(|v| (0.0..=1.0).contains(v));
    value.map(Some).ok_or_else(|| wrong(option, "0 to 1, or none", format!("{text:?}")))
}
