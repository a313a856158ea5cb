use super::*;
use edge_seg_model::render::ClassReport;

const BOOK: &str = r#"
    [[zone]]
    name = "left"
    points = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]

    [[rule]]
    name = "someone on the left"
    when = { word = "Person", zone = "left", share_above = 0.25 }
    for_s = 1
    end_after_s = 0

    [[rule]]
    name = "no dog"
    when = { word = "dog", absent = true }
    end_after_s = 0
    snapshot = false
"#;

/// What is reported of a frame of this second, ten a second: classes, number, time.
fn report(labels: &LabelMap, names: &[&str], second: f64) -> (Vec<ClassReport>, u64, f64) {
    let extents = labels.extents(names.len());
    let classes = names.iter().zip(&extents[1..]).enumerate().map(|(i, (name, extent))| ClassReport {
        label: i + 1,
        name: (*name).into(),
        score: 0.5,
        pixels: extent.pixels,
        share: extent.pixels as f64 / labels.pixels() as f64,
        count: None,
        bounds_px: extent.bounds_px,
        segmentation: None,
    });
    (classes.collect(), (second * 10.0) as u64, second * 1e3)
}

fn seen(watcher: &mut Watcher, labels: &LabelMap, report: (Vec<ClassReport>, u64, f64), clock: SystemTime) -> Vec<Event> {
    let (classes, sequence, timestamp_ms) = report;
    watcher.observe(labels, &classes, sequence, timestamp_ms, clock)
}

fn map(text: &str) -> LabelMap {
    let rows: Vec<&str> = text.split('/').collect();
    let labels = rows.iter().flat_map(|r| r.bytes().map(|b| u16::from(b - b'0'))).collect();
    LabelMap { width: rows[0].len() as u32, height: rows.len() as u32, labels }
}

#[test]
fn events_tell_who_where_when_and_how_long() {
    let mut watcher = Watcher::new(RuleBook::parse("book", BOOK).unwrap()).unwrap();
    let mut told = Vec::new();
    let clock = |second: f64| std::time::UNIX_EPOCH + Duration::from_secs_f64(second);
    // The person is on the right, then on the left, where the picture also changes its size, then gone, and a dog comes.
    for (second, labels) in [(0.0, "0011/0011"), (0.5, "1100/1000"), (1.0, "1100/1000"), (1.5, "11110000/11110000"), (2.0, "0000/2222")] {
        let labels = map(labels);
        told.extend(seen(&mut watcher, &labels, report(&labels, &["person", "dog"], second), clock(second)));
    }
    let brief: Vec<_> = told.iter().map(|e| (e.rule.as_str(), e.event, e.sequence, e.duration_ms)).collect();
    let expected = [
        ("no dog", EventKind::Started, 0, 0.0),
        ("someone on the left", EventKind::Started, 15, 1000.0),
        ("someone on the left", EventKind::Ended, 20, 1000.0),
        ("no dog", EventKind::Ended, 20, 1500.0),
    ];
    assert_eq!(brief, expected);
    assert_eq!(
        told[1].measured,
        [Measured { word: "Person".into(), zone: Some("left".into()), line: None, share: 1.0, score: 0.5, count: None, usual: None, ids: vec![] }]
    );
    assert_eq!((told[1].time.as_str(), told[1].timestamp_ms), ("1970-01-01T00:00:01.500Z", 1500.0));
    let line = serde_json::to_string(&told[3]).unwrap();
    assert_eq!(
        line,
        r#"{"rule":"no dog","event":"ended","time":"1970-01-01T00:00:02.000Z","sequence":20,"timestamp_ms":2000.0,"duration_ms":1500.0,"measured":[{"word":"dog","share":0.5,"score":0.5}]}"#
    );
    assert_eq!(watcher.states().map(|(_, on)| on).collect::<Vec<_>>(), [false, false]);
    assert!(watcher.wants_snapshot("someone on the left") && !watcher.wants_snapshot("no dog"));
}

#[test]
fn words_that_nobody_looks_for_start_nothing_and_are_named() {
    let mut watcher = Watcher::new(RuleBook::parse("book", BOOK).unwrap()).unwrap();
    let labels = map("0000/0000");
    assert_eq!(seen(&mut watcher, &labels, report(&labels, &["cat"], 0.0), SystemTime::UNIX_EPOCH), []);
    assert_eq!(watcher.missing_words(&["cat".into(), "DOG".into()]), ["Person"]);
    // The event that is on ends when its word goes away.
    let labels = map("1111/1111");
    assert_eq!(seen(&mut watcher, &labels, report(&labels, &["cat", "dog"], 0.1), SystemTime::UNIX_EPOCH).len(), 1);
    let ended = seen(&mut watcher, &labels, report(&labels, &["cat"], 0.2), SystemTime::UNIX_EPOCH);
    assert_eq!((ended[0].event, ended[0].measured.len()), (EventKind::Ended, 0));
}

#[test]
fn other_rules_take_over_between_frames() {
    let mut watcher = Watcher::new(RuleBook::parse("book", BOOK).unwrap()).unwrap();
    let clock = SystemTime::UNIX_EPOCH;
    let labels = map("1100/1000");
    let both = |second| report(&labels, &["person", "dog"], second);
    assert_eq!(seen(&mut watcher, &labels, both(0.0), clock).len(), 1, "no dog");
    // The rule that waits goes on waiting when others change around it.
    watcher.replace(RuleBook::parse("book", &BOOK.replace("name = \"no dog\"", "name = \"dogless\"")).unwrap()).unwrap();
    let told = seen(&mut watcher, &labels, both(1.0), clock);
    let brief: Vec<_> = told.iter().map(|e| (e.rule.as_str(), e.event, e.duration_ms)).collect();
    let expected =
        [("no dog", EventKind::Ended, 0.0), ("someone on the left", EventKind::Started, 1000.0), ("dogless", EventKind::Started, 0.0)];
    assert_eq!(brief, expected);
    // Another zone of the same name makes another rule of it.
    watcher.replace(RuleBook::parse("book", &BOOK.replace("0.5, 0]", "0.6, 0]")).unwrap()).unwrap();
    let told = seen(&mut watcher, &labels, both(1.5), clock);
    let brief: Vec<_> = told.iter().map(|e| (e.rule.as_str(), e.event)).collect();
    assert_eq!(brief, [("someone on the left", EventKind::Ended), ("dogless", EventKind::Ended), ("no dog", EventKind::Started)]);
    watcher.replace(RuleBook::default()).unwrap();
    let told = seen(&mut watcher, &labels, both(2.0), clock);
    assert_eq!(told.iter().map(|e| (e.rule.as_str(), e.event)).collect::<Vec<_>>(), [("no dog", EventKind::Ended)]);
    assert_eq!(seen(&mut watcher, &labels, both(2.5), clock), []);
}

#[test]
fn wrong_books_are_told_with_their_place() {
    for (text, complaint) in [
        ("[[rules]]", "book:1: expected zones and rules, found unknown field `rules`"),
        ("\n\n[[rule]]\nname = \"a\"\nwhen = { word = \"x\", share_above = 2 }", "book:5: expected zones and rules, found expected shares"),
        ("[[rule]]\nname = \"a\"\nwhen = { word = \"x\" }\nfors = 1", "unknown field `fors`"),
        ("[[rule]]\nname = \"a\"\nwhen = { word = \"x\" }\nfor_s = -1", "rule \"a\": expected for_s of seconds, up to a year, found -1"),
        ("[[rule]]\nname = \"a\"\nwhen = { word = \"x\" }\nfor_s = nan", "found NaN"),
        ("[[rule]]\nname = \"a\"\nwhen = { word = \"x\", zone = \"z\" }", "rule \"a\": expected the name of a [[zone]], found \"z\""),
        ("[[zone]]\nname = \"z\"\npoints = [[0, 0], [1, 1]]", "zone \"z\": expected 3 to 256 points, found 2"),
        ("[[zone]]\nname = \"z\"\npoints = [[0, 0], [1, 1], [640, 480]]", "found [640, 480]"),
        ("[[zone]]\nname = \"z\"\nunit = \"px\"\npoints = []", "unknown variant `px`"),
        (
            "[[rule]]\nname = \"a\"\nwhen = { word = \"x\" }\n[[rule]]\nname = \"a\"\nwhen = { word = \"x\" }",
            "rule \"a\": expected each rule once, found it twice",
        ),
    ] {
        let found = RuleBook::parse("book", text).expect_err(text).to_string();
        assert!(found.contains(complaint), "{text}: {found}");
    }
}

#[test]
fn rules_of_impossible_times_are_refused() {
    let rule = |for_s: f64, gap_s: f64| Rule {
        name: "r".into(),
        when: Condition::Word { word: "cat".into(), zone: None, test: Test::ShareAbove(0.1) },
        for_s,
        confirm_s: 0.0,
        confirm: None,
        end_after_s: 1.0,
        cool_down_s: 0.0,
        gap_s,
        snapshot: false,
    };
    for (for_s, gap_s, key) in [(-1.0, 1.0, "for_s"), (f64::NAN, 1.0, "for_s"), (f64::INFINITY, 1.0, "for_s"), (0.0, 1e300, "gap_s")] {
        let book = RuleBook { rules: vec![rule(for_s, gap_s)], ..RuleBook::default() };
        let said = Watcher::new(book.clone()).unwrap_err().to_string();
        assert!(said.contains(&format!("rule \"r\": expected {key} of seconds")), "{said}");
        assert!(Watcher::default().replace(book).is_err());
    }
    let mut watcher = Watcher::new(RuleBook { rules: vec![rule(0.0, 10.0)], ..RuleBook::default() }).unwrap();
    let labels = map("1");
    for ms in [0.0, f64::INFINITY, f64::NAN, -5.0, f64::MAX, f64::NEG_INFINITY] {
        let (classes, sequence, _) = report(&labels, &["cat"], 0.0);
        watcher.observe(&labels, &classes, sequence, ms, SystemTime::UNIX_EPOCH);
    }
    let nothing = LabelMap { width: 0, height: 0, labels: vec![] };
    watcher.observe(&nothing, &[], 0, 0.0, SystemTime::UNIX_EPOCH);
}

#[test]
fn in_a_map_that_lacks_labels_nothing_is_known_of_zones() {
    let mut watcher = Watcher::new(RuleBook::parse("book", BOOK).unwrap()).unwrap();
    let whole = map("1");
    let (classes, ..) = report(&whole, &["person"], 0.0);
    for (width, height) in [(2, 2), (u32::MAX, u32::MAX)] {
        let short = LabelMap { width, height, labels: vec![1] };
        for second in 0..5 {
            let told = watcher.observe(&short, &classes, second, 1e3 * second as f64, SystemTime::UNIX_EPOCH);
            assert!(told.iter().all(|event| event.rule != "someone on the left"), "{told:?}");
        }
    }
}
