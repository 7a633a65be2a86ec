//! A validator of JSON schemas: that of Python, jsonschema, which knows drafts 7 and 2020-12.

use std::process::Command;

use serde_json::{Value, json};

use super::{child::Bounded as _, scratch::Scratch};

const SCRIPT: &str = include_str!("judge.py");

/// Something to be judged.
pub fn yaml(text: &str) -> Value {
    json!({ "yaml": text })
}

/// A value, by this part of the schema.
pub fn value(value: &Value, schema: &Value) -> Value {
    json!({"json": value, "schema": schema})
}

/// What is wrong with each of these documents by this schema; `None`: nothing.
pub fn judge(schema: &Value, documents: &[Value]) -> Vec<Option<String>> {
    let scratch = Scratch::new();
    let asked = scratch.file("asked", json!({"schema": schema, "documents": documents}).to_string(), 0o600);
    // Debian's own Python has Debian's packages.
    let output = Command::new("/usr/bin/python3").args(["-W", "ignore", "-c", SCRIPT]).arg(asked).bounded_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
