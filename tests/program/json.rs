//! What is told as JSON: each field stands in the schema and on its page, whatever is asked for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use edge_seg_tests::{edge_seg, picture, root, schema};
use serde_json::Value;

/// What stands between backticks.
fn named(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// A page's sections by their headings.
fn sections(page: &str) -> Vec<(String, String)> {
    page.split("\n#")
        .skip(1)
        .filter_map(|part| part.split_once('\n'))
        .map(|(h, t)| (h.trim_start_matches('#').trim().into(), t.into()))
        .collect()
}

/// The fields of a schema, and those of what lies in it without a title of its own.
fn fields(schema: &Value) -> (BTreeSet<String>, BTreeSet<String>) {
    let own: BTreeSet<String> = schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
    let mut within = BTreeSet::new();
    let mut open: Vec<&Value> = vec![schema];
    while let Some(next) = open.pop() {
        match next {
            Value::Object(parts) => {
                within.extend(parts.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key.clone()));
                open.extend(parts.values());
            }
            Value::Array(parts) => open.extend(parts),
            _ => {}
        }
    }
    (own, within)
}

#[test]
fn the_schema_and_its_page_name_the_same_fields() {
    let page = fs::read_to_string(root().join("docs/json.md")).unwrap();
    let sections = sections(&page);
    let whole = schema::outputs();
    let mut told = BTreeSet::new();
    for (name, schema) in whole["$defs"].as_object().unwrap() {
        let Some(title) = schema["title"].as_str() else { continue };
        let (_, text) = sections.iter().find(|(heading, _)| heading == title).unwrap_or_else(|| panic!("{name}: no heading {title}"));
        let cells = text.lines().filter_map(|line| line.strip_prefix("| `").map(|rest| format!("`{}", rest.split(" |").next().unwrap())));
        let rows: BTreeSet<String> = cells.flat_map(|cell| named(&cell)).collect();
        let (own, within) = fields(schema);
        assert_eq!(rows, own, "{title}");
        let missing: Vec<_> = within.difference(&named(text)).cloned().collect();
        assert!(missing.is_empty(), "{title}: {missing:?} stand in the schema alone");
        told.insert(title);
    }
    for (heading, text) in &sections {
        assert!(!text.contains("| field | type |") || told.contains(heading.as_str()), "{heading}: in no schema");
    }
    let http = &sections.iter().find(|(heading, _)| heading == "HTTP").unwrap().1;
    let description = fs::read_to_string(root().join("runtime/live/src/page/openapi.json")).unwrap();
    let description: Value = serde_json::from_str(&description).unwrap();
    let answers = ["Health", "Status", "Report", "Scores", "Words", "Word", "Example", "Hide", "Timeline", "Recording", "RecordedFile"];
    for answer in answers {
        let (_, within) = fields(&description["components"]["schemas"][answer]);
        let missing: Vec<_> = within.difference(&named(http)).cloned().collect();
        assert!(!within.is_empty() && missing.is_empty(), "{answer}: {missing:?}");
    }
}

/// The fields of all that a line holds, by the name of the part of the schema that they stand in.
fn collect(whole: &Value, part: &str, schema: &Value, value: &Value, seen: &mut BTreeSet<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        return collect(whole, name, &whole["$defs"][name], value, seen);
    }
    for option in schema["oneOf"].as_array().into_iter().flatten() {
        collect(whole, part, option, value, seen);
    }
    for item in value.as_array().into_iter().flatten() {
        collect(whole, part, &schema["items"], item, seen);
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(key) {
            Some(known) => {
                seen.insert(format!("{part}.{key}"));
                collect(whole, part, known, value, seen);
            }
            None => collect(whole, part, &schema["additionalProperties"], value, seen),
        }
    }
}

const RULES: &str = r#"
    [[zone]]
    name = "left"
    points = [[0, 0], [0.6, 0], [0.6, 1], [0, 1]]

    [[line]]
    name = "gate"
    points = [[0.5, 1.0], [0.5, 0.0]]

    [[profile]]
    name = "always"
    darker_than = 1.0
    words = "cat, wall"

    [[rule]]
    name = "there"
    when = { word = "cat", zone = "left", count_above = 1 }

    [[rule]]
    name = "gone past"
    when = { any = [{ word = "cat", line = "gate", crosses = "either" }, { word = "cat", score_above = 0 }] }
"#;

/// Everything that lines of pictures and frames can hold is told by some run, and by no run anything else (`edge_seg` looks).
#[test]
fn every_option_tells_what_the_schema_says() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let cat = picture("cat.jpg");
    let cat = cat.to_str().unwrap();
    fs::create_dir(at.join("film")).unwrap();
    for frame in 0..4 {
        fs::copy(cat, at.join(format!("film/{frame}.jpg"))).unwrap();
    }
    let mjpeg: Vec<u8> = (0..2).flat_map(|_| fs::read(cat).unwrap()).collect();
    fs::write(at.join("film.mjpeg"), mjpeg).unwrap();
    fs::write(at.join("rules.toml"), RULES).unwrap();
    sensors(&at.join("root"));
    let still = ["run", "--source", "film", "--pace", "every", "--tags", "cat, wall", "--size", "160"];
    let rules = ["--rules", "rules.toml", "--snapshots", "shots", "--events", "events.jsonl", "--things", "cat"];
    let segment = ["segment", cat, "--size", "160"];
    let bench = ["bench", "test:?size=64x48", "--tags", "sky", "--size", "64", "--frames", "2", "--json"];
    let example = format!("{cat}:10,10,200,200=eye");
    let runs: [&[&str]; 11] = [
        &[&segment[..], &["--tags", "Katze, umbrela, xyzzq wall, Gift", "--language", "en,de", "--hide", "cat"]].concat(),
        &[&segment[..], &["--tags", "Katze, gato"]].concat(),
        &[&segment[..], &["--caption", "a cat on a wall"]].concat(),
        &["tags", cat, "--caption", "eine Katze", "--size", "160"],
        &[&still[..], &rules, &["--json-masks", "rle", "--index", "seen.index"]].concat(),
        &[&still[..], &rules, &["--json-masks", "polygons", "--hide", "cat", "--hide-by", "blur"]].concat(),
        &["run", "--source", "film.mjpeg", "--tags", "cat", "--pace", "every", "--size", "96"],
        &["run", "--source", "test:?size=64x48&fps=20&frames=2", "--tags", "sky", "--size", "96", "--system-root", "root"],
        &["search", "seen.index", "cat, wall", "--json", "--thumbnails", "found", "--threshold", "0.01"],
        &[&bench[..], &["--hide", "sky"]].concat(),
        &[&bench[..], &["--things", "sky", "--rules", "rules.toml", "--index", "--example", &example]].concat(),
    ];
    let whole = schema::outputs();
    let mut seen = BTreeSet::new();
    for arguments in runs {
        let ended = edge_seg(at, arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.stderr);
        let lines = ended.json_lines();
        assert!(!lines.is_empty(), "{arguments:?}");
        for line in lines {
            assert!(arguments[0] == "bench" || line["version"] == 1, "{line}");
            collect(whole, arguments[0], &whole["$defs"][arguments[0]], &line, &mut seen);
        }
    }
    for line in fs::read_to_string(at.join("events.jsonl")).unwrap().lines() {
        let line = serde_json::from_str(line).unwrap();
        schema::check("event", &line);
        collect(whole, "event", &whole["$defs"]["event"], &line, &mut seen);
    }
    // Of a board, of a damaged index, and what takes a week to learn: other tests have them.
    let elsewhere = ["hidden.whole", "measured.usual", "machine.throttled", "machine.name", "machine.celsius"];
    let elsewhere = [&elsewhere[..], &["search.damage", "search.places", "search.bytes"]].concat();
    let parts = ["run", "segment", "class", "mask", "milliseconds", "hidden", "meaning", "thing", "tally", "event", "measured"];
    for part in parts.into_iter().chain(["governor", "tags", "search", "bench", "machine"]) {
        let (_, within) = fields(&whole["$defs"][part]);
        let never: Vec<_> = within.iter().map(|field| format!("{part}.{field}")).filter(|field| !seen.contains(field)).collect();
        let never: Vec<_> = never.iter().filter(|field| !elsewhere.contains(&field.as_str())).collect();
        assert!(never.is_empty(), "{never:?}: in the schema, and told by no run");
    }
}

/// A board's files.
fn sensors(root: &Path) {
    let zone = root.join("sys/class/thermal/thermal_zone0");
    fs::create_dir_all(&zone).unwrap();
    fs::write(zone.join("type"), "cpu-thermal\n").unwrap();
    fs::write(zone.join("temp"), "50000\n").unwrap();
}

#[test]
fn the_schema_finds_what_it_does_not_say() {
    let whole = schema::outputs();
    let faults = |value: &str| schema::faults(whole, &whole["$defs"]["class"], &serde_json::from_str(value).unwrap(), "class");
    let class = r#"{"label":1,"name":"cat","score":0.5,"pixels":2,"share":0.1,"box":[0,0,2,1]}"#;
    assert!(faults(class).is_empty());
    for (right, wrong) in [
        ("\"label\":1", "\"label\":1,\"new\":2"),
        ("\"label\":1,", ""),
        ("0.5", "1.5"),
        ("[0,0,2,1]", "[0,0,2]"),
        ("[0,0,2,1]", "7"),
        ("\"cat\"", "null"),
        ("\"label\":1", "\"label\":1,\"segmentation\":{\"size\":[1,2]}"),
    ] {
        assert!(class.contains(right) && !faults(&class.replace(right, wrong)).is_empty(), "{wrong}");
    }
    assert!(faults(&class.replace("[0,0,2,1]", "null")).is_empty());
}
