//! `mainstay schema` beside `mainstay check`: what `check` accepts, the schema accepts; what `check` refuses, the schema refuses, unless
//! a schema cannot say why. [`ONLY_CHECK`] has these reasons, all of them.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use mainstay::config::{self, Errors};
use serde_json::{Value, json};

use crate::support::{
    child::Bounded as _,
    judge::{judge, yaml},
};

/// Which files a reason is good for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    Any,
    /// With a variable: what it holds may be anything.
    Variables,
    /// With `defaults`: what a pool lacks may stand there.
    Defaults,
}
use In::{Any, Defaults, Variables};

/// What only `check` can find: a part of its message, in which files, and why no schema says it.
const ONLY_CHECK: &[(&str, In, &str)] = &[
    // Another part of the file says whether it is right.
    ("is taken already", Any, "a name is unique, and so is a port"),
    ("mainstay listens on", Any, "an address is listened on once"),
    ("another backend of this pool has the address", Any, "an address is unique"),
    ("this backend is mainstay's own listener", Any, "an address is compared with all others"),
    ("`fast_interval` is longer than `interval`", Any, "two durations are compared"),
    ("nobody could connect: every address is denied", Any, "networks are compared"),
    ("the texts of `primary` and `standby` cannot be told apart", Any, "two texts are compared"),
    ("the step that tells the role must be the last", Any, "the order of a list"),
    ("`failback` cannot be combined with a check that knows the role", Any, "the kind of check may come from `defaults`"),
    ("`how: sql` needs a check that logs in", Any, "the kind of check may come from `defaults`"),
    ("`how: sql` cannot be combined with `sentinels`", Any, "the check may come from `defaults`"),
    ("`how: patroni` needs Patroni's API", Any, "the check may come from `defaults`"),
    ("`max_lag` of a promotion counts bytes", Any, "the kind of check may come from `defaults`"),
    ("`mode: enforce` needs a check", Any, "the kind of check may come from `defaults`"),
    ("`on_commit_stuck: failover` needs a check", Any, "the kind of check may come from `defaults`"),
    ("needs a check that sees when a server has changed", Any, "the kind of check may come from `defaults`"),
    ("and the check of this pool (redis) cannot ask SQL", Any, "the kind of check may come from `defaults`"),
    ("the check `http` needs a port, and a unix socket has none", Any, "the check may come from `defaults`"),
    ("Sentinels name a server by its address", Any, "the check may come from `defaults`"),
    ("the check does not say which kind it is", Defaults, "`defaults` may say it"),
    ("` is missing", Defaults, "`defaults` may have it"),
    // The machine says whether it is right.
    ("cannot be used: ", Any, "a file is missing, or holds something else"),
    ("cannot be read: ", Any, "a file is missing"),
    ("must be the path of a PEM file", Any, "a file is missing, or holds something else"),
    ("on this machine", Any, "a user or a group is missing"),
    ("not what its variables make of it", Variables, "a variable holds something else"),
    ("must be given by its absolute path", Variables, "a variable holds something else"),
    ("`automatic: true` needs somebody who promotes", Variables, "a variable holds something else"),
    ("the check `exchange` needs its steps", Variables, "a variable holds something else"),
    ("the check `exec` needs a command", Variables, "a variable holds something else"),
    ("the check does not say which kind it is", Variables, "a variable holds something else"),
    ("the environment variable", Any, "a variable is not set, is empty, or holds something else"),
    ("has no value, or its variable is empty", Any, "a variable is empty"),
    // How it is written in YAML, which editors read before a schema sees it.
    ("YAML anchors and aliases", Any, "an editor follows them"),
    ("YAML directives", Any, "an editor follows them"),
    ("YAML tags", Any, "an editor follows them"),
    ("`<<` is not a known key", Any, "an editor merges the map"),
    ("the file is nested more than", Any, "the depth of the YAML"),
    ("YAML reads this as", Any, "`on` and `\"on\"` are the same text to a schema"),
    ("a leading zero makes it octal", Any, "022 and 22 are the same number to a schema"),
    ("it is not a plain decimal number", Any, "0x10, 1e1 and 1.0 are the same number to a schema"),
    // What a pattern would have to say is longer than what it would find.
    ("a secret must not stand in the configuration itself", Any, "which name of a variable tells of a secret is a guess"),
    ("is the name of a built-in proof", Any, "editors would not show why"),
    ("a link-local IPv6 address needs its interface", Any, "an IPv6 address is known by its characters only"),
    ("bits behind the prefix are set", Any, "the arithmetic of networks"),
    ("an IPv4 client is judged by its IPv4 address", Any, "the arithmetic of networks"),
    ("this is an IPv4 address written as an IPv6 address", Any, "an IPv6 address is known by its characters only"),
];

fn env(name: &str) -> Option<String> {
    crate::config::env(name).or_else(|| name.ends_with("_PASSWORD").then(|| "S3cr3t-from-env".into()))
}

fn files(directory: &str) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let text = |path: &Path| Some((path.display().to_string(), String::from_utf8(fs::read(path).ok()?).ok()?));
    files.iter().filter(|path| path.extension().is_some_and(|ending| ending == "yaml")).filter_map(|path| text(path)).collect()
}

/// Every part of a page that is YAML, as a file, and as the keys of a pool.
fn snippets(directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "md") {
            continue;
        }
        let page = fs::read_to_string(&path).unwrap();
        for (number, part) in page.split("```yaml\n").skip(1).enumerate() {
            let text = part.split("```").next().unwrap();
            let name = format!("{}, {}", path.display(), number + 1);
            found.push((name.clone(), text.to_owned()));
            let is_missing = |key: &str| !text.lines().any(|line| line.starts_with(key));
            let pool: String = text.lines().flat_map(|line| ["    ", line, "\n"]).collect();
            let listen = if is_missing("listen:") && is_missing("listeners:") { "    listen: 127.0.0.1:1\n" } else { "" };
            let backends = if is_missing("backends:") { "    backends: [db-a:1]\n" } else { "" };
            found.push((format!("{name}, in a pool"), format!("pools:\n  - name: orders\n{listen}{backends}{pool}")));
        }
    }
    found
}

/// What `check` and the schema say of these files, and what of it does not fit.
fn disagreements(files: &[(String, String)]) -> (Vec<String>, BTreeSet<&'static str>) {
    let documents: Vec<Value> = files.iter().map(|(_, text)| yaml(text.trim_start_matches('\u{feff}'))).collect();
    let verdicts = judge(&config::schema(), &documents);
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    for ((name, text), verdict) in files.iter().zip(verdicts) {
        match (config::parse(text, "mainstay.yaml", &env), verdict) {
            (Ok(_), Some(why)) => wrong.push(format!("{name}: check accepts it, the schema says: {why}\n{text}")),
            (Err(errors), None) => match reasons(&errors, text) {
                Ok(reasons) => used.extend(reasons),
                Err(message) => wrong.push(format!("{name}: the schema accepts it, check says: {message}\n{text}")),
            },
            _ => {}
        }
    }
    (wrong, used)
}

/// Why only `check` finds all of these errors, or the first that a schema could find.
fn reasons(errors: &Errors, text: &str) -> Result<Vec<&'static str>, String> {
    let fits = |place: In| match place {
        Any => true,
        Variables => text.contains("${"),
        Defaults => text.contains("defaults"),
    };
    let is_missing = errors.errors().any(|error| error.message.contains("cannot be read: "));
    let reason = |error: &config::Diagnostic| {
        let said = format!("{} {}", error.message, error.help.as_deref().unwrap_or_default());
        let reason = ONLY_CHECK.iter().find(|(part, place, _)| said.contains(part) && fits(*place));
        reason.map(|(part, ..)| *part).ok_or(said)
    };
    // A password file that cannot be read leaves its user without a password.
    let counts = |error: &&config::Diagnostic| !(is_missing && error.message.ends_with("Redis has no login without one"));
    errors.errors().filter(counts).map(reason).collect()
}

fn all_files() -> Vec<(String, String)> {
    let mut all = vec![("config.example.yaml".to_owned(), fs::read_to_string("config.example.yaml").unwrap())];
    for directory in ["tests/corpus/config/good", "tests/corpus/config/bad", "examples", "fuzz/corpus/configuration"] {
        all.extend(files(directory));
    }
    all.extend(snippets("docs"));
    all.extend(snippets("."));
    all
}

#[test]
fn the_schema_and_check_agree_on_every_file() {
    let files = all_files();
    assert!(files.len() > 250, "{} files", files.len());
    let (wrong, used) = disagreements(&files);
    assert!(wrong.is_empty(), "{} of {} files:\n{}", wrong.len(), files.len(), wrong.join("\n"));
    println!("{} files; reasons that were needed: {used:?}", files.len());
}

/// Every value of a good file, replaced by something else.
fn changed(value: &Value, at: &mut Vec<String>, whole: &Value, out: &mut Vec<(String, String)>) {
    let replacements = [
        json!(null),
        json!([]),
        json!({}),
        json!(""),
        json!("off"),
        json!("none"),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(5),
        json!("5s"),
        json!("5d"),
        json!("1500ms"),
        json!("16MiB"),
        json!("a b"),
        json!("127.0.0.1:0"),
        json!("db-a:5432"),
        json!("/bin/true"),
        json!(["/bin/true"]),
        json!("${PG_PASSWORD}"),
        json!("${MAX}"),
        json!("${EMPTY:-}"),
        json!("a$b"),
    ];
    let pointer: String = at.iter().flat_map(|key| ["/", key.as_str()]).collect();
    if !at.is_empty() {
        for replacement in replacements {
            let mut file = whole.clone();
            *file.pointer_mut(&pointer).unwrap() = replacement.clone();
            out.push((format!("{pointer} = {replacement}"), file.to_string()));
        }
    }
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        if let Value::Object(_) = value {
            let mut file = whole.clone();
            file.pointer_mut(&pointer).unwrap().as_object_mut().unwrap().remove(&key);
            out.push((format!("{pointer} without {key}"), file.to_string()));
        }
        at.push(key);
        changed(child, at, whole, out);
        at.pop();
    }
}

#[test]
fn the_schema_and_check_agree_on_files_that_were_changed() {
    let mut all = Vec::new();
    for name in
        ["doors", "limits", "exec", "exchange", "promotion", "guard", "logins", "http", "defaults", "notify", "admin-operators"]
    {
        let path = format!("tests/corpus/config/good/{name}.yaml");
        let text = fs::read_to_string(&path).unwrap();
        let file: Value = serde_json::from_str(&to_json(&text)).unwrap();
        let mut files = Vec::new();
        changed(&file, &mut Vec::new(), &file, &mut files);
        all.extend(files.into_iter().map(|(what, text)| (format!("{path}: {what}"), text)));
    }
    // All of them take minutes; EVERY=1 judges them.
    let stride = if std::env::var_os("EVERY").is_some() { 1 } else { 37 };
    let all: Vec<_> = all.into_iter().step_by(stride).collect();
    assert!(all.len() > 300, "{} files", all.len());
    let (wrong, _) = disagreements(&all);
    let shown: Vec<&str> = wrong.iter().map(|line| line.split('\n').next().unwrap()).take(60).collect();
    assert!(wrong.is_empty(), "{} of {} files:\n{}", wrong.len(), all.len(), shown.join("\n"));
}

/// YAML as JSON, by Python.
fn to_json(text: &str) -> String {
    const SCRIPT: &str = "import json, sys; from ruamel.yaml import YAML; \
                          print(json.dumps(YAML(typ='safe', pure=True).load(sys.argv[1])))";
    let output = Command::new("/usr/bin/python3").args(["-c", SCRIPT, text]).bounded_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_key_has_a_meaning() {
    fn look(value: &Value, path: &str, missing: &mut Vec<String>) {
        let Some(map) = value.as_object() else { return };
        for (name, property) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{name}");
            if property.get("description").is_none() && property.get("$ref").is_none() {
                missing.push(path.clone());
            }
            look(property, &path, missing);
        }
    }
    let schema = config::schema();
    let mut missing = Vec::new();
    look(&schema, "", &mut missing);
    for (name, definition) in schema["definitions"].as_object().unwrap() {
        look(definition, name, &mut missing);
    }
    assert!(missing.is_empty(), "{missing:?}");
    assert!(!schema.to_string().contains("\"x-"), "a mark of the program is left");
}

#[test]
fn the_command_prints_it() {
    let output = Command::new(env!("CARGO_BIN_EXE_mainstay")).arg("schema").bounded_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), config::schema());
}
