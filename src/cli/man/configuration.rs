//! mainstay.yaml(5): the reference of the configuration.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::{see_also, title};
use crate::config;

pub(super) fn page() -> Vec<u8> {
    let mut roff = Roff::new();
    roff.control("SH", ["NAME"]);
    roff.text([roman("mainstay.yaml - the configuration of mainstay")]);
    roff.control("SH", ["DESCRIPTION"]);
    let about = [
        "The file is YAML. It is read by `mainstay run` and by its commands, from /etc/mainstay/mainstay.yaml or from the file of \
         `--config` or `MAINSTAY_CONFIG`. `mainstay check` shows every error of a file, `mainstay schema` prints its JSON schema for \
         editors. An unknown key is an error.",
        "A duration is a whole number and a unit: `us`, `ms`, `s`, `m`, `h` or `d`; a size is one with `B`, `KiB`, `MiB` or `GiB`. In \
         values, `${NAME}` is an environment variable, `${NAME:-default}` has a default, `${NAME:?message}` must be set, and `$$` is a \
         dollar sign. Secrets come from files or variables only.",
        "The smallest file:",
    ];
    for (position, paragraph) in about.into_iter().enumerate() {
        if position > 0 {
            roff.control("PP", []);
        }
        roff.text(inline(paragraph));
    }
    roff.control("PP", []);
    roff.control("EX", []);
    for line in ["pools:", "  - name: orders", "    listen: 127.0.0.1:5432", "    backends: [db-a:5432, db-b:5432]"] {
        roff.text([roman(line)]);
    }
    roff.control("EE", []);
    for (title, rows) in config::reference() {
        let title = title.replace('`', "");
        roff.control("SH", [title.to_uppercase().as_str()]);
        for row in rows {
            roff.control("TP", []);
            roff.text([bold(row.key)]);
            roff.text(inline(&config::without_links(row.meaning)));
            roff.control("br", []);
            roff.text([vec![italic("Values: ")], inline(&config::without_links(&row.values)), vec![roman(".")]].concat());
            let default = match row.default.as_str() {
                "" | "see there" => continue,
                "required" => vec![italic("Required.")],
                default => [vec![italic("Default: ")], inline(default), vec![roman(".")]].concat(),
            };
            roff.control("br", []);
            roff.text(default);
        }
    }
    see_also(&mut roff, &["mainstay".to_owned(), "mainstay-check".to_owned(), "mainstay-schema".to_owned()]);
    [title("mainstay.yaml", 5), roff.to_roff().into_bytes()].concat()
}

/// Markdown of one paragraph: what stands in backticks is bold.
fn inline(markdown: &str) -> Vec<Inline> {
    let part = |(position, part): (usize, &str)| if position % 2 == 1 { bold(part) } else { roman(part) };
    markdown.split('`').enumerate().filter(|(_, part)| !part.is_empty()).map(part).collect()
}
