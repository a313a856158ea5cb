//! Hiding: what some words cover is taken out of a frame before anybody is given it.
//!
//! ```
//! use edge_seg_model::hide::{HideBy, HideOptions};
//! use edge_seg_model::{Frame, Options, Session};
//! # fn main() -> edge_seg_model::Result<()> {
//! # if let Err(edge_seg_bundle::Error::NoModel) = edge_seg_bundle::Bundle::built_in() { return Ok(()) }
//! let session = Session::built_in_with(&Options::default().with_size_px(64))?;
//! let hide = session.hide("sky", HideOptions::default().with_by(HideBy::Fill).with_threshold(0.0))?;
//! let frame = Frame::still(image::RgbImage::from_pixel(64, 48, image::Rgb([90, 160, 255])));
//! let encoded = session.encode(&frame)?;
//! let shown = hide.show(&session, frame, &encoded)?;
//! assert!(shown.pixels.pixels().all(|pixel| pixel.0 != [90, 160, 255]));
//! assert_eq!(shown.hidden().map(|hidden| hidden.share), Some(1.0));
//! # Ok(())
//! # }
//! ```

mod cover;
mod pixels;

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use serde::Serialize;

use crate::{Background, Class, Encoded, Error, Frame, Placement, Result, Session, WordBank, parse_classes};
pub use cover::Cover;
pub use pixels::HideBy;

/// How things are hidden.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct HideOptions {
    /// What is put in their place.
    pub by: HideBy,
    /// How far around what the words cover it is hidden too, as a share of the picture's short side, 0 to 1.
    pub margin: f32,
    /// The score in 0..1 from which a word covers a place, whatever other words fit there better; a third of the model's background threshold
    /// if none.
    pub threshold: Option<f32>,
    /// In video, how old masks may become: beyond, whole frames are hidden.
    pub max_age: Duration,
}

impl Default for HideOptions {
    fn default() -> Self {
        Self { by: HideBy::default(), margin: 0.05, threshold: None, max_age: Duration::from_secs(2) }
    }
}

impl HideOptions {
    /// The same with another [`by`](Self::by).
    pub fn with_by(self, by: HideBy) -> Self {
        Self { by, ..self }
    }

    /// The same with another [`margin`](Self::margin).
    pub fn with_margin(self, margin: f32) -> Self {
        Self { margin, ..self }
    }

    /// The same with another [`threshold`](Self::threshold).
    pub fn with_threshold(self, threshold: impl Into<Option<f32>>) -> Self {
        Self { threshold: threshold.into(), ..self }
    }

    /// The same with another [`max_age`](Self::max_age).
    pub fn with_max_age(self, max_age: Duration) -> Self {
        Self { max_age, ..self }
    }

    /// The score from which a word covers a place with a session's model.
    ///
    /// # Errors
    /// [`Error::Option`] if an option is out of range, or the model's scores are no word's own (a softmax over words).
    pub fn check(&self, session: &Session) -> Result<f32> {
        let manifest = session.bundle().manifest();
        let share = |option: &str, value: f32| match value {
            0.0..=1.0 => Ok(value),
            other => Err(Error::option(option, "0 to 1", other)),
        };
        share("hide margin", self.margin)?;
        let threshold = share("hide threshold", self.threshold.unwrap_or(manifest.background / 3.0))?;
        if manifest.logit_bias.is_none() {
            let expected = "a model whose words are scored one by one (logit_bias in its manifest)";
            let found =
                format!("{}, whose scores are shared out among the words, so that something is hidden in every picture", manifest.name);
            return Err(Error::option("hide", expected, found));
        }
        Ok(threshold)
    }
}

/// Words whose things are hidden, as one model knows them.
#[derive(Clone, PartialEq)]
pub struct Hide {
    bank: WordBank,
    threshold: f32,
    options: HideOptions,
}

impl fmt::Debug for Hide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hide {{ {} words, threshold: {}, {:?} }}", self.bank.names().len(), self.threshold, self.options)
    }
}

impl Session {
    /// Words whose things are to be hidden, separated by commas. They compete with no other words.
    ///
    /// # Errors
    /// [`Error::Words`] if they cannot be used, [`Error::Option`] if an option is out of range or the model's scores are no word's own (a
    /// softmax over words), and as [`Self::word_bank`].
    pub fn hide(&self, words: &str, options: HideOptions) -> Result<Hide> {
        self.hide_classes(&parse_classes("hide", words)?, options)
    }

    /// As [`Self::hide`], of words with their synonyms.
    ///
    /// # Errors
    /// As [`Self::hide`].
    pub fn hide_classes(&self, classes: &[Class], options: HideOptions) -> Result<Hide> {
        Ok(self.hide_classes_until(classes, options, || false)?.expect("nobody stops it"))
    }

    /// As [`Self::hide_classes`], unless `stop` says so meanwhile; then none. It is asked as by [`Self::word_list_until`].
    ///
    /// # Errors
    /// As [`Self::hide`].
    pub fn hide_classes_until(&self, classes: &[Class], options: HideOptions, stop: impl Fn() -> bool + Sync) -> Result<Option<Hide>> {
        let threshold = options.check(self)?;
        let bank = self.word_bank_until(classes, &[], &stop)?;
        Ok(bank.map(|bank| Hide { bank, threshold, options }))
    }
}

impl Hide {
    /// The words' names.
    pub fn names(&self) -> &[String] {
        self.bank.names()
    }

    /// How they are hidden.
    pub fn options(&self) -> &HideOptions {
        &self.options
    }

    /// The score in 0..1 from which a word covers a place.
    pub fn threshold(&self) -> f32 {
        self.threshold
    }

    /// Whether a session knows the words as they are known here.
    ///
    /// # Errors
    /// [`Error::Option`] if its model is another one: what is hidden by numbers of another model would be anything.
    pub fn check(&self, session: &Session) -> Result<()> {
        session.check_model("hide", "words of", self.bank.model_digest())
    }

    /// By how much each patch's best word passes the threshold, in logits: what is above 0 is to be hidden. `[rows · cols]`
    ///
    /// # Errors
    /// As [`Self::check`], and [`Error::Tensor`] if the embeddings are another model's.
    pub fn evidence(&self, session: &Session, encoded: &Encoded) -> Result<Vec<f32>> {
        self.check(session)?;
        let scores = session.score(encoded, &self.bank, Background::Threshold(self.threshold))?;
        let (front, words) = scores.planes().split_at(scores.rows() * scores.cols());
        let mut best = vec![f32::NEG_INFINITY; front.len()];
        for plane in words.chunks_exact(front.len().max(1)) {
            best.iter_mut().zip(plane).for_each(|(best, logit)| *best = if logit.is_nan() { f32::INFINITY } else { best.max(*logit) });
        }
        best.iter_mut().zip(front).for_each(|(best, front)| *best -= front);
        Ok(best)
    }

    /// What is hidden of a frame, by [`Self::evidence`] on its patches, `margin` around it included.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the evidence is not of this placement.
    pub fn cover(&self, evidence: &[f32], placement: &Placement, margin: f32) -> Result<Cover> {
        let mut cover = Cover::of(evidence, placement)?;
        cover.grow(margin);
        Ok(cover)
    }

    /// The picture without what the words cover in it.
    ///
    /// # Errors
    /// As [`Self::evidence`], and [`Error::Tensor`] if the frame is not the one that was encoded. The frame is gone then.
    pub fn show(&self, session: &Session, frame: Frame, encoded: &Encoded) -> Result<ShownFrame> {
        let cover = self.cover(&self.evidence(session, encoded)?, &encoded.placement, self.options.margin)?;
        if cover.frame_px() != frame.pixels.dimensions() {
            let [expected, found] = [cover.frame_px(), frame.pixels.dimensions()].map(|(width, height)| format!("{width}×{height} pixels"));
            return Err(Error::Tensor { what: "frame".into(), expected: format!("the one that was encoded, {expected}"), found });
        }
        Ok(ShownFrame::covered(frame, Ok(cover), Duration::ZERO, self.options.by))
    }
}

/// Why a whole frame is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Whole {
    /// No key frame of this scene has been looked at.
    NoMasks,
    /// The last key frame is older than masks may become.
    OldMasks,
}

impl Whole {
    /// As reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoMasks => "no-masks",
            Self::OldMasks => "old-masks",
        }
    }
}

/// What is hidden of a frame.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Hidden {
    /// Share of the pixels.
    pub share: f64,
    /// How old the masks are that it was hidden by, if not all of it.
    pub age: Duration,
    /// Why it is hidden as a whole, if it is.
    pub whole: Option<Whole>,
    /// Where.
    pub cover: Cover,
}

/// A frame as it may be shown: what was to be hidden is no longer in it.
pub struct ShownFrame {
    frame: Frame,
    hidden: Option<Hidden>,
}

impl ShownFrame {
    /// A frame of which nothing is to be hidden.
    pub fn open(frame: Frame) -> Self {
        Self { frame, hidden: None }
    }

    /// A frame without what is covered, or without anything.
    pub fn covered(mut frame: Frame, cover: Result<Cover, Whole>, age: Duration, by: HideBy) -> Self {
        let frame_px = frame.pixels.dimensions();
        let (cover, whole) = match cover {
            Ok(cover) if cover.frame_px() == frame_px => (cover, None),
            Ok(_) => (Cover::whole(frame_px), Some(Whole::NoMasks)),
            Err(why) => (Cover::whole(frame_px), Some(why)),
        };
        // Squares of a whole frame would still show what it is of.
        pixels::hide(&mut frame.pixels, &cover, if whole.is_some() { HideBy::Fill } else { by });
        let share = cover.share();
        Self { frame, hidden: Some(Hidden { share, age, whole, cover }) }
    }

    /// What is hidden of it, where something was asked to be.
    pub fn hidden(&self) -> Option<&Hidden> {
        self.hidden.as_ref()
    }

    /// The frame itself.
    pub fn into_inner(self) -> Frame {
        self.frame
    }
}

impl Deref for ShownFrame {
    type Target = Frame;

    fn deref(&self) -> &Frame {
        &self.frame
    }
}

impl fmt::Debug for ShownFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.frame.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    #[test]
    fn long_lists_of_words_can_be_stopped() {
        let session = Session::built_in_with(&Options::default().with_size_px(64)).unwrap();
        let classes: Vec<Class> = (0..50).map(|n| Class::word(format!("a thing that nobody embedded before {n}"))).collect();
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let stop = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= 60;
        assert!(session.hide_classes_until(&classes, HideOptions::default(), stop).unwrap().is_none());
        assert!(session.hide_classes_until(&classes, HideOptions::default(), || false).unwrap().is_some());
    }

    #[test]
    fn words_of_another_model_hide_nothing() {
        let session = Session::built_in_with(&Options::default().with_size_px(64)).unwrap();
        let hide = session.hide("sky", HideOptions::default().with_threshold(0.0)).unwrap();
        let other = Hide { bank: hide.bank.clone().of_model("0123456789abcdef".into()), ..hide.clone() };
        let frame = Frame::still(image::RgbImage::from_pixel(64, 48, image::Rgb([90, 160, 255])));
        let encoded = session.encode(&frame).unwrap();
        assert!(hide.check(&session).is_ok() && hide.show(&session, frame.clone(), &encoded).is_ok());
        let said = other.show(&session, frame, &encoded).unwrap_err().to_string();
        assert!(
            said.starts_with("hide: expected words of the model ")
                && said.contains("found words of the model 0123456789ab; make them again"),
            "{said}"
        );
        assert_eq!(other.check(&session).unwrap_err().to_string(), said);
    }
}
