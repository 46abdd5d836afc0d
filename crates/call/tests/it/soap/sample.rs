//! A small value of a JSON Schema: what is required, and what stands first.

use serde_json::{Map, Value, json};

/// A value that the schema takes. `rich` adds what is optional, as deep as told.
pub(super) fn sample(schema: &Value, rich: usize) -> Value {
    of(schema, schema, rich, 0)
}

fn of(root: &Value, schema: &Value, rich: usize, depth: usize) -> Value {
    assert!(depth < 200, "a schema that never ends");
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').unwrap();
        let pointer = percent_decoded(pointer);
        return of(root, root.pointer(&pointer).unwrap(), rich, depth + 1);
    }
    if let Some(value) =
        schema.get("const").or_else(|| schema["enum"].get(0)).or_else(|| schema.get("default"))
    {
        return value.clone();
    }
    if let Some(all) = schema["anyOf"].as_array() {
        return of(root, &all[0], rich, depth + 1);
    }
    if schema["properties"].is_object() {
        return object(root, schema, rich, depth);
    }
    // `allOf` of a reference and of what it needs besides: a type that is chosen by `@xsi:type`.
    if let Some(all) = schema["allOf"].as_array().filter(|all| all[0].get("$ref").is_some()) {
        let reference = percent_decoded(all[0]["$ref"].as_str().unwrap().strip_prefix('#').unwrap());
        let target = root.pointer(&reference).unwrap();
        let mut value = of(root, target, rich, depth + 1);
        value["@xsi:type"] = target["properties"]["@xsi:type"]["const"].clone();
        return value;
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("string");
    match kind {
        "boolean" => json!(true),
        "integer" | "number" => number(schema),
        "array" => {
            let wanted = schema["minItems"].as_u64().unwrap_or(u64::from(rich > 0));
            (0..wanted).map(|_| of(root, &schema["items"], rich.saturating_sub(1), depth + 1)).collect()
        }
        "null" => Value::Null,
        "object" => json!({}),
        _ => text(schema),
    }
}

fn object(root: &Value, schema: &Value, rich: usize, depth: usize) -> Value {
    let properties = schema["properties"].as_object().unwrap();
    let mut required: Vec<String> = names(&schema["required"]);
    required.extend(names(&schema["else"]["required"]));
    let mut object = Map::new();
    let choices = schema["allOf"].as_array().or_else(|| schema["else"]["allOf"].as_array());
    let mut chosen: Vec<String> = vec![];
    let mut excluded: Vec<String> = vec![];
    for choice in choices.into_iter().flatten() {
        // The first branch that is no "none of them": all that it needs, or its first name.
        let branches = choice["oneOf"].as_array().or_else(|| choice["anyOf"].as_array()).unwrap();
        let of = |branch: &Value| {
            let any = branch["anyOf"].as_array().cloned().unwrap_or_default();
            any.iter()
                .flat_map(|one| names(&one["required"]))
                .chain(names(&branch["required"]))
                .collect::<Vec<_>>()
        };
        let needed = names(&branches[0]["required"]);
        chosen.extend(if needed.is_empty() {
            of(&branches[0]).into_iter().take(1).collect()
        } else {
            needed
        });
        excluded.extend(branches.iter().flat_map(of).filter(|name| !chosen.contains(name)));
    }
    for (key, property) in properties {
        let special = key.starts_with('$') || key.starts_with('#') && key != "#text" || key == "@xsi:type";
        let wanted = required.contains(key) || chosen.contains(key);
        if wanted || (rich > 0 && !special && !excluded.contains(key)) {
            let mut value = of(root, property, rich.saturating_sub(1), depth + 1);
            // A list that a choice asks for has something in it.
            if chosen.contains(key) && value == json!([]) {
                value = json!([of(root, &property["items"], 0, depth + 1)]);
            }
            object.insert(key.clone(), value);
        }
    }
    if let Some(any) = object.get_mut("#any") {
        *any = json!([{"#name": "{urn:example:other}any"}]);
    }
    Value::Object(object)
}

fn names(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

fn number(schema: &Value) -> Value {
    let bound = |key: &str| schema[key].as_f64();
    let low = bound("minimum").or(bound("exclusiveMinimum").map(|value| value + 1.0));
    let high = bound("maximum").or(bound("exclusiveMaximum").map(|value| value - 1.0));
    let value = match (low, high) {
        (Some(low), Some(high)) if low <= 1.0 && 1.0 <= high => 1.0,
        (Some(low), _) if low > 1.0 => low,
        (_, Some(high)) if high < 1.0 => high,
        (Some(low), None) => low.max(1.0),
        _ => 1.0,
    };
    if value.fract().abs() < f64::EPSILON { json!(value as i64) } else { json!(value) }
}

fn text(schema: &Value) -> Value {
    let least = schema["minLength"].as_u64().unwrap_or(0) as usize;
    let most = schema["maxLength"].as_u64().map_or(usize::MAX, |most| most as usize);
    let patterns: Vec<&str> = schema["pattern"]
        .as_str()
        .into_iter()
        .chain(schema["allOf"].as_array().into_iter().flatten().filter_map(|one| one["pattern"].as_str()))
        .collect();
    let mut guesses: Vec<String> = schema["examples"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one.as_str().map(str::to_owned))
        .collect();
    if schema["contentEncoding"] == "base64" {
        let bytes = schema["minBytes"].as_u64().unwrap_or(3) as usize;
        return json!(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, vec![0; bytes]));
    }
    guesses.push("x".repeat(least.max(1)).chars().take(most).collect());
    // Texts that patterns of documents in the field ask for.
    for guess in [
        "0",
        "A",
        "AB",
        "ABC",
        "a",
        "1234",
        "AB123",
        "12345",
        "a@b.de",
        "2026-11-29",
        "00",
        "urn:x",
        "ABCDE",
        "01234567",
        "123-4567",
        "+49 1",
        "00000000-0000-0000-0000-000000000000",
        "0123456789",
        "[0-9]",
        "xyz",
    ] {
        guesses.push(guess.to_owned());
    }
    let fits = |guess: &&String| {
        let judge = |pattern: &&str| {
            jsonschema::draft202012::new(&json!({"pattern": pattern})).unwrap().is_valid(&json!(guess))
        };
        (least..=most).contains(&guess.chars().count()) && patterns.iter().all(judge)
    };
    json!(guesses.iter().find(fits).unwrap_or(&guesses[0]))
}

fn percent_decoded(text: &str) -> String {
    let form = format!("v={}", text.replace('+', "%2B"));
    let decoded = url::form_urlencoded::parse(form.as_bytes()).next();
    decoded.map(|(_, value)| value.into_owned()).unwrap()
}
