//! Two models, or two sets of words, on the same pictures of this board's camera: which finds what, and how long each takes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use edge_seg_bundle::Bundle;
use edge_seg_bundle::files::replace_file;
use edge_seg_bundle::trust::Trust;
use serde::Serialize;
use serde_json::Value;

use crate::board::Board;
use crate::deploy::table;
use crate::install::{board_names, now};
use crate::page::{self, Page};
use crate::paths::Paths;
use crate::service;
use crate::slots::machine::{BUNDLE, PROGRAM};

/// How long a picture may take on a slow board, the model's loading shared out among them.
const PICTURE_LIMIT: Duration = Duration::from_secs(120);
/// A word's share of a picture from which it counts as found there.
const FOUND_SHARE: f64 = 0.001;

/// What is compared.
#[derive(Debug, Clone)]
pub struct Question {
    /// The other bundle; else the one that runs, with other words.
    pub bundle: Option<PathBuf>,
    /// Words of the one that runs; else those of its configuration.
    pub words: Option<String>,
    /// Words of the other; else the same.
    pub other_words: Option<String>,
    /// Pictures; else the newest ones of the page of what runs.
    pub pictures: Option<PathBuf>,
    /// How many pictures.
    pub count: usize,
    /// Folder for pictures and results.
    pub out: PathBuf,
}

/// Figures of one side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// The bundle's name and release number.
    pub name: String,
    /// The median of a picture's whole time.
    pub median_ms: f64,
    /// What 95 of 100 pictures do not exceed.
    pub p95_ms: f64,
}

/// A word on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Word {
    /// The word.
    pub name: String,
    /// In how many pictures each side found it.
    pub found: [usize; 2],
    /// Its mean share of the pictures.
    pub share: [f64; 2],
    /// Its mean score.
    pub score: [f64; 2],
    /// In how many pictures one side found it and the other did not.
    pub differ: usize,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Pictures that both sides have done.
    pub pictures: usize,
    /// What runs, and the other.
    pub sides: [Side; 2],
    /// Every word of either side.
    pub words: Vec<Word>,
}

/// Has both sides segment the same pictures.
///
/// # Errors
/// When there are no pictures or words, the other bundle may not run here, or a runtime fails.
pub fn compare(paths: &Paths, board: &Board, question: &Question) -> Result<Comparison> {
    let mut slots = paths.slots();
    let state = slots.load()?;
    let current = state.current.map(|slot| slots.folder(slot));
    let program = current.as_ref().map_or_else(|| paths.packaged.clone(), |slot| slot.join(PROGRAM));
    let own = current.as_ref().map(|slot| slot.join(BUNDLE));
    if let Some(path) = &question.bundle {
        let opened = match paths.demands_signatures()? {
            true => Trust::read(&paths.keys)?.on_board(&board_names(board)).installing_at(now()).open(path),
            false => Bundle::open(path),
        };
        opened?;
    }
    let words = match &question.words {
        Some(words) => words.clone(),
        None => page::config(paths)?
            .get("words")
            .and_then(|words| words.get("tags")?.as_str().map(str::to_owned))
            .context("--tags: expected words, for the configuration of what runs has no words.tags")?,
    };
    ensure!(
        question.bundle.is_some() || question.other_words.is_some(),
        "expected another bundle, --other-tags, or both: there is nothing to compare"
    );
    let made = !question.out.exists();
    let compared = written(paths, question, &program, own.as_ref(), &words);
    // Where it failed nothing is left of a folder that was not there before.
    if compared.is_err() && made {
        let _ = fs::remove_dir_all(&question.out);
    }
    compared
}

/// Both sides' results on the same pictures, in the question's folder.
fn written(paths: &Paths, question: &Question, program: &Path, own: Option<&PathBuf>, words: &String) -> Result<Comparison> {
    fs::create_dir_all(&question.out).with_context(|| format!("{}", question.out.display()))?;
    let pictures = match &question.pictures {
        Some(folder) => listed(folder, question.count)?,
        None => taken(&Page::of(paths)?, &question.out.join("pictures"), question.count)?,
    };
    let other = question.bundle.as_ref().or(own);
    let other_words = question.other_words.as_ref().unwrap_or(words);
    let mut lines = Vec::new();
    for (name, bundle, words) in [("a", own, words), ("b", other, other_words)] {
        lines.push(segmented(paths, program, bundle, words, &pictures, &question.out.join(name))?);
        let text: String = lines[lines.len() - 1].iter().map(|line| format!("{line}\n")).collect();
        replace_file(&question.out.join(format!("{name}.jsonl")), text.as_bytes())?;
    }
    let title = |bundle: Option<&PathBuf>| match bundle {
        None => Ok("the packaged model".to_owned()),
        Some(path) => Bundle::open(path).map(|bundle| format!("{} serial {}", bundle.manifest().name, bundle.manifest().serial)),
    };
    summary([title(own)?, title(other)?], &lines[0], &lines[1])
}

fn listed(folder: &Path, count: usize) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        if ["jpg", "jpeg", "png", "webp", "bmp"].contains(&ending.as_str()) {
            found.push(path);
        }
    }
    found.sort();
    found.truncate(count);
    ensure!(!found.is_empty(), "{}: expected pictures, found none", folder.display());
    Ok(found)
}

/// Takes the newest pictures from the page, each once.
fn taken(page: &Page, folder: &Path, count: usize) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    let mut found = Vec::new();
    let mut after = None;
    for n in 0..count {
        let (number, jpeg) = page.picture(after)?;
        let path = folder.join(format!("{n:06}.jpg"));
        replace_file(&path, &jpeg)?;
        found.push(path);
        after = Some(number);
    }
    Ok(found)
}

fn segmented(paths: &Paths, program: &Path, bundle: Option<&PathBuf>, words: &str, pictures: &[PathBuf], out: &Path) -> Result<Vec<Value>> {
    let mut command = Command::new(program);
    command.arg("segment").args(pictures).args(["--tags", words]).arg("--out").arg(out);
    if let Some(bundle) = bundle {
        command.arg("--model").arg(bundle);
    }
    fs::create_dir_all(out).with_context(|| format!("{}", out.display()))?;
    let user = paths.user_to_run_as()?;
    if let Some(user) = user.as_ref().filter(|_| rustix::process::geteuid().is_root()) {
        std::os::unix::fs::lchown(out, Some(user.number()), Some(user.group())).with_context(|| format!("{}", out.display()))?;
    }
    let limit = PICTURE_LIMIT * u32::try_from(pictures.len()).unwrap_or(u32::MAX);
    let output = service::output(user.as_ref(), &mut command, limit)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}", program.display(), said.lines().next_back().unwrap_or("it said nothing"));
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    lines.lines().map(|line| serde_json::from_str(line).with_context(|| format!("{}: a line that is no JSON", program.display()))).collect()
}

fn summary(names: [String; 2], a: &[Value], b: &[Value]) -> Result<Comparison> {
    let by_input = |lines: &[Value]| -> BTreeMap<String, Value> {
        lines.iter().filter_map(|line| Some((line["input"].as_str()?.to_owned(), line.clone()))).collect()
    };
    let (a, b) = (by_input(a), by_input(b));
    let both: Vec<[&Value; 2]> = a.iter().filter_map(|(input, line)| Some([line, b.get(input)?])).collect();
    ensure!(
        !both.is_empty(),
        "no picture was segmented on both sides: what the programs said stands above; other pictures are taken by --pictures DIR"
    );
    let mut words: Vec<Word> = Vec::new();
    let class = |line: &Value, name: &str| line["classes"].as_array().into_iter().flatten().find(|class| class["name"] == name).cloned();
    for name in
        both.iter().flatten().flat_map(|line| line["classes"].as_array().into_iter().flatten()).filter_map(|class| class["name"].as_str())
    {
        if !words.iter().any(|word| word.name == name) {
            words.push(Word { name: name.to_owned(), ..Word::default() });
        }
    }
    let count = both.len() as f64;
    for word in &mut words {
        for pair in &both {
            let mut found = [false; 2];
            for side in 0..2 {
                let Some(class) = class(pair[side], &word.name) else { continue };
                let share = class["share"].as_f64().unwrap_or(0.0);
                found[side] = share >= FOUND_SHARE;
                word.found[side] += usize::from(found[side]);
                word.share[side] += share / count;
                word.score[side] += class["score"].as_f64().unwrap_or(0.0) / count;
            }
            word.differ += usize::from(found[0] != found[1]);
        }
    }
    let side = |side: usize, name: &str| {
        let whole = |line: &Value| line["milliseconds"].as_object().map_or(0.0, |parts| parts.values().filter_map(Value::as_f64).sum());
        let mut times: Vec<f64> = both.iter().map(|pair| whole(pair[side])).collect();
        times.sort_by(f64::total_cmp);
        let rank = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1];
        Side { name: name.to_owned(), median_ms: rank(50), p95_ms: rank(95) }
    };
    Ok(Comparison { pictures: both.len(), sides: [side(0, &names[0]), side(1, &names[1])], words })
}

/// As a table.
pub fn render(comparison: &Comparison) -> String {
    let mut out = String::new();
    for (name, side) in ["a", "b"].iter().zip(&comparison.sides) {
        out.push_str(&format!(
            "{name}: {}, {} pictures, median {:.0} ms, p95 {:.0} ms\n",
            side.name, comparison.pictures, side.median_ms, side.p95_ms
        ));
    }
    let rows = comparison.words.iter().map(|word| {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        [
            word.name.clone(),
            word.found[0].to_string(),
            word.found[1].to_string(),
            word.differ.to_string(),
            percent(word.share[0]),
            percent(word.share[1]),
            format!("{:.2}", word.score[0]),
            format!("{:.2}", word.score[1]),
        ]
    });
    out + &table(["word", "found a", "found b", "differ", "share a", "share b", "score a", "score b"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(input: &str, dog: f64, milliseconds: f64) -> Value {
        json!({ "input": input, "classes": [{ "name": "dog", "share": dog, "score": dog }], "milliseconds": { "encode": milliseconds, "mask": 1.0 } })
    }

    #[test]
    fn words_and_times_are_of_the_same_pictures() {
        let a = [line("1.jpg", 0.5, 9.0), line("2.jpg", 0.0, 19.0), line("only-a.jpg", 1.0, 99.0)];
        let b = [line("2.jpg", 0.25, 4.0), line("1.jpg", 0.25, 4.0)];
        let found = summary(["x".into(), "y".into()], &a, &b).unwrap();
        assert_eq!((found.pictures, found.words.len()), (2, 1));
        assert_eq!((found.words[0].found, found.words[0].differ, found.words[0].share), ([1, 2], 1, [0.25, 0.25]));
        assert_eq!((found.sides[0].median_ms, found.sides[0].p95_ms, found.sides[1].median_ms), (10.0, 20.0, 5.0));
        assert!(render(&found).contains("dog"));
        assert!(summary(["x".into(), "y".into()], &a, &[]).is_err());
    }
}
