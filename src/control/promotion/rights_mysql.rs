//! What an account of `MySQL` or `MariaDB` needs to promote, and what of it is missing.

use super::step::{Member, Shortcoming};
use crate::control::probe::{
    Deadline,
    mysql::{Dialect, Standing},
};

/// What an account needs.
pub(super) struct Rights {
    /// To set `read_only`.
    pub(super) old: &'static [&'static str],
    /// To end replication, and `read_only`.
    pub(super) new: &'static [&'static str],
    /// An old right that includes these.
    older: &'static str,
}

fn rights(dialect: &Dialect) -> Rights {
    if dialect.is_mariadb {
        // Since 10.5.2; before, and for some of them longer, SUPER.
        let new = &["READ_ONLY ADMIN", "REPLICATION SLAVE ADMIN", "RELOAD"];
        return Rights { old: &["READ_ONLY ADMIN"], new, older: "SUPER" };
    }
    let new = &["SYSTEM_VARIABLES_ADMIN", "REPLICATION_SLAVE_ADMIN", "RELOAD"];
    Rights { old: &["SYSTEM_VARIABLES_ADMIN"], new, older: "SUPER" }
}

/// The statement that gives the account all that it needs.
pub(super) async fn grant(session: &mut Standing, deadline: Deadline) -> String {
    let needed = rights(session.dialect()).new.join(", ");
    format!(". Run on the primary: GRANT {needed} ON *.* TO {}", account(session, deadline).await)
}

async fn account(session: &mut Standing, deadline: Deadline) -> String {
    let table = session.run("SELECT CURRENT_USER() AS account", deadline).await.unwrap_or_default();
    let (user, host) = table.get(0, "account").and_then(|account| account.rsplit_once('@')).unwrap_or(("mainstay", "%"));
    format!("{}@{}", quoted(user), quoted(host))
}

/// A text as statements have it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The rights that the account lacks on a server; nothing where a role may give them.
pub(super) async fn lacking(
    session: &mut Standing,
    member: &Member,
    needed: impl Fn(&Rights) -> &'static [&'static str],
    deadline: Deadline,
) -> Option<Shortcoming> {
    let grants = match session.run("SHOW GRANTS", deadline).await {
        Ok(grants) => grants.rows.into_iter().flatten().flatten().collect::<Vec<_>>(),
        Err(refusal) => return Some(Shortcoming::costs(format!("the rights on {} are not known: {}", member.name, refusal.why))),
    };
    let rights = rights(session.dialect());
    let missing = missing(&grants, needed(&rights), rights.older)?;
    let account = account(session, deadline).await;
    Some(Shortcoming::forbids(format!("on {} the account lacks {missing}: GRANT {missing} ON *.* TO {account}", member.name)))
}

/// Which of these rights are in none of the grants.
fn missing(grants: &[String], needed: &[&str], older: &str) -> Option<String> {
    let mut held = Vec::new();
    for grant in grants {
        let Some(rest) = grant.strip_prefix("GRANT ") else { continue };
        match rest.split_once(" ON ") {
            Some((rights, to)) if to.starts_with("*.* ") => {
                held.extend(rights.split(',').map(|right| right.trim().to_uppercase()));
            }
            Some(_) => {}
            // A role, whose rights are not shown.
            None => return None,
        }
    }
    let has = |right: &str| held.iter().any(|held| held == right);
    if has("ALL PRIVILEGES") {
        return None;
    }
    let missing: Vec<&str> = needed
        .iter()
        .copied()
        .filter(|right| !has(right) && (!has(older) || ["RELOAD", "READ_ONLY ADMIN"].contains(right)))
        .collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grants_do_not_say_is_missing() {
        let needed = ["READ_ONLY ADMIN", "REPLICATION SLAVE ADMIN", "RELOAD"];
        let missing =
            |grants: &[&str]| missing(&grants.iter().map(|grant| (*grant).to_owned()).collect::<Vec<_>>(), &needed, "SUPER");
        let all = "READ_ONLY ADMIN, REPLICATION SLAVE ADMIN, RELOAD";
        assert_eq!(missing(&["GRANT USAGE ON *.* TO `m`@`%`"]).unwrap(), all);
        assert_eq!(missing(&["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"]), None);
        assert_eq!(missing(&[&format!("GRANT {all} ON *.* TO `m`@`%`")]), None);
        assert_eq!(missing(&["GRANT RELOAD, SUPER ON *.* TO `m`@`%`"]).unwrap(), "READ_ONLY ADMIN");
        assert_eq!(missing(&["GRANT ALL PRIVILEGES ON `d`.* TO `m`@`%`"]).unwrap(), all);
        assert_eq!(missing(&["GRANT `operator` TO `m`@`%`"]), None);
    }
}
