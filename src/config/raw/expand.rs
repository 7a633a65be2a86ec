//! `${VAR}`, `${VAR:-default}`, `${VAR:?message}` and `$$` in values. Works on values after the YAML was read, so the
//! content of a variable is never taken for YAML.

use super::node::Source;

/// Where variables come from.
pub(in crate::config) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Limit for all values of a file together: a short file that names a long variable often must not fill the memory.
const MAX_EXPANDED_BYTES: usize = 1024 * 1024;

/// Expands the values of one file.
pub(in crate::config) struct Expander<'a> {
    env: Env<'a>,
    left: usize,
}

/// What is wrong, and what would be right.
pub(in crate::config) type Fault = (String, String);

impl<'a> Expander<'a> {
    pub(in crate::config) const fn new(env: Env<'a>) -> Self {
        Self { env, left: MAX_EXPANDED_BYTES }
    }

    /// The value with its variables replaced.
    pub(in crate::config) fn expand(&mut self, written: &str) -> Result<(String, Source), Fault> {
        let mut text = String::new();
        let mut source = Source::Literal;
        let mut rest = written;
        while let Some(at) = rest.find('$') {
            text.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                text.push('$');
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let Some((reference, after)) = after.split_once('}') else {
                    return Err(("`${` has no closing `}`".into(), "write ${NAME}, or $$ for a dollar sign".into()));
                };
                let (value, of) = self.lookup(reference)?;
                let alone = at == 0 && text.is_empty() && after.is_empty() && written.len() == reference.len() + 3;
                source = if alone { of } else { Source::Expanded };
                self.left = self.left.checked_sub(value.len()).ok_or_else(|| {
                    (
                        "the variables of this file are longer than 1MiB together".to_owned(),
                        "use fewer or shorter ones".to_owned(),
                    )
                })?;
                text.push_str(&value);
                rest = after;
            } else {
                return Err((
                    "a single `$` means nothing here".into(),
                    "write ${NAME} for a variable, or $$ for a dollar sign".into(),
                ));
            }
        }
        text.push_str(rest);
        Ok((text, source))
    }

    fn lookup(&self, reference: &str) -> Result<(String, Source), Fault> {
        let end = reference.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(reference.len());
        let (name, rule) = reference.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err((
                "`${` is not followed by the name of a variable".into(),
                "write ${NAME}, or $$ for a dollar sign".into(),
            ));
        }
        let value = (self.env)(name);
        let filled = value.clone().filter(|value| !value.is_empty());
        let variable = Source::Variable(name.to_owned());
        if rule.is_empty() {
            let missing =
                || (format!("the environment variable {name} is not set"), format!("set it, or write ${{{name}:-default}}"));
            return value.map(|value| (value, variable)).ok_or_else(missing);
        }
        if rule.contains("${") {
            return Err(("a variable inside the default of a variable is not supported".into(), "use one variable only".into()));
        }
        if let Some(default) = rule.strip_prefix(":-") {
            return Ok(filled.map_or_else(|| (default.to_owned(), Source::Expanded), |value| (value, Source::Expanded)));
        }
        if let Some(message) = rule.strip_prefix(":?") {
            let message = if message.is_empty() { "it must be set" } else { message };
            let missing = || {
                (format!("the environment variable {name} is not set or empty: {message}"), format!("set {name} and start again"))
            };
            return filled.map(|value| (value, variable)).ok_or_else(missing);
        }
        Err((
            format!("what follows the name in ${{{name}…}} is not understood"),
            format!("write ${{{name}}}, ${{{name}:-default}} or ${{{name}:?message}}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "A" => Some("alpha".into()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${A} $$ [x]".into()),
            "LONG" => Some("x".repeat(100_000)),
            _ => None,
        }
    }

    fn expand(text: &str) -> Result<(String, Source), Fault> {
        Expander::new(&env).expand(text)
    }

    #[test]
    fn replaces_variables_once() {
        for (written, expected) in [
            ("plain", "plain"),
            ("${A}", "alpha"),
            ("x${A}y${A}", "xalphayalpha"),
            ("${NONE:-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY}", ""),
            ("${A:-d}", "alpha"),
            ("${A:?no}", "alpha"),
            ("$$", "$"),
            ("$${A}", "${A}"),
            ("${TRICK}", "${A} $$ [x]"),
        ] {
            assert_eq!(expand(written).unwrap().0, expected, "{written}");
        }
    }

    #[test]
    fn knows_what_is_only_a_variable() {
        assert_eq!(expand("${A}").unwrap().1, Source::Variable("A".into()));
        assert_eq!(expand("${A:?m}").unwrap().1, Source::Variable("A".into()));
        for written in ["x${A}", "${A}x", "${A}${A}", "${A:-d}", "$$${A}", "${EMPTY}${A}"] {
            assert_eq!(expand(written).unwrap().1, Source::Expanded, "{written}");
        }
        assert_eq!(expand("$$").unwrap().1, Source::Literal);
    }

    #[test]
    fn says_what_is_wrong() {
        for (written, part) in [
            ("${NONE}", "NONE is not set"),
            ("${EMPTY:?fill it}", "fill it"),
            ("${A", "no closing"),
            ("$A", "a single `$`"),
            ("${}", "not followed by"),
            ("${1A}", "not followed by"),
            ("${A:=x}", "not understood"),
            ("${A:-${B}}", "inside the default"),
        ] {
            assert!(expand(written).unwrap_err().0.contains(part), "{written}: {:?}", expand(written));
        }
    }

    #[test]
    fn a_short_file_cannot_fill_the_memory() {
        assert!(expand(&"${LONG}".repeat(1000)).unwrap_err().0.contains("1MiB"));
    }
}
