use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::saved::WordSets;
use super::set::{WordSet, Words, kept, unknown};
use super::word::{WordSpec, parse_words_json};
use crate::{Error, Result};
use edge_seg_model::{Background, Class, parse_classes};

/// What commands from stdin, the network or a message broker act on.
#[derive(Debug, Clone)]
pub struct Control {
    /// The words that are looked for.
    pub words: Arc<Words>,
    /// Words saved under names, where there is a folder for them.
    pub sets: Option<Arc<WordSets>>,
    /// Set to end the run.
    pub stop: Arc<AtomicBool>,
}

/// What a command did.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The words are these now.
    Words(Arc<WordSet>),
    /// The words are saved under this name.
    Saved(String),
    /// The set of this name is gone.
    Deleted(String),
    /// The run ends.
    Stopping,
    /// The line was empty.
    Nothing,
}

const COMMANDS: &str = "tags WORDS, add WORDS, remove WORDS, on WORDS, off WORDS, threshold T|default WORDS, colour #RRGGBB WORDS, \
    background T|none, save NAME, load NAME, delete NAME, quit, or a JSON list of words";

impl Control {
    /// Obeys one line: a command as `edge-seg run --commands` takes it, or words as JSON.
    ///
    /// # Errors
    /// [`Words`](edge_seg_model::Error::Words) if it cannot be understood or obeyed; nothing is changed then.
    pub fn execute(&self, line: &str) -> Result<Outcome> {
        let line = line.trim();
        if line.starts_with(['[', '{']) {
            let specs = parse_words_json(PLACE, line.as_bytes())?;
            return self.words.change(|_| Ok(specs)).map(Outcome::Words);
        }
        let (command, rest) = line.split_once(char::is_whitespace).map_or((line, ""), |(c, r)| (c, r.trim()));
        let changed = match command {
            "" => return Ok(Outcome::Nothing),
            "tags" => self.words.set(classes(rest)?),
            "add" => self.words.change(|old| {
                let mut specs: Vec<WordSpec> = old.iter().cloned().map(WordSpec::from).collect();
                let new = classes(rest)?.into_iter().map(|class| kept(old, class));
                specs.extend(new.filter(|n| n.colour.is_none()).collect::<Vec<_>>());
                Ok(specs)
            }),
            "remove" => self.words.change(|old| {
                let gone = named(old, rest)?;
                Ok(old.iter().filter(|w| !gone.contains(&w.name)).cloned().map(WordSpec::from).collect())
            }),
            "on" | "off" => self.each(rest, |spec| spec.on = command == "on"),
            "threshold" => {
                let (value, words) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                let threshold = match value {
                    "default" => None,
                    number => Some(number.parse().map_err(|_| wrong("threshold T WORDS, T of 0 to 1 or `default`", line))?),
                };
                self.each(words, |spec| spec.threshold = threshold)
            }
            "colour" | "color" => {
                let (value, words) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                let colour = value.parse().map_err(|_| wrong("colour #RRGGBB WORDS", line))?;
                self.each(words, |spec| spec.colour = Some(colour))
            }
            "background" if rest == "none" => self.words.set_background(Some(Background::None), None),
            "background" => {
                let threshold = rest.parse().map_err(|_| wrong("background T, 0 to 1, or `background none`", line))?;
                self.words.set_background(Some(Background::Threshold(threshold)), None)
            }
            "save" => {
                self.sets()?.save(rest, &self.words.current().words)?;
                return Ok(Outcome::Saved(rest.into()));
            }
            "load" => {
                let specs = self.sets()?.load(rest)?;
                self.words.change(|_| Ok(specs))
            }
            "delete" => {
                self.sets()?.delete(rest)?;
                return Ok(Outcome::Deleted(rest.into()));
            }
            "quit" => {
                self.stop.store(true, Ordering::Relaxed);
                return Ok(Outcome::Stopping);
            }
            _ => return Err(unknown_command(command, line)),
        };
        changed.map(Outcome::Words)
    }

    /// Words saved under names.
    ///
    /// # Errors
    /// [`Option`](edge_seg_model::Error::Option) if there is no folder for them.
    pub fn sets(&self) -> Result<&WordSets> {
        self.sets.as_deref().ok_or_else(|| Error::option("sets", "a folder to save words in", "none"))
    }

    fn each(&self, list: &str, adjust: impl Fn(&mut WordSpec)) -> Result<Arc<WordSet>> {
        self.words.change(|old| {
            let meant = named(old, list)?;
            let specs = old.iter().cloned().map(|word| {
                let is_meant = meant.contains(&word.name);
                let mut spec = WordSpec::from(word);
                if is_meant {
                    adjust(&mut spec);
                }
                spec
            });
            Ok(specs.collect())
        })
    }
}

const PLACE: &str = "command";

/// The words of a command. Those that are left out are no part of any.
fn classes(list: &str) -> Result<Vec<Class>> {
    match list.split(',').any(|word| word.trim_start().starts_with('-')) {
        true => Err(wrong("words without a minus; what is left out is set where the run starts, or by PATCH /api/background", list)),
        false => Ok(parse_classes(PLACE, list)?),
    }
}

/// A command that there is not, with the one that was probably meant.
fn unknown_command(command: &str, line: &str) -> Error {
    let small = command.to_lowercase();
    let names = || COMMANDS.split(", ").filter_map(|command| command.split(' ').next()).filter(|name| *name != "or");
    let slips = |name: &&str| strsim::osa_distance(&small, name);
    let meant = match &*small {
        "exit" | "stop" | "end" | "bye" | "q" => Some("quit"),
        _ => names().min_by_key(slips).filter(|name| 2 * slips(name) <= small.len().min(name.len())),
    };
    let cut: String = line.chars().take(200).collect();
    let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
    Error::words(PLACE, COMMANDS, format!("{cut:?}{meant}"))
}

fn wrong(expected: &str, found: &str) -> Error {
    let cut: String = found.chars().take(200).collect();
    Error::words(PLACE, expected, format!("{cut:?}"))
}

/// The names of those present words that a list names, each of which must be there.
fn named(old: &[super::LiveClass], list: &str) -> Result<Vec<String>> {
    let find = |name: &str| old.iter().find(|w| edge_seg_model::same_name(&w.name, name)).map(|w| w.name.clone());
    classes(list)?.into_iter().map(|class| find(&class.name).ok_or_else(|| unknown(old, &class.name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_there_is_not_is_told_with_the_nearest_and_all() {
        for (line, meant) in [("tgas dog", "tags"), ("exit", "quit"), ("ADD dog", "add"), ("backgroud 0.2", "background")] {
            let said = unknown_command(line.split(' ').next().unwrap(), line).to_string();
            assert!(said.ends_with(&format!("; did you mean {meant}?")) && said.contains("load NAME"), "{said}");
        }
        let said = unknown_command("help", "help").to_string();
        assert!(said.contains("tags WORDS") && !said.contains("did you mean"), "{said}");
    }

    #[test]
    fn a_minus_in_a_command_is_told_with_where_words_are_left_out() {
        let said = classes("cat, -wall").unwrap_err().to_string();
        assert!(said.contains("words without a minus") && said.contains("/api/background"), "{said}");
        assert_eq!(classes("cat, T-rex").unwrap().len(), 2);
    }
}
