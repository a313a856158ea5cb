use std::fmt;

use super::Weights;

/// What a strict load found, weight by weight.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Names that were found with the right shape.
    pub applied: Vec<String>,
    /// Names that the architecture has and the file lacks, with the file's unused name that looks most like it.
    pub missing: Vec<Stray>,
    /// Names that the file has and the architecture lacks, with the missing name that looks most like it.
    pub unused: Vec<Stray>,
    /// Names with another shape than the architecture's.
    pub misfits: Vec<Misfit>,
    /// Names that a partial load left out because it was told to.
    pub left_out: Vec<String>,
    /// What the file holds beside the model and was passed over, with its kind.
    pub passed_over: Vec<String>,
    /// What was decided where the file left it open.
    pub notes: Vec<String>,
}

/// A name without a partner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// The name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// A name on the other side that may be meant.
    pub near: Option<String>,
}

/// A weight of another shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The name.
    pub name: String,
    /// The architecture's shape.
    pub expected: Vec<usize>,
    /// The file's shape.
    pub found: Vec<usize>,
}

impl LoadReport {
    /// Compares what an architecture has with what a file has.
    pub fn compare(expected: &[(String, Vec<usize>)], found: &Weights) -> Self {
        let mut report = Self::default();
        for (name, shape) in expected {
            match found.get(name) {
                None => report.missing.push(Stray { name: name.clone(), shape: shape.clone(), near: None }),
                Some(tensor) if tensor.shape == *shape => report.applied.push(name.clone()),
                Some(tensor) => report.misfits.push(Misfit { name: name.clone(), expected: shape.clone(), found: tensor.shape.clone() }),
            }
        }
        let wanted: std::collections::HashSet<_> = expected.iter().map(|(name, _)| name.as_str()).collect();
        for (name, tensor) in found.iter().filter(|(name, _)| !wanted.contains(name.as_str())) {
            report.unused.push(Stray { name: name.clone(), shape: tensor.shape.clone(), near: None });
        }
        // A whole tower under other names makes thousands of pairs, and a hint for each helps nobody.
        if report.missing.len() * report.unused.len() <= 10_000 {
            let (missing, unused) = (report.missing.clone(), report.unused.clone());
            report.missing.iter_mut().for_each(|stray| stray.near = nearest(stray, &unused));
            report.unused.iter_mut().for_each(|stray| stray.near = nearest(stray, &missing));
        }
        report
    }

    /// Whether every weight was applied and none is left over.
    pub fn is_exact(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty() && self.misfits.is_empty()
    }
}

fn nearest(stray: &Stray, others: &[Stray]) -> Option<String> {
    let distance = |other: &&Stray| strsim::levenshtein(&stray.name, &other.name) + 4 * usize::from(stray.shape != other.shape);
    others
        .iter()
        .min_by_key(distance)
        .filter(|other| strsim::levenshtein(&stray.name, &other.name) * 3 <= stray.name.len())
        .map(|o| o.name.clone())
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        let hint = |near: &Option<String>| near.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
        write!(
            f,
            "  {} applied, {} missing, {} unused, {} of another shape",
            self.applied.len(),
            self.missing.len(),
            self.unused.len(),
            self.misfits.len()
        )?;
        for misfit in self.misfits.iter().take(SHOWN) {
            write!(f, "\n  {}: expected shape {:?}, found {:?}", misfit.name, misfit.expected, misfit.found)?;
        }
        for stray in self.missing.iter().take(SHOWN) {
            write!(f, "\n  missing `{}` {:?}{}", stray.name, stray.shape, hint(&stray.near))?;
        }
        for stray in self.unused.iter().take(SHOWN) {
            write!(f, "\n  unused `{}` {:?}{}", stray.name, stray.shape, hint(&stray.near))?;
        }
        let hidden: usize = [self.misfits.len(), self.missing.len(), self.unused.len()].iter().map(|n| n.saturating_sub(SHOWN)).sum();
        if hidden > 0 {
            write!(f, "\n  and {hidden} more")?;
        }
        for (what, names) in [("left out, as asked", &self.left_out), ("passed over", &self.passed_over)] {
            if !names.is_empty() {
                let shown: Vec<_> = names.iter().take(SHOWN).map(String::as_str).collect();
                let more = if shown.len() < names.len() { ", ..." } else { "" };
                write!(f, "\n  {what}: {} ({}{more})", names.len(), shown.join(", "))?;
            }
        }
        self.notes.iter().try_for_each(|note| write!(f, "\n  {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Tensor;

    #[test]
    fn every_difference_is_named_with_its_near_name() {
        let expected =
            vec![("image.norm.weight".to_string(), vec![4]), ("image.norm.bias".into(), vec![4]), ("text.norm.bias".into(), vec![2])];
        let found = Weights::from([
            ("image.norm.wieght".to_string(), Tensor::new([4], vec![0.0; 4])),
            ("image.norm.bias".into(), Tensor::new([5], vec![0.0; 5])),
            ("zzz".into(), Tensor::new([1], vec![0.0])),
            ("text.norm.bias".into(), Tensor::new([2], vec![0.0; 2])),
        ]);
        let report = LoadReport::compare(&expected, &found);
        assert!(!report.is_exact());
        assert_eq!(report.applied, ["text.norm.bias"]);
        assert_eq!(report.misfits[0].found, [5]);
        assert_eq!(report.missing[0].near.as_deref(), Some("image.norm.wieght"));
        assert_eq!(report.unused.len(), 2);
        assert_eq!(report.unused[1].near, None);
        let text = report.to_string();
        assert!(text.contains("1 applied, 1 missing, 2 unused, 1 of another shape"), "{text}");
        assert!(text.contains("did you mean `image.norm.wieght`?"), "{text}");
    }
}
