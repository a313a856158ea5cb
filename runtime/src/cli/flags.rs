//! The library names the fields of its options; whoever typed a command knows them as flags.

use std::path::Path;

use edge_seg::{Class, Error, ModelError, parse_classes, read_classes_file};
use edge_seg_bundle::files::folder_of;
use edge_seg_bundle::text::shown_lines;
use edge_seg_model::split_caption;

/// Fields as errors name them, and the flags that set them.
const FLAGS: [(&str, &str); 22] = [
    ("address", "--http"),
    ("background", "--background"),
    ("batch", "--batch"),
    ("caption", "--caption"),
    ("carry", "--carry"),
    ("display", "--display"),
    ("gpu_masks", "--gpu-masks"),
    ("half", "--half"),
    ("hide", "--hide"),
    ("index limit", "--index-limit"),
    ("keys", "--key-interval"),
    ("languages", "--language"),
    ("mqtt ca", "--mqtt-ca"),
    ("mqtt discovery", "--mqtt-discovery"),
    ("mqtt node", "--mqtt-name"),
    ("mqtt url", "--mqtt"),
    ("overlay", "--overlay"),
    ("score", "--score"),
    ("sets", "--state"),
    ("size_px", "--size"),
    ("threads", "--threads"),
    ("webhook url", "--webhook"),
];

/// What errors ask for, in flags.
const PHRASES: [(&str, &str); 14] = [
    ("a camera or a stream, which a source of video reads", "a camera or a stream; `edge-seg run --source` reads those"),
    ("fetch it first", "try: curl -O, then its file; of a camera: edge-seg run --source"),
    ("nothing of that name here", "nothing of that name here; try: ls, to see which names are there"),
    ("only unknown characters", "only unknown characters; try: an English word for it, and no --language off"),
    ("a film, which a source of video reads", "a film; `edge-seg run --source FILE` reads those"),
    ("device cuda", "--device cuda"),
    ("device cpu", "--device cpu"),
    ("a caption", "a --caption"),
    ("or a token", "or a --http-token-file"),
    ("the login beside it", "the login in --mqtt-user and --mqtt-password-file"),
    ("one of your own (ca)", "--mqtt-ca"),
    ("a smaller size_px", "a smaller --size"),
    ("with the feature cuda (", "with `--features cuda` ("),
    ("is a background word", "is a background word (--background-words)"),
];

/// An option that means nothing without another. Here and not at the flags, for the other may be given in a configuration file.
pub fn needs(option: &str, given: bool, other: &str, there: bool) -> anyhow::Result<()> {
    anyhow::ensure!(!given || there, "{option} needs {other}");
    Ok(())
}

/// An error about a file, with what to try where there is none.
pub fn or_try(error: impl Into<anyhow::Error>, file: &Path, remedy: impl std::fmt::Display) -> anyhow::Error {
    let error = error.into();
    if file.exists() { error } else { anyhow::anyhow!("{}; try: {remedy}", said(&error)) }
}

/// An error about a text file that somebody named: with how one is made where there is none, or what one looks like where it is no text.
pub fn or_example(error: impl Into<anyhow::Error>, file: &Path, remedy: impl std::fmt::Display, example: &str) -> anyhow::Error {
    let error = or_try(error, file, remedy);
    let told = said(&error);
    if told.contains("expected text in UTF-8") { anyhow::anyhow!("{told}; try: {example}") } else { error }
}

/// Whether a folder can be made here, by what lies there.
pub fn check_folder(option: &str, folder: &Path) -> anyhow::Result<()> {
    let file = folder.ancestors().find(|path| path.exists() && !path.is_dir());
    anyhow::ensure!(file.is_none(), "{option} {}: expected a folder, found a file; try: another name", folder.display());
    Ok(())
}

/// Whether a file can be written here, by what lies there.
pub fn check_folder_of(option: &str, file: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(!file.is_dir(), "{option} {}: expected a file, found a folder; try: another name", file.display());
    let folder = folder_of(file);
    let (place, made) = (file.display(), quoted(folder));
    anyhow::ensure!(folder.is_dir(), "{option} {place}: expected a file in a folder, found no folder; try: mkdir -p {made}");
    Ok(())
}

/// Words as a caption holds them. A file of words, told as by [`words_of`], is no sentence, nor is an empty text.
pub fn caption_of(caption: &str, keep_stop_words: bool, of_files: &str) -> anyhow::Result<Vec<Class>> {
    let file = Path::new(caption.trim());
    let is_file = file.extension().is_some() && file.is_file();
    anyhow::ensure!(!is_file, "--caption: expected a sentence, found {caption:?}, which is a file; try: {of_files} {}", quoted(file));
    split_caption(caption, keep_stop_words).map_err(|e| {
        let found = if caption.trim().is_empty() { "an empty text".into() } else { format!("{caption:?}") };
        match &e {
            ModelError::Words { found: none, .. } if none == "none" => {
                anyhow::anyhow!(
                    "--caption: expected a sentence with words to look for, found {found}; try: --caption \"a dog on the grass\""
                )
            }
            _ => e.into(),
        }
    })
}

/// An error about a word of a list, with the file and the line that it stands in.
pub fn in_list(error: impl Into<anyhow::Error>, file: Option<&Path>) -> anyhow::Error {
    let error = error.into();
    let Some(file) = file else { return error };
    let place = match error.chain().find_map(model_error) {
        Some(ModelError::Words { place, found, .. }) if place == "words" => found.split('"').nth(1),
        Some(ModelError::Words { place, .. }) => place.strip_prefix('"').and_then(|word| word.strip_suffix('"')),
        _ => return error,
    };
    let text = edge_seg_model::read_text(file).unwrap_or_default();
    let has = |line: &str| place.is_some_and(|word| line.contains(word));
    // The last of several: where a class stands twice it is the second that is too many.
    let line = (1..).zip(text.lines()).filter(|(_, line)| has(line)).last().map_or(String::new(), |(number, _)| format!(":{number}"));
    error.context(format!("{}{line}", file.display()))
}

/// A path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = !path.is_empty() && path.chars().all(|c| c.is_alphanumeric() || "-_./~+@".contains(c));
    if is_plain { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

/// Words as `--tags` takes them. A file of them is told from a word by its ending, and by being there.
pub fn words_of(option: &str, list: &str) -> anyhow::Result<Vec<Class>> {
    let file = Path::new(list.trim());
    let is_file = file.extension().is_some() && file.is_file();
    anyhow::ensure!(!is_file, "{option}: expected words, found {list:?}, which is a file; try: --tags-file {}", quoted(file));
    Ok(parse_classes(option, list)?)
}

/// Words of an option that has one kind alone: a minus, which tells in other lists what is to be left out, says nothing here.
pub fn one_kind_of(option: &str, list: &str) -> edge_seg::Result<Vec<Class>> {
    parse_classes(option, list).map_err(|e| {
        let bare: Vec<&str> = list.split(',').map(|word| word.trim().trim_start_matches('-').trim_start()).collect();
        let has_minus = list.split(',').any(|word| word.trim_start().starts_with('-'));
        match has_minus {
            true => ModelError::option(option, "words without a minus", format!("{list:?}; try: {option} {:?}", bare.join(", "))).into(),
            false => e.into(),
        }
    })
}

/// An error about a file that is to be written, with how its folder is made where there is none.
pub fn or_make_folder(error: impl Into<anyhow::Error>, file: &Path) -> anyhow::Error {
    let folder = folder_of(file);
    or_try(error, folder, format_args!("mkdir -p {}", quoted(folder)))
}

/// The classes of a file, or how such a file is made.
pub fn classes_of(file: &Path) -> anyhow::Result<Vec<Class>> {
    read_classes_file(file).map_err(|e| no_list(e, file))
}

/// Why a list cannot be read, with how one is made where there is none.
pub fn no_list(error: impl Into<anyhow::Error>, file: &Path) -> anyhow::Error {
    let example = "a text file with one class a line, as dog or car: taxi, van";
    or_example(error, file, format_args!("printf 'dog\\ncar: taxi, van\\n' > {}   # one class a line", quoted(file)), example)
}

/// An error with all of its causes, as `{:#}` has it, with flags in place of fields.
pub fn told(error: &anyhow::Error) -> String {
    edge_seg_terminal::with_remedy(error, said(error))
}

fn said(error: &anyhow::Error) -> String {
    let causes = error.chain().map(|cause| match model_error(cause) {
        Some(error) => with_flags(error),
        None => phrased(&cause.to_string()),
    });
    // The name of a source may end with a colon of its own.
    cut(&shown_lines(&edge_seg_terminal::joined(causes)).replace(":: ", ": "))
}

fn model_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a ModelError> {
    cause.downcast_ref::<ModelError>().or(match cause.downcast_ref() {
        Some(Error::Model(error)) => Some(error),
        _ => None,
    })
}

/// Longest message: it may repeat what somebody wrote, as long as that was.
const MAX_SAID: usize = 3000;

/// A text, cut with a count where it is long.
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_SAID) {
        Some((at, _)) => format!("{}... ({} bytes in all)", &text[..at], text.len()),
        None => text.into(),
    }
}

/// One error of the library with flags in place of fields.
pub fn with_flags(error: &ModelError) -> String {
    match error {
        ModelError::Option { option, expected, found } => {
            let flag = FLAGS.iter().find(|(field, _)| field == option).map(|(_, flag)| (*flag).to_owned());
            // A field with what was given for it, such as `display fb:/dev/fb0`.
            let longer =
                || option.split_once(' ').filter(|(field, _)| ["display", "source"].contains(field)).map(|_| format!("--{option}"));
            let name = flag.or_else(longer).unwrap_or_else(|| option.clone());
            format!("{name}: expected {}, found {}", phrased(expected), phrased(found))
        }
        other => phrased(&other.to_string()),
    }
}

fn phrased(text: &str) -> String {
    PHRASES.iter().fold(text.to_owned(), |text, (field, flag)| text.replace(field, flag))
}

/// A list of words behind an option, which may begin with a minus; not the option that follows where they were left away.
pub fn words(text: &str) -> Result<String, String> {
    if text.starts_with("--") {
        return Err("expected words, separated by commas, found an option".into());
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_flags_and_the_rest_stays() {
        let error: Error = Error::option("gpu_masks", "device cuda or auto", "device cpu");
        assert_eq!(error.to_string(), "gpu_masks: expected device cuda or auto, found device cpu");
        let error = anyhow::Error::from(error).context("loading");
        assert_eq!(told(&error), "loading: --gpu-masks: expected --device cuda or auto, found --device cpu");
        assert_eq!(told(&Error::option("display fb:x", "a screen", "none").into()), "--display fb:x: expected a screen, found none");
        assert_eq!(told(&Error::option("a file", "a glob", "none").into()), "a file: expected a glob, found none");
    }

    #[test]
    fn a_minus_in_a_list_of_one_kind_is_told_with_the_list_without_it() {
        for option in ["--hide", "--background-words"] {
            let said = told(&one_kind_of(option, "-wall, cat").unwrap_err().into());
            assert_eq!(said, format!("{option}: expected words without a minus, found \"-wall, cat\"; try: {option} \"wall, cat\""));
            assert!(one_kind_of(option, "").unwrap_err().to_string().contains("one word or more"));
        }
        assert_eq!(one_kind_of("--hide", "cat").unwrap().len(), 1);
    }

    #[test]
    fn no_flag_is_named_twice() {
        let expected = "device cuda, a caption, or a token, a smaller size_px";
        let error = ModelError::option("batch", expected, 0);
        assert_eq!(with_flags(&error).matches("--device cuda").count(), 1);
        assert!(!with_flags(&error).contains("----"), "{}", with_flags(&error));
    }
}
