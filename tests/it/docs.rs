//! The pages: each link leads somewhere, and each page can be found from README.md. What the pages say is checked where it is made.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Pages of the root and of docs/, by their paths from the root.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for folder in ["", "docs"] {
        for entry in fs::read_dir(Path::new(ROOT).join(folder)).unwrap() {
            let name = entry.unwrap().file_name();
            if Path::new(&name).extension().is_some_and(|ending| ending == "md") {
                pages.push(Path::new(folder).join(name));
            }
        }
    }
    pages.sort();
    pages
}

fn text(page: &Path) -> String {
    fs::read_to_string(Path::new(ROOT).join(page)).unwrap()
}

/// Targets of the links of a page, without those to other sites.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    targets.filter(|target| !target.is_empty() && !target.contains("://") && !target.contains(' ')).collect()
}

/// The names that GitHub gives to the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let parts = text.split("\n```").step_by(2);
    for heading in parts.flat_map(str::lines).filter(|line| line.starts_with('#')) {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        // Of a link, its text is read.
        let shown: String = words
            .split("](")
            .enumerate()
            .map(|(n, part)| if n == 0 { part } else { part.split_once(')').map_or("", |(_, rest)| rest) })
            .collect();
        let name: String = shown.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char)).collect();
        let name = name.replace(' ', "-");
        let again = (1..).map(|count| format!("{name}-{count}"));
        let free = std::iter::once(name.clone()).chain(again).find(|name| !anchors.contains(name));
        anchors.extend(free);
    }
    anchors
}

/// The page or file that a link of `page` leads to, and the name of a heading in it.
fn resolve<'a>(page: &Path, link: &'a str) -> (PathBuf, Option<&'a str>) {
    let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
    let path = if file.is_empty() { page.to_owned() } else { page.parent().unwrap().join(file) };
    (path, heading)
}

fn wrong(page: &Path, content: &str) -> Vec<String> {
    let leads_nowhere = |link: &&str| {
        let (path, heading) = resolve(page, link);
        let is_page = path.extension().is_some_and(|ending| ending == "md");
        let is_heading = |heading: &str| !is_page || anchors(&text(&path)).contains(heading);
        !(Path::new(ROOT).join(&path).exists() && heading.is_none_or(is_heading))
    };
    links(content).into_iter().filter(leads_nowhere).map(|link| format!("{}: {link}", page.display())).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let wrong: Vec<_> = pages().iter().flat_map(|page| wrong(page, &text(page))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_link_to_no_file_or_no_heading_is_found() {
    let page = Path::new("docs/reload.md");
    for (link, is_wrong) in [
        ("[a](metrics.md)", false),
        ("[a](../README.md#two-commands)", false),
        ("[a](https://example.com/nowhere)", false),
        ("[a](nowhere.md)", true),
        ("[a](../README.md#nowhere)", true),
        ("[a](#nowhere)", true),
    ] {
        assert_eq!(!wrong(page, link).is_empty(), is_wrong, "{link}");
    }
}

#[test]
fn readme_leads_to_every_page() {
    let readme = text(Path::new("README.md"));
    let known: BTreeSet<_> = links(&readme).into_iter().map(|link| resolve(Path::new("README.md"), link).0).collect();
    let missing: Vec<_> = pages().into_iter().filter(|page| page != Path::new("README.md") && !known.contains(page)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
