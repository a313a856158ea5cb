//! A session: a bundle loaded, words encoded once, frames in, masks out.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;
use rayon::prelude::*;

use crate::device::{Choice, Device};
use crate::encoder::{self, Encoder, MaskRequest, Masks, Stop, TextEncoder, Threads};
use crate::input::{Input, Placement, prepare};
use crate::options::{Options, Refinement, Timings};
use crate::score::{Background, Scoring, WordScore, score, score_words};
use crate::word_list::WordList;
use crate::words::{
    Class, Languages, Meaning, WordBank, WordFiles, WordTokenizer, check_classes, check_word, english_of, meaning, meanings, parse_words,
};
use crate::{Error, Frame, LabelMap, PatchGrid, Result, ScoreGrid, UnitRows};
use edge_seg_bundle::Bundle;
use edge_seg_bundle::text::shown;

/// A loaded model. Methods take `&self`, so that several threads can share one: plain ones, rayon's, or an async runtime's blocking
/// ones. A caller alone has all of [`Options::threads`], several have a share each.
pub struct Session {
    bundle: Bundle,
    model: Arc<str>, // the bundle's digest
    image: Box<dyn Encoder>,
    threads: Threads,
    device: Choice,
    tokenizer: WordTokenizer,
    // The text tower is the larger one and many runs never use it again after their first words.
    text: OnceLock<TextEncoder>,
    words: Mutex<LruCache<String, Vec<f32>>>,
    languages: Languages,
    word_files: Option<WordFiles>,
    cache_fault: Mutex<Option<Error>>,
    refinement: Refinement,
    size_px: usize,
    batch: usize,
    gpu_masks: bool,
}

/// Words whose embeddings are kept, those that were asked for last, so that a session that runs for months while words come and go stays
/// small: 6 MiB of 384 numbers each.
const MOST_WORDS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// Words that are encoded before they are kept: an interrupted run goes on there.
const WORDS_AT_ONCE: usize = 2048;

/// A picture's embeddings and where they lie.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Encoded {
    /// Embeddings of the patches that show the frame.
    pub grid: PatchGrid,
    /// Where the frame lies in the encoder's input.
    pub placement: Placement,
    /// How long it took.
    pub timings: Timings,
    /// What ran the encoder.
    pub backend: &'static str,
    model: Option<Arc<str>>,
}

#[doc(hidden)]
/// Refuses what a model of another digest than `wanted` made; `what` is that with its preposition. What was made by hand has none.
pub fn check_model(option: &str, what: &str, wanted: &str, digest: Option<&str>) -> Result<()> {
    let Some(digest) = digest.filter(|digest| *digest != wanted) else { return Ok(()) };
    let short = |digest: &str| format!("{what} the model {}", shown(&digest.chars().take(12).collect::<String>()));
    Err(Error::option(option, short(wanted), format!("{}; make them again with this model", short(digest))))
}

impl Encoded {
    /// Embeddings that were made elsewhere, by what `backend` names.
    pub fn new(grid: PatchGrid, placement: Placement, timings: Timings, backend: &'static str) -> Self {
        Self { grid, placement, timings, backend, model: None }
    }

    /// The digest of the bundle that made them; none where [`Self::new`] did.
    pub fn model_digest(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Whether a session's model made them.
    ///
    /// # Errors
    /// [`Error::Option`] if another one did: its numbers mean nothing to this one. What was made by hand is not refused.
    pub fn check(&self, session: &Session) -> Result<()> {
        session.check_model("encoded", "embeddings by", self.model_digest())
    }
}

impl WordBank {
    /// Whether a session knows the words as they are known here.
    ///
    /// # Errors
    /// [`Error::Option`] if another model made them: its numbers mean nothing to this one. What was made by hand is not refused.
    pub fn check(&self, session: &Session) -> Result<()> {
        session.check_model("words", "words of", self.model_digest())
    }
}

/// A frame's masks.
#[derive(Clone)]
#[non_exhaustive]
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
    /// Names of the classes; label k is `names[k - 1]`.
    pub names: Arc<[String]>,
}

impl Segmentation {
    /// Masks of a still that were made elsewhere, by what `backend` names. A frame of a video has its number and its time in the fields.
    pub fn new(names: Arc<[String]>, scores: ScoreGrid, labels: LabelMap, backend: &'static str) -> Self {
        Self { sequence: 0, timestamp: Duration::ZERO, labels, scores, timings: Timings::default(), backend, names }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manifest = self.bundle.manifest();
        write!(f, "Session {{ {} {}, {} px, {} }}", manifest.name, manifest.variant, self.size_px, self.backend())
    }
}

impl fmt::Debug for Segmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (LabelMap { width, height, .. }, sequence) = (&self.labels, self.sequence);
        write!(f, "Segmentation {{ {width}×{height}, sequence: {sequence}, {} classes }}", self.names.len())
    }
}

impl Session {
    /// The model that the library carries, with default options.
    ///
    /// # Errors
    /// As [`Self::built_in_with`].
    pub fn built_in() -> Result<Self> {
        Self::built_in_with(&Options::default())
    }

    /// The model that the library carries.
    ///
    /// # Errors
    /// [`Error::Bundle`] if this build carries none (feature `mini`), and as [`Self::new`].
    pub fn built_in_with(options: &Options) -> Result<Self> {
        Self::new(Bundle::built_in()?, options)
    }

    /// The model of a bundle's file, with default options. [`Trust::open`](edge_seg_bundle::trust::Trust::open) with [`Self::new`] asks
    /// for a signature.
    ///
    /// # Errors
    /// [`Error::Bundle`] if it cannot be read or is none, and as [`Self::new`].
    pub fn open(bundle: impl AsRef<Path>) -> Result<Self> {
        Self::new(Bundle::open(bundle.as_ref())?, &Options::default())
    }

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
            Some(count) => return Err(Error::option("threads", format!("1 to {}", Threads::MOST), count)),
            None => std::thread::available_parallelism().map_or(1, usize::from).min(Threads::MOST),
        };
        let threads = Threads::new(threads);
        let (image, device) = encoder::load(&bundle, options, threads.clone())?;
        let tokenizer = WordTokenizer::load(&bundle)?;
        let size_px = options.size_px.unwrap_or(bundle.manifest().image.input_px);
        Placement::new((1, 1), &bundle.manifest().image, size_px)?;
        let batch = if device.device == Device::Cuda { options.batch.unwrap_or(1) } else { 1 };
        Ok(Self {
            model: bundle.digest().into(),
            bundle,
            image,
            threads,
            device,
            tokenizer,
            text: OnceLock::new(),
            words: Mutex::new(LruCache::new(MOST_WORDS)),
            languages: options.languages.clone(),
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

    #[doc(hidden)]
    /// As [`check_model`], for the session's own.
    pub fn check_model(&self, option: &str, what: &str, digest: Option<&str>) -> Result<()> {
        check_model(option, what, &self.model, digest)
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

    /// How many threads its callers share.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    /// Runs `work`, which uses rayon, on this caller's share of the threads.
    ///
    /// # Errors
    /// [`Error::Io`] if the system starts no more threads.
    pub fn on_threads<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R> {
        self.threads.install(work)
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

    /// What is done to masks between scores and pixels.
    pub fn refinement(&self) -> Refinement {
        self.refinement
    }

    /// Keeps words' embeddings in a folder between runs, for long vocabularies; see [`Self::word_cache_fault`].
    pub fn with_word_cache(mut self, folder: &Path) -> Self {
        self.word_files = Some(WordFiles::new(folder, &self.bundle));
        self
    }

    /// Why the last attempt to keep the words' embeddings failed, if it did: [`Self::word_bank`] goes on without.
    pub fn word_cache_fault(&self) -> Option<Error> {
        self.cache_fault.lock().take()
    }

    /// What the model is asked for in a word's place: [`Self::word_bank`] looks for the meaning, and reports the word.
    pub fn meaning(&self, word: &str) -> Meaning {
        meaning(word, &self.languages)
    }

    /// As [`Self::meaning`], of many words; of those that nothing knows, the first twenty are told near ones, which takes a while.
    pub fn meanings(&self, words: &[&str]) -> Vec<Meaning> {
        meanings(words, &self.languages)
    }

    /// The languages that words are looked up in.
    pub fn languages(&self) -> &Languages {
        &self.languages
    }

    /// Words to look for, as [`parse_words`] reads them (`cat, red car: sports car, -wall`), with the model's own threshold.
    ///
    /// # Errors
    /// [`Error::Words`] if they cannot be read, and as [`Self::word_bank`].
    pub fn words(&self, list: &str) -> Result<WordList> {
        let (classes, left_out) = parse_words("words", list)?;
        self.word_list(classes, left_out)
    }

    /// As [`Self::words`], of classes and words for what is to be left out.
    ///
    /// # Errors
    /// As [`check_classes`], but that there may be none, and as [`Self::word_bank`]. What [`Self::with_examples`] shows later may be without
    /// words.
    pub fn word_list(&self, classes: Vec<Class>, left_out: Vec<String>) -> Result<WordList> {
        let classes = listed(classes)?;
        let bank = self.word_bank(&classes, &left_out)?;
        Ok(self.list(classes, left_out, bank))
    }

    /// As [`Self::word_list`], unless `stop` says so meanwhile; then none. It is asked before each word, also by threads of the session's:
    /// thousands of words take minutes.
    ///
    /// # Errors
    /// As [`Self::word_list`].
    pub fn word_list_until(&self, classes: Vec<Class>, left_out: Vec<String>, stop: impl Fn() -> bool + Sync) -> Result<Option<WordList>> {
        let classes = listed(classes)?;
        let bank = self.word_bank_until(&classes, &left_out, &stop)?;
        Ok(bank.map(|bank| self.list(classes, left_out, bank)))
    }

    fn list(&self, classes: Vec<Class>, left_out: Vec<String>, bank: WordBank) -> WordList {
        WordList::new(classes, left_out, bank, Background::Threshold(self.bundle.manifest().background))
    }

    /// Finds words in a frame: a mask and a score for each.
    ///
    /// # Errors
    /// As [`Self::segment`].
    pub fn find(&self, frame: &Frame, words: &WordList) -> Result<Segmentation> {
        self.segment(frame, words.bank(), words.background())
    }

    /// As [`Self::find`], in a frame that is embedded already, which is the larger part of the work: several lists of words cost one
    /// encoding.
    ///
    /// # Errors
    /// As [`Self::masks`].
    pub fn find_encoded(&self, frame: &Frame, encoded: &Encoded, words: &WordList) -> Result<Segmentation> {
        self.masks(frame, encoded, words.bank(), words.background())
    }

    /// As [`Self::find`], unless `stop` says so meanwhile; then none. It is asked between preparing, planning, scoring and drawing, and on
    /// the processor between the encoder's layers, by a thread of the session's: what it says comes a few milliseconds later at most.
    /// The plan for a picture's first size, and a GPU's batch, are ended once begun. A panic in `stop` ends the call, and goes on in the
    /// caller's thread.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn segment_until(&self, frame: &Frame, words: &WordList, stop: impl Fn() -> bool + Sync) -> Result<Option<Segmentation>> {
        let panicked = Mutex::new(None);
        let asked = || {
            catch_unwind(AssertUnwindSafe(&stop)).unwrap_or_else(|panic| {
                *panicked.lock() = Some(panic);
                true
            })
        };
        let found = self.threads.call(|| self.find_until(frame, words, &asked)).flatten();
        match panicked.into_inner() {
            Some(panic) => resume_unwind(panic),
            None => found,
        }
    }

    fn find_until(&self, frame: &Frame, words: &WordList, stop: Stop<'_>) -> Result<Option<Segmentation>> {
        words.bank().check(self)?;
        if stop() {
            return Ok(None);
        }
        let start = Instant::now();
        let input = prepare(&frame.pixels, &self.bundle.manifest().image, self.size_px)?;
        let prepare = start.elapsed();
        if stop() {
            return Ok(None);
        }
        self.image.plan_for(&input, self.batch)?;
        if stop() {
            return Ok(None);
        }
        let Some(encoded) = self.encode_until(&input, prepare, stop)? else { return Ok(None) };
        if stop() { Ok(None) } else { self.find_encoded(frame, &encoded, words).map(Some) }
    }

    /// Embeds the words of some classes, and words for what is to be left out. A word of another language than English is exchanged for
    /// its [`meaning`](Self::meaning); each is put into the manifest's templates,
    /// the embeddings are averaged and kept for the next bank.
    ///
    /// # Errors
    /// [`Error::Words`] if the model knows nothing of a word, [`Error::Encoder`] if the text encoder fails.
    pub fn word_bank(&self, classes: &[Class], background_words: &[String]) -> Result<WordBank> {
        Ok(self.word_bank_until(classes, background_words, &|| false)?.expect("nobody stops it"))
    }

    /// As [`Self::word_bank`], unless `stop` says so meanwhile; then none.
    pub(crate) fn word_bank_until(
        &self,
        classes: &[Class],
        background_words: &[String],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<WordBank>> {
        // Before thousands of words are embedded for nothing.
        WordBank::check_count(classes)?;
        let words = classes.iter().flat_map(|c| &c.words).chain(background_words);
        let meant = words.map(|word| if stop() { None } else { Some(english_of(word, &self.languages)) }).collect();
        let Some::<Vec<Cow<'_, str>>>(meant) = meant else { return Ok(None) };
        let words: Vec<&str> = meant.iter().map(AsRef::as_ref).collect();
        words.iter().try_for_each(|word| check_word("words", word))?;
        let Some(known) = self.embed_words(&words, stop)? else { return Ok(None) };
        let mut rows = Vec::with_capacity(words.len() * self.bundle.manifest().embedding_dim);
        words.iter().for_each(|word| rows.extend_from_slice(&known[word]));
        let rows = UnitRows::normalise("word bank", self.bundle.manifest().embedding_dim, rows)?;
        let bank = WordBank::new(classes, background_words.len(), rows)?;
        Ok(Some(bank.of_model(self.model.clone())))
    }

    /// Every word's embedding: known already, kept on disk, or made by the text encoder; none once `stop` says so.
    fn embed_words<'a>(&self, words: &[&'a str], stop: &(dyn Fn() -> bool + Sync)) -> Result<Option<HashMap<&'a str, Vec<f32>>>> {
        let mut found = HashMap::with_capacity(words.len());
        let mut new = HashSet::new();
        {
            let mut known = self.words.lock();
            for &word in words {
                match known.get(word) {
                    Some(row) => drop(found.insert(word, row.clone())),
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
            let one = |word: &&'a str| if stop() { Ok(None) } else { Ok(Some((*word, self.embed_word(encoder, word)?))) };
            let embed = || words.par_iter().map(one).collect::<Result<Option<Vec<_>>>>();
            let Some(made) = self.threads.install(embed)?? else { return Ok(None) };
            if let Some(files) = &self.word_files
                && let Err(fault) = files.add(made.iter().map(|(word, row)| (*word, row.as_slice())))
            {
                *self.cache_fault.lock() = Some(fault);
            }
            let mut known = self.words.lock();
            made.iter().for_each(|(word, row)| drop(known.put((*word).into(), row.clone())));
            found.extend(made);
        }
        Ok(Some(found))
    }

    /// Embeds a text as it is, without templates. `[1, dim]`, unit-norm
    ///
    /// # Errors
    /// As [`Self::word_bank`].
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
        self.threads.call(|| {
            let start = Instant::now();
            let input = prepare(&frame.pixels, &self.bundle.manifest().image, size_px)?;
            self.encode_prepared(&input, start.elapsed())
        })?
    }

    fn encode_prepared(&self, input: &Input, prepare: Duration) -> Result<Encoded> {
        let (planned, plan) = self.plan(input)?;
        let grid = self.image.encode(input)?;
        Ok(self.encoded(input, grid, Timings { prepare, plan, encode: planned.elapsed(), ..Timings::default() }))
    }

    fn encode_until(&self, input: &Input, prepare: Duration, stop: Stop<'_>) -> Result<Option<Encoded>> {
        let (planned, plan) = self.plan(input)?;
        let Some(grid) = self.image.encode_until(input, stop)? else { return Ok(None) };
        Ok(Some(self.encoded(input, grid, Timings { prepare, plan, encode: planned.elapsed(), ..Timings::default() })))
    }

    /// When the plan for this input was there, and how long making it took.
    fn plan(&self, input: &Input) -> Result<(Instant, Duration)> {
        let start = Instant::now();
        self.image.plan_for(input, self.batch)?;
        Ok((Instant::now(), start.elapsed()))
    }

    fn encoded(&self, input: &Input, grid: PatchGrid, timings: Timings) -> Encoded {
        Encoded { grid, placement: input.placement, timings, backend: self.backend(), model: Some(self.model.clone()) }
    }

    fn check_both(&self, encoded: &Encoded, bank: &WordBank) -> Result<()> {
        encoded.check(self)?;
        bank.check(self)
    }

    /// Scores an embedded frame against a bank.
    ///
    /// # Errors
    /// As [`Self::masks`].
    pub fn score(&self, encoded: &Encoded, bank: &WordBank, background: Background) -> Result<ScoreGrid> {
        self.check_both(encoded, bank)?;
        self.threads.install(|| score(&encoded.grid, bank, Scoring::from(self.bundle.manifest()), background))?
    }

    /// How well each class fits an embedded frame as a whole, in 0..1; what reaches the manifest's `tag_threshold` counts as seen. `[classes]`
    ///
    /// # Errors
    /// As [`score_words`]; [`Error::Option`] if the encoding or the words are another model's.
    pub fn class_scores(&self, encoded: &Encoded, words: &WordList, kind: WordScore) -> Result<Vec<f32>> {
        self.check_both(encoded, words.bank())?;
        self.threads.install(|| score_words(kind, &encoded.grid, words.bank(), None, self.bundle.manifest().into()))?
    }

    /// Another name of [`Self::class_scores`].
    ///
    /// # Errors
    /// As [`Self::class_scores`].
    #[deprecated(note = "it is called `class_scores`")]
    pub fn tag_scores(&self, encoded: &Encoded, words: &WordList, kind: WordScore) -> Result<Vec<f32>> {
        self.class_scores(encoded, words, kind)
    }

    /// Scores an embedded frame against a bank and draws the masks.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the frame is not the one that was encoded or widths differ, [`Error::Option`] if the encoding or the bank is
    /// another model's, or the background is out of range.
    pub fn masks(&self, frame: &Frame, encoded: &Encoded, bank: &WordBank, background: Background) -> Result<Segmentation> {
        self.threads.call(|| self.masks_in_call(frame, encoded, bank, background))?
    }

    fn masks_in_call(&self, frame: &Frame, encoded: &Encoded, bank: &WordBank, background: Background) -> Result<Segmentation> {
        let size = |(width, height): (u32, u32)| format!("{width}×{height} pixels");
        if frame.pixels.dimensions() != encoded.placement.frame_px {
            let (expected, found) = (size(encoded.placement.frame_px), size(frame.pixels.dimensions()));
            return Err(Error::Tensor { what: "frame".into(), expected: format!("the one that was encoded, {expected}"), found });
        }
        let start = Instant::now();
        let scores = self.score(encoded, bank, background)?;
        let scored = Instant::now();
        let labels = self.threads.install(|| match self.refinement {
            Refinement::None => LabelMap::from_scores(&scores, &encoded.placement),
            Refinement::Guided => LabelMap::refined(&scores, &encoded.placement, &frame.pixels),
        })??;
        let timings = Timings { score: scored - start, mask: scored.elapsed(), ..encoded.timings };
        let (sequence, timestamp, names) = (frame.sequence, frame.timestamp, bank.shared_names());
        Ok(Segmentation { sequence, timestamp, labels, scores, timings, backend: encoded.backend, names })
    }

    /// Prepares, encodes, scores and draws one frame.
    ///
    /// # Errors
    /// As [`Self::encode`] and [`Self::masks`].
    pub fn segment(&self, frame: &Frame, bank: &WordBank, background: Background) -> Result<Segmentation> {
        self.threads.call(|| self.segment_in_call(frame, bank, background))?
    }

    fn segment_in_call(&self, frame: &Frame, bank: &WordBank, background: Background) -> Result<Segmentation> {
        bank.check(self)?;
        let start = Instant::now();
        let input = prepare(&frame.pixels, &self.bundle.manifest().image, self.size_px)?;
        let prepare = start.elapsed();
        if self.gpu_masks
            && let Some(mut found) = self.segment_on_device(frame, &input, bank, background)?
        {
            found.timings.prepare = prepare;
            return Ok(found);
        }
        self.masks_in_call(frame, &self.encode_prepared(&input, prepare)?, bank, background)
    }

    fn segment_on_device(&self, frame: &Frame, input: &Input, bank: &WordBank, background: Background) -> Result<Option<Segmentation>> {
        let labels = self.refinement == Refinement::None;
        let request = MaskRequest { bank, scoring: Scoring::from(self.bundle.manifest()), background, labels };
        let Some(Masks { scores, labels, mut timings }) = self.image.masks(input, &request)? else { return Ok(None) };
        let start = Instant::now();
        let labels = match labels {
            Some(labels) => labels,
            None => LabelMap::refined(&scores, &input.placement, &frame.pixels)?,
        };
        timings.mask += start.elapsed();
        let (sequence, timestamp, names) = (frame.sequence, frame.timestamp, bank.shared_names());
        Ok(Some(Segmentation { sequence, timestamp, labels, scores, timings, backend: self.backend(), names }))
    }
}

/// Classes that a list of words can be made of, if any.
fn listed(classes: Vec<Class>) -> Result<Vec<Class>> {
    if classes.is_empty() {
        return Ok(classes);
    }
    check_classes("words", classes)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn session() -> Session {
        Session::built_in_with(&Options::default().with_size_px(64)).unwrap()
    }

    #[test]
    fn what_is_shown_of_a_session_is_short() {
        let session = session();
        let frame = Frame::still(image::RgbImage::new(64, 48));
        let found = session.find(&frame, &session.words("cat, wall").unwrap()).unwrap();
        let (encoded, words) = (session.encode(&frame).unwrap(), session.words("cat, wall").unwrap());
        let example = session.example(&frame, [0, 0, 64, 48]).unwrap();
        let shown: [&dyn fmt::Debug; 10] =
            [&session, &frame, &found, session.bundle(), &encoded.grid, &words, words.bank(), &found.scores, &found.labels, &example];
        for shown in shown.map(|thing| format!("{thing:?}")).into_iter().chain([format!("{:?}", found.classes()[0])]) {
            assert!(shown.len() < 200, "{} bytes: {}", shown.len(), &shown[..200]);
        }
        // Timings and the placement, beside the grid.
        assert!(format!("{encoded:?}").len() < 500, "{encoded:?}");
    }

    #[test]
    fn each_class_comes_in_every_form() {
        let session = session();
        let frame = Frame::from(image::open("../../examples/pictures/cat.jpg").unwrap());
        let words = session.words("cat, wall: background wall, -floor").unwrap().with_background(Background::None).unwrap();
        let found = session.find(&frame, &words).unwrap();
        let encoded = session.encode(&frame).unwrap();
        assert_eq!(session.find_encoded(&frame, &encoded, &words).unwrap().labels, found.labels);
        assert_eq!(encoded.grid.view().dim(), (encoded.grid.rows(), encoded.grid.cols(), encoded.grid.patches().dim()));
        let classes = found.classes();
        assert_eq!(classes.iter().map(|c| c.name()).collect::<Vec<_>>(), ["cat", "wall"]);
        let (width, height) = frame.pixels.dimensions();
        let mut all = found.background_share();
        for class in classes {
            let bitmap = class.bitmap();
            assert_eq!(bitmap.dimensions(), (width, height));
            assert_eq!(bitmap.pixels().filter(|p| p.0[0] == 255).count() as u64, class.pixels());
            assert!(class.pixels() > 0, "{} has no pixels: a test that could not fail", class.name());
            let mask = crate::region::Mask::from_counts(&class.rle(), width as usize, height as usize).unwrap();
            assert_eq!((mask.area(), Some(mask.bounds_px())), (class.pixels(), class.bounds_px()));
            assert!(!class.polygons(1.0).is_empty() && class.score() > 0.0);
            all += class.share();
        }
        assert!((all - 1.0).abs() < 1e-9);
    }

    #[test]
    fn words_end_where_they_are_told_to() {
        let session = session();
        let classes: Vec<Class> = (0..40).map(|number| Class::word(format!("thing {number}"))).collect();
        let asked = AtomicUsize::new(0);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) >= 3;
        assert!(session.word_list_until(classes.clone(), Vec::new(), stop).unwrap().is_none());
        assert!(asked.into_inner() < 40);
        let whole = session.word_list_until(classes.clone(), Vec::new(), || false).unwrap().unwrap();
        assert_eq!(whole, session.word_list(classes, Vec::new()).unwrap());
    }

    #[test]
    fn a_call_ends_where_it_is_told_to() {
        let session = session();
        let (frame, words) = (Frame::still(image::RgbImage::new(64, 48)), session.words("cat").unwrap());
        let found = session.segment_until(&frame, &words, || false).unwrap().unwrap();
        assert_eq!(found.labels, session.find(&frame, &words).unwrap().labels);
        let ask = |at: usize| {
            let (asked, start) = (AtomicUsize::new(0), Instant::now());
            let found = session.segment_until(&frame, &words, || asked.fetch_add(1, Ordering::Relaxed) == at).unwrap();
            (found.is_none(), asked.into_inner(), start.elapsed())
        };
        let (stopped, whole, _) = ask(usize::MAX);
        assert!(!stopped && whole > 50, "asked {whole} times, once for each layer at least");
        for at in (0..whole).step_by(whole / 10).chain([whole - 1]) {
            let (stopped, asked, _) = ask(at);
            assert!(stopped && asked == at + 1, "told at question {at}, asked {asked} times");
        }
        // A whole call again: nothing of what was stopped stays behind.
        assert_eq!(session.segment_until(&frame, &words, || false).unwrap().unwrap().labels, found.labels);
    }

    #[test]
    fn a_call_that_is_stopped_returns_well_before_a_whole_one() {
        let session = Session::built_in_with(&Options::default().with_size_px(448)).unwrap();
        let (frame, words) = (Frame::still(image::RgbImage::new(448, 448)), session.words("cat").unwrap());
        session.find(&frame, &words).unwrap();
        // The best of three: a busy machine makes some calls longer, none shorter.
        let best = |time: &dyn Fn() -> Duration| (0..3).map(|_| time()).min().unwrap();
        let whole = best(&|| {
            let start = Instant::now();
            session.find(&frame, &words).unwrap();
            start.elapsed()
        });
        let stopped = best(&|| {
            let start = Instant::now();
            assert!(session.segment_until(&frame, &words, || start.elapsed() > whole / 4).unwrap().is_none());
            start.elapsed()
        });
        assert!(stopped < whole * 2 / 3, "stopped after a quarter of {whole:?}: {stopped:?}");
    }

    #[test]
    fn a_panic_of_what_is_asked_is_the_callers() {
        let session = session();
        let (frame, words) = (Frame::still(image::RgbImage::new(64, 48)), session.words("cat").unwrap());
        for at in [0, 1, 4, 20] {
            let asked = AtomicUsize::new(0);
            let stop = || if asked.fetch_add(1, Ordering::Relaxed) == at { panic!("mine") } else { false };
            let unwound = catch_unwind(AssertUnwindSafe(|| session.segment_until(&frame, &words, stop)));
            assert_eq!(unwound.unwrap_err().downcast_ref::<&str>(), Some(&"mine"), "at question {at}");
        }
        assert!(session.segment_until(&frame, &words, || false).unwrap().is_some());
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let session = session();
        let (frame, words) = (Frame::still(image::RgbImage::new(64, 48)), session.words("cat").unwrap());
        let encoded = session.encode(&frame).unwrap();
        for refinement in [Refinement::None, Refinement::Guided] {
            let session = Session::built_in_with(&Options::default().with_size_px(64)).unwrap().with_refinement(refinement);
            let said = session.find_encoded(&Frame::still(image::RgbImage::new(10, 7)), &encoded, &words).unwrap_err().to_string();
            assert_eq!(said, "frame: expected the one that was encoded, 64×48 pixels, found 10×7 pixels");
            let bend: [fn(&mut Placement); 5] = [
                |p| p.frame_px = (0, 0),
                |p| p.frame_px = (u32::MAX, u32::MAX),
                |p| (p.scaled_px, p.input_px) = ((1, 1), (0, 0)),
                |p| p.scaled_px = (u32::MAX, 1),
                |p| p.patch_px = 0,
            ];
            for (at, bend) in bend.into_iter().enumerate() {
                let mut bent = encoded.clone();
                bend(&mut bent.placement);
                assert!(session.find_encoded(&frame, &bent, &words).is_err(), "{refinement:?}, {at}");
                let drawn = LabelMap::from_scores(&session.score(&encoded, words.bank(), words.background()).unwrap(), &bent.placement);
                assert!(drawn.is_err(), "{refinement:?}, {at}");
            }
        }
    }

    #[test]
    fn more_classes_than_labels_are_refused_before_any_is_embedded() {
        let session = session();
        let classes = (0..70_000).map(|n| Class::word(format!("a word {n}"))).collect();
        let said = session.word_list(classes, vec![]).unwrap_err().to_string();
        assert!(said.contains("at most 65535 classes") && session.words.lock().is_empty(), "{said}");
    }

    #[test]
    fn a_map_of_more_labels_than_pixels_has_no_class_beyond_the_picture() {
        let session = session();
        let words = session.words("cat").unwrap();
        let mut found = session.find(&Frame::still(image::RgbImage::new(8, 8)), &words).unwrap();
        found.labels.labels = vec![1; 64 * 450];
        assert_eq!(found.classes()[0].share(), 1.0);
    }

    #[test]
    fn a_manifest_is_told_in_a_line() {
        let told = format!("{:?}", session().bundle().manifest());
        assert!(told.starts_with("Manifest { \"mini\" ") && told.len() < 150, "{told}");
    }

    #[test]
    fn many_words_are_told_by_the_first() {
        let words = (0..60).map(|n| format!("w{n}")).collect::<Vec<_>>().join(",");
        let said = session().words(&words).unwrap().with_threshold("nothing", 0.5).unwrap_err().to_string();
        assert!(said.contains("w19 and 40 more, found \"nothing\"") && said.len() < 200, "{said}");
    }

    #[test]
    fn a_list_of_classes_is_held_to_what_a_line_of_words_is() {
        let session = session();
        let refused = |classes: Vec<Class>| session.word_list(classes, vec![]).unwrap_err().to_string();
        assert!(refused(vec![Class::word("cat"), Class::word("Cat")]).contains("each class once"));
        let shown = vec![Class { name: "my cup".into(), words: vec![] }];
        for later in [shown, vec![]] {
            assert_eq!(
                session.word_list(later.clone(), vec!["wall".into()]).unwrap().names().len(),
                later.len(),
                "what is shown comes later"
            );
        }
    }

    #[test]
    fn words_that_cannot_be_seen_are_refused_wherever_they_come_from() {
        let session = session();
        for hidden in ["", " ", "wal\u{feff}", "w\u{202e}all"] {
            let class = session.word_bank(&[Class::word(hidden)], &[]).unwrap_err().to_string();
            let left_out = session.word_list(vec![Class::word("cat")], vec![hidden.into()]).unwrap_err().to_string();
            assert!([&class, &left_out].iter().all(|said| said.contains("can be seen") && said.is_ascii()), "{class}, {left_out}");
        }
    }

    #[test]
    fn thresholds_of_single_words_are_checked() {
        let words = session().words("cat, wall").unwrap();
        assert!(words.clone().with_threshold("dog", 0.5).unwrap_err().to_string().contains("one of cat, wall"));
        for threshold in [f32::NAN, 1.5, -0.1] {
            let error = words.clone().with_threshold("cat", threshold).unwrap_err();
            assert!(matches!(error, crate::Error::Option { .. }) && error.to_string().contains("0 to 1 for \"cat\""), "{error}");
        }
        assert!(words.clone().with_background(Background::Threshold(1.5)).is_err());
        let gates = words.with_threshold("Cat", 0.5).unwrap().with_off("wall").unwrap();
        assert_eq!(gates.bank().gates(), [crate::Gate::Own(0.5), crate::Gate::Off]);
    }

    #[test]
    fn few_words_are_kept() {
        let session = session();
        (0..MOST_WORDS.get()).for_each(|n| drop(session.words.lock().put(n.to_string(), Vec::new())));
        session.words("cat, wall").unwrap();
        let kept = session.words.lock();
        assert_eq!((kept.len(), kept.contains("cat"), kept.contains("1"), kept.contains("2")), (MOST_WORDS.get(), true, false, true));
    }
}
