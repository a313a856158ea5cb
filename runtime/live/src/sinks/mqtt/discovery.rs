//! Home Assistant's discovery documents (its MQTT integration: sensor, binary_sensor, event, text).

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::rules::{Tally, TallyPlace};
use crate::session::FrameReport;

/// What the documents are about.
pub struct Device<'a> {
    /// First part of every discovery topic.
    pub prefix: &'a str,
    /// Identifies the board; letters, digits, `-` and `_`.
    pub node: &'a str,
    /// First part of every topic of ours.
    pub base: &'a str,
    /// The bundle's name.
    pub model: &'a str,
    /// After how long without a state what it told is unknown.
    pub expire_after_s: u64,
}

/// What is counted, for as long as the words and the places stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// Words whose things are counted.
    pub words: Vec<String>,
    /// Zones and lines of the rules, each with a word.
    pub places: Vec<(CountedPlace, String)>,
}

/// Where things are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CountedPlace {
    /// A zone, by name.
    Zone(String),
    /// A line, by name.
    Line(String),
}

impl Counted {
    pub fn of(report: &FrameReport) -> Self {
        let place = |tally: &Tally| match &tally.place {
            TallyPlace::Zone { zone, .. } => (CountedPlace::Zone(zone.clone()), tally.word.clone()),
            TallyPlace::Line { line, .. } => (CountedPlace::Line(line.clone()), tally.word.clone()),
        };
        let words = report.counted().into_iter().map(str::to_owned).collect();
        Self { words, places: report.tallies.iter().take(MAX_WORDS).map(place).collect() }
    }
}

/// Words, and zones and lines with words, that get entities of their own.
pub const MAX_WORDS: usize = 64;
/// What Home Assistant takes as the text of an entity.
const MAX_TEXT: usize = 255;

/// A name that topics, identifiers and templates take: lower-case letters, digits and `_`. Names that lose something keep apart by the
/// head of their SHA-256.
pub fn slug(name: &str) -> String {
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    if name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == ' ') && !name.is_empty() {
        return plain;
    }
    let digest: String = Sha256::digest(name.as_bytes()).iter().take(3).map(|b| format!("{b:02x}")).collect();
    format!("{plain}_{digest}")
}

impl Device<'_> {
    /// Every document by its topic.
    pub fn documents(&self, words: &[String], rules: &[String], counted: &Counted) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        let mut add = |component: &str, object: &str, name: &str, own: Value| {
            let topic = format!("{}/{component}/{}/{object}/config", self.prefix, self.node);
            all.insert(topic, self.document(object, name, own));
        };
        let state = format!("{}/state", self.base);
        let diagnostic = |template: &str, unit: &str| {
            json!({
                "state_topic": state,
                "value_template": format!("{{{{ value_json.{template} }}}}"),
                "expire_after": self.expire_after_s,
                "unit_of_measurement": unit,
                "state_class": "measurement",
                "entity_category": "diagnostic",
            })
        };
        add("sensor", "frame_rate", "Frame rate", diagnostic("frame_rate", "fps"));
        add("sensor", "latency", "Latency", diagnostic("latency_ms", "ms"));
        for word in words.iter().take(MAX_WORDS) {
            let slug = slug(word);
            let value = format!("value_json.words['{slug}']");
            // A word that is looked for no more is missing from the state until its documents are gone.
            let known = |then: String| format!("{{% if '{slug}' in value_json.words %}}{then}{{% endif %}}");
            add(
                "sensor",
                &format!("{slug}_share"),
                &format!("{word} share"),
                json!({
                    "state_topic": state,
                    "value_template": known(format!("{{{{ ({value}.share * 100) | round(2) }}}}")),
                    "expire_after": self.expire_after_s,
                    "unit_of_measurement": "%",
                    "state_class": "measurement",
                    "icon": "mdi:texture-box",
                }),
            );
            add(
                "sensor",
                &format!("{slug}_score"),
                &format!("{word} score"),
                json!({
                    "state_topic": state,
                    "value_template": known(format!("{{{{ ({value}.score * 100) | round(1) }}}}")),
                    "expire_after": self.expire_after_s,
                    "unit_of_measurement": "%",
                    "state_class": "measurement",
                    "icon": "mdi:target",
                }),
            );
            add(
                "binary_sensor",
                &format!("{slug}_present"),
                // A rule may have the word's name.
                &format!("{word} present"),
                json!({
                    "state_topic": state,
                    "value_template": known(format!("{{{{ {value}.present }}}}")),
                    "expire_after": self.expire_after_s,
                    "payload_on": "ON",
                    "payload_off": "OFF",
                }),
            );
        }
        let number = |path: &[&str], key: &str, class: &str, icon: &str| {
            // What is counted no more is missing from the state until its documents are gone.
            let (mut known, mut at) = (Vec::new(), "value_json".to_owned());
            for name in path.iter().copied().chain([key]) {
                known.push(format!("'{name}' in {at}"));
                at += &format!("['{name}']");
            }
            json!({
                "state_topic": state,
                "value_template": format!("{{% if {} %}}{{{{ {at} }}}}{{% endif %}}", known.join(" and ")),
                "expire_after": self.expire_after_s,
                "state_class": class,
                "icon": icon,
            })
        };
        for word in counted.words.iter().take(MAX_WORDS) {
            let slug = slug(word);
            add(
                "sensor",
                &format!("{slug}_count"),
                &format!("{word} count"),
                number(&["words", &slug], "count", "measurement", "mdi:counter"),
            );
        }
        for (place, word) in &counted.places {
            let word_slug = slug(word);
            match place {
                CountedPlace::Zone(zone) => {
                    let zone_slug = slug(zone);
                    let path = ["zones", &zone_slug, &word_slug];
                    let object = format!("zone_{zone_slug}_{word_slug}");
                    let name = format!("{zone}: {word}");
                    add("sensor", &format!("{object}_count"), &name, number(&path, "count", "measurement", "mdi:account-group"));
                    for (key, icon) in [("entered", "mdi:location-enter"), ("left", "mdi:location-exit")] {
                        let own = number(&path, key, "total_increasing", icon);
                        add("sensor", &format!("{object}_{key}"), &format!("{name} {key}"), own);
                    }
                }
                CountedPlace::Line(line) => {
                    let line_slug = slug(line);
                    let path = ["lines", &line_slug, &word_slug];
                    for (key, said) in [("to_right", "to the right"), ("to_left", "to the left")] {
                        let own = number(&path, key, "total_increasing", "mdi:swap-horizontal");
                        add("sensor", &format!("line_{line_slug}_{word_slug}_{key}"), &format!("{line}: {word} {said}"), own);
                    }
                }
            }
        }
        for rule in rules {
            let slug = slug(rule);
            add(
                "binary_sensor",
                &format!("rule_{slug}"),
                rule,
                json!({
                    "state_topic": format!("{}/rule/{slug}", self.base),
                    "payload_on": "ON",
                    "payload_off": "OFF",
                    "icon": "mdi:ruler-square",
                }),
            );
        }
        if !rules.is_empty() {
            add(
                "event",
                "rules",
                "Rules",
                json!({
                    "state_topic": format!("{}/event", self.base),
                    "event_types": ["started", "ended"],
                    "value_template": "{\"event_type\": {{ value_json.event | tojson }}, \"rule\": {{ value_json.rule | tojson }}, \
                        \"duration_ms\": {{ value_json.duration_ms }}, \"measured\": {{ value_json.measured | tojson }}}",
                }),
            );
        }
        if words.join(", ").chars().count() <= MAX_TEXT {
            add(
                "text",
                "words",
                "Words",
                json!({
                    "state_topic": format!("{}/words", self.base),
                    // A longer list than it takes comes before the word that this entity is gone.
                    "value_template": format!("{{{{ value if value | length <= {MAX_TEXT} else '' }}}}"),
                    "command_topic": format!("{}/words/set", self.base),
                    "max": MAX_TEXT,
                    "icon": "mdi:form-textbox",
                }),
            );
        }
        all
    }

    fn document(&self, object: &str, name: &str, own: Value) -> Value {
        let mut document = json!({
            "name": name,
            "unique_id": format!("edge_seg_{}_{object}", self.node),
            "availability_topic": format!("{}/availability", self.base),
            "device": {
                "identifiers": [format!("edge_seg_{}", self.node)],
                "name": self.node,
                "manufacturer": "edge-seg",
                "model": self.model,
                "sw_version": env!("CARGO_PKG_VERSION"),
            },
            "origin": { "name": "edge-seg", "sw_version": env!("CARGO_PKG_VERSION") },
        });
        if let (Some(document), Value::Object(own)) = (document.as_object_mut(), own) {
            document.extend(own);
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_plain_and_keep_names_apart() {
        assert_eq!(slug("dog"), "dog");
        assert_eq!(slug("traffic light 2"), "traffic_light_2");
        let odd = ["café", "caf_", "Dog", "a'b\"c", "", "犬", "猫"].map(slug);
        for (i, a) in odd.iter().enumerate() {
            assert!(a.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{a}");
            assert!(!["dog", "caf_"].contains(&a.as_str()) && odd[..i].iter().all(|b| a != b), "{a}");
        }
    }

    #[test]
    fn every_word_and_rule_has_its_entities() {
        let device = Device { prefix: "homeassistant", node: "cam-1", base: "edge-seg/cam-1", model: "mini", expire_after_s: 18 };
        let documents = device.documents(&["dog".into(), "traffic light".into()], &["door".into()], &Counted::default());
        let topics: Vec<_> = documents.keys().map(|t| t.strip_prefix("homeassistant/").unwrap()).collect();
        assert_eq!(
            topics,
            [
                "binary_sensor/cam-1/dog_present/config",
                "binary_sensor/cam-1/rule_door/config",
                "binary_sensor/cam-1/traffic_light_present/config",
                "event/cam-1/rules/config",
                "sensor/cam-1/dog_score/config",
                "sensor/cam-1/dog_share/config",
                "sensor/cam-1/frame_rate/config",
                "sensor/cam-1/latency/config",
                "sensor/cam-1/traffic_light_score/config",
                "sensor/cam-1/traffic_light_share/config",
                "text/cam-1/words/config",
            ]
        );
        let mut identifiers: Vec<_> = documents.values().map(|d| d["unique_id"].to_string()).collect();
        identifiers.sort();
        identifiers.dedup();
        assert_eq!(identifiers.len(), documents.len());
        let share = &documents["homeassistant/sensor/cam-1/traffic_light_share/config"];
        assert_eq!(share["state_topic"], "edge-seg/cam-1/state");
        assert_eq!(
            share["value_template"],
            "{% if 'traffic_light' in value_json.words %}{{ (value_json.words['traffic_light'].share * 100) | round(2) }}{% endif %}"
        );
        assert_eq!(share["device"], documents["homeassistant/text/cam-1/words/config"]["device"]);
    }

    #[test]
    fn what_is_counted_has_its_numbers() {
        let device = Device { prefix: "ha", node: "n", base: "b", model: "m", expire_after_s: 18 };
        let places = vec![(CountedPlace::Zone("the till".into()), "person".into()), (CountedPlace::Line("gate".into()), "person".into())];
        let counted = Counted { words: vec!["person".into()], places };
        let documents = device.documents(&["person".into(), "sky".into()], &[], &counted);
        let template = |object: &str| documents[&format!("ha/sensor/n/{object}/config")]["value_template"].as_str().unwrap().to_owned();
        assert!(!documents.contains_key("ha/sensor/n/sky_count/config"));
        assert_eq!(
            template("person_count"),
            "{% if 'words' in value_json and 'person' in value_json['words'] and 'count' in value_json['words']['person'] %}\
             {{ value_json['words']['person']['count'] }}{% endif %}"
        );
        assert!(template("zone_the_till_person_count").ends_with("{{ value_json['zones']['the_till']['person']['count'] }}{% endif %}"));
        let entered = &documents["ha/sensor/n/zone_the_till_person_entered/config"];
        assert_eq!((&entered["state_class"], &entered["name"]), (&json!("total_increasing"), &json!("the till: person entered")));
        assert!(template("line_gate_person_to_left").contains("['lines']['gate']['person']['to_left']"));
    }

    #[test]
    fn too_many_words_get_no_text_and_no_flood() {
        let device = Device { prefix: "ha", node: "n", base: "b", model: "m", expire_after_s: 18 };
        let words: Vec<String> = (0..500).map(|i| format!("word {i}")).collect();
        let documents = device.documents(&words, &[], &Counted::default());
        assert_eq!(documents.len(), 2 + 3 * MAX_WORDS);
    }
}
