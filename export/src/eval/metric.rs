//! Measures of a segmentation, from counts of pixels. Nothing here knows of pictures or models.
//!
//! With TP, FP, FN the pixels of a class that are right, wrongly given to it, and wrongly taken from it, over all pictures:
//! IoU = TP / (TP + FP + FN), as PASCAL VOC has it (Everingham et al. 2010), and with the same denominator FPR = FP / (TP + FP + FN)
//! and FNR = FN / (TP + FP + FN), so that the three add up to one, as the published figures of TCL and TTD do.

use serde::{Deserialize, Serialize};

/// Pixels by true and predicted label. Label 0 is the background, or where there is none, "no class".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    labels: usize,
    counts: Vec<u64>, // [labels, labels], truth by rows
}

impl Confusion {
    /// No pixels of `classes` classes and the background.
    pub fn new(classes: usize) -> Self {
        let labels = classes + 1;
        Self { labels, counts: vec![0; labels * labels] }
    }

    /// Counts pixels.
    ///
    /// # Panics
    /// If a label is larger than the number of classes.
    pub fn add(&mut self, truth: usize, predicted: usize, pixels: u64) {
        assert!(truth < self.labels && predicted < self.labels, "labels {truth} and {predicted} of {}", self.labels);
        self.counts[truth * self.labels + predicted] += pixels;
    }

    /// Adds another's counts.
    ///
    /// # Panics
    /// If it has another number of classes.
    pub fn merge(&mut self, other: &Confusion) {
        assert_eq!(self.labels, other.labels, "numbers of labels");
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
    }

    /// Number of labels, the background's included.
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// Pixels of `truth` that were given `predicted`.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * self.labels + predicted]
    }

    /// Every cell with pixels in it: truth, predicted, pixels.
    pub fn cells(&self) -> impl Iterator<Item = (usize, usize, u64)> + '_ {
        self.counts.iter().enumerate().filter(|(_, n)| **n > 0).map(|(i, &n)| (i / self.labels, i % self.labels, n))
    }

    /// The rows, truth by rows.
    pub fn rows(&self) -> impl Iterator<Item = &[u64]> {
        self.counts.chunks_exact(self.labels)
    }

    /// The measures. With `background` label 0 is a class like the others; without it, pixels of label 0 are only missing from the others.
    pub fn measures(&self, background: bool) -> Measures {
        let first = usize::from(!background);
        let per_class: Vec<ClassMeasures> = (first..self.labels)
            .map(|label| {
                let right = self.count(label, label);
                let truth: u64 = (0..self.labels).map(|p| self.count(label, p)).sum();
                let predicted: u64 = (0..self.labels).map(|t| self.count(t, label)).sum();
                let union = truth + predicted - right;
                let share = |n: u64| (union > 0).then(|| n as f64 / union as f64);
                ClassMeasures {
                    label,
                    truth_px: truth,
                    predicted_px: predicted,
                    iou: share(right),
                    fpr: share(predicted - right),
                    fnr: share(truth - right),
                }
            })
            .collect();
        let right: u64 = (first..self.labels).map(|label| self.count(label, label)).sum();
        let labelled: u64 = per_class.iter().map(|c| c.truth_px).sum();
        let present: Vec<&ClassMeasures> = per_class.iter().filter(|c| c.truth_px > 0).collect();
        let mean = |of: &[&ClassMeasures], what: fn(&ClassMeasures) -> Option<f64>| {
            let values: Vec<f64> = of.iter().filter_map(|c| what(c)).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        Measures {
            miou: mean(&present, |c| c.iou),
            miou_any: mean(&per_class.iter().collect::<Vec<_>>(), |c| c.iou),
            mfpr: mean(&present, |c| c.fpr),
            mfnr: mean(&present, |c| c.fnr),
            pixel_accuracy: (labelled > 0).then(|| right as f64 / labelled as f64),
            labelled_px: labelled,
            classes_present: present.len(),
            per_class,
        }
    }
}

/// Measures over all classes, each in 0..1; `None` where there is nothing to measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measures {
    /// Mean IoU of the classes that the labels hold anywhere.
    pub miou: Option<f64>,
    /// Mean IoU of the classes that labels or predictions hold anywhere: a class that is only predicted counts as 0, as in MMSegmentation.
    pub miou_any: Option<f64>,
    /// Mean of FP / (TP + FP + FN) of the classes that the labels hold.
    pub mfpr: Option<f64>,
    /// Mean of FN / (TP + FP + FN) of the classes that the labels hold.
    pub mfnr: Option<f64>,
    /// Share of the labelled pixels that are right.
    pub pixel_accuracy: Option<f64>,
    /// Pixels that are not ignored.
    pub labelled_px: u64,
    /// Classes that the labels hold anywhere.
    pub classes_present: usize,
    /// One by one, in the order of the labels.
    pub per_class: Vec<ClassMeasures>,
}

/// Measures of one class; `None` where neither labels nor predictions hold it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassMeasures {
    /// Its label.
    pub label: usize,
    /// Pixels that have it.
    pub truth_px: u64,
    /// Pixels that were given it.
    pub predicted_px: u64,
    /// TP / (TP + FP + FN).
    pub iou: Option<f64>,
    /// FP / (TP + FP + FN).
    pub fpr: Option<f64>,
    /// FN / (TP + FP + FN).
    pub fnr: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(classes: usize, cells: &[(usize, usize, u64)]) -> Confusion {
        let mut confusion = Confusion::new(classes);
        cells.iter().for_each(|&(t, p, n)| confusion.add(t, p, n));
        confusion
    }

    #[test]
    fn measures_of_a_small_table() {
        // Class 1: 6 right, 2 lost to class 2, 1 gained. Class 2: 3 right, 1 lost, 2 gained. Class 3 is nowhere.
        let m = counts(3, &[(1, 1, 6), (1, 2, 2), (2, 2, 3), (2, 1, 1)]).measures(false);
        assert_eq!(m.per_class[0].iou, Some(6.0 / 9.0));
        assert_eq!(m.per_class[0].fpr, Some(1.0 / 9.0));
        assert_eq!(m.per_class[0].fnr, Some(2.0 / 9.0));
        assert_eq!(m.per_class[1].iou, Some(0.5));
        assert_eq!(m.per_class[2].iou, None);
        assert_eq!(m.miou, Some((6.0 / 9.0 + 0.5) / 2.0));
        assert_eq!(m.miou, m.miou_any);
        assert_eq!(m.pixel_accuracy, Some(9.0 / 12.0));
        assert_eq!(m.classes_present, 2);
    }

    #[test]
    fn a_class_that_is_only_predicted_counts_in_miou_any_alone() {
        let m = counts(2, &[(1, 1, 5), (1, 2, 5)]).measures(false);
        assert_eq!(m.miou, Some(0.5));
        assert_eq!(m.miou_any, Some(0.25));
    }

    #[test]
    fn background_is_a_class_only_where_it_is_asked_for() {
        let table = counts(1, &[(0, 0, 8), (0, 1, 2), (1, 1, 5), (1, 0, 5)]);
        let with = table.measures(true);
        assert_eq!(with.per_class.len(), 2);
        assert_eq!(with.miou, Some((8.0 / 15.0 + 5.0 / 12.0) / 2.0));
        assert_eq!(with.pixel_accuracy, Some(13.0 / 20.0));
        let without = counts(1, &[(1, 1, 5), (1, 0, 5)]).measures(false);
        assert_eq!(without.miou, Some(0.5));
        assert_eq!(without.per_class[0].fnr, Some(0.5));
        assert_eq!(without.pixel_accuracy, Some(0.5));
    }

    #[test]
    fn nothing_labelled_measures_nothing() {
        let m = counts(2, &[]).measures(true);
        assert_eq!((m.miou, m.miou_any, m.pixel_accuracy, m.labelled_px), (None, None, None, 0));
    }

    #[test]
    fn shares_of_a_class_add_up_to_one() {
        let m = counts(2, &[(0, 0, 3), (0, 1, 7), (1, 1, 11), (1, 2, 13), (2, 0, 17), (2, 2, 19)]).measures(true);
        for class in m.per_class {
            let sum = class.iou.unwrap() + class.fpr.unwrap() + class.fnr.unwrap();
            assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        }
    }

    #[test]
    fn merging_is_counting_together() {
        let (a, b) = (counts(2, &[(1, 1, 5), (2, 0, 1)]), counts(2, &[(1, 1, 2), (0, 2, 9)]));
        let mut both = a.clone();
        both.merge(&b);
        assert_eq!(both, counts(2, &[(1, 1, 7), (2, 0, 1), (0, 2, 9)]));
    }
}
