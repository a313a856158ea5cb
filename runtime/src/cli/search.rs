use std::collections::{HashMap, HashSet};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::Args;
use edge_seg::search::{Index, IndexOptions, IndexWriter, Query, Seen, Sighting};
use edge_seg::source::{Pace, SourceOptions, open_source};
use edge_seg::{Frame, Session, parse_words, read_picture};
use edge_seg_bundle::date::{Date, parse_clock, split_zone};
use edge_seg_bundle::files::{about, cache_folder, replace_file};
use edge_seg_bundle::text::shown;
use edge_seg_live::rules::LocalClock;
use edge_seg_live::search::{Answer, Lost, time_in_name};
use edge_seg_model::render::JsonVersion;
use edge_seg_model::{expand_folder, is_companion, is_picture};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::args::ModelArgs;
use super::examples::PictureRegion;
use super::flags;
use super::meanings::tell_meanings;
use super::output::{Outcome, print_json};

#[derive(Debug, Args)]
#[command(override_usage = "edge-seg search [OPTIONS] <INDEX|FOLDER>... <WORDS>")]
pub struct SearchArgs {
    /// Indexes that `run --index` writes and folders of pictures and clips, one or more; then the words to look for, separated by
    /// commas: "red car, bicycle"; behind a minus, what is to be left out. With --like words may be left away.
    #[arg(value_name = "INDEX|FOLDER... WORDS", required = true, num_args = 1..)]
    places: Vec<String>,
    /// Look for what a picture shows, or a box in it: PICTURE or PICTURE:x,y,w,h, in pixels.
    #[arg(long, value_name = "PICTURE")]
    like: Vec<PictureRegion>,
    /// Score, 0 to 1, from which a word counts as seen [default: the model's for tags, and for what is shown alone that of masks].
    #[arg(long, value_name = "T")]
    threshold: Option<f32>,
    /// Answers a word, the best ones.
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Frames that lie no further apart, in seconds, make one answer.
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    gap: f64,
    /// Leave out what was seen before: YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ, in UTC, or with a zone as +02:00, or `2h`, `30m`, `7d` ago.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Leave out what was seen after.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// One JSON line an answer (docs/search.md).
    #[arg(long)]
    json: bool,
    /// Write each answer's small picture into this folder.
    #[arg(long, value_name = "DIR")]
    thumbnails: Option<PathBuf>,
    /// Of a folder: where its index is kept, or `none` [default: edge-seg in the user's cache folder].
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// Of a folder: seconds between the frames of clips that are looked at.
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    interval: f64,
    #[command(flatten)]
    model: ModelArgs,
}

/// A line of JSON.
#[derive(Serialize)]
struct SearchLine<'a> {
    version: JsonVersion,
    #[serde(flatten)]
    answer: Answer<'a>,
    index: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<Lost>,
}

/// What is searched: an index, and the files that it is of where it is a folder's.
struct Place<'a> {
    name: &'a str,
    index: Index,
    files: Option<Files>,
}

impl Place<'_> {
    /// # Errors
    /// What is damaged, where that is all that there is.
    fn tell_damage(&self) -> Result<()> {
        let damage = self.index.damage();
        let path = self.index.path().display().to_string();
        let path = shown(&path);
        for one in damage.iter().take(MOST_DAMAGE) {
            eprintln!("edge-seg: {path}: {one}");
        }
        if damage.len() > MOST_DAMAGE {
            eprintln!("edge-seg: {path}: damaged at {} more places", damage.len() - MOST_DAMAGE);
        }
        let hint = if self.files.is_some() { "; remove it, and the next search makes it anew" } else { "" };
        ensure!(damage.is_empty() || self.index.contents()?.frames > 0, "{path}: expected frames, found none that can be read{hint}");
        Ok(())
    }
}

/// Damaged places of an index that are told one by one.
const MOST_DAMAGE: usize = 5;
/// Endings of clips that a folder is searched for.
const CLIPS: [&str; 10] = ["mp4", "mkv", "mov", "avi", "webm", "m4v", "ts", "mpg", "mjpeg", "y4m"];
/// What a picture or frame of a folder takes in its index: there are fewer of them than of a camera's.
const FILE_BYTES: u32 = 32_000;

pub fn run(args: &SearchArgs) -> Result<Outcome> {
    let threshold = args.threshold.unwrap_or(0.5);
    ensure!((0.0..=1.0).contains(&threshold), "--threshold: expected 0 to 1, found {threshold}");
    for (option, seconds) in [("--gap", args.gap), ("--interval", args.interval)] {
        ensure!((0.0..=86400.0).contains(&seconds), "{option}: expected seconds, 0 to 86400, found {seconds}");
    }
    ensure!(args.top > 0, "--top: expected 1 or more, found 0");
    let now = SystemTime::now();
    let since = args.since.as_deref().map(|text| moment("--since", text, now)).transpose()?;
    let until = args.until.as_deref().map(|text| moment("--until", text, now)).transpose()?;
    let (places, words) = args.split()?;
    let folders = places.iter().filter(|place| Path::new(place).is_dir()).count();
    ensure!(
        args.index.is_none() || (folders, places.len()) == (1, 1),
        "--index: expected one folder to make an index of, found {}",
        places.join(", ")
    );
    // Before a model is loaded for nothing.
    let mut failed = 0;
    let opened: Vec<_> = places.iter().filter_map(|name| Some((*name, or_told(opened(name), &mut failed)?))).collect();
    if opened.is_empty() {
        return Ok(Outcome::SomeFailed);
    }
    let session = args.model.session()?;
    let words = words.map(|words| parse_words("WORDS", words)).transpose()?.unwrap_or_default();
    tell_meanings(&session, &words.0, &words.1);
    let like = args.like.iter().map(|shown| Ok((format!("like {shown}"), shown.embed(&session)?))).collect::<Result<Vec<_>>>()?;
    let mut searched = Vec::with_capacity(places.len());
    for (name, index) in opened {
        let place = match index {
            Some(index) => Some((index, None)),
            None => {
                let made = Files::of(Path::new(name)).and_then(|files| files.index(args, &session));
                or_told(made, &mut failed).map(|(index, files)| (index, Some(files)))
            }
        };
        searched.extend(place.map(|(index, files)| Place { name, index, files }));
    }
    let words = session.with_examples(&session.word_list(words.0, words.1)?, &like)?;
    let (start, mut found) = (Instant::now(), Vec::<Vec<(&Place, Sighting)>>::new());
    found.resize_with(words.names().len(), Vec::new);
    for place in &searched {
        let query = Query::default().with_threshold(args.threshold).within(since, until).with_gap(Duration::from_secs_f64(args.gap));
        // What has gone from the folder, or was another file then, is left out.
        let (changed, named) = place.files.as_ref().map(|files| (files.changed.clone(), files.named.clone())).unzip();
        let query = query.with_starts(changed).with_corrected(named.unwrap_or_default()).with_most(args.top);
        let Some(answers) = or_told(place.index.find(&session, &words, &query).map_err(Into::into), &mut failed) else { continue };
        or_told(place.tell_damage(), &mut failed);
        for (all, of_place) in found.iter_mut().zip(answers) {
            all.extend(of_place.into_iter().map(|sighting| (place, sighting)));
        }
    }
    for sightings in &mut found {
        sightings.sort_by(|(_, a), (_, b)| a.by_rank(b));
        sightings.truncate(args.top);
    }
    let took = start.elapsed();
    if let Some(folder) = &args.thumbnails {
        std::fs::create_dir_all(folder).with_context(|| format!("--thumbnails {}", folder.display()))?;
    }
    let mut count = 0;
    for (word, sightings) in words.names().iter().zip(&found) {
        for (number, (place, sighting)) in sightings.iter().enumerate() {
            args.tell(place, searched.len() > 1, word, number, sighting)?;
            count += 1;
        }
    }
    let plural = if count == 1 { "" } else { "s" };
    eprintln!("edge-seg: {count} answer{plural} in {:.0} ms", 1e3 * took.as_secs_f64());
    if count == 0 && args.like.is_empty() && searched.iter().any(|place| place.files.is_none()) {
        eprintln!("edge-seg: words that were shown on a page are known there and in its saved sets alone; here: --like PICTURE:x,y,w,h");
    }
    let is_damaged = searched.iter().any(|place| !place.index.damage().is_empty());
    Ok(match (failed, count) {
        // It may have been in what is lost.
        (0, 0) if is_damaged => Outcome::SomeFailed,
        (1.., _) => Outcome::SomeFailed,
        (0, 0) => Outcome::No,
        (0, _) => Outcome::Done,
    })
}

/// What was asked for; none, told and counted, where a place cannot be searched.
fn or_told<T>(done: Result<T>, failed: &mut usize) -> Option<T> {
    done.map_err(|error| {
        *failed += 1;
        eprintln!("edge-seg: {}", flags::told(&error));
    })
    .ok()
}

/// The index of this name; none of a folder.
fn opened(place: &str) -> Result<Option<Index>> {
    let path = Path::new(place);
    let made = format!("a folder of pictures, or an index that edge-seg run --index {} has made", shown(place));
    if std::fs::metadata(path).with_context(|| place.to_owned()).map_err(|e| flags::or_try(e, path, made))?.is_dir() {
        return Ok(None);
    }
    let film = is_clip(path).then(|| {
        format!(
            "; to search a clip, name its folder, or make an index of it: edge-seg run --source {} --tags WORDS --index {}",
            shown(place),
            shown(&path.with_extension("index").display().to_string())
        )
    });
    let hint = film.or_else(|| is_picture(path).then(|| "; to search a picture, name its folder".to_owned())).unwrap_or_default();
    Index::open(path).map(Some).map_err(|e| anyhow::anyhow!("{e}{hint}"))
}

fn is_clip(path: &Path) -> bool {
    !is_companion(path) && path.extension().is_some_and(|ending| CLIPS.contains(&&*ending.to_string_lossy().to_lowercase()))
}

impl SearchArgs {
    /// What is searched, each once, and the words behind it.
    fn split(&self) -> Result<(Vec<&str>, Option<&str>)> {
        let all: Vec<&str> = self.places.iter().map(String::as_str).collect();
        let (last, before) = all.split_last().context("expected an index or a folder, found none")?;
        let is_file = |name: &str| Path::new(name).is_file() && name.contains(['.', '/']);
        let (mut places, words) = match self.like.is_empty() {
            true => {
                ensure!(
                    !before.is_empty() || Path::new(last).exists(),
                    "INDEX: expected an index or a folder before the words, found {last:?} alone; try: edge-seg search PICTURES {last:?}"
                );
                let place = before.first().unwrap_or(last);
                ensure!(
                    !before.is_empty() && !is_file(last),
                    "WORDS: expected what to look for behind the indexes and folders, found {last:?}; try: edge-seg search {} \"dog\"",
                    flags::quoted(Path::new(place))
                );
                let is_place = |name: &&str| Path::new(name).exists() || name.contains(['.', '/']);
                let (there, words): (Vec<&str>, Vec<&str>) = all.iter().copied().partition(is_place);
                ensure!(
                    there.is_empty() || before.iter().all(is_place),
                    "INDEX: expected indexes and folders, then the words as one text, found {:?}; try: edge-seg search {} {:?}",
                    all.join(" "),
                    there.iter().map(|place| flags::quoted(Path::new(place))).collect::<Vec<_>>().join(" "),
                    words.join(" ")
                );
                (before.to_vec(), Some(*last))
            }
            false if before.is_empty() || Path::new(last).exists() => (all, None),
            false => (before.to_vec(), Some(*last)),
        };
        let mut known = Vec::new();
        places.retain(|place| {
            let path = Path::new(place).canonicalize().unwrap_or_else(|_| place.into());
            let is_new = !known.contains(&path);
            known.push(path);
            is_new
        });
        Ok((places, words))
    }

    fn tell(&self, place: &Place, is_one_of_several: bool, word: &str, number: usize, sighting: &Sighting) -> Result<()> {
        let thumbnail = match &self.thumbnails {
            Some(folder) => self.write_thumbnail(folder, &place.index, word, number, sighting)?,
            None => None,
        };
        let answer = Answer::new(word, sighting, thumbnail.map(|path| path.display().to_string()));
        if self.json {
            return print_json(&SearchLine { version: JsonVersion, answer, index: place.name, damage: Lost::of(&place.index.damage()) });
        }
        let Answer { box_px: [left, top, w, h], frame_px: [width, height], from, to, .. } = answer;
        let until = if from == to { String::new() } else { format!(" to {}", &to[11..19]) };
        let at = if sighting.at.is_zero() { String::new() } else { format!(" at {:.1} s", sighting.at.as_secs_f64()) };
        let picture = answer.thumbnail.map(|path| format!("  {path}")).unwrap_or_default();
        let index = if is_one_of_several { format!("  {}", shown(place.name)) } else { String::new() };
        let mut out = edge_seg_terminal::results();
        writeln!(
            out,
            "{:.2}  {}  {} {}{until}  {}{at}  {left},{top},{w},{h} of {width}×{height}{index}{picture}",
            sighting.score,
            shown(word),
            &from[..10],
            &from[11..19],
            shown(&sighting.origin),
        )?;
        Ok(out.flush()?)
    }

    fn write_thumbnail(&self, folder: &Path, index: &Index, word: &str, number: usize, sighting: &Sighting) -> Result<Option<PathBuf>> {
        let Some(jpeg) = index.thumbnail(sighting)? else { return Ok(None) };
        let word: String = word.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).take(40).collect();
        let path = folder.join(format!("{word}-{:03}.jpg", number + 1));
        replace_file(&path, &jpeg)?;
        Ok(Some(path))
    }
}

/// A time as somebody writes it: a day, a day and time, or how long ago.
fn moment(option: &str, text: &str, now: SystemTime) -> Result<SystemTime> {
    let wrong = || {
        let expected =
            "expected YYYY-MM-DD, YYYY-MM-DDTHH:MM:SSZ, the same with +02:00 in place of Z, or a number with s, m, h or d behind it";
        anyhow::anyhow!("{option}: {expected}, found {text:?}")
    };
    let unit = |seconds: u64, end: char| text.strip_suffix(end).and_then(|number| number.parse::<u64>().ok()?.checked_mul(seconds));
    if let Some(seconds) = [(1, 's'), (60, 'm'), (3600, 'h'), (86_400, 'd')].into_iter().find_map(|(seconds, end)| unit(seconds, end)) {
        // An index holds no times before 1970.
        return now.checked_sub(Duration::from_secs(seconds)).filter(|time| *time >= UNIX_EPOCH).ok_or_else(wrong);
    }
    let (day, clock) = text.split_once(['T', ' ']).unwrap_or((text, ""));
    let days = Date::parse(day).ok_or_else(wrong)?.days();
    let (clock, ahead_s) = split_zone(clock).unwrap_or((clock, 0));
    let of_day = if clock.is_empty() { Duration::ZERO } else { parse_clock(clock).ok_or_else(wrong)? };
    let seconds = (days * 86_400 + of_day.as_secs()).checked_add_signed(-ahead_s).ok_or_else(wrong)?;
    Ok(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// The pictures and clips of a folder, and when each was changed: by that it is known again.
struct Files {
    folder: PathBuf,
    pictures: Vec<PathBuf>,
    clips: Vec<PathBuf>,
    changed: HashMap<Arc<str>, SystemTime>,
    /// When those began whose names tell it.
    named: HashMap<Arc<str>, SystemTime>,
}

impl Files {
    fn of(folder: &Path) -> Result<Self> {
        let mut clips = Vec::new();
        for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry.with_context(|| folder.display().to_string())?.path();
            if is_clip(&path) && about(&path)?.is_some_and(|about| about.is_file()) {
                clips.push(path);
            }
        }
        clips.sort();
        let mut pictures = Vec::new();
        for found in expand_folder(folder) {
            match found {
                Ok(path) => pictures.push(path),
                // A folder of clips alone is no fault.
                Err(_) if !clips.is_empty() => {}
                Err(e) if pictures.is_empty() => return Err(e.into()),
                Err(e) => eprintln!("edge-seg: {}", flags::told(&e.into())),
            }
        }
        let (mut changed, mut named, clock) = (HashMap::new(), HashMap::new(), LocalClock::system());
        let zone = clock.clone().unwrap_or_else(|_| LocalClock::utc());
        for path in pictures.iter().chain(&clips) {
            let about = std::fs::metadata(path).and_then(|about| about.modified()).with_context(|| path.display().to_string())?;
            let name: Arc<str> = path.display().to_string().into();
            named.extend(time_in_name(path, &zone).map(|time| (name.clone(), time)));
            changed.insert(name, to_the_millisecond(about));
        }
        if let Err(e) = clock
            && !named.is_empty()
        {
            eprintln!("edge-seg: times in names are taken as UTC: {e}");
        }
        Ok(Self { folder: folder.into(), pictures, clips, changed, named })
    }

    /// Where the folder's index is kept.
    fn kept(&self, args: &SearchArgs, session: &Session) -> Result<Option<PathBuf>> {
        use std::hash::{DefaultHasher, Hash, Hasher};
        match &args.index {
            Some(none) if none.as_os_str() == "none" => Ok(None),
            Some(file) => Ok(Some(file.clone())),
            None => {
                let Some(cache) = cache_folder() else { return Ok(None) };
                let folder = cache.join("search");
                std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
                let whole = self.folder.canonicalize().with_context(|| self.folder.display().to_string())?;
                let mut key = DefaultHasher::new();
                (&self.folder, whole, session.bundle().digest(), session.size_px(), args.interval.to_bits()).hash(&mut key);
                Ok(Some(folder.join(format!("{:016x}.index", key.finish()))))
            }
        }
    }

    /// Puts what is not in the folder's index yet into it.
    fn index(self, args: &SearchArgs, session: &Session) -> Result<(Index, Self)> {
        // An index that is not kept stays readable for as long as it is open.
        let own = tempfile::tempdir().context("a folder for the index")?;
        let path = self.kept(args, session)?.unwrap_or_else(|| own.path().join("index"));
        let options = IndexOptions::default().with_frame_bytes(FILE_BYTES).with_limit_bytes(1 << 36);
        let writer = IndexWriter::open(&path, session, &options)?;
        let index = Index::open(&path)?;
        let whole = index.contents()?.whole;
        let is_new = |path: &&PathBuf| {
            let name: Arc<str> = path.display().to_string().into();
            whole.get(&name) != self.changed.get(&name)
        };
        let new: Vec<&PathBuf> = self.pictures.iter().chain(&self.clips).filter(is_new).collect();
        // What a search that was ended has put in of a file is not put in again.
        let names: HashSet<String> = new.iter().map(|path| path.display().to_string()).collect();
        let mut adding = Adding { writer, session, there: index.times(|origin| names.contains(origin))? };
        let bar = match new.len() > 1 && std::io::stderr().is_terminal() {
            true => ProgressBar::new(new.len() as u64).with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {wide_msg}")?),
            false => ProgressBar::hidden(),
        };
        let mut failed = 0;
        for path in &new {
            let name = path.display().to_string();
            bar.set_message(name.clone());
            let changed = self.changed[name.as_str()];
            let done = match self.clips.contains(path) {
                true => adding.clip(&name, changed, args.interval)?,
                false => match read_picture(path) {
                    Ok(frame) => adding.frame(&name, changed, &frame)?,
                    Err(e) => Err(e.into()),
                },
            };
            match done {
                Ok(()) => adding.writer.end_of(&name, changed)?,
                Err(e) => {
                    failed += 1;
                    bar.suspend(|| eprintln!("edge-seg: {}", flags::told(&e)));
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        adding.writer.sync()?;
        drop(adding);
        if failed > 0 {
            eprintln!("edge-seg: {failed} of {} new files are not in the index", new.len());
        }
        Ok((Index::open(&path)?, self))
    }
}

/// A folder's index that grows, and what was in it of files that are not finished. A file that cannot be read costs itself, an index that
/// cannot be written costs the search.
struct Adding<'a> {
    writer: IndexWriter,
    session: &'a Session,
    there: HashMap<Arc<str>, HashSet<SystemTime>>,
}

impl Adding<'_> {
    fn frame(&mut self, name: &str, changed: SystemTime, frame: &Frame) -> Result<Result<()>> {
        let at = Duration::from_millis(u64::try_from(frame.timestamp.as_millis())?);
        let time = changed + at;
        if self.there.get(name).is_some_and(|times| times.contains(&time)) {
            return Ok(Ok(()));
        }
        let encoded = match self.session.encode(frame) {
            Ok(encoded) => encoded,
            Err(e) => return Ok(Err(e.into())),
        };
        self.writer.add(&Seen::new(&encoded, &frame.pixels, time, at, name))?;
        Ok(Ok(()))
    }

    fn clip(&mut self, name: &str, changed: SystemTime, interval_s: f64) -> Result<Result<()>> {
        let mut source = match open_source(name, &SourceOptions::default().with_pace(Pace::Every)) {
            Ok(source) => source,
            Err(e) => return Ok(Err(e.into())),
        };
        let mut frame = Frame::still(image::RgbImage::default());
        let mut next = Duration::ZERO;
        loop {
            match source.read(&mut frame) {
                Ok(true) if frame.timestamp < next => {}
                Ok(true) => {
                    if let Err(e) = self.frame(name, changed, &frame)? {
                        return Ok(Err(e));
                    }
                    next = frame.timestamp + Duration::from_secs_f64(interval_s);
                }
                Ok(false) => return Ok(Ok(())),
                Err(e) => return Ok(Err(e.into())),
            }
        }
    }
}

/// As an index keeps times.
fn to_the_millisecond(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (text, seconds) in [
            ("2h", 1_000_000 - 7200),
            ("90s", 1_000_000 - 90),
            ("1970-01-02", 86_400),
            ("1970-01-02T01:02", 86_400 + 3720),
            ("1970-01-02 01:02:03", 86_400 + 3723),
            ("1970-01-02T01:02:03.500Z", 86_400 + 3723),
            ("1970-01-02T01:02:03+02:00", 86_400 + 3723 - 7200),
            ("1970-01-02 01:02-05:30", 86_400 + 3720 + 19_800),
        ] {
            assert_eq!(moment("--since", text, now).unwrap(), UNIX_EPOCH + Duration::from_secs(seconds), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "1970-01-02T25:00",
            "1970-01-02T1:00",
            "1970-01-02T01:02:03:04",
            "1970-01-02T01:02+2",
            "1970-01-01T01:00+02:00",
            "99999999999999999999d",
            "12d",
        ] {
            assert!(moment("--since", text, now).is_err(), "{text}");
        }
    }
}
