//! JSON schemas of arguments and answers, plain enough for every client.
//!
//! Clients hand input schemas to models and check answers against output schemas, with validators
//! of several drafts: everything stands where it is used, without references, without formats that
//! only Rust knows.

use std::sync::Arc;

use rmcp::model::JsonObject;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

/// Of what a tool takes. An argument that may be absent has no `null` among its types.
pub fn input<T: JsonSchema>() -> Arc<JsonObject> {
    let mut schema = root::<T>(settings().for_deserialize().into_generator());
    for value in schema.values_mut() {
        walk(value, &plain_number);
        walk(value, &without_null);
        walk(value, &one_line);
    }
    schema.entry("properties").or_insert_with(|| json!({}));
    Arc::new(schema)
}

/// Of what a tool answers: the fields of its reply, or `error` alone.
pub fn output<T: JsonSchema>() -> Arc<JsonObject> {
    let mut schema = root::<T>(settings().for_serialize().into_generator());
    let required = schema.remove("required").unwrap_or_else(|| json!([]));
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.insert("error".into(), error());
    }
    schema.insert("anyOf".into(), json!([{ "required": required }, { "required": ["error"] }]));
    for value in schema.values_mut() {
        walk(value, &plain_number);
        walk(value, &one_line);
    }
    Arc::new(schema)
}

/// `ErrorBody`, in short: it stands in every tool's schema, and codes may be added.
fn error() -> Value {
    json!({
        "type": "object",
        "description": "Instead of everything else, when isError is set.",
        "properties": {
            "code": { "type": "string", "description": "Kind of failure, for programs." },
            "message": { "type": "string", "description": "The thing and the reason." },
            "hint": { "type": ["string", "null"], "description": "The way out, where there is one." },
        },
        "required": ["code", "message", "hint"],
    })
}

fn settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    })
}

fn root<T: JsonSchema>(generator: SchemaGenerator) -> JsonObject {
    let mut schema = match generator.into_root_schema_for::<T>().to_value() {
        Value::Object(schema) => schema,
        _ => JsonObject::new(),
    };
    // Name and documentation of the type; the tool has its own.
    schema.remove("title");
    schema.remove("description");
    schema
}

fn walk(value: &mut Value, change: &impl Fn(&mut JsonObject)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, change)),
        Value::Object(object) => {
            change(object);
            object.values_mut().for_each(|value| walk(value, change));
        }
        _ => {}
    }
}

/// `uint64`, `double` and the like are no formats of JSON Schema.
fn plain_number(schema: &mut JsonObject) {
    let is_number = |kind: &Value| kind == "integer" || kind == "number";
    let numeric = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(is_number),
        Some(kind) => is_number(kind),
        None => false,
    };
    if numeric {
        schema.remove("format");
    }
}

/// Lines of a documentation comment are no lines of the text.
fn one_line(schema: &mut JsonObject) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}

fn without_null(schema: &mut JsonObject) {
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            let kind = kind.clone();
            schema.insert("type".into(), kind);
        }
    }
    let Some(Value::Array(choices)) = schema.get_mut("anyOf") else { return };
    choices.retain(|choice| choice != &json!({ "type": "null" }));
    if let [Value::Object(only)] = choices.as_slice() {
        let only = only.clone();
        schema.remove("anyOf");
        for (key, value) in only {
            schema.entry(key).or_insert(value);
        }
    }
}
