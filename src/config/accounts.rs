//! Users and groups of this machine, as /etc/passwd and /etc/group name them.

use std::path::Path;

use super::file;

/// Both files, as they were when they were read.
#[derive(Clone, Debug)]
pub struct Accounts {
    users: String,
    groups: String,
}

impl Accounts {
    /// Reads both files; one that cannot be read names nobody. Blocks on the disk.
    pub fn read() -> Self {
        let text = |path| file::read(Path::new(path)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Self { users: text("/etc/passwd").unwrap_or_default(), groups: text("/etc/group").unwrap_or_default() }
    }

    /// From the texts of /etc/passwd and /etc/group.
    pub fn of(users: &str, groups: &str) -> Self {
        Self { users: users.to_owned(), groups: groups.to_owned() }
    }

    /// The id of a user.
    pub fn uid(&self, user: &str) -> Option<u32> {
        entries(&self.users).find(|entry| entry[0] == user).and_then(|entry| id(entry[2]))
    }

    /// The id of a group.
    pub fn gid(&self, group: &str) -> Option<u32> {
        entries(&self.groups).find(|entry| entry[0] == group).and_then(|entry| id(entry[2]))
    }

    /// The first name of a user.
    pub fn name(&self, uid: u32) -> Option<&str> {
        self.names(uid).next()
    }

    /// Whether a process of this user, with this primary group, belongs to `group`.
    pub fn is_member(&self, uid: u32, gid: u32, group: &str) -> bool {
        let Some(entry) = entries(&self.groups).find(|entry| entry[0] == group) else { return false };
        id(entry[2]) == Some(gid) || self.names(uid).any(|name| entry[3].split(',').any(|member| member == name))
    }

    fn names(&self, uid: u32) -> impl Iterator<Item = &str> {
        entries(&self.users).filter(move |entry| id(entry[2]) == Some(uid)).map(|entry| entry[0])
    }
}

/// The first four fields of each line that has as many; the name is never empty.
fn entries(text: &str) -> impl Iterator<Item = [&str; 4]> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let entry = [fields.next()?, fields.next()?, fields.next()?, fields.next()?];
        (!entry[0].is_empty()).then_some(entry)
    })
}

/// A number as these files have it: digits only.
fn id(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:A:/:/bin/sh\nalias:x:1000:1000::/:\n\
                         bob:x:1001:50::/:/bin/sh\n:x:7:7::/:\nbroken\nplus:x:+8:8::/:\n+::::::\n";
    const GROUPS: &str = "root:x:0:\ndba:x:50:alice,carol\nops:x:60:alias\nempty:x:70:\nshort:x\n";

    #[test]
    fn names_have_ids_and_ids_have_names() {
        let accounts = Accounts::of(USERS, GROUPS);
        assert_eq!(
            ["root", "alice", "bob", "carol", "", "plus", "broken"].map(|user| accounts.uid(user)),
            [Some(0), Some(1000), Some(1001), None, None, None, None]
        );
        assert_eq!(["dba", "short", "", "nobody"].map(|group| accounts.gid(group)), [Some(50), None, None, None]);
        assert_eq!([0, 1000, 7, 8].map(|uid| accounts.name(uid)), [Some("root"), Some("alice"), None, None]);
    }

    #[test]
    fn a_member_is_listed_under_any_of_its_names_or_has_the_group_as_its_own() {
        let accounts = Accounts::of(USERS, GROUPS);
        assert!(accounts.is_member(1000, 1000, "dba"), "listed");
        assert!(accounts.is_member(1000, 1000, "ops"), "listed under its other name");
        assert!(accounts.is_member(1001, 50, "dba"), "its primary group");
        assert!(!accounts.is_member(1001, 1001, "dba"));
        assert!(!accounts.is_member(1002, 1002, "dba"), "a uid without a name");
        assert!(!accounts.is_member(1002, 1002, "empty"), "an empty list lists nobody");
        assert!(!accounts.is_member(0, 0, "nothing"), "no such group");
    }

    #[test]
    fn this_machine_has_root() {
        let accounts = Accounts::read();
        assert_eq!((accounts.uid("root"), accounts.gid("root"), accounts.name(0)), (Some(0), Some(0), Some("root")));
    }
}
