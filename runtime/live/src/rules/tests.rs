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
    let pixels = labels.pixels();
    let classes = (1..).zip(names).zip(&extents[1..]).map(|((label, name), extent)| ClassReport::new(label, *name, 0.5, *extent, pixels));
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
        [Measured {
            word: "Person".into(),
            zone: Some("left".into()),
            line: None,
            share: 1.0,
            score: 0.5,
            count: None,
            usual: None,
            ids: vec![]
        }]
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
    let by_night = format!("{BOOK}\n[[profile]]\nname = \"night\"\nfrom = \"22:00\"\nto = \"06:00\"\nwords = \"torch, person: man\"\n");
    let with_profile = Watcher::new(RuleBook::parse("book", &by_night).unwrap()).unwrap();
    assert_eq!(with_profile.missing_words(&["cat".into(), "dog".into()]), [""; 0]);
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
        ("[[rules]]", "here, found unknown field `rules`; did you mean `rule`?"),
        ("\n\n[[rule]]\nname = \"a\"\nwhen = { word = \"x\", share_above = 2 }", "book:5: expected shares"),
        ("[[profile]]\nname = \"night\"\nfrom = \"25:99\"", "expected a time of the day as 22:30, found \"25:99\""),
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
fn tests_of_impossible_numbers_are_refused_in_rules_that_a_program_makes() {
    let mut book = RuleBook::parse("book", "[[rule]]\nname = \"r\"\nwhen = { any = [{ not = { word = \"cat\" } }] }").unwrap();
    let word = |test| Condition::Word { word: "cat".into(), zone: None, test };
    let dwells = |seconds| Condition::Things { word: "cat".into(), place: Place::Picture, test: ThingTest::DwellAbove(seconds) };
    for (wrong, complaint) in [
        (word(Test::ShareAbove(f64::NAN)), "shares and scores of 0 to 1, found NaN"),
        (word(Test::ShareBelow(-5.0)), "shares and scores of 0 to 1, found -5"),
        (word(Test::ScoreAbove(1.1)), "shares and scores of 0 to 1, found 1.1"),
        (dwells(f64::INFINITY), "dwell_above_s of seconds, up to a year, found inf"),
    ] {
        book.rules[0].when = Condition::Any(vec![Condition::Not(Box::new(wrong))]);
        let said = book.check("own").unwrap_err().to_string();
        assert!(said.contains(complaint) && said.contains("own: rule \"r\""), "{said}");
    }
    book.rules[0].when = Condition::All(vec![word(Test::ShareAbove(1.0)), dwells(0.0)]);
    book.check("own").unwrap();
}

#[test]
fn of_a_file_without_an_end_no_more_is_read_than_rules_may_have() {
    let said = RuleBook::read(std::path::Path::new("/dev/zero")).unwrap_err();
    assert!(matches!(&said, crate::Error::Rules { expected, .. } if expected == "at most 1048576 bytes of text"), "{said}");
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

/// Frames of one second each: what is seen of a person, in the whole picture.
struct Watch {
    watcher: Watcher,
    second: u64,
}

impl Watch {
    fn new(book: &str) -> Self {
        let berlin = LocalClock::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        Self { watcher: Watcher::new(RuleBook::parse("book", book).unwrap()).unwrap().with_clock(berlin), second: 0 }
    }

    /// Events, as `rule kind`, of frames that begin at a time of the wall's clock.
    fn see(&mut self, utc: &str, seconds: u64, person: bool, brightness: Option<f64>) -> Vec<String> {
        let clock = edge_seg_bundle::date::parse_utc(utc).unwrap();
        let labels = map(if person { "1100/1000" } else { "0000/0000" });
        let mut told = Vec::new();
        for passed in 0..seconds {
            let (classes, ..) = report(&labels, &["person"], 0.0);
            brightness.into_iter().for_each(|brightness| self.watcher.light(brightness));
            let now = 1e3 * (self.second + passed) as f64;
            let events = self.watcher.observe(&labels, &classes, self.second + passed, now, clock + Duration::from_secs(passed));
            told.extend(events.iter().map(|event| format!("{} {}", event.rule, event.event.name())));
        }
        self.second += seconds;
        told
    }
}

const PROFILES: &str = r#"
    [[profile]]
    name = "dark"
    darker_than = 0.2
    settle_s = 5

    [[profile]]
    name = "night"
    from = "22:00"
    to = "06:00"

    [[rule]]
    name = "intruder"
    when = { all = [{ profile = "night" }, { word = "person" }] }
    for_s = 2

    [[rule]]
    name = "light"
    when = { not = { any = [{ profile = "night" }, { profile = "dark" }] } }
"#;

#[test]
fn rules_go_with_profiles_by_the_local_clock() {
    let mut watch = Watch::new(PROFILES);
    // In summer Berlin is two hours ahead, in winter one.
    assert_eq!(watch.see("2026-07-01T19:59:55Z", 12, true, None), ["light started", "light ended", "intruder started"]);
    assert_eq!(watch.watcher.profile().map(|p| p.name.as_str()), Some("night"));
    assert_eq!(watch.see("2026-07-02T03:59:58Z", 10, true, None), ["intruder ended", "light started"]);
    assert_eq!(watch.see("2026-12-01T20:00:00Z", 10, true, None), Vec::<String>::new());
    assert_eq!(watch.see("2026-12-01T21:00:00Z", 10, true, None), ["light ended", "intruder started"]);
    // The clock is set back over the profile's beginning: it is not its time.
    assert_eq!(watch.see("2026-12-01T20:59:00Z", 3, true, None), ["intruder ended", "light started"]);
}

#[test]
fn rules_go_with_profiles_by_the_light() {
    let mut watch = Watch::new(PROFILES);
    assert!(watch.watcher.needs_light());
    assert_eq!(watch.see("2026-07-01T10:00:00Z", 3, false, Some(0.5)), ["light started"]);
    assert_eq!(watch.see("2026-07-01T10:00:03Z", 4, false, Some(0.1)), Vec::<String>::new());
    assert_eq!(watch.see("2026-07-01T10:00:07Z", 4, false, Some(0.1)), ["light ended"]);
    // Other rules leave the light as it is known.
    watch.watcher.replace(RuleBook::parse("book", &PROFILES.replace("intruder", "burglar")).unwrap()).unwrap();
    assert_eq!(watch.see("2026-07-01T10:00:11Z", 1, false, None), Vec::<String>::new());
    assert_eq!(watch.watcher.profile().map(|p| p.name.as_str()), Some("dark"));
}

#[test]
fn what_is_noticed_is_told_before_it_is_confirmed() {
    let book = r#"
        [[rule]]
        name = "stays"
        when = { word = "person" }
        confirm_s = 5
        end_after_s = 2
    "#;
    let mut watch = Watch::new(book);
    let noon = "2026-07-01T10:00:00Z";
    assert_eq!(watch.see(noon, 4, true, None), ["stays noticed"]);
    assert_eq!(watch.watcher.states().collect::<Vec<_>>(), [("stays", false)]);
    assert_eq!(watch.see(noon, 4, false, None), ["stays cleared"]);
    assert_eq!(watch.see(noon, 5, true, None), ["stays noticed"]);
    assert_eq!(watch.see(noon, 1, true, None), ["stays started"]);
    assert_eq!(watch.watcher.states().collect::<Vec<_>>(), [("stays", true)]);
    assert_eq!(watch.see(noon, 4, false, None), ["stays ended"]);
    assert_eq!(watch.see(noon, 1, true, None), ["stays noticed"]);
    watch.watcher.replace(RuleBook::default()).unwrap();
    assert_eq!(watch.see(noon, 1, true, None), ["stays cleared"], "a rule that is gone confirms nothing");
}

#[test]
fn what_is_unusual_is_said_with_what_is_usual() {
    let book = r#"
        [[rule]]
        name = "crowd"
        when = { word = "Person", unusual = "more" }
        [[rule]]
        name = "nobody"
        when = { word = "person", unusual = "less" }
    "#;
    let mut watch = Watch::new(book);
    for day in 1..=LEARNING_DAYS {
        assert_eq!(watch.see(&format!("2026-07-{day:02}T10:00:00Z"), 90, false, None), Vec::<String>::new());
        // Another day is another film.
        watch.second += 3600;
    }
    let next = format!("2026-07-{:02}T10:00:00Z", LEARNING_DAYS + 1);
    assert_eq!(watch.see(&next, 62, false, None), Vec::<String>::new());
    assert_eq!(watch.see(&next, 30, true, None), ["crowd started"]);
    let labels = map("1100/1000");
    let (classes, ..) = report(&labels, &["person"], 0.0);
    let clock = edge_seg_bundle::date::parse_utc(&next).unwrap();
    watch.watcher.replace(RuleBook::parse("book", &book.replace("crowd", "many")).unwrap()).unwrap();
    let told = watch.watcher.observe(&labels, &classes, 0, 1e3 * watch.second as f64, clock);
    assert_eq!((told[0].rule.as_str(), told[1].rule.as_str()), ("crowd", "many"), "what was learned stays when rules change");
    let [low, high] = told[1].measured[0].usual.unwrap();
    assert!(low == 0.0 && (0.004..0.01).contains(&high), "{low} {high}");
    // Words that nobody looks for are no zeros: that nobody is there is not known.
    let told = watch.watcher.observe(&labels, &[], 0, 1e3 * (watch.second + 1) as f64, clock);
    assert_eq!(told.iter().map(|e| (e.rule.as_str(), e.event)).collect::<Vec<_>>(), [("many", EventKind::Ended)]);
}

#[test]
fn wrong_profiles_and_confirmations_are_told_with_their_place() {
    let rule = |rest: &str| format!("[[rule]]\nname = \"a\"\n{rest}");
    for (text, complaint) in [
        (rule("when = { profile = \"night\" }"), "rule \"a\": expected the name of a [[profile]], found \"night\""),
        (rule("when = { word = \"x\" }\nconfirm_s = 5\nconfirm = { profile = \"night\" }"), "expected the name of a [[profile]]"),
        (rule("when = { word = \"x\" }\nconfirm = { word = \"y\" }"), "expected confirm_s with confirm, found none"),
        (rule("when = { word = \"x\" }\nconfirm_s = inf"), "expected confirm_s of seconds"),
        (rule("when = { word = \"x\", enters = true }\nconfirm_s = 5"), "expected a confirm of its own with enters"),
        (rule("when = { word = \"x\" }\nconfirm_s = 5\nconfirm = { word = \"y\", leaves = true }"), "expected a confirm without enters"),
        ("[[profile]]\nname = \"n\"".into(), "profile \"n\": expected from and to, darker_than or brighter_than"),
        ("[[profile]]\nname = \"n\"\ndarker_than = 0.1\n[[profile]]\nname = \"n\"\ndarker_than = 0.1".into(), "each profile once"),
        ("[[profile]]\nname = \"n\"\nfrom = \"25:00\"\nto = \"06:00\"".into(), "a time of the day as 22:30, found \"25:00\""),
    ] {
        let found = RuleBook::parse("book", &text).expect_err(&text).to_string();
        assert!(found.contains(complaint), "{text}: {found}");
    }
    let book =
        RuleBook::parse("book", &rule("when = { word = \"x\", unusual_count = \"more\" }\nconfirm_s = 5\nconfirm = { word = \"y\" }"))
            .unwrap();
    assert!(book.learns() && book.counts());
    assert_eq!(book.words(), ["x", "y"]);
}
