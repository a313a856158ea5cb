//! Between the source and everybody else: a frame leaves the session through [`RawFrame::shown`] and no other way.

use std::sync::Arc;
use std::time::Duration;

use super::switches::{HideSwitches, Switched};
use crate::Result;
use edge_seg_model::hide::{Cover, Hide, HideOptions, ShownFrame, Whole};
use edge_seg_model::propagation::Propagator;
use edge_seg_model::{Encoded, Frame, Session};

/// A frame as its source gave it, for motion and encoder alone. No module outside of the session has the type.
pub(super) struct RawFrame(Frame);

impl RawFrame {
    pub fn new(frame: Frame) -> Self {
        Self(frame)
    }

    /// For what works inside the session: a copy that leaves it is a hole.
    pub fn inside(&self) -> &Frame {
        &self.0
    }

    /// Its memory, for the next frame of the source.
    pub fn into_memory(self) -> Frame {
        self.0
    }

    /// The frame without what is to be hidden.
    pub fn shown(self, hider: Option<&mut Hider>) -> ShownFrame {
        match hider {
            None => ShownFrame::open(self.0),
            Some(hider) => hider.show(self.0),
        }
    }
}

/// How much wider what is hidden becomes with a second of its masks' age, as a share of the picture's short side: what the motion that
/// is followed misses.
const GROWTH_A_S: f32 = 0.05;
/// How long a place stays hidden that key frames no longer say so of: one that misses shows nothing.
const HOLD: Duration = Duration::from_millis(500);

/// Knows what is to be hidden of each frame.
pub(super) struct Hider {
    /// What is hidden in any case.
    fixed: Option<Hide>,
    switches: Option<Arc<HideSwitches>>,
    /// What was switched on when the frame that is segmented came in.
    switched: Arc<Switched>,
    options: HideOptions,
    /// What the last key frame says, on its patches; none before there is one of this scene.
    key: Option<Key>,
    /// What the next key frame is to be joined with.
    marked: Option<Mark>,
    /// Frames before this one are of another scene.
    scene: u64,
    carried: Vec<f32>,
    /// For the frame of this number.
    cover: Option<(u64, Result<Cover, Whole>, Duration)>,
}

struct Key {
    /// Above 0 where it is to be hidden; 1 at most, which is as far away as [`HOLD`].
    evidence: Vec<f32>, // [patches]
    captured: Duration,
}

struct Mark {
    sequence: u64,
    captured: Duration,
    /// What key frames before it say, carried to it.
    evidence: Vec<f32>, // [patches], or nothing
    /// When they were captured.
    since: Duration,
}

impl Hider {
    /// None where nothing is to be hidden, and nothing can be switched on.
    pub fn new(fixed: Option<Hide>, switches: Option<Arc<HideSwitches>>) -> Option<Self> {
        let options = *fixed.as_ref().map(Hide::options).or(switches.as_ref().map(|switches| switches.options()))?;
        let (switched, carried) = (Arc::default(), Vec::new());
        Some(Self { fixed, switches, switched, options, key: None, marked: None, scene: 0, carried, cover: None })
    }

    /// Whether anything is hidden at present.
    pub fn is_on(&self) -> bool {
        self.fixed.is_some() || self.switched.hide.is_some()
    }

    /// Counts the changes of what is switched on.
    pub fn version(&self) -> u64 {
        self.switched.version
    }

    /// Takes in what was switched since the last frame; `encoded` is the key frame whose evidence is carried. True if what is hidden has
    /// begun to be: nobody has looked for it yet, nor followed the motion of the picture for it.
    ///
    /// # Errors
    /// As [`Hide::evidence`].
    pub fn switch(&mut self, session: &Session, encoded: Option<&Encoded>) -> Result<bool> {
        let Some(now) = self.switches.as_ref().map(|switches| switches.current()) else { return Ok(false) };
        if now.version == self.switched.version {
            return Ok(false);
        }
        let was_on = self.is_on();
        self.switched = now;
        if !was_on || !self.is_on() {
            (self.key, self.marked) = (None, None);
            return Ok(self.is_on());
        }
        // What was there stays, and fades as what a key frame misses does: a switch uncovers nothing that other words hide.
        if let (Some(hide), Some(key), Some(encoded)) = (&self.switched.hide, &mut self.key, encoded) {
            let more = hide.evidence(session, encoded)?;
            if more.len() == key.evidence.len() {
                key.evidence.iter_mut().zip(more).for_each(|(value, more)| *value = value.max(more.min(1.0)));
            } else {
                self.key = None;
            }
        }
        Ok(false)
    }

    /// By how much a patch's best word of all that are hidden passes its threshold. `[patches]`
    fn evidence(&self, session: &Session, encoded: &Encoded) -> Result<Vec<f32>> {
        let each = self.fixed.iter().chain(&self.switched.hide).map(|hide| hide.evidence(session, encoded));
        let joined = each.reduce(|joined, one| {
            let (mut joined, one) = (joined?, one?);
            joined.iter_mut().zip(one).for_each(|(value, one)| *value = value.max(one));
            Ok(joined)
        });
        joined.map_or_else(|| Ok(Vec::new()), |evidence| Ok(evidence?))
    }

    /// What was seen before this frame is of another scene.
    pub fn cut(&mut self, frame: &Frame) {
        (self.key, self.scene) = (None, frame.sequence);
    }

    /// The frame, the last one that the propagator followed, is the next to be encoded.
    pub fn mark(&mut self, frame: &Frame, propagator: &mut Propagator) {
        if !self.is_on() {
            return;
        }
        let mut mark = Mark { sequence: frame.sequence, captured: frame.timestamp, evidence: Vec::new(), since: frame.timestamp };
        if let Some(key) = &self.key
            && propagator.carried(&key.evidence, &mut mark.evidence)
        {
            mark.since = key.captured;
        }
        self.marked = Some(mark);
    }

    /// The marked frame is encoded.
    ///
    /// # Errors
    /// As [`Hide::evidence`].
    pub fn key_frame(&mut self, session: &Session, encoded: &Encoded) -> Result<()> {
        let Some(mark) = self.marked.take().filter(|mark| mark.sequence >= self.scene) else { return Ok(()) };
        let mut evidence = self.evidence(session, encoded)?;
        hold(&mut evidence, &mark.evidence, mark.captured.saturating_sub(mark.since));
        self.key = Some(Key { evidence, captured: mark.captured });
        Ok(())
    }

    /// Finds what is to be hidden of the frame that the propagator followed last.
    ///
    /// # Errors
    /// As [`Hide::cover`].
    pub fn look(&mut self, frame: &Frame, propagator: &mut Propagator) -> Result<()> {
        if !self.is_on() {
            self.cover = None;
            return Ok(());
        }
        let (cover, age) = self.found(frame, propagator)?;
        self.cover = Some((frame.sequence, cover, age));
        Ok(())
    }

    fn found(&mut self, frame: &Frame, propagator: &mut Propagator) -> Result<(Result<Cover, Whole>, Duration)> {
        let Some(key) = &self.key else { return Ok((Err(Whole::NoMasks), Duration::ZERO)) };
        // A source whose clock was set back says nothing of ages.
        let Some(age) = frame.timestamp.checked_sub(key.captured) else { return Ok((Err(Whole::OldMasks), Duration::ZERO)) };
        if age > self.options.max_age {
            return Ok((Err(Whole::OldMasks), age));
        }
        let carried = propagator.carried(&key.evidence, &mut self.carried);
        let any = self.fixed.as_ref().or(self.switched.hide.as_ref());
        let (Some(hide), Some(placement)) = (any, propagator.placement().filter(|_| carried)) else {
            return Ok((Err(Whole::NoMasks), age));
        };
        let mut cover = hide.cover(&self.carried, placement, self.options.margin + GROWTH_A_S * age.as_secs_f32())?;
        if !age.is_zero() {
            propagator.each_new(|corners| cover.add(corners));
        }
        Ok((Ok(cover), age))
    }

    fn show(&mut self, frame: Frame) -> ShownFrame {
        if !self.is_on() {
            return ShownFrame::open(frame);
        }
        let known = self.cover.take().filter(|(sequence, ..)| *sequence == frame.sequence);
        let (_, cover, age) = known.unwrap_or((frame.sequence, Err(Whole::NoMasks), Duration::ZERO));
        ShownFrame::covered(frame, cover, age, self.options.by)
    }
}

/// Keeps hidden what older key frames say so of, whose evidence fades to nothing in [`HOLD`].
fn hold(evidence: &mut [f32], older: &[f32], passed: Duration) {
    let faded = passed.as_secs_f32() / HOLD.as_secs_f32();
    // A governor that changes the input's size changes the patches.
    if older.len() == evidence.len() {
        evidence.iter_mut().zip(older).for_each(|(value, older)| *value = value.max(older - faded));
    }
    evidence.iter_mut().for_each(|value| *value = value.min(1.0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_frame_that_misses_uncovers_nothing_for_half_a_second() {
        let mut seen = vec![8.0, -3.0, 0.2];
        hold(&mut seen, &[], Duration::ZERO);
        assert_eq!(seen, [1.0, -3.0, 0.2]);
        for (step, hidden) in [true, true, false].into_iter().enumerate() {
            let mut missed = vec![-5.0, -5.0, -5.0];
            hold(&mut missed, &seen, Duration::from_millis(200));
            assert_eq!((missed[0] > 0.0, missed[1] > 0.0, missed[2] > 0.0), (hidden, false, false), "{step}: {missed:?}");
            seen = missed;
        }
        let mut other_patches = vec![-1.0; 2];
        hold(&mut other_patches, &[1.0; 3], Duration::ZERO);
        assert_eq!(other_patches, [-1.0; 2]);
    }
}
