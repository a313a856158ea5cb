//! Whether JSON is what a schema says, and nothing beside: the part of JSON Schema that ours use, closed, so that a field that no schema
//! names is a fault too.

use std::sync::LazyLock;

use serde_json::{Map, Value};

/// Fails unless `value` is the `kind` of `docs/json.schema.json`.
///
/// # Panics
/// With what differs, and where.
pub fn check(kind: &str, value: &Value) {
    let schema = outputs();
    let found = faults(schema, &schema["$defs"][kind], value, kind);
    assert!(found.is_empty(), "docs/json.schema.json: {}\n{value}", found.join("; "));
}

/// As [`check`], of every line that a command printed.
///
/// # Panics
/// As [`check`].
pub fn check_lines(arguments: &[&str], stdout: &str) {
    let kind = match arguments {
        ["eval", task @ ("segmentation" | "video" | "tags" | "caption" | "examples" | "quantization" | "compare"), ..] => {
            format!("eval-{task}")
        }
        [kind @ ("segment" | "run" | "tags" | "search" | "bench" | "inspect"), ..] => (*kind).to_owned(),
        _ => return,
    };
    // A film on stdout stands in place of lines.
    if stdout.starts_with("YUV4MPEG2") {
        return;
    }
    for line in stdout.lines().filter(|line| line.starts_with('{')) {
        check(&kind, &serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line:?}")));
    }
}

/// Fails unless an answer of the server is what its description says.
///
/// # Panics
/// With what differs, and where.
pub fn check_answer(method: &str, path: &str, status: u16, value: &Value) {
    let text = std::fs::read_to_string(crate::place::root().join("runtime/live/src/page/openapi.json")).expect("openapi.json");
    let whole: Value = serde_json::from_str(&text).expect("openapi.json is JSON");
    let parts = |path: &str| path.split('?').next().unwrap_or_default().split('/').map(str::to_owned).collect::<Vec<_>>();
    let (asked, method) = (parts(path), method.to_lowercase());
    let is_it = |known: &str| {
        let known = parts(known);
        known.len() == asked.len() && known.iter().zip(&asked).all(|(known, asked)| known == asked || known == "{name}")
    };
    let known = whole["paths"].as_object().expect("paths").iter().find(|(known, _)| is_it(known));
    let Some(schema) = known.and_then(|(_, methods)| methods[&method]["responses"][status.to_string()]["content"].get("application/json"))
    else {
        return;
    };
    let found = faults(&whole, &schema["schema"], value, path);
    assert!(found.is_empty(), "openapi.json: {}\n{value}", found.join("; "));
    if let Some(report) = value.get("report") {
        check("run", report);
    }
}

/// `docs/json.schema.json`.
///
/// # Panics
/// If it cannot be read.
pub fn outputs() -> &'static Value {
    // Every line that the tests see is held to it.
    static OUTPUTS: LazyLock<Value> = LazyLock::new(|| {
        let text = std::fs::read_to_string(crate::place::root().join("docs/json.schema.json")).expect("docs/json.schema.json");
        serde_json::from_str(&text).expect("docs/json.schema.json is JSON")
    });
    &OUTPUTS
}

/// What of `value`, which is at `place`, is not as `schema` says, a part of the document `whole`.
///
/// # Panics
/// If the schema says something that is not looked at here.
pub fn faults(whole: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let rules = schema.as_object().unwrap_or_else(|| panic!("{place}: no schema"));
    let mut found = Vec::new();
    let fields = Map::new();
    let fields = value.as_object().unwrap_or(&fields);
    let named = |key: &str| rules.get("properties").is_some_and(|known| known.get(key).is_some());
    for (rule, said) in rules {
        let holds = match rule.as_str() {
            "$ref" => {
                let path = said.as_str().and_then(|path| path.strip_prefix('#')).expect("a place in the same document");
                found.extend(faults(whole, whole.pointer(path).unwrap_or_else(|| panic!("{path}: nothing there")), value, place));
                true
            }
            "type" => said.as_array().map_or(std::slice::from_ref(said), Vec::as_slice).iter().any(|kind| is_a(value, kind)),
            "const" => value == said,
            "enum" => said.as_array().expect("a list").contains(value),
            "minimum" => value.as_f64().is_none_or(|v| v >= said.as_f64().expect("a number")),
            "maximum" => value.as_f64().is_none_or(|v| v <= said.as_f64().expect("a number")),
            "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= said.as_u64().expect("a number")),
            "maxItems" => value.as_array().is_none_or(|list| list.len() as u64 <= said.as_u64().expect("a number")),
            "pattern" => {
                assert_eq!(said, "^#[0-9a-f]{6}$");
                value.as_str().is_none_or(|v| v.len() == 7 && v[1..].bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()))
            }
            "format" if said == "date-time" => value.as_str().is_none_or(|v| v.len() >= 20 && v.as_bytes()[10] == b'T' && v.ends_with('Z')),
            "items" => {
                let list = value.as_array().into_iter().flatten().enumerate();
                found.extend(list.flat_map(|(i, item)| faults(whole, said, item, &format!("{place}[{i}]"))));
                true
            }
            "prefixItems" => {
                let each = value.as_array().into_iter().flatten().zip(said.as_array().expect("a list"));
                found.extend(each.flat_map(|(item, said)| faults(whole, said, item, place)));
                true
            }
            "required" => {
                let missing = said.as_array().into_iter().flatten().filter_map(Value::as_str).filter(|key| !fields.contains_key(*key));
                found.extend(missing.map(|key| format!("{place}: no {key}")));
                true
            }
            "properties" => {
                for (key, said) in said.as_object().expect("fields") {
                    found.extend(fields.get(key).into_iter().flat_map(|v| faults(whole, said, v, &format!("{place}.{key}"))));
                }
                true
            }
            "additionalProperties" => {
                let others = fields.iter().filter(|(key, _)| said.is_object() && !named(key));
                found.extend(others.flat_map(|(key, v)| faults(whole, said, v, &format!("{place}.{key}"))));
                true
            }
            "oneOf" | "anyOf" => {
                let fit = |said: &&Value| faults(whole, said, value, place).is_empty();
                said.as_array().expect("a list").iter().filter(fit).count() == 1
            }
            "title" | "description" | "default" => true,
            other => panic!("{place}: {other} is not looked at"),
        };
        if !holds {
            found.push(format!("{place}: expected {rule} {said}, found {}", short(value)));
        }
    }
    if rules.contains_key("properties") && !rules.get("additionalProperties").is_some_and(Value::is_object) {
        found.extend(fields.keys().filter(|key| !named(key)).map(|key| format!("{place}: {key} stands in no schema")));
    }
    found
}

fn is_a(value: &Value, kind: &Value) -> bool {
    match kind.as_str().expect("a kind") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{other} is no kind"),
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}
