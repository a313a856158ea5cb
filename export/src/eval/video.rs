//! Masks between key frames, against per-frame truth: how good they are, and how much their labels flicker.

use std::time::{Duration, Instant};

use edge_seg_model::propagation::{PropagationOptions, Propagator};
use edge_seg_model::{Background, LabelMap, Painter, Session, read_picture};

use super::classes::View;
use super::metric::Confusion;
use super::pictures::{Pair, read_labels};
use super::stability::flicker;
use crate::{Error, Result};

/// One way to segment a video.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Every how many frames the encoder runs.
    pub interval: usize,
    /// How masks get to the frames between.
    pub carry: PropagationOptions,
}

/// What came of a plan.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The plan.
    pub plan: Plan,
    /// Pixels of every frame.
    pub all: Confusion,
    /// Pixels of the frames that are no key frames.
    pub between: Confusion,
    /// Pixels whose true label stays from one frame to the next.
    pub steady_px: u64,
    /// Of these, the ones whose predicted label changes.
    pub flicker_px: u64,
    /// Time from a frame to its masks without the encoder, for each frame that is no key frame.
    pub between_ms: Vec<f64>,
    /// How old what masks are made of is on average, for each frame.
    pub evidence_age_ms: Vec<f64>,
}

/// A clip's outcomes, and what its encoder took.
#[derive(Debug, Clone)]
pub struct Report {
    /// In the order of the plans.
    pub outcomes: Vec<Outcome>,
    /// Time from a frame to its masks with the encoder, for each frame.
    pub key_ms: Vec<f64>,
}

struct Run {
    outcome: Outcome,
    propagator: Propagator,
    painter: Painter,
    labels: LabelMap,
    last: Vec<u16>,
}

/// Segments the frames of a clip, in the order of `pairs`, by every plan. `apart` is the time between two frames.
///
/// # Errors
/// A frame's that cannot be read or segmented, whose size is not its labels' or the first frame's, or whose labels hold a value
/// without a meaning.
pub fn evaluate(
    session: &Session,
    view: &View,
    background: Background,
    apart: Duration,
    pairs: &[Pair],
    plans: &[Plan],
    mut done: impl FnMut(),
) -> Result<Report> {
    let bank = session.tag_bank(&view.classes, &[])?;
    let empty = || LabelMap { width: 0, height: 0, labels: Vec::new() };
    let run = |plan: &Plan| Run {
        outcome: Outcome {
            plan: *plan,
            all: Confusion::new(view.classes.len()),
            between: Confusion::new(view.classes.len()),
            steady_px: 0,
            flicker_px: 0,
            between_ms: Vec::new(),
            evidence_age_ms: Vec::new(),
        },
        propagator: Propagator::new(plan.carry),
        painter: Painter::default(),
        labels: empty(),
        last: Vec::new(),
    };
    let mut runs: Vec<Run> = plans.iter().map(run).collect();
    let (mut key_ms, mut last_truth) = (Vec::new(), Vec::new());
    for (index, pair) in pairs.iter().enumerate() {
        let truth = read_truth(view, pair)?;
        let mut frame = read_picture(&pair.image)?;
        (frame.sequence, frame.timestamp) = (index as u64, apart * index as u32);
        if frame.pixels.width() as usize * frame.pixels.height() as usize != truth.len() || (index > 0 && truth.len() != last_truth.len()) {
            let found = format!("{} labels for {}×{} pixels", truth.len(), frame.pixels.width(), frame.pixels.height());
            return Err(Error::file(pair.labels.display().to_string(), "size", "the picture's, and the same for every frame", found));
        }
        // The first frame's plan is made once for all.
        if index == 0 {
            session.encode(&frame)?;
        }
        let start = Instant::now();
        let encoded = session.encode(&frame)?;
        let scores = session.score(&encoded, &bank, background)?;
        LabelMap::from_scores(&scores, &encoded.placement)?;
        key_ms.push(ms(start.elapsed()));
        for run in &mut runs {
            let start = Instant::now();
            run.propagator.follow(&frame.pixels);
            let key = index % run.outcome.plan.interval == 0;
            if key {
                run.propagator.mark(frame.timestamp);
                run.propagator.set_keyframe(scores.clone(), encoded.placement);
            }
            run.propagator.labels(&mut run.painter, &mut run.labels)?;
            if !key {
                run.outcome.between_ms.push(ms(start.elapsed()));
            }
            run.outcome.evidence_age_ms.push(ms(run.propagator.evidence_age(frame.timestamp)));
            run.count(&truth, &last_truth, key);
        }
        last_truth = truth;
        done();
    }
    Ok(Report { outcomes: runs.into_iter().map(|run| run.outcome).collect(), key_ms })
}

impl Run {
    fn count(&mut self, truth: &[Option<u16>], last_truth: &[Option<u16>], key: bool) {
        let labels = &self.labels.labels;
        let outcome = &mut self.outcome;
        for (truth, label) in truth.iter().zip(labels).filter_map(|(t, l)| Some(((*t)?, *l))) {
            outcome.all.add(usize::from(truth), usize::from(label), 1);
            if !key {
                outcome.between.add(usize::from(truth), usize::from(label), 1);
            }
        }
        if self.last.len() == labels.len() {
            let [changed, steady] = flicker((last_truth, &self.last), (truth, labels));
            (outcome.steady_px, outcome.flicker_px) = (outcome.steady_px + steady, outcome.flicker_px + changed);
        }
        self.last.clone_from(labels);
    }
}

fn read_truth(view: &View, pair: &Pair) -> Result<Vec<Option<u16>>> {
    let place = || pair.labels.display().to_string();
    let meaning =
        |value: &u32| view.label(*value).ok_or_else(|| Error::file(place(), "values", "values of the class table", value.to_string()));
    read_labels(pair, None)?.values.iter().map(meaning).collect()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
