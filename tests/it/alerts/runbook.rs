//! `docs/runbook.md`: a section for each alert, and no other; what it tells to type and to look at exists.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

use super::{alerts, text};
use crate::support::child::Bounded;

/// The title of each section with its text.
fn sections(runbook: &str) -> Vec<(&str, &str)> {
    runbook.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect()
}

/// What stands between backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn each_alert_has_a_section_and_each_section_an_alert() {
    let runbook = text("docs/runbook.md");
    let titles: Vec<&str> = sections(&runbook).iter().map(|(title, _)| *title).collect();
    let alerts = alerts();
    assert_eq!(titles, alerts.iter().map(|alert| &*alert.name).collect::<Vec<_>>());
    let told: Vec<String> = runbook
        .lines()
        .filter(|line| line.starts_with("| ["))
        .map(|line| line.split(" | ").take(3).collect::<Vec<_>>().join(" | "))
        .collect();
    let rules = alerts.iter().map(|alert| {
        let (name, after) = (&alert.name, alert.r#for.as_deref().unwrap_or("at once"));
        format!("| [{name}](#{}) | {} | {after}", name.to_lowercase(), alert.labels["severity"])
    });
    assert_eq!(told, rules.collect::<Vec<_>>());
}

#[test]
fn each_section_answers_the_same_questions_in_the_same_order() {
    let runbook = text("docs/runbook.md");
    for (title, section) in sections(&runbook) {
        let questions = ["**It means:**", "**Clients now:**", "**mainstay has**", "**Look", "**Do not**", "**It ends**"];
        let found: Vec<usize> =
            questions.iter().map(|question| section.find(question).unwrap_or_else(|| panic!("{title}: {question}"))).collect();
        assert!(found.is_sorted(), "{title}: {found:?}");
    }
}

#[test]
fn what_it_tells_to_type_exists() {
    let runbook = text("docs/runbook.md");
    let help = Command::new(env!("CARGO_BIN_EXE_mainstay")).arg("--help").bounded_output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands: BTreeSet<&str> = help.lines().filter_map(|line| line.strip_prefix("  ")?.split("  ").next()).collect();
    let typed: BTreeSet<&str> = code(&runbook).filter_map(|code| code.strip_prefix("mainstay ")).collect();
    assert!(typed.len() > 10, "{typed:?}");
    for words in typed {
        let (command, options) = words.split_once(' ').unwrap_or((words, ""));
        assert!(commands.contains(command), "mainstay {words}");
        let help = Command::new(env!("CARGO_BIN_EXE_mainstay"))
            .args([command, "--help"])
            .stderr(Stdio::null())
            .bounded_output()
            .unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        for option in options.split_whitespace().filter(|word| word.starts_with('-')) {
            assert!(help.contains(option), "mainstay {words}: there is no {option}");
        }
    }
}

#[test]
fn what_it_tells_to_look_at_exists() {
    let (runbook, metrics, configuration) = (text("docs/runbook.md"), text("docs/metrics.md"), text("docs/configuration.md"));
    for name in code(&runbook).filter(|code| code.starts_with("mainstay_")) {
        assert!(metrics.contains(&format!("| `{name}` |")), "{name}");
    }
    // Each reason in the first column of a table is one that mainstay knows.
    let words: String = ["src/failover", "src/reason.rs"].iter().map(|room| sources(room)).collect();
    let of_rules = text("deploy/prometheus/rules.yaml");
    for line in runbook.lines().filter(|line| line.starts_with("| `")) {
        for reason in code(line.split(" | ").next().unwrap()) {
            assert!(words.contains(&format!("= \"{reason}\"")) || of_rules.contains(&format!("\"{reason}\"")), "{reason}");
        }
    }
    for key in
        code(&runbook).filter(|code| code.contains('.') && code.chars().all(|c| c.is_ascii_lowercase() || "._[]".contains(c)))
    {
        let last = key.rsplit('.').next().unwrap();
        assert!(configuration.contains(&format!("`{last}`")), "{key}");
    }
    for target in runbook.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        let (page, anchor) = target.split_once('#').unwrap_or((target, ""));
        let page = text(&format!("docs/{}", if page.is_empty() { "runbook.md" } else { page }));
        let titles = page
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-"));
        assert!(anchor.is_empty() || titles.collect::<Vec<_>>().contains(&anchor.to_owned()), "{target}");
    }
}

/// The text of a file, or of all files of a room.
fn sources(name: &str) -> String {
    let path = super::path(name);
    let Ok(entries) = std::fs::read_dir(&path) else { return text(name) };
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}
