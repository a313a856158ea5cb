//! Models, words, and what is found.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::{Arc, OnceLock};

use edge_seg::trust::Trust;
use edge_seg::{Background, Bundle, Frame, Options, Refinement, Session, WordList};

use crate::border::{
    EdgeSegStatus, Result, Sized32, alone, argument, asked, borrowed, buffer, clear, free, give, guarded, needed, slice, text, versioned,
};
use crate::picture::{EdgeSegImage, file, frame};

/// How a model is opened. All zero but the size: the model that the library carries.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct EdgeSegModelOptions {
    /// sizeof(EdgeSegModelOptions).
    pub struct_size: u32,
    /// Side of the prepared input in pixels; the model's own if 0.
    pub size_px: u32,
    /// Threads; as many as the processor has if 0.
    pub threads: u32,
    /// 1 moves the borders of masks to the picture's edges.
    pub refine: u32,
    /// A bundle's file; the model that the library carries if NULL.
    pub bundle: *const c_char,
    /// A bundle in memory, instead of its file. It is copied.
    pub bundle_data: *const u8,
    /// Its bytes.
    pub bundle_bytes: usize,
    /// A file of a public key, or a folder of them: the bundle must be signed by one. Nothing is asked if NULL.
    pub keys: *const c_char,
}

// SAFETY: numbers and pointers, which may all be zero; `repr(C)`, and the size comes first.
unsafe impl Sized32 for EdgeSegModelOptions {
    const FIRST: usize = size_of::<Self>();
}

/// A loaded model.
pub struct EdgeSegModel {
    pub(crate) session: Arc<Session>,
    name: CString,
}

/// Words to look for.
pub struct EdgeSegWords {
    pub(crate) list: WordList,
    names: Vec<CString>,
}

/// The masks and scores of a picture.
pub struct EdgeSegFound {
    pub(crate) found: edge_seg::Segmentation,
    names: Vec<CString>,
    /// Of each word: one look at all pixels tells of them all.
    told: OnceLock<Vec<EdgeSegClass>>,
}

/// A picture's embeddings.
pub struct EdgeSegEncoded {
    session: Arc<Session>,
    frame: Frame,
    encoded: edge_seg::Encoded,
}

/// What was found of one word.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct EdgeSegClass {
    /// sizeof(EdgeSegClass).
    pub struct_size: u32,
    /// Its label: 1 for the first word.
    pub label: u32,
    /// The score of its best patch, in 0..1.
    pub score: f32,
    /// Whether it has pixels, and so a box.
    pub has_box: u32,
    /// Pixels of its mask.
    pub pixels: u64,
    /// Their share of the picture, in 0..1.
    pub share: f64,
    /// The smallest box around its mask in pixels: left, top, width, height.
    pub box_px: [u32; 4],
}

// SAFETY: numbers, which may all be zero; `repr(C)`, and the size comes first.
unsafe impl Sized32 for EdgeSegClass {
    const FIRST: usize = size_of::<Self>();
}

pub(crate) fn c_names(names: &[String]) -> Vec<CString> {
    // Words hold no zeros: they came as C's texts.
    names.iter().map(|name| CString::new(name.as_str()).unwrap_or_default()).collect()
}

fn options(asked: &EdgeSegModelOptions) -> Options {
    let given = |number: u32| (number > 0).then_some(number as usize);
    Options::default().with_size_px(given(asked.size_px)).with_threads(given(asked.threads))
}

/// Loads a model. `options` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_model_open(options_given: *const EdgeSegModelOptions, out: *mut *mut EdgeSegModel) -> EdgeSegStatus {
    guarded(|| {
        // SAFETY: the address of the caller's pointer, or null.
        unsafe { clear(out) }?;
        let bundle;
        let (session_options, refine);
        if options_given.is_null() {
            (bundle, session_options, refine) = (Bundle::built_in()?, Options::default(), false);
        } else {
            // SAFETY: the caller's structure begins with its size.
            let asked = unsafe { versioned("options", options_given) }?;
            // SAFETY: the caller's texts end with a zero.
            let (path, keys) = unsafe { (text("options.bundle", asked.bundle)?, text("options.keys", asked.keys)?) };
            if asked.bundle_data.is_null() && asked.bundle_bytes > 0 {
                return Err(argument("options.bundle_data", &format!("{} bytes of a bundle", asked.bundle_bytes), "NULL"));
            }
            if asked.refine > 1 {
                return Err(argument("options.refine", "0 or 1", asked.refine));
            }
            match (path, asked.bundle_data.is_null(), keys) {
                (Some(_), false, _) => return Err(argument("options", "bundle or bundle_data", "both")),
                (None, true, Some(_)) => {
                    return Err(argument("options.keys", "a bundle beside them", "none; the library's own model has no signature"));
                }
                _ => {}
            }
            let trust = keys.map(|keys| Trust::read(keys.as_ref())).transpose()?;
            bundle = match (path, asked.bundle_data.is_null(), trust) {
                (Some(path), _, Some(trust)) => trust.open(path.as_ref())?,
                (Some(path), _, None) => Bundle::open(path.as_ref())?,
                (None, false, trust) => {
                    // SAFETY: the caller has as many bytes as it says.
                    let bytes = unsafe { slice("options.bundle_data", asked.bundle_data, asked.bundle_bytes) }?.to_vec();
                    match trust {
                        Some(trust) => trust.open_bytes("memory", bytes)?,
                        None => Bundle::from_bytes("memory", bytes)?,
                    }
                }
                (None, true, _) => Bundle::built_in()?,
            };
            (session_options, refine) = (options(&asked), asked.refine != 0);
        }
        let mut session = Session::new(bundle, &session_options)?;
        if refine {
            session = session.with_refinement(Refinement::Guided);
        }
        let name = CString::new(session.bundle().manifest().name.as_str()).unwrap_or_default();
        // SAFETY: as above.
        unsafe { give(out, EdgeSegModel { session: Arc::new(session), name }) }
    })
}

/// Frees a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_model_free(model: *mut EdgeSegModel) {
    // SAFETY: from `edge_seg_model_open`, once.
    unsafe { free(model) }
}

/// The model's name, such as "mini"; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_model_name(model: *const EdgeSegModel) -> *const c_char {
    // SAFETY: from `edge_seg_model_open`, or null.
    unsafe { borrowed("model", model) }.map_or(ptr::null(), |model| model.name.as_ptr())
}

/// Numbers of an embedding; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_model_dim(model: *const EdgeSegModel) -> usize {
    // SAFETY: from `edge_seg_model_open`, or null.
    unsafe { borrowed("model", model) }.map_or(0, |model| model.session.bundle().manifest().embedding_dim)
}

/// Words to look for, separated by commas: "cat, red car: sports car, -wall". Other words for the same thing follow colons, words
/// for what is to be left out behind a minus.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_words_new(model: *const EdgeSegModel, list: *const c_char, out: *mut *mut EdgeSegWords) -> EdgeSegStatus {
    guarded(|| {
        // SAFETY: the address of the caller's pointer, or null.
        unsafe { clear(out) }?;
        // SAFETY: from `edge_seg_model_open`, and a text that ends with a zero; or null.
        let (model, list) = unsafe { (borrowed("model", model)?, needed("list", list)?) };
        let list = model.session.words(list)?;
        let names = c_names(list.names());
        // SAFETY: as above.
        unsafe { give(out, EdgeSegWords { list, names }) }
    })
}

/// Frees words.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_words_free(words: *mut EdgeSegWords) {
    // SAFETY: from `edge_seg_words_new`, once.
    unsafe { free(words) }
}

/// How many words there are, without those to be left out; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_words_count(words: *const EdgeSegWords) -> usize {
    // SAFETY: from `edge_seg_words_new`, or null.
    unsafe { borrowed("words", words) }.map_or(0, |words| words.names.len())
}

/// The name of the word at `index`, counted from 0, whose label is index + 1; NULL if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_words_name(words: *const EdgeSegWords, index: usize) -> *const c_char {
    // SAFETY: from `edge_seg_words_new`, or null.
    let words = unsafe { borrowed("words", words) };
    words.ok().and_then(|words| words.names.get(index)).map_or(ptr::null(), |name| name.as_ptr())
}

unsafe fn changed(words: *mut EdgeSegWords, change: impl FnOnce(WordList) -> Result<WordList, edge_seg::ModelError>) -> EdgeSegStatus {
    guarded(|| {
        // SAFETY: from `edge_seg_words_new`, used by nobody else meanwhile; or null.
        let words = unsafe { alone("words", words) }?;
        words.list = change(words.list.clone())?;
        Ok(())
    })
}

/// Sets what a word must score, in 0..1, in place of the common threshold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_words_set_threshold(words: *mut EdgeSegWords, name: *const c_char, threshold: f32) -> EdgeSegStatus {
    // SAFETY: a text that ends with a zero, or null.
    match unsafe { needed("name", name) } {
        // SAFETY: as for `changed`.
        Ok(name) => unsafe { changed(words, |list| list.with_threshold(name, threshold)) },
        Err(fault) => guarded(|| Err(fault)),
    }
}

/// Lets a word keep its label and get no pixels.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_words_set_off(words: *mut EdgeSegWords, name: *const c_char) -> EdgeSegStatus {
    // SAFETY: a text that ends with a zero, or null.
    match unsafe { needed("name", name) } {
        // SAFETY: as for `changed`.
        Ok(name) => unsafe { changed(words, |list| list.with_off(name)) },
        Err(fault) => guarded(|| Err(fault)),
    }
}

/// Sets the common threshold in 0..1; below 0 there is none, and every pixel that nothing else decides gets a word.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_words_set_background(words: *mut EdgeSegWords, threshold: f32) -> EdgeSegStatus {
    let background = if threshold < 0.0 { Background::None } else { Background::Threshold(threshold) };
    // SAFETY: as for `changed`.
    unsafe { changed(words, |list| list.with_background(background)) }
}

/// Segments a picture into the caller's buffers.
///
/// `labels` gets the label of every pixel, line by line: 0 for the background, k for the k-th word. It needs width × height of them.
/// `scores` gets each class's score in 0..1; it may be NULL, and needs edge_seg_words_count() otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_segment(
    model: *const EdgeSegModel,
    image: *const EdgeSegImage,
    words: *const EdgeSegWords,
    labels: *mut u16,
    labels_len: usize,
    scores: *mut f32,
    scores_len: usize,
) -> EdgeSegStatus {
    guarded(|| {
        // SAFETY: from `edge_seg_..._open` and `_new`; or null.
        let (model, words) = unsafe { (borrowed("model", model)?, borrowed("words", words)?) };
        // SAFETY: the caller's picture begins with its size.
        let frame = unsafe { frame(image) }?;
        let pixels = frame.pixels.width() as usize * frame.pixels.height() as usize;
        // SAFETY: the caller's buffers are as long as it says.
        let labels = unsafe { buffer("labels", labels, labels_len, pixels) }?;
        let scores = match scores.is_null() {
            true => None,
            // SAFETY: as above.
            false => Some(unsafe { buffer("scores", scores, scores_len, words.names.len()) }?),
        };
        let found = model.session.find(&frame, &words.list)?;
        labels.copy_from_slice(&found.labels.labels);
        if let Some(scores) = scores {
            scores.copy_from_slice(found.scores.scores());
        }
        Ok(())
    })
}

pub(crate) fn found_of(found: edge_seg::Segmentation) -> EdgeSegFound {
    let names = c_names(found.names());
    EdgeSegFound { found, names, told: OnceLock::new() }
}

/// Segments a picture, for what edge_seg_found_... tells of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_find(
    model: *const EdgeSegModel,
    image: *const EdgeSegImage,
    words: *const EdgeSegWords,
    out: *mut *mut EdgeSegFound,
) -> EdgeSegStatus {
    guarded(|| {
        // SAFETY: the address of the caller's pointer, or null.
        unsafe { clear(out) }?;
        // SAFETY: from `edge_seg_..._open` and `_new`; or null.
        let (model, words) = unsafe { (borrowed("model", model)?, borrowed("words", words)?) };
        // SAFETY: the caller's picture begins with its size.
        let frame = unsafe { frame(image) }?;
        // SAFETY: as above.
        unsafe { give(out, found_of(model.session.find(&frame, &words.list)?)) }
    })
}

/// As edge_seg_find, of a picture's file, which is turned upright.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_find_file(
    model: *const EdgeSegModel,
    path: *const c_char,
    words: *const EdgeSegWords,
    out: *mut *mut EdgeSegFound,
) -> EdgeSegStatus {
    guarded(|| {
        // SAFETY: the address of the caller's pointer, or null.
        unsafe { clear(out) }?;
        // SAFETY: from `edge_seg_..._open` and `_new`, and a text that ends with a zero; or null.
        let (model, words, path) = unsafe { (borrowed("model", model)?, borrowed("words", words)?, needed("path", path)?) };
        // SAFETY: as above.
        unsafe { give(out, found_of(model.session.find(&file(path)?, &words.list)?)) }
    })
}

/// Frees what was found.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_found_free(found: *mut EdgeSegFound) {
    // SAFETY: from `edge_seg_find` and its like, once.
    unsafe { free(found) }
}

/// Width of the masks in pixels; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_found_width(found: *const EdgeSegFound) -> u32 {
    // SAFETY: from `edge_seg_find` and its like, or null.
    unsafe { borrowed("found", found) }.map_or(0, |found| found.found.labels.width)
}

/// Height of the masks in pixels; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_found_height(found: *const EdgeSegFound) -> u32 {
    // SAFETY: from `edge_seg_find` and its like, or null.
    unsafe { borrowed("found", found) }.map_or(0, |found| found.found.labels.height)
}

/// The label of every pixel, line by line, width × height of them; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_found_labels(found: *const EdgeSegFound) -> *const u16 {
    // SAFETY: from `edge_seg_find` and its like, or null.
    unsafe { borrowed("found", found) }.map_or(ptr::null(), |found| found.found.labels.labels.as_ptr())
}

/// How many words were looked for; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_found_count(found: *const EdgeSegFound) -> usize {
    // SAFETY: from `edge_seg_find` and its like, or null.
    unsafe { borrowed("found", found) }.map_or(0, |found| found.names.len())
}

/// The name of the word at `index`, counted from 0; NULL if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_found_name(found: *const EdgeSegFound, index: usize) -> *const c_char {
    // SAFETY: from `edge_seg_find` and its like, or null.
    let found = unsafe { borrowed("found", found) };
    found.ok().and_then(|found| found.names.get(index)).map_or(ptr::null(), |name| name.as_ptr())
}

impl EdgeSegFound {
    /// The label of the word at `index`.
    fn label_at(&self, index: usize) -> Result<u16> {
        let label = u16::try_from(index.saturating_add(1)).ok().filter(|label| usize::from(*label) <= self.names.len());
        label.ok_or_else(|| argument("index", &format!("below {}", self.names.len()), index))
    }

    fn told(&self) -> &[EdgeSegClass] {
        self.told.get_or_init(|| {
            let told = |class: &edge_seg::FoundClass<'_>| {
                let bounds = class.bounds_px();
                EdgeSegClass {
                    struct_size: size_of::<EdgeSegClass>() as u32,
                    label: class.label().into(),
                    score: class.score(),
                    has_box: bounds.is_some().into(),
                    pixels: class.pixels(),
                    share: class.share(),
                    box_px: bounds.unwrap_or_default(),
                }
            };
            self.found.classes().iter().map(told).collect()
        })
    }
}

/// What was found of the word at `index`, counted from 0. `out->struct_size` is set by the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_found_class(found: *const EdgeSegFound, index: usize, out: *mut EdgeSegClass) -> EdgeSegStatus {
    guarded(|| {
        // SAFETY: from `edge_seg_find` and its like, or null.
        let found = unsafe { borrowed("found", found) }?;
        let at = usize::from(found.label_at(index)?) - 1;
        // SAFETY: the caller's structure begins with its size.
        let struct_size = unsafe { size_given("out", out) }?;
        let told = EdgeSegClass { struct_size, ..found.told()[at] };
        // SAFETY: the caller's structure is as long as it says, and is written no further.
        unsafe { ptr::copy_nonoverlapping((&raw const told).cast::<u8>(), out.cast::<u8>(), struct_size as usize) };
        Ok(())
    })
}

/// How much of a structure is to be filled: the size that the caller's has or this library knows, whichever is less.
unsafe fn size_given(name: &str, out: *const EdgeSegClass) -> Result<u32> {
    if out.is_null() {
        return Err(argument(name, "a structure", "NULL"));
    }
    // SAFETY: the first field is a `u32`, which every caller's structure has.
    let given = unsafe { out.cast::<u32>().read_unaligned() } as usize;
    if given < EdgeSegClass::FIRST {
        return Err(argument(name, &format!("struct_size of {} or more", EdgeSegClass::FIRST), given));
    }
    Ok(given.min(size_of::<EdgeSegClass>()) as u32)
}

/// The mask of the word at `index`, counted from 0: 255 for its pixels, 0 elsewhere. Needs width × height bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_found_mask(found: *const EdgeSegFound, index: usize, mask: *mut u8, mask_len: usize) -> EdgeSegStatus {
    guarded(|| {
        // SAFETY: from `edge_seg_find` and its like, or null.
        let found = unsafe { borrowed("found", found) }?;
        let label = found.label_at(index)?;
        let labels = &found.found.labels.labels;
        // SAFETY: the caller's buffer is as long as it says.
        let mask = unsafe { buffer("mask", mask, mask_len, labels.len()) }?;
        mask.iter_mut().zip(labels).for_each(|(out, at)| *out = 255 * u8::from(*at == label));
        Ok(())
    })
}

/// The mask of the word at `index` as the compressed run lengths of COCO's tools, a text that ends with a zero. `needed` gets the bytes
/// that it takes with its zero, also where the buffer is too small; `text` may be NULL to ask for them alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_found_rle(
    found: *const EdgeSegFound,
    index: usize,
    text: *mut c_char,
    text_len: usize,
    needed_len: *mut usize,
) -> EdgeSegStatus {
    guarded(|| {
        // SAFETY: from `edge_seg_find` and its like, or null.
        let found = unsafe { borrowed("found", found) }?;
        let at = usize::from(found.label_at(index)?) - 1;
        let rle = found.found.classes()[at].rle();
        let bytes = rle.as_bytes();
        if !needed_len.is_null() {
            // SAFETY: the caller's number.
            unsafe { needed_len.write(bytes.len() + 1) };
        }
        if text.is_null() {
            return Ok(());
        }
        // SAFETY: the caller's buffer is as long as it says.
        let out = unsafe { buffer("text", text.cast::<u8>(), text_len, bytes.len() + 1) }?;
        out[..bytes.len()].copy_from_slice(bytes);
        out[bytes.len()] = 0;
        Ok(())
    })
}

/// Embeds a picture's patches, for several lists of words, search or clustering.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_encode(
    model: *const EdgeSegModel,
    image: *const EdgeSegImage,
    out: *mut *mut EdgeSegEncoded,
) -> EdgeSegStatus {
    guarded(|| {
        // SAFETY: the address of the caller's pointer, or null.
        unsafe { clear(out) }?;
        // SAFETY: from `edge_seg_model_open`, or null.
        let model = unsafe { borrowed("model", model) }?;
        // SAFETY: the caller's picture begins with its size.
        let frame = unsafe { frame(image) }?;
        let encoded = model.session.encode(&frame)?;
        // SAFETY: as above.
        unsafe { give(out, EdgeSegEncoded { session: model.session.clone(), frame, encoded }) }
    })
}

/// Frees embeddings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_encoded_free(encoded: *mut EdgeSegEncoded) {
    // SAFETY: from `edge_seg_encode`, once.
    unsafe { free(encoded) }
}

/// Rows and columns of patches, and numbers of an embedding.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_encoded_shape(
    encoded: *const EdgeSegEncoded,
    rows: *mut usize,
    columns: *mut usize,
    dim: *mut usize,
) -> EdgeSegStatus {
    guarded(|| {
        // SAFETY: from `edge_seg_encode`, or null.
        let encoded = unsafe { borrowed("encoded", encoded) }?;
        let grid = &encoded.encoded.grid;
        for (name, out, value) in [("rows", rows, grid.rows()), ("columns", columns, grid.cols()), ("dim", dim, grid.patches().dim())] {
            // SAFETY: the caller's number, or null.
            *unsafe { alone(name, out) }? = value;
        }
        Ok(())
    })
}

/// The patches' embeddings, row by row: rows × columns × dim numbers, each embedding of unit norm; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_encoded_patches(encoded: *const EdgeSegEncoded) -> *const f32 {
    // SAFETY: from `edge_seg_encode`, or null.
    unsafe { borrowed("encoded", encoded) }.map_or(ptr::null(), |encoded| encoded.encoded.grid.patches().data().as_ptr())
}

/// The picture's embedding: dim numbers, of unit norm; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_encoded_picture(encoded: *const EdgeSegEncoded) -> *const f32 {
    // SAFETY: from `edge_seg_encode`, or null.
    unsafe { borrowed("encoded", encoded) }.map_or(ptr::null(), |encoded| encoded.encoded.grid.global().data().as_ptr())
}

/// The pixels that a patch shows any of: left, top, width, height. False for a patch that is not there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_encoded_patch_box(
    encoded: *const EdgeSegEncoded,
    row: usize,
    column: usize,
    box_px: *mut [u32; 4],
) -> bool {
    asked(false, || {
        // SAFETY: from `edge_seg_encode` and the caller's four numbers, or null.
        let (Ok(encoded), Ok(out)) = (unsafe { borrowed("encoded", encoded) }, unsafe { alone("box_px", box_px) }) else { return false };
        encoded.encoded.placement.patch_px_box(row, column).map(|bounds| *out = bounds).is_some()
    })
}

/// Finds words in a picture that is encoded already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_encoded_find(
    encoded: *const EdgeSegEncoded,
    words: *const EdgeSegWords,
    out: *mut *mut EdgeSegFound,
) -> EdgeSegStatus {
    guarded(|| {
        // SAFETY: the address of the caller's pointer, or null.
        unsafe { clear(out) }?;
        // SAFETY: from `edge_seg_encode` and `edge_seg_words_new`; or null.
        let (encoded, words) = unsafe { (borrowed("encoded", encoded)?, borrowed("words", words)?) };
        let made = encoded.session.find_encoded(&encoded.frame, &encoded.encoded, &words.list)?;
        // SAFETY: as above.
        unsafe { give(out, found_of(made)) }
    })
}

/// Embeds a text as it is into the caller's buffer: edge_seg_model_dim() numbers, of unit norm.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edge_seg_embed_text(
    model: *const EdgeSegModel,
    text: *const c_char,
    embedding: *mut f32,
    embedding_len: usize,
) -> EdgeSegStatus {
    guarded(|| {
        // SAFETY: from `edge_seg_model_open`, and a text that ends with a zero; or null.
        let (model, text) = unsafe { (borrowed("model", model)?, needed("text", text)?) };
        let dim = model.session.bundle().manifest().embedding_dim;
        // SAFETY: the caller's buffer is as long as it says.
        let out = unsafe { buffer("embedding", embedding, embedding_len, dim) }?;
        let rows = model.session.embed_text(text)?;
        out.copy_from_slice(rows.row(0));
        Ok(())
    })
}
