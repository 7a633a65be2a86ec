//! Who may order: `admin.operators` and `admin.write`.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Value as Json, json};

use super::{
    accounts::Accounts,
    raw::{
        node::{Source, Value},
        reader::{Field, KnownKeys},
    },
    resolve::secrets::warn_if_readable,
    secret::Secret,
    shape,
    tree::{Tree, path},
};

const MAX_OPERATORS: usize = 64;
/// No user or group has a longer name.
const MAX_NAME_BYTES: usize = 32;
/// A shorter token could be guessed; a longer one fits into no header.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=1024;
const WRITE: KnownKeys = KnownKeys { known: &["token_file"], planned: &[] };

/// Who may order over a unix socket, besides root and mainstay's own user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// A user.
    User(Arc<str>),
    /// The members of a group.
    Group(Arc<str>),
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => f.write_str(name),
            Self::Group(name) => write!(f, "@{name}"),
        }
    }
}

/// Reads the token of `admin.write`, without the newline at the end of its file. Blocks on the disk.
///
/// # Errors
/// Why it is none, without any of the file's content.
pub fn read_token(file: &Path) -> Result<Secret, String> {
    let secret = Secret::read(file)?;
    let token = secret.expose();
    if TOKEN_BYTES.contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(secret);
    }
    let (least, most) = (TOKEN_BYTES.start(), TOKEN_BYTES.end());
    Err(format!("it must hold {least} to {most} printable ASCII characters without spaces, and nothing else"))
}

/// `operators`.
pub(super) fn operators(field: Field<'_>) -> Vec<Operator> {
    if matches!(field.value(), Value::List(items) if items.is_empty()) {
        return Vec::new();
    }
    let names = "the name of a user, @ and the name of a group, or a list of them";
    let fields = field.one_or_many(names, MAX_OPERATORS).unwrap_or_default();
    let accounts = Accounts::read();
    fields.into_iter().filter_map(|field| operator(field, &accounts)).collect()
}

fn operator(field: Field<'_>, accounts: &Accounts) -> Option<Operator> {
    const WANTED: &str = "the name of a user, or @ and the name of a group";
    let text = field.text(WANTED)?;
    let (name, is_group) = text.strip_prefix('@').map_or((text, false), |name| (name, true));
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"._-$".contains(&b);
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(is_name) {
        return field.wrong(WANTED, None);
    }
    if !is_group && accounts.uid(name).is_some() {
        return Some(Operator::User(name.into()));
    }
    if accounts.gid(name).is_some() {
        return Some(Operator::Group(name.into()));
    }
    let (what, file) = if is_group { ("group", "/etc/group has") } else { ("user or group", "/etc/passwd and /etc/group have") };
    field.error(
        format!("there is no {what} {} on this machine", field.shown()),
        format!("{file} no such name, and mainstay asks nothing else (no LDAP); add it there, or remove it here"),
    );
    None
}

/// `operators` in the schema.
pub(super) fn schema() -> Json {
    shape::any_number(shape::matching(r"@?(?:[A-Za-z0-9._-]|\$\$){1,32}"), MAX_OPERATORS)
}

/// `write` in the schema.
pub(super) fn schema_of_write() -> Json {
    shape::any_of([
        json!({"enum": [false, "false"]}),
        shape::map_of("token_file", "The file with the token.", shape::text()),
        shape::variable(),
    ])
}

/// The token file of `write`.
pub(super) fn write(field: Field<'_>) -> Option<PathBuf> {
    if field.is_word("false") {
        return None;
    }
    if !matches!(field.value(), Value::Map(_)) {
        return field.wrong("`false` or a map such as {token_file: /etc/mainstay/admin.token}", None);
    }
    let field = field.map(WRITE)?.require("token_file", "/etc/mainstay/admin.token")?;
    let file = Path::new(field.text("the path of a file that holds a token")?);
    // The value may be the token itself, so only what is clearly a path is shown.
    let literal = matches!(field.value(), Value::Scalar(scalar) if scalar.source == Source::Literal);
    let shown = if literal && file.has_root() { file.display().to_string() } else { "the token file".into() };
    if let Err(reason) = read_token(file) {
        field.error(
            format!("{shown} cannot be used: {reason}"),
            "write a random token into it and nothing else, for instance with: openssl rand -hex 32",
        );
        return None;
    }
    warn_if_readable(field, file, &shown);
    Some(file.to_owned())
}

pub(super) fn print_write(token_file: Option<&PathBuf>) -> Tree {
    token_file.map_or(Tree::Flag(false), |file| Tree::Map(vec![("token_file", path(file))]))
}

/// A token that crosses a network, and operators who have no way in.
pub(super) fn warn(
    write: Option<Field<'_>>,
    operators: Option<Field<'_>>,
    is_remote: impl Fn() -> bool,
    has_socket: impl Fn() -> bool,
) {
    if let Some(field) = write.filter(|_| is_remote()) {
        field.warning(
            "the token crosses the network in clear text: the admin endpoint has no TLS",
            "keep the admin endpoint on 127.0.0.1 or a unix socket and order over ssh, or use a network that nobody else reads",
        );
    }
    if let Some(field) = operators.filter(|_| !has_socket()) {
        field.warning(
            "`operators` has no effect: the admin endpoint has no unix socket",
            "add one to `listen`, such as unix:/run/mainstay/admin.sock; over TCP only a token may order (`write`)",
        );
    }
}
