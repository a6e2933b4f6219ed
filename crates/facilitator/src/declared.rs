//! Whether an example is as its own JSON Schema (2020-12) says. Both are somebody else's words, so what looking at them costs is bounded: no
//! other document is fetched, a pattern is matched in linear time, and a schema that unfolds without end is refused.

use jsonschema::PatternOptions;
use serde_json::Value;

/// Parts of a schema, with what its references unfold to.
const PARTS_MAX: usize = 2_000;
/// Regular expressions of a schema, and what each may compile to.
const PATTERNS_MAX: usize = 16;
const PATTERN_BYTES_MAX: usize = 64 * 1024;

/// # Errors
/// What is wrong, in words for whoever wrote it.
pub(crate) fn check(schema: &Value, example: &Value) -> Result<(), String> {
    bounded(schema)?;
    let options = jsonschema::draft202012::options().with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES_MAX));
    let validator = options.build(schema).map_err(|error| format!("schema is not a JSON Schema of draft 2020-12: {error}"))?;
    validator.validate(example).map_err(|error| format!("info{} is not as schema says: {error}", error.instance_path()))
}

fn bounded(schema: &Value) -> Result<(), String> {
    let (mut left, mut parts, mut patterns) = (vec![schema], 0, 0);
    while let Some(part) = left.pop() {
        parts += 1;
        if parts > PARTS_MAX {
            return Err(format!("schema unfolds to more than {PARTS_MAX} parts, or refers to itself: shorten it"));
        }
        match part {
            Value::Array(inner) => left.extend(inner),
            Value::Object(inner) => {
                left.extend(inner.values());
                patterns += usize::from(inner.contains_key("pattern"));
                patterns += inner.get("patternProperties").and_then(Value::as_object).map_or(0, serde_json::Map::len);
                if patterns > PATTERNS_MAX {
                    return Err(format!("schema has more than {PATTERNS_MAX} patterns"));
                }
                for keyword in ["$ref", "$dynamicRef", "$id", "$anchor", "$dynamicAnchor"] {
                    let Some(name) = inner.get(keyword).and_then(Value::as_str) else { continue };
                    let target = name.strip_prefix('#').filter(|_| keyword == "$ref").and_then(|path| schema.pointer(path));
                    left.push(
                        target.ok_or_else(|| format!("schema has {keyword} {name}: refer to its own parts, as #/$defs/name"))?,
                    );
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_example_is_held_against_its_own_schema() {
        let schema = json!({ "$defs": { "city": { "type": "string", "pattern": "^[A-Z]" } }, "type": "object",
            "properties": { "city": { "$ref": "#/$defs/city" } }, "required": ["city"] });
        assert_eq!(check(&schema, &json!({ "city": "Bern" })), Ok(()));
        let wrong = check(&schema, &json!({ "city": 3 })).unwrap_err();
        assert!(wrong.starts_with("info/city is not as schema says"), "{wrong}");
        assert!(check(&schema, &json!({ "city": "bern" })).is_err());
        assert!(check(&json!({ "type": "strange" }), &json!({})).unwrap_err().contains("not a JSON Schema"));
        assert!(check(&json!("text"), &json!({})).is_err());
    }

    #[test]
    fn a_hostile_schema_costs_little() {
        for itself in
            [json!({ "$ref": "#" }), json!({ "allOf": [{ "$ref": "#" }] }), json!({ "properties": { "a": { "$ref": "#" } } })]
        {
            assert!(check(&itself, &json!({})).unwrap_err().contains("refers to itself"), "{itself}");
        }
        // Each twice the one after.
        let mut doubled = json!({ "$ref": "#/$defs/0" });
        for i in 0..100 {
            let next = json!({ "$ref": format!("#/$defs/{}", i + 1) });
            doubled["$defs"][i.to_string()] = json!({ "allOf": [next, next] });
        }
        doubled["$defs"]["100"] = json!({ "type": "object" });
        assert!(check(&doubled, &json!({})).is_err());
        for elsewhere in ["https://example.com/s", "file:///etc/passwd", "#name", "#/nowhere"] {
            let wrong = check(&json!({ "$ref": elsewhere }), &json!({})).unwrap_err();
            assert!(wrong.contains("#/$defs/name"), "{wrong}");
        }
        assert!(check(&json!({ "$id": "https://example.com/s" }), &json!({})).is_err());
        let large = json!({ "pattern": "\\p{L}{1000}" });
        assert!(check(&large, &"a".into()).unwrap_err().contains("not a JSON Schema"));
        let many: Vec<_> = (0..100).map(|i| json!({ "pattern": i.to_string() })).collect();
        assert!(check(&json!({ "anyOf": many }), &"a".into()).unwrap_err().contains("patterns"));
        let slow = json!({ "pattern": "^(a+)+$" });
        assert!(check(&slow, &format!("{}b", "a".repeat(10_000)).into()).is_err());
        assert!(check(&json!({ "pattern": "(?=a)" }), &"a".into()).is_err());
    }
}
