use edge_seg_bundle::Manifest;

use crate::{Error, Result};

/// How cosines become scores. From the manifest: TCL's learned scale and bias (Cha et al. 2023) or CLIP's softmax.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Scoring {
    /// Factor on the cosine.
    pub scale: f32,
    /// With a bias a score is `sigmoid(scale · cosine + bias)`, each word for itself; without, a softmax over the words.
    pub bias: Option<f32>,
}

impl Scoring {
    /// Sigmoids with a bias, a softmax without.
    pub fn new(scale: f32, bias: Option<f32>) -> Self {
        Self { scale, bias }
    }

    /// The scoring itself, if its numbers can be used.
    ///
    /// # Errors
    /// [`Error::Option`] if one is not finite.
    pub fn checked(self) -> Result<Self> {
        for (option, number) in [("scoring scale", Some(self.scale)), ("scoring bias", self.bias)] {
            if let Some(number) = number.filter(|number| !number.is_finite()) {
                return Err(Error::option(option, "a finite number", number));
            }
        }
        Ok(self)
    }
}

impl From<&Manifest> for Scoring {
    fn from(manifest: &Manifest) -> Self {
        Self { scale: manifest.logit_scale, bias: manifest.logit_bias }
    }
}

/// What the words must beat to be drawn, as label 0; words for what is to be left out always compete.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Background {
    /// No threshold in common: a pixel is background only where a word to be left out fits best, or where every word has a threshold of
    /// its own and none passes. Without either, every pixel gets a word.
    None,
    /// Pixels whose best score is below this, in 0..1.
    Threshold(f32),
}

impl Background {
    /// The threshold in common, in 0..1; none where there is none.
    pub fn threshold(self) -> Option<f32> {
        match self {
            Self::None => None,
            Self::Threshold(threshold) => Some(threshold),
        }
    }

    /// The background itself, if its threshold can be one.
    ///
    /// # Errors
    /// [`Error::Option`] if the threshold is not in 0..1.
    pub fn checked(self) -> Result<Self> {
        match self {
            Self::Threshold(t) if !(0.0..=1.0).contains(&t) => Err(Error::option("background", "0 to 1, or none", t)),
            fine => Ok(fine),
        }
    }
}

pub(super) fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}
