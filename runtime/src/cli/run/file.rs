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
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Settings> {
    toml::from_str(text).map_err(|e| {
        let hint = nearest(e.message()).map(|hint| format!("; {hint}")).unwrap_or_default();
        let at = e.span().map_or(0, |span| span.start);
        anyhow!("{}: {}{hint}", path.display(), edge_seg_bundle::toml_text::toml_fault(text, at, e.message()))
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

    /// A file with every option; what is changed is one place of it.
    #[test]
    fn no_change_of_a_configuration_makes_it_panic_and_what_is_accepted_is_written_back() {
        const ODD: [&str; 12] = ["-1", "1e999", "nan", "[", "]]", "\"", "\\u202e", "\u{202e}", "\u{0}", "= {", "9223372036854775808", "\n"];
        let lines: Vec<String> = super::super::describe::commented()
            .lines()
            .filter(|line| !line.starts_with("# "))
            .map(|line| line.trim_start_matches('#').to_owned())
            .collect();
        let mut state = 3u32;
        let mut below = |most: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % most.max(1)
        };
        let mut accepted = 0;
        for _ in 0..CHANGES {
            let mut lines = lines.clone();
            let place = below(lines.len());
            let line = &mut lines[place];
            let at = line.floor_char_boundary(below(line.len() + 1));
            match below(4) {
                0 => line.truncate(at),
                1 => line.insert_str(at, ODD[below(ODD.len())]),
                2 => line.replace_range(at.., ODD[below(ODD.len())]),
                _ => drop(lines.remove(place)),
            }
            match parse(Path::new("settings.toml"), &lines.join("\n")) {
                Ok(settings) => {
                    accepted += 1;
                    let written = toml::to_string(&settings.table().unwrap()).unwrap();
                    assert_eq!(parse(Path::new("written.toml"), &written).unwrap(), settings, "{written}");
                    let _ = settings.check();
                }
                Err(error) => {
                    let error = error.to_string();
                    assert!(edge_seg_bundle::text::hidden(&error).all(|(_, c)| c == '\n'), "{error:?}");
                }
            }
        }
        assert!(accepted > CHANGES / 10, "{accepted}");
    }

    const CHANGES: usize = 400;

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
