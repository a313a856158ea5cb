use std::path::Path;

use anyhow::{Result, anyhow};

use super::describe::options;
use super::settings::Settings;
use crate::cli::flags::{or_example, quoted};

/// Longest file of settings that is read; it may hold words.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A file's settings.
pub fn read_settings(path: &Path) -> Result<Settings> {
    let text = edge_seg_model::text::read_text_within(path, MAX_FILE_BYTES).map_err(|e| absent(e, path))?;
    toml::from_str(&text).map_err(|e| {
        let hint = nearest(e.message()).map(|hint| format!("; {hint}")).unwrap_or_default();
        let at = e.span().map_or(0, |span| span.start);
        anyhow!("{}: {}{hint}", path.display(), edge_seg_bundle::toml_text::toml_fault(&text, at, e.message()))
    })
}

/// Why a file of settings cannot be read, with how one is made where there is none.
pub fn absent(error: impl Into<anyhow::Error>, file: &Path) -> anyhow::Error {
    let example = "edge-seg config default, which prints what a configuration looks like";
    or_example(error, file, format_args!("edge-seg config default > {}", quoted(file)), example)
}

/// What an unknown name was probably meant to be, from serde's message: "unknown field `a`, expected one of `b`, `c`".
fn nearest(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field `").or_else(|| message.strip_prefix("unknown variant `"))?;
    let (found, known) = rest.split_once('`')?;
    let names_cuda = known.split('`').any(|name| name == "cuda");
    let found = if found == "gpu" && names_cuda { "cuda" } else { found };
    // A long name is often cut to its first part.
    let part = |name: &str| name.split('-').next().map_or(usize::MAX, |part| 1 + strsim::damerau_levenshtein(found, part));
    let slips = |name: &&str| strsim::damerau_levenshtein(found, name).min(part(name));
    let best = known.split('`').skip(1).step_by(2).min_by_key(slips);
    let within = |most: fn(usize) -> usize| best.filter(|best| slips(best) <= most(best.len().max(found.len())));
    let meant = |best| format!("did you mean `{best}`?");
    if let Some(best) = within(|_| 1) {
        return Some(meant(best));
    }
    // A name that several sections have, or that is a section's, says too little of what was meant.
    let names = options();
    let mut having = names.iter().filter_map(|(name, _)| name.split_once('.')).filter(|(_, key)| *key == found).map(|(section, _)| section);
    let is_section = names.iter().any(|(name, _)| name.split('.').next() == Some(found));
    match (having.next(), having.next()) {
        (Some(section), None) if !is_section && !matches!(found, "fps" | "size") => Some(format!("`{found}` belongs into [{section}]")),
        (Some(_), _) => None,
        (None, _) => within(|len| len / 2).map(meant),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.toml");
        std::fs::write(&file, text).unwrap();
        read_settings(&file)
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest() {
        for (text, hint) in [
            ("[input]\nsorce = \"test:\"\n", "did you mean `source`?"),
            ("[imput]\nsource = \"test:\"\n", "did you mean `input`?"),
            ("[input]\npace = \"life\"\n", "did you mean `live`?"),
            ("[mqtt]\npasword = \"x\"\n", "did you mean `password-file`?"),
            ("[model]\ndevice = \"gpu\"\n", "did you mean `cuda`?"),
            ("[background]\nthreshold = none\n", "a text in quotes, as KEY = \"text\""),
            ("[background]\nthreshold = 0,4\n", "a number has a point, as 0.5"),
            ("[input]\ntags = \"dog\"\n", "`tags` belongs into [words]"),
            ("tags = \"dog\"\n", "`tags` belongs into [words]"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(hint) && error.contains(" line "), "{text}: {error}");
        }
        for text in ["[words]\nwords = \"dog\"\n", "[output]\nfile = \"x\"\n", "[input]\nfps = 5\n"] {
            let error = read(text).unwrap_err().to_string();
            assert!(!error.contains("belongs into"), "{text}: {error}");
        }
        assert!(read("[webhook]\nurl = \"http://h\"\n").unwrap_err().to_string().contains("did you mean `urls`?"));
        assert!(read("[background]\nthreshold = 2.0\n").unwrap_err().to_string().contains("0 to 1"));
        assert!(read("[input\n").is_err());
        // The line may hold a password.
        for value in ["rtsp://cam:hunter2@camera", "\"rtsp://cam:hunter2@camera", "[\"hunter2\"]"] {
            let error = read(&format!("[input]\nsource = {value}\n")).unwrap_err().to_string();
            assert!(error.contains("line 2, ") && error.contains(", source: ") && !error.contains("hunter2"), "{error}");
        }
    }
}
