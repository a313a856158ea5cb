//! A session: a bundle loaded, words encoded once, frames in, masks out.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::device::{Choice, Device};
use crate::encoder::{self, Encoder, MaskRequest, Masks, TextEncoder, Threads};
use crate::input::{Input, Placement, prepare};
use crate::options::{Options, Refinement, Timings};
use crate::score::{Background, Scoring, score};
use crate::words::{Class, TagBank, WordFiles, WordTokenizer};
use crate::{Error, Frame, LabelMap, PatchGrid, Result, ScoreGrid, UnitRows};
use edge_seg_bundle::Bundle;

/// A loaded model. Methods take `&self`, so that several threads can share one: plain ones, rayon's, or an async runtime's blocking
/// ones. A caller alone has all of [`Options::threads`], several have a share each.
#[derive(Debug)]
pub struct Session {
    bundle: Bundle,
    image: Box<dyn Encoder>,
    threads: Threads,
    device: Choice,
    tokenizer: WordTokenizer,
    // The text tower is the larger one and many runs never use it again after their first words.
    text: OnceLock<TextEncoder>,
    words: Mutex<WordCache>,
    word_files: Option<WordFiles>,
    cache_fault: Mutex<Option<Error>>,
    refinement: Refinement,
    size_px: usize,
    batch: usize,
    gpu_masks: bool,
}

/// Embeddings of the words that were asked for last, so that a session that runs for months while words come and go stays small.
#[derive(Debug, Default)]
struct WordCache {
    known: HashMap<String, (u64, Vec<f32>)>,
    uses: u64,
}

impl WordCache {
    /// 6 MiB of 384 numbers each.
    const MOST: usize = 4096;

    fn get(&mut self, word: &str) -> Option<Vec<f32>> {
        self.uses += 1;
        let (used, embedding) = self.known.get_mut(word)?;
        *used = self.uses;
        Some(embedding.clone())
    }

    fn insert(&mut self, word: &str, embedding: Vec<f32>) {
        if self.known.len() >= Self::MOST {
            let mut uses: Vec<u64> = self.known.values().map(|(used, _)| *used).collect();
            let (_, &mut middle, _) = uses.select_nth_unstable(Self::MOST / 2);
            self.known.retain(|_, (used, _)| *used > middle);
        }
        self.uses += 1;
        self.known.insert(word.into(), (self.uses, embedding));
    }
}

/// Words that are encoded before they are kept: an interrupted run goes on there.
const WORDS_AT_ONCE: usize = 2048;

/// A picture's embeddings and where they lie.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Embeddings of the patches that show the frame.
    pub grid: PatchGrid,
    /// Where the frame lies in the encoder's input.
    pub placement: Placement,
    /// How long it took.
    pub timings: Timings,
    /// What ran the encoder.
    pub backend: &'static str,
}

/// A frame's masks.
#[derive(Debug, Clone)]
pub struct Segmentation {
    /// The frame's number in its source.
    pub sequence: u64,
    /// The frame's time since its source started.
    pub timestamp: Duration,
    /// Label of every pixel of the frame.
    pub labels: LabelMap,
    /// Logits on the patch grid, and each class's score.
    pub scores: ScoreGrid,
    /// How long each stage took.
    pub timings: Timings,
    /// What ran the encoder.
    pub backend: &'static str,
}

impl Session {
    /// Loads a bundle's encoders.
    ///
    /// # Errors
    /// [`Error::Encoder`] or [`Error::Bundle`] if the bundle's contents do not work, [`Error::Option`] if `EDGE_SEG_KERNELS` or an option is wrong.
    pub fn new(bundle: Bundle, options: &Options) -> Result<Self> {
        edge_seg_kernels::try_kernels().map_err(|found| Error::Option {
            option: edge_seg_kernels::KERNELS_VARIABLE.into(),
            expected: "kernels that this processor has".into(),
            found,
        })?;
        let threads = match options.threads {
            Some(count) if (1..=Threads::MOST).contains(&count) => count,
            Some(count) => return Err(Error::option("--threads", format!("1 to {}", Threads::MOST), count)),
            None => std::thread::available_parallelism().map_or(1, usize::from).min(Threads::MOST),
        };
        let threads = Threads::new(threads);
        let (image, device) = encoder::load(&bundle, options, threads.clone())?;
        let tokenizer = WordTokenizer::load(&bundle)?;
        let size_px = options.size_px.unwrap_or(bundle.manifest().image.input_px);
        Placement::new((1, 1), &bundle.manifest().image, size_px)?;
        let batch = if device.device == Device::Cuda { options.batch.unwrap_or(1) } else { 1 };
        Ok(Self {
            bundle,
            image,
            threads,
            device,
            tokenizer,
            text: OnceLock::new(),
            words: Mutex::default(),
            word_files: None,
            refinement: Refinement::None,
            cache_fault: Mutex::default(),
            size_px,
            batch,
            gpu_masks: options.gpu_masks,
        })
    }

    /// The bundle that is loaded.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Side of the prepared input in pixels.
    pub fn size_px(&self) -> usize {
        self.size_px
    }

    /// What runs the encoders.
    pub fn backend(&self) -> &'static str {
        self.image.backend()
    }

    /// Where the image encoder was put at the start, and why.
    pub fn device(&self) -> &Choice {
        &self.device
    }

    /// Operators of the plans made so far that the chosen device has no kernel for, and the processor computes. None on the processor.
    pub fn unsupported_ops(&self) -> Vec<String> {
        self.image.unsupported_ops()
    }

    /// Runs `work` on as many threads as keep the encoder busy while pictures are also prepared and drawn; as it is on the processor.
    ///
    /// # Errors
    /// [`Error::Io`] if the threads cannot be started.
    pub fn with_busy_encoder<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R> {
        if self.batch == 1 {
            return Ok(work());
        }
        let threads = rayon::current_num_threads().max(2 * self.batch);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| Error::Io { path: "threads".into(), source: std::io::Error::other(error) })?;
        Ok(pool.install(work))
    }

    /// How many pictures the encoder takes at once, gathered from as many threads; one on the processor.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Name of the kernels that score and draw.
    pub fn kernels(&self) -> &'static str {
        edge_seg_kernels::kernels().name()
    }

    /// Refines masks from here on.
    pub fn with_refinement(self, refinement: Refinement) -> Self {
        Self { refinement, ..self }
    }

    /// Keeps words' embeddings in a folder between runs, for long vocabularies; see [`Self::word_cache_fault`].
    pub fn with_word_cache(mut self, folder: &Path) -> Self {
        self.word_files = Some(WordFiles::new(folder, &self.bundle));
        self
    }

    /// Why the words' embeddings could last not be kept, if so: no reason for [`Self::tag_bank`] to fail.
    pub fn word_cache_fault(&self) -> Option<Error> {
        self.cache_fault.lock().unwrap_or_else(|e| e.into_inner()).take()
    }

    /// Embeds the words of some classes, and words for what is to be left out. Each word is put into the manifest's templates,
    /// the embeddings are averaged and kept for the next bank.
    ///
    /// # Errors
    /// [`Error::Words`] if the model knows nothing of a word, [`Error::Encoder`] if the text encoder fails.
    pub fn tag_bank(&self, classes: &[Class], background_words: &[String]) -> Result<TagBank> {
        let words: Vec<&str> = classes.iter().flat_map(|c| &c.words).chain(background_words).map(String::as_str).collect();
        let known = self.embed_words(&words)?;
        let mut rows = Vec::with_capacity(words.len() * self.bundle.manifest().embedding_dim);
        words.iter().for_each(|word| rows.extend_from_slice(&known[word]));
        let rows = UnitRows::normalise("tag bank", self.bundle.manifest().embedding_dim, rows)?;
        TagBank::new(classes, background_words.len(), rows)
    }

    /// Every word's embedding: known already, kept on disk, or made by the text encoder.
    fn embed_words<'a>(&self, words: &[&'a str]) -> Result<HashMap<&'a str, Vec<f32>>> {
        let mut found = HashMap::with_capacity(words.len());
        let mut new = HashSet::new();
        {
            let mut known = self.lock_words();
            for &word in words {
                match known.get(word) {
                    Some(row) => drop(found.insert(word, row)),
                    None => drop(new.insert(word)),
                }
            }
        }
        if let Some(files) = self.word_files.as_ref().filter(|_| !new.is_empty()) {
            for (word, row) in files.read(&new) {
                if let Some(word) = new.take(word.as_str()) {
                    found.insert(word, row);
                }
            }
        }
        let mut new: Vec<&str> = new.into_iter().collect();
        new.sort_unstable();
        for words in new.chunks(WORDS_AT_ONCE) {
            // Before the threads start, so that not each of them loads it.
            let encoder = self.text()?;
            let embed = || words.par_iter().map(|word| Ok((*word, self.embed_word(encoder, word)?))).collect::<Result<Vec<_>>>();
            let made = self.threads.install(embed)?;
            if let Some(files) = &self.word_files
                && let Err(fault) = files.add(made.iter().map(|(word, row)| (*word, row.as_slice())))
            {
                *self.cache_fault.lock().unwrap_or_else(|e| e.into_inner()) = Some(fault);
            }
            let mut known = self.lock_words();
            made.iter().for_each(|(word, row)| known.insert(word, row.clone()));
            found.extend(made);
        }
        Ok(found)
    }

    /// Embeds a text as it is, without templates. `[1, dim]`, unit-norm
    ///
    /// # Errors
    /// As [`Self::tag_bank`].
    pub fn embed_text(&self, text: &str) -> Result<UnitRows> {
        let tokens = self.tokenizer.encode(text)?;
        UnitRows::normalise("text embedding", self.bundle.manifest().embedding_dim, self.text()?.encode(&tokens)?)
    }

    /// The mean over the templates. `[dim]`, unit-norm
    fn embed_word(&self, encoder: &TextEncoder, word: &str) -> Result<Vec<f32>> {
        let dim = self.bundle.manifest().embedding_dim;
        // The word alone is what must be known: a template's own words would hide one that is not.
        let alone = self.tokenizer.encode(word)?;
        let mut rows = Vec::new();
        for template in &self.bundle.manifest().templates {
            let tokens = if template == "{}" { alone.clone() } else { self.tokenizer.encode(&template.replace("{}", word))? };
            rows.extend(encoder.encode(&tokens)?);
        }
        UnitRows::normalise("word embedding", dim, rows)?.mean_row("word embedding")
    }

    fn lock_words(&self) -> std::sync::MutexGuard<'_, WordCache> {
        self.words.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn text(&self) -> Result<&TextEncoder> {
        if let Some(text) = self.text.get() {
            return Ok(text);
        }
        let loaded = TextEncoder::load(&self.bundle)?;
        Ok(self.text.get_or_init(|| loaded))
    }

    /// Embeds a frame's patches.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the frame has no pixels, [`Error::Encoder`] if the encoder fails.
    pub fn encode(&self, frame: &Frame) -> Result<Encoded> {
        self.encode_sized(frame, self.size_px)
    }

    /// As [`Self::encode`], with another side of the prepared input.
    ///
    /// # Errors
    /// As [`Self::encode`], and [`Error::Option`] if the side is out of range.
    pub fn encode_sized(&self, frame: &Frame, size_px: usize) -> Result<Encoded> {
        let start = Instant::now();
        let input = prepare(&frame.pixels, &self.bundle.manifest().image, size_px)?;
        self.encode_prepared(&input, start.elapsed())
    }

    fn encode_prepared(&self, input: &Input, prepare: Duration) -> Result<Encoded> {
        let prepared = Instant::now();
        self.image.plan_for(input, self.batch)?;
        let planned = Instant::now();
        let grid = self.image.encode(input)?;
        let timings = Timings { prepare, plan: planned - prepared, encode: planned.elapsed(), ..Timings::default() };
        Ok(Encoded { grid, placement: input.placement, timings, backend: self.backend() })
    }

    /// Scores an embedded frame against a bank.
    ///
    /// # Errors
    /// As [`Self::masks`].
    pub fn score(&self, encoded: &Encoded, bank: &TagBank, background: Background) -> Result<ScoreGrid> {
        self.threads.install(|| score(&encoded.grid, bank, Scoring::from(self.bundle.manifest()), background))
    }

    /// Scores an embedded frame against a bank and draws the masks.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the bank is another model's, [`Error::Option`] if the background is out of range.
    pub fn masks(&self, frame: &Frame, encoded: &Encoded, bank: &TagBank, background: Background) -> Result<Segmentation> {
        let start = Instant::now();
        let scores = self.score(encoded, bank, background)?;
        let scored = Instant::now();
        let labels = self.threads.install(|| match self.refinement {
            Refinement::None => LabelMap::from_scores(&scores, &encoded.placement),
            Refinement::Guided => LabelMap::refined(&scores, &encoded.placement, &frame.pixels),
        })?;
        let timings = Timings { score: scored - start, mask: scored.elapsed(), ..encoded.timings };
        Ok(Segmentation { sequence: frame.sequence, timestamp: frame.timestamp, labels, scores, timings, backend: encoded.backend })
    }

    /// Prepares, encodes, scores and draws one frame.
    ///
    /// # Errors
    /// As [`Self::encode`] and [`Self::masks`].
    pub fn segment(&self, frame: &Frame, bank: &TagBank, background: Background) -> Result<Segmentation> {
        let start = Instant::now();
        let input = prepare(&frame.pixels, &self.bundle.manifest().image, self.size_px)?;
        let prepare = start.elapsed();
        if self.gpu_masks
            && let Some(mut found) = self.segment_on_device(frame, &input, bank, background)?
        {
            found.timings.prepare = prepare;
            return Ok(found);
        }
        self.masks(frame, &self.encode_prepared(&input, prepare)?, bank, background)
    }

    fn segment_on_device(&self, frame: &Frame, input: &Input, bank: &TagBank, background: Background) -> Result<Option<Segmentation>> {
        let labels = self.refinement == Refinement::None;
        let request = MaskRequest { bank, scoring: Scoring::from(self.bundle.manifest()), background, labels };
        let Some(Masks { scores, labels, mut timings }) = self.image.masks(input, &request)? else { return Ok(None) };
        let start = Instant::now();
        let labels = match labels {
            Some(labels) => labels,
            None => LabelMap::refined(&scores, &input.placement, &frame.pixels)?,
        };
        timings.mask += start.elapsed();
        let backend = self.backend();
        Ok(Some(Segmentation { sequence: frame.sequence, timestamp: frame.timestamp, labels, scores, timings, backend }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_forgets_what_was_used_least_lately() {
        let mut cache = WordCache::default();
        for i in 0..WordCache::MOST {
            cache.insert(&i.to_string(), vec![i as f32]);
        }
        assert_eq!(cache.get("0"), Some(vec![0.0]));
        cache.insert("new", vec![1.0]);
        assert!(cache.known.len() <= WordCache::MOST);
        assert_eq!(cache.get("0"), Some(vec![0.0]), "used lately");
        assert_eq!(cache.get("1"), None);
        assert_eq!(cache.get("new"), Some(vec![1.0]));
        for i in 0..3 * WordCache::MOST {
            cache.insert(&format!("more {i}"), vec![0.0]);
            assert!(cache.known.len() <= WordCache::MOST);
        }
    }
}
