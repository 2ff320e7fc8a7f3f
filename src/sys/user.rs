//! Users and groups, by NSS: every function here may block (LDAP, SSSD), so call it off the
//! runtime's thread.

use std::{ffi::CString, path::PathBuf};

use nix::{
    errno::Errno,
    unistd::{Gid, Group, Uid, User, getegid, geteuid, getgrouplist},
};

use crate::model::Account;

/// Who a command runs as, looked up.
#[derive(Debug, Clone)]
pub struct Identity {
    /// What changes between fork and exec; `None` where the command runs as the daemon does.
    pub switch: Option<Credentials>,
    /// The user's entry; `None` for an id that has none.
    pub user: Option<Person>,
}

/// A user, as passwd(5) has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The login name.
    pub name: String,
    /// The home directory.
    pub home: PathBuf,
    /// The login shell.
    pub shell: PathBuf,
}

/// The ids to take on, credentials(7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub uid: Uid,
    /// The primary group.
    pub gid: Gid,
    /// The supplementary groups; the primary one is among them.
    pub groups: Vec<Gid>,
}

/// Why USER and GROUP cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// USER is not in the user database.
    #[error("user '{0}' does not exist; create it or correct USER")]
    NoUser(String),
    /// GROUP is not in the group database.
    #[error("group '{0}' does not exist; create it or correct GROUP")]
    NoGroup(String),
    /// A number that no user has says nothing of a group.
    #[error("user id {0} is in no user database, so its group is not known; set GROUP")]
    NoPrimaryGroup(u32),
    /// The database could not be asked.
    #[error("{key} '{name}' could not be looked up: {source}")]
    Lookup {
        /// USER or GROUP.
        key: &'static str,
        /// Its value.
        name: String,
        /// Why.
        source: Errno,
    },
    /// Only root can become somebody else.
    #[error("USER and GROUP can be set only if the daemon runs as root; it runs as user id {0}")]
    NotRoot(u32),
}

/// Looks up USER and GROUP: names or numbers. Blocks.
///
/// With USER the groups are those of initgroups(3); GROUP replaces the primary one. GROUP alone
/// leaves the user, and that group is the only one.
///
/// # Errors
/// Says which of the two cannot be had.
pub fn resolve(account: &Account) -> Result<Identity, AccountError> {
    let group = account.group.as_deref().map(find_group).transpose()?;
    let Some(wanted) = account.user.as_deref() else {
        let entry = User::from_uid(geteuid())
            .or_else(missing)
            .map_err(|source| AccountError::Lookup {
                key: "user id",
                name: geteuid().to_string(),
                source,
            })?;
        let switch = match group {
            None => None,
            Some(gid) => unless_already(Credentials {
                uid: geteuid(),
                gid,
                groups: vec![gid],
            })?,
        };
        return Ok(Identity {
            switch,
            user: entry.map(person),
        });
    };
    let (uid, entry) = find_user(wanted)?;
    let gid = match (group, &entry) {
        (Some(gid), _) => gid,
        (None, Some(entry)) => entry.gid,
        (None, None) => return Err(AccountError::NoPrimaryGroup(uid.as_raw())),
    };
    let groups = match &entry {
        Some(entry) => supplementary(&entry.name, gid)?,
        None => vec![gid],
    };
    let switch = unless_already(Credentials { uid, gid, groups })?;
    Ok(Identity {
        switch,
        user: entry.map(person),
    })
}

/// Root always switches, so that the groups are the user's and not those of whoever started the
/// daemon. Others can only be who they are.
fn unless_already(to: Credentials) -> Result<Option<Credentials>, AccountError> {
    if geteuid().is_root() {
        return Ok(Some(to));
    }
    if to.uid == geteuid() && to.gid == getegid() {
        return Ok(None);
    }
    Err(AccountError::NotRoot(geteuid().as_raw()))
}

fn find_user(wanted: &str) -> Result<(Uid, Option<User>), AccountError> {
    let lookup = |source| AccountError::Lookup {
        key: "USER",
        name: wanted.to_owned(),
        source,
    };
    // A name of digits is a name first, as in chown(1).
    if let Some(user) = User::from_name(wanted).or_else(missing).map_err(lookup)? {
        return Ok((user.uid, Some(user)));
    }
    let number = parse_id(wanted).ok_or_else(|| AccountError::NoUser(wanted.to_owned()))?;
    let uid = Uid::from_raw(number);
    Ok((uid, User::from_uid(uid).or_else(missing).map_err(lookup)?))
}

fn find_group(wanted: &str) -> Result<Gid, AccountError> {
    let lookup = |source| AccountError::Lookup {
        key: "GROUP",
        name: wanted.to_owned(),
        source,
    };
    if let Some(group) = Group::from_name(wanted).or_else(missing).map_err(lookup)? {
        return Ok(group.gid);
    }
    // A number needs no entry.
    parse_id(wanted)
        .map(Gid::from_raw)
        .ok_or_else(|| AccountError::NoGroup(wanted.to_owned()))
}

/// The group of this name; `None` if there is none. Blocks.
///
/// # Errors
/// Where the database could not be asked.
pub fn group_named(name: &str) -> Result<Option<u32>, Errno> {
    let found = Group::from_name(name).or_else(missing)?;
    Ok(found.map(|group| group.gid.as_raw()))
}

fn supplementary(name: &str, gid: Gid) -> Result<Vec<Gid>, AccountError> {
    let no_user = |_| AccountError::NoUser(name.to_owned());
    let c_name = CString::new(name).map_err(no_user)?;
    getgrouplist(&c_name, gid).map_err(|source| AccountError::Lookup {
        key: "USER",
        name: name.to_owned(),
        source,
    })
}

/// What getpwnam(3) may give, by module, for an entry that is not there.
fn missing<T>(error: Errno) -> Result<Option<T>, Errno> {
    match error {
        Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM => Ok(None),
        other => Err(other),
    }
}

/// A number that can be an id: the highest means "no change" to the kernel.
fn parse_id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

fn person(user: User) -> Person {
    Person {
        name: user.name,
        home: user.dir,
        shell: user.shell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(user: Option<&str>, group: Option<&str>) -> Account {
        Account {
            user: user.map(str::to_owned),
            group: group.map(str::to_owned),
        }
    }

    #[test]
    fn nobody_in_particular_is_the_daemon_itself() {
        let identity = resolve(&Account::default()).unwrap();
        assert!(identity.switch.is_none());
        assert_eq!(
            identity.user.map(|p| p.name),
            User::from_uid(geteuid()).unwrap().map(|u| u.name)
        );
    }

    #[test]
    fn who_does_not_exist_is_named() {
        let why = |user, group| resolve(&account(user, group)).unwrap_err().to_string();
        assert!(why(Some("no-such-user"), None).contains("user 'no-such-user' does not exist"));
        assert!(why(None, Some("no-such-group")).contains("group 'no-such-group' does not"));
        assert!(why(Some("3999999999"), None).contains("set GROUP"));
        assert!(why(Some("4294967295"), None).contains("does not exist"));
        assert!(why(Some("a\0b"), None).contains("does not exist"));
    }

    #[test]
    fn a_group_is_found_by_its_name_or_there_is_none() {
        let own = Group::from_gid(getegid()).unwrap().unwrap();
        assert_eq!(group_named(&own.name), Ok(Some(getegid().as_raw())));
        assert_eq!(group_named("no-such-group"), Ok(None));
    }

    #[test]
    fn names_and_numbers_mean_the_same() {
        if !geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let daemon = User::from_name("daemon").unwrap().unwrap();
        let by_name = resolve(&account(Some("daemon"), None))
            .unwrap()
            .switch
            .unwrap();
        let number = daemon.uid.to_string();
        assert_eq!(
            resolve(&account(Some(&number), None))
                .unwrap()
                .switch
                .unwrap(),
            by_name
        );
        assert_eq!((by_name.uid, by_name.gid), (daemon.uid, daemon.gid));

        let other = resolve(&account(Some("3999999999"), Some("54321"))).unwrap();
        let ids = other.switch.unwrap();
        assert_eq!(ids.groups, [Gid::from_raw(54321)]);
        assert_eq!(other.user, None);
    }
}
