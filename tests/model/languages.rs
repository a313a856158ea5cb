//! Words of other languages, in the library and the program.

use std::fs;

use edge_seg::live::Words;
use edge_seg::{Class, Languages, Meaning, Options, Session};
use edge_seg_tests::{edge_seg, picture, root};
use serde_json::json;

fn session(languages: &str) -> Session {
    let languages: Languages = languages.parse().unwrap();
    Session::built_in_with(&Options::default().with_size_px(64).with_languages(languages)).unwrap()
}

/// A word, and the English words that are right.
type HeldOut = (String, Vec<String>);

/// The held-out words of each language, by its code.
fn held_out() -> Vec<(String, Vec<HeldOut>)> {
    let text = fs::read_to_string(root().join("tests/data/words/held-out.tsv")).unwrap();
    let mut rows = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect::<Vec<_>>());
    let head = rows.next().unwrap();
    let rows: Vec<Vec<&str>> = rows.collect();
    let right = |row: &[&str]| row[0].split('|').map(String::from).collect();
    let column = |at: usize| rows.iter().map(|row| (row[at].to_owned(), right(row))).collect();
    (1..head.len()).map(|at| (head[at].to_owned(), column(at))).collect()
}

fn share_right(words: &[HeldOut], languages: &str) -> usize {
    let session = session(languages);
    let is_right = |(word, right): &&HeldOut| {
        let english = match session.meaning(word) {
            Meaning::Translated { means, .. } => means.english,
            _ => word.to_lowercase(),
        };
        right.contains(&english)
    };
    words.iter().filter(is_right).count()
}

/// How many words the text encoder alone puts nearest to a right English word, of all English words of the list.
fn right_by_the_encoder(words: &[HeldOut]) -> usize {
    let session = session("off");
    let english: Vec<&String> = words.iter().map(|(_, right)| &right[0]).collect();
    let row = |word: &str| session.word_bank(&[Class::word(word)], &[]).ok().map(|bank| bank.words().row(0).to_vec());
    let targets: Vec<Vec<f32>> = english.iter().map(|word| row(word).unwrap()).collect();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let nearest = |asked: &[f32]| (0..targets.len()).max_by(|a, b| dot(asked, &targets[*a]).total_cmp(&dot(asked, &targets[*b])));
    // Of some words it knows no character.
    let is_right =
        |(word, right): &&HeldOut| row(word).and_then(|asked| nearest(&asked)).is_some_and(|found| right.contains(english[found]));
    words.iter().filter(is_right).count()
}

#[test]
fn held_out_words_of_eight_languages_are_found() {
    let languages = held_out();
    assert!(languages.len() >= 8 && languages.iter().all(|(_, words)| words.len() >= 36));
    let [mut unnamed, mut named, mut first, mut alone, mut count] = [0; 5];
    for (code, words) in &languages {
        let found = [share_right(words, "all"), share_right(words, code), share_right(words, &format!("{code},en"))];
        let by_the_encoder = right_by_the_encoder(words);
        println!("{code}: {found:?} of {}, by the encoder alone {by_the_encoder}", words.len());
        assert!(found[1] * 100 >= words.len() * 70 && found[2] * 100 >= words.len() * 80, "{code}: {found:?} of {}", words.len());
        assert!(found[1] > by_the_encoder, "{code}: {found:?}, the encoder alone {by_the_encoder}");
        unnamed += found[0];
        named += found[1];
        first += found[2];
        alone += by_the_encoder;
        count += words.len();
    }
    println!(
        "all: {unnamed} with no language named, {named} with its own, {first} with its own before English, {alone} by the encoder alone, of {count}"
    );
    assert!(
        unnamed * 100 >= count * 75 && named * 100 >= count * 85 && first * 100 >= count * 90,
        "{unnamed}, {named}, {first} of {count}"
    );
}

#[test]
fn no_class_of_a_data_set_is_taken_for_another_language() {
    let mut seen = 0;
    for languages in ["all", "de", "fr", "nl,it"] {
        let session = session(languages);
        for preset in fs::read_dir(root().join("export/presets")).unwrap().map(|entry| entry.unwrap().path()) {
            if preset.extension().is_none_or(|ending| ending != "tsv") {
                continue;
            }
            for line in fs::read_to_string(&preset).unwrap().lines().filter(|line| !line.starts_with('#')).skip(1) {
                for word in line.split(['\t', ',']).map(str::trim).filter(|word| word.contains(char::is_alphabetic)) {
                    let meaning = session.meaning(word);
                    assert!(!matches!(meaning, Meaning::Translated { .. }), "{}: {word}: {meaning:?}", preset.display());
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 4000, "{seen}");
}

#[test]
fn a_word_of_another_language_gets_the_embedding_of_its_meaning_and_keeps_its_name() {
    let session = session("all");
    let bank = |words: &str| session.words(words).unwrap();
    let german = bank("Hund, rotes Auto, -Mauer");
    assert_eq!((german.names(), german.left_out()), (["Hund".to_owned(), "rotes Auto".into()].as_slice(), ["Mauer".to_owned()].as_slice()));
    assert_eq!(german.bank().words(), bank("dog, red car, -wall").bank().words());
    // Decomposed, as macOS stores names, in capitals, without accents, and in several languages at once.
    for (written, meant) in [
        ("fene\u{302}tre", "window"),
        ("LÖFFEL", "spoon"),
        ("loeffel", "spoon"),
        ("arbol", "tree"),
        ("汽车", "car"),
        ("红色汽车", "red car"),
        ("voiture rouge, schwarze Katze", "red car, black cat"),
    ] {
        assert_eq!(bank(written).bank().words(), bank(meant).bank().words(), "{written}");
    }
}

#[test]
fn languages_that_are_off_leave_words_as_they_are() {
    let (on, off) = (session("all"), session("off"));
    let row = |session: &Session, word: &str| session.words(word).unwrap().bank().words().clone();
    assert_ne!(row(&on, "Hund"), row(&off, "Hund"));
    assert_eq!(row(&on, "dog"), row(&off, "dog"));
    assert!(off.meaning("Hund").is_plain() && off.meaning("xyzzyplugh").is_plain());
}

#[test]
fn running_words_tell_what_they_mean() {
    let session = std::sync::Arc::new(session("all"));
    let words = Words::of(session.clone(), &session.words("Hund, cat, Fahrad").unwrap()).unwrap();
    let told = serde_json::to_value(&words.current().words).unwrap();
    assert_eq!(told[0]["meaning"], json!({"kind": "translated", "language": "de", "english": "dog"}));
    assert!(told[1].get("meaning").is_none());
    assert_eq!(told[2]["meaning"]["kind"], "unknown");
    assert!(told[2]["meaning"]["near"].to_string().contains("bicycle"), "{told}");
    // What is told may be given back, and what a word meant goes with its name.
    let specs: Vec<edge_seg::live::WordSpec> = serde_json::from_value(told).unwrap();
    assert_eq!(specs[0].name, "Hund");
    let changed = words.adjust("Hund", |word| word.name = "Katze".into()).unwrap();
    assert_eq!(serde_json::to_value(&changed.words[0].meaning).unwrap()["english"], "cat");
}

#[test]
fn the_program_tells_meanings_once_and_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let cat = picture("cat.jpg");
    let segment = |tags: &str, more: &[&str]| {
        edge_seg(
            folder.path(),
            &[["segment", cat.to_str().unwrap(), cat.to_str().unwrap(), "--tags", tags, "--size", "96"].as_slice(), more].concat(),
        )
    };
    let german = segment("Katze, wall, Mauerr", &[]);
    assert_eq!(german.stderr.matches("\"Katze\" is looked for as \"cat\", its meaning in German").count(), 1, "{}", german.stderr);
    assert!(german.stderr.contains("\"Mauerr\" is looked for as it is, though no language has it; near: "), "{}", german.stderr);
    let lines = german.json_lines();
    assert_eq!(lines[0]["classes"][0]["name"], "Katze");
    assert_eq!(lines[0]["meanings"]["Katze"], json!({"kind": "translated", "language": "de", "english": "cat"}));
    assert!(lines[0]["meanings"].get("wall").is_none());
    let english = segment("cat, wall", &[]);
    assert!(!english.stderr.contains("looked for") && english.json_lines()[0].get("meanings").is_none(), "{}", english.stderr);
    assert_eq!(lines[0]["classes"][0]["pixels"], segment("cat, wall, Mauerr", &[]).json_lines()[0]["classes"][0]["pixels"]);
    let off = segment("Katze", &["--language", "off"]);
    assert!(!off.stderr.contains("looked for"), "{}", off.stderr);
    let wrong = segment("Katze", &["--language", "de,xx"]);
    assert!(wrong.stderr.contains("expected off, all, or some of en, de, es") && wrong.stderr.contains("\"xx\""), "{}", wrong.stderr);
}
