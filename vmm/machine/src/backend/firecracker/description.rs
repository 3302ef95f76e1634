//! Firecracker's API description (Swagger 2.0), for tests and for the stand-in: what may be asked, and what
//! may be answered.

use std::fs;

use serde_json::Value;

/// The description in `fixtures/`.
pub struct Description(Value);

impl Description {
    /// Reads it.
    pub fn read() -> Self {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/firecracker/firecracker.yaml");
        let text = fs::read_to_string(path).expect("the fixture is there");
        Self(serde_saphyr::from_str(&text).expect("the fixture is YAML"))
    }

    /// Whether the description allows a request; what is wrong with one that it does not.
    pub fn check(&self, method: &str, path: &str, body: &Value) -> Result<(), String> {
        let operation = self.operation(method, path)?;
        let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let of_body = parameters.iter().find(|parameter| parameter["in"] == "body");
        let schema = of_body.ok_or(format!("{method} {path} takes no body"))?;
        self.fits(&schema["schema"], body, "the body")
    }

    /// The statuses of failures that the description has for a request; `default` is any, told as 500.
    pub fn failures(&self, method: &str, path: &str) -> Vec<u16> {
        let operation = self.operation(method, path).expect("it is described");
        let responses = operation["responses"].as_object().expect("responses");
        let statuses = responses.keys().map(|key| key.parse().unwrap_or(500));
        statuses.filter(|status| *status >= 400).collect()
    }

    fn operation(&self, method: &str, path: &str) -> Result<&Value, String> {
        let fits = |pattern: &str| {
            let (mut a, mut b) = (pattern.split('/'), path.split('/'));
            loop {
                match (a.next(), b.next()) {
                    (None, None) => return true,
                    (Some(a), Some(b)) if a == b || (a.starts_with('{') && !b.is_empty()) => {}
                    _ => return false,
                }
            }
        };
        let paths = self.0["paths"].as_object().expect("paths");
        let found = paths.iter().find(|(pattern, _)| fits(pattern));
        let operation = found.and_then(|(_, it)| it.get(method.to_lowercase()));
        operation.ok_or(format!("there is no {method} {path}"))
    }

    fn fits(&self, schema: &Value, value: &Value, what: &str) -> Result<(), String> {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.trim_start_matches("#/definitions/");
            return self.fits(&self.0["definitions"][name], value, what);
        }
        let kind = schema["type"].as_str().unwrap_or("object");
        let right = match kind {
            "object" => value.is_object(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            other => return Err(format!("{what} is of the unknown kind {other}")),
        };
        if !right {
            return Err(format!("{what} is no {kind}: {value}"));
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            return Err(format!("{what} is not one of {allowed:?}: {value}"));
        }
        let bound = |name: &str| schema[name].as_i64();
        if let Some(number) = value.as_i64()
            && (bound("minimum").is_some_and(|least| number < least)
                || bound("maximum").is_some_and(|most| number > most))
        {
            return Err(format!("{what} is out of range: {number}"));
        }
        let Some(fields) = value.as_object() else { return Ok(()) };
        for name in schema["required"].as_array().into_iter().flatten() {
            if !name.as_str().is_some_and(|name| fields.contains_key(name)) {
                return Err(format!("{what} lacks {name}"));
            }
        }
        for (name, value) in fields {
            let known = schema["properties"].get(name);
            let known = known.ok_or(format!("{what} has the unknown field '{name}'"))?;
            self.fits(known, value, &format!("{what}.{name}"))?;
        }
        Ok(())
    }
}
