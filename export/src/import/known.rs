//! The families that are imported, their forms, and what they were held against.

use super::Family;

/// A row of `import --list`.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Known {
    /// What people call it.
    pub family: &'static str,
    /// Whose files are read.
    pub forms: &'static str,
    /// The kinds of names of weights that stand for it.
    #[serde(skip)]
    pub of: &'static [Family],
    /// What the embeddings were held against.
    pub verified: &'static str,
}

/// All families that are imported, in the order of docs/models.md.
pub const KNOWN: [Known; 8] = [
    Known {
        family: "CLIP",
        forms: "OpenAI .pt; open_clip (LAION, DFN, MetaCLIP 1 and 2); Hugging Face; TinyCLIP",
        of: &[Family::HuggingFace, Family::OpenAi, Family::OpenClip],
        verified: "random weights against open_clip 3.3.0, transformers 5.24.0",
    },
    Known { family: "CLIPA", forms: "open_clip", of: &[Family::OpenClip], verified: "random weights against open_clip 3.3.0" },
    Known {
        family: "SigLIP, SigLIP 2 (fixed sizes)",
        forms: "Hugging Face; timm in open_clip",
        of: &[Family::Siglip, Family::OpenClip],
        verified: "random weights against transformers 5.24.0, timm 1.0.31",
    },
    Known {
        family: "PE-Core",
        forms: "timm in open_clip; Meta's .pt",
        of: &[Family::PeCore, Family::OpenClip],
        verified: "random weights against timm 1.0.31",
    },
    Known { family: "EVA-02 B, L", forms: "timm in open_clip", of: &[Family::OpenClip], verified: "random weights against timm 1.0.31" },
    Known {
        family: "MobileCLIP B, MobileCLIP2-B",
        forms: "timm in open_clip",
        of: &[Family::OpenClip],
        verified: "random weights against timm 1.0.31",
    },
    Known {
        family: "TIPS v2 (not g14)",
        forms: "Hugging Face",
        of: &[Family::Tips],
        verified: "random weights against transformers 5.24.0",
    },
    Known {
        family: "TCL",
        forms: ".pth of its authors",
        of: &[Family::Tcl],
        verified: "random weights against the formulas, written out in the test",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails to compile for a kind that is not among them.
    fn place(family: Family) -> usize {
        match family {
            Family::HuggingFace => 0,
            Family::OpenAi => 1,
            Family::OpenClip => 2,
            Family::Siglip => 3,
            Family::Tips => 4,
            Family::PeCore => 5,
            Family::Tcl => 6,
        }
    }

    #[test]
    fn every_kind_of_names_belongs_to_a_family_that_is_listed() {
        let mut listed: Vec<usize> = KNOWN.iter().flat_map(|known| known.of).map(|family| place(*family)).collect();
        listed.sort_unstable();
        listed.dedup();
        assert_eq!(listed, (0..7).collect::<Vec<_>>());
        assert!(KNOWN.iter().all(|known| !known.forms.is_empty() && known.verified.contains("against")));
    }

    #[test]
    fn the_documents_table_has_every_family_that_is_listed() {
        let table = include_str!("../../../docs/models.md");
        for known in KNOWN {
            let first = known.family.split([',', '(']).next().unwrap_or_default().trim();
            assert!(table.lines().any(|line| line.starts_with("| ") && line.contains(first)), "{first}");
        }
    }
}
