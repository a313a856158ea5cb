//! Masks between key frames, against per-frame truth: how good they are, and how much their labels flicker.

use std::time::{Duration, Instant};

use edge_seg_model::propagation::{PropagationOptions, Propagator};
use edge_seg_model::{Background, LabelMap, Painter, Session};

use super::classes::View;
use super::left_out::{LeftOut, unless_all};
use super::metric::Confusion;
use super::pictures::{Pair, read_pair};
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
#[derive(Debug)]
pub struct Report {
    /// In the order of the plans.
    pub outcomes: Vec<Outcome>,
    /// Time from a frame to its masks with the encoder, for each frame.
    pub key_ms: Vec<f64>,
    /// Frames that are left out, since they or their labels cannot be read or have not the first one's size.
    pub left_out: Vec<LeftOut>,
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
/// A frame's that cannot be segmented, and the first one's if none can be read.
pub fn evaluate(
    session: &Session,
    view: &View,
    background: Background,
    apart: Duration,
    pairs: &[Pair],
    plans: &[Plan],
    mut done: impl FnMut(),
) -> Result<Report> {
    let bank = session.word_bank(&view.classes, &[])?;
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
    let (mut key_ms, mut last_truth, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    let mut first_px = None;
    for (index, pair) in pairs.iter().enumerate() {
        let read = read_pair(pair, view).and_then(|(frame, truth)| {
            let (own, first) = (frame.pixels.dimensions(), *first_px.get_or_insert(frame.pixels.dimensions()));
            if own == first {
                return Ok((frame, truth));
            }
            let size = |(width, height)| format!("{width}×{height}");
            let expected = format!("the first frame's, {}", size(first));
            Err(LeftOut::new(&pair.stem, Error::file(pair.image.display().to_string(), "size", expected, size(own))))
        });
        let (mut frame, truth) = match read {
            Ok(read) => read,
            Err(why) => {
                left_out.push(why);
                // What changes across the gap is no flicker.
                runs.iter_mut().for_each(|run| run.last.clear());
                done();
                continue;
            }
        };
        (frame.sequence, frame.timestamp) = (index as u64, apart * index as u32);
        // The first frame's plan is made once for all.
        if key_ms.is_empty() {
            session.encode(&frame)?;
        }
        let seen = key_ms.len();
        let start = Instant::now();
        let encoded = session.encode(&frame)?;
        let scores = session.score(&encoded, &bank, background)?;
        LabelMap::from_scores(&scores, &encoded.placement)?;
        key_ms.push(ms(start.elapsed()));
        for run in &mut runs {
            let start = Instant::now();
            run.propagator.follow(&frame.pixels);
            let key = seen % run.outcome.plan.interval == 0;
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
    let left_out = unless_all(&key_ms, left_out)?;
    Ok(Report { outcomes: runs.into_iter().map(|run| run.outcome).collect(), key_ms, left_out })
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

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
