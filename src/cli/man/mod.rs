//! `mainstay man`: the manual pages: mainstay(1), one for each command, and mainstay.yaml(5).

mod configuration;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::exit;

/// Print the manual, or write all of its pages
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// Write mainstay.1, a page for each command, and mainstay.yaml.5 into this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints mainstay(1), or writes every page. Exit codes: [`exit::DONE`], or [`exit::FAILED`] when something cannot be written.
pub fn run(args: &Args, command: Command) -> u8 {
    let pages = pages(command);
    let written = match &args.dir {
        Some(dir) => write_all(dir, &pages).map_err(|error| format!("{}: {error}", dir.display())),
        None => pages.first().map_or(Ok(()), |page| io::stdout().lock().write_all(&page.text)).map_err(|error| error.to_string()),
    };
    match written {
        Ok(()) => exit::DONE,
        Err(why) => {
            let _ = writeln!(io::stderr().lock(), "mainstay: the manual cannot be written: {why}");
            exit::FAILED
        }
    }
}

/// A page of the manual.
struct Page {
    file: String,
    text: Vec<u8>,
}

fn write_all(dir: &Path, pages: &[Page]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    pages.iter().try_for_each(|page| fs::write(dir.join(&page.file), &page.text))
}

/// Every page; the first one is mainstay(1).
fn pages(command: Command) -> Vec<Page> {
    let mut whole = command.disable_help_subcommand(true);
    whole.build();
    let commands: Vec<&Command> = whole.get_subcommands().collect();
    let names: Vec<String> = commands.iter().map(|command| format!("mainstay-{}", command.get_name())).collect();
    let first = page(&whole, "mainstay", &[&names[..], &["mainstay.yaml".to_owned()]].concat());
    let others = commands.iter().zip(&names).map(|(command, name)| page(command, name, &["mainstay".to_owned()]));
    let file = Page { file: "mainstay.yaml.5".into(), text: configuration::page() };
    [first].into_iter().chain(others).chain([file]).collect()
}

/// The page of a command, with the pages to see besides.
fn page(command: &Command, name: &str, also: &[String]) -> Page {
    let man = Man::new(command.clone());
    let mut text = title(name, 1);
    // Nothing that is written to a Vec fails.
    let _ = man.render_name_section(&mut text);
    let _ = man.render_synopsis_section(&mut text);
    let _ = man.render_description_section(&mut text);
    let _ = man.render_options_section(&mut text);
    if command.has_subcommands() {
        let _ = commands(command).to_writer(&mut text);
    }
    let _ = ending(also).to_writer(&mut text);
    Page { file: format!("{name}.1"), text }
}

/// The line with the title. It has no date: the same source makes the same page.
fn title(name: &str, section: u8) -> Vec<u8> {
    format!(".TH \"{}\" {section} \"\" \"mainstay {}\" \"mainstay\"\n", name.to_uppercase(), env!("CARGO_PKG_VERSION"))
        .into_bytes()
}

/// The commands, each with its page.
fn commands(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for command in command.get_subcommands() {
        roff.control("TP", []);
        roff.text([bold(format!("mainstay-{}", command.get_name())), roman("(1)")]);
        roff.text([roman(command.get_about().map(ToString::to_string).unwrap_or_default())]);
    }
    roff
}

/// Exit codes, and the pages to see besides.
fn ending(also: &[String]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    let codes = [
        (exit::DONE, "Done."),
        (exit::FAILED, "It failed."),
        (exit::USAGE, "The command line is wrong."),
        (exit::NO_BACKEND, "No backend may serve."),
        (exit::BAD_CONFIGURATION, "The configuration is wrong."),
    ];
    for (code, meaning) in codes {
        roff.control("TP", []);
        roff.text([bold(code.to_string())]);
        roff.text([roman(meaning)]);
    }
    see_also(&mut roff, also);
    roff
}

fn see_also(roff: &mut Roff, pages: &[String]) {
    roff.control("SH", ["SEE ALSO"]);
    for (position, page) in pages.iter().enumerate() {
        let section = if Path::new(page).extension().is_some() { "5" } else { "1" };
        let comma = if position + 1 < pages.len() { "," } else { "" };
        roff.text([bold(page.as_str()), roman(format!("({section}){comma}"))]);
    }
}
