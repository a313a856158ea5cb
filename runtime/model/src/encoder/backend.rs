//! What every encoder of pictures can do, wherever it runs.

use crate::input::Input;
use crate::options::Timings;
use crate::score::{Background, Scoring};
use crate::{LabelMap, PatchGrid, Result, ScoreGrid, WordBank};

/// What is wanted of a picture beside its embeddings.
#[cfg_attr(not(feature = "_cuda"), allow(dead_code))]
pub(crate) struct MaskRequest<'a> {
    pub bank: &'a WordBank,
    pub scoring: Scoring,
    pub background: Background,
    pub labels: bool,
}

/// A picture's scores, and its labels if they were requested, with the time of each step.
#[cfg_attr(not(feature = "_cuda"), allow(dead_code))]
pub(crate) struct Masks {
    pub scores: ScoreGrid,
    pub labels: Option<LabelMap>,
    pub timings: Timings,
}

/// Asked again and again whether work is to end early.
pub(crate) type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Turns prepared pictures into patch embeddings, somewhere.
pub(crate) trait Encoder: std::fmt::Debug + Send + Sync {
    /// What runs it, as reports name it.
    fn backend(&self) -> &'static str;
    /// Makes the plan for an input's size ahead of encoding it, with room for `capacity` pictures.
    fn plan_for(&self, input: &Input, capacity: usize) -> Result<()>;
    /// Whether that plan is there.
    fn has_plan(&self, _input: &Input, _room: usize) -> bool {
        false
    }
    /// Embeds a picture.
    fn encode(&self, input: &Input) -> Result<PatchGrid>;
    /// Embeds a picture, unless `stop` says so meanwhile; then none. What cannot be interrupted asks once, before it begins.
    fn encode_until(&self, input: &Input, stop: Stop<'_>) -> Result<Option<PatchGrid>> {
        if stop() { Ok(None) } else { self.encode(input).map(Some) }
    }
    /// Embeds several pictures, neighbours of one size together where that is faster, by plans with capacity for so many.
    fn encode_all(&self, inputs: &[&Input], _room: usize) -> Result<Vec<PatchGrid>> {
        inputs.iter().map(|input| self.encode(input)).collect()
    }
    /// Embeds a picture and scores it where it was embedded, and draws its labels there if they are wanted; none if that is not this
    /// encoder's to do.
    fn masks(&self, _input: &Input, _wanted: &MaskRequest<'_>) -> Result<Option<Masks>> {
        Ok(None)
    }
    /// What of the plans made so far is computed elsewhere than they were made for, by name.
    fn unsupported_ops(&self) -> Vec<String> {
        Vec::new()
    }
    /// Gives back the memory of what is kept for speed.
    fn release(&self) {}
}
