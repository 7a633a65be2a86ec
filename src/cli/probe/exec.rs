//! `mainstay probe exec`.

use std::time::Duration;

use super::{
    args::Args,
    kind::{Kind, Words},
    source::SourceAddr,
};
use crate::{
    config::{
        ExecCheck, Secret,
        exec::{Word, is_legal_variable},
    },
    control::probe::Finding,
    failover::Outcome,
    net::addr::BackendAddr,
};

impl Kind for ExecCheck {
    fn from_args(args: &Args, _: Option<Secret>) -> Result<Self, String> {
        check(&args.command, args.roles, &args.env, &|name| std::env::var(name).ok())
    }

    /// Without the arguments, which may hold anything.
    fn asked(&self, address: &BackendAddr, timeout: Duration) -> String {
        let arguments = match self.command.len().saturating_sub(1) {
            0 => String::new(),
            1 => " with 1 argument".into(),
            count => format!(" with {count} arguments"),
        };
        let wanted = if self.roles { "exit code 0, and the role as the first word" } else { "exit code 0" };
        format!("exec for {address}, within {timeout:?}: {}{arguments}: {wanted}", self.program())
    }

    fn advice(&self, finding: &Finding, _: SourceAddr) -> Option<String> {
        let program = self.program();
        let text = match finding.outcome {
            Outcome::Ok => return None,
            Outcome::Misconfigured if finding.evidence.contains("first word") || finding.evidence.contains("the command ") => {
                "  With roles, the command must write one line such as\n    \
                 primary lag=0 epoch=7 version=8.0\n  \
                 `primary` or `standby` first; lag (bytes), epoch and version may follow. All else belongs on the standard error."
                    .to_owned()
            }
            Outcome::Misconfigured => format!(
                "  The check itself must be put right: 77 and 78 are the command's own word for that, 126 and 127 a shell's for a program\n  \
                 that it cannot run or find. To see what it sees:\n    \
                 env -i PATH=\"$PATH\" MAINSTAY_BACKEND_HOST=… MAINSTAY_BACKEND_PORT=… {program}"
            ),
            Outcome::Starting => "  Exit code 75 says: not yet. Nothing is to be done if that is true.".to_owned(),
            Outcome::Timeout => "  It was killed with all that it had started. Let it give up by itself before the deadline (--timeout), with a word\n  \
                                 of why: a command with a limit of its own says more than one that is killed."
                .to_owned(),
            _ => format!(
                "  The command says that the backend is not well. If that is wrong, run it by hand:\n    \
                 env -i PATH=\"$PATH\" MAINSTAY_BACKEND_HOST=… MAINSTAY_BACKEND_PORT=… {program}; echo $?\n  \
                 0 is well, 75 not yet, 77 and 78 that the check is misconfigured, all else not well."
            ),
        };
        Some(text)
    }

    fn no_verdict(&self) -> &'static str {
        "  Above stands what this machine could not do. Look at `ulimit -u` (processes), `ulimit -n` (files) and `free -m`, and whether the\n  \
         program lies on a disk that answers."
    }

    /// What a command calls its lag is its own affair.
    fn words(&self) -> Words {
        Words { epoch: "epoch", hidden: None, lag: "" }
    }
}

/// The check of the arguments. `lookup` returns variables of this process.
fn check(
    command: &[String],
    roles: bool,
    variables: &[String],
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<ExecCheck, String> {
    match command.first() {
        None => return Err("exec needs a command: mainstay probe exec ADDRESS -- /path/to/program [ARGUMENT…]".into()),
        Some(program) if !program.starts_with('/') => {
            return Err(format!("{program}: the program must be given by its absolute path; no PATH is searched"));
        }
        Some(_) => {}
    }
    let variable = |text: &String| {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (text.as_str(), lookup(text).ok_or_else(|| format!("--env {text}: there is no such variable to pass on"))?),
        };
        if is_legal_variable(name) {
            Ok((name.to_owned(), Secret::new(value)))
        } else {
            Err("--env: write NAME=VALUE, or NAME to pass a variable on; names beginning with MAINSTAY_ are set by the check"
                .into())
        }
    };
    let env = variables.iter().map(variable).collect::<Result<_, String>>()?;
    Ok(ExecCheck { env, roles, ..ExecCheck::new(command.iter().cloned().map(Word::Plain).collect()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn arguments_make_a_check_or_say_what_is_wrong() {
        let lookup = |name: &str| (name == "PGPASSWORD").then(|| "hunter2".to_owned());
        let made = check(&words(&["/bin/check", "-x"]), true, &words(&["A=b=c", "PGPASSWORD"]), &lookup).unwrap();
        assert_eq!((made.env[0].1.expose(), made.env[1].1.expose(), made.roles), ("b=c", "hunter2", true));
        let asked = made.asked(&"127.0.0.1:1".parse().unwrap(), Duration::from_secs(1));
        assert!(!asked.contains("-x") && asked.contains("/bin/check with 1 argument"), "{asked}");
        for (command, variables) in
            [(&[][..], &[][..]), (&["check"], &[]), (&["/c"], &["NONE"]), (&["/c"], &["MAINSTAY_X=1"]), (&["/c"], &["=1"])]
        {
            assert!(check(&words(command), false, &words(variables), &lookup).is_err(), "{command:?} {variables:?}");
        }
    }
}
