//! Users of the environment: whose files are whose, and who runs a program.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::unistd::{Gid, Uid, fchown, fchownat};
use pyro_format::escape;

use crate::error::{Doing, Error, Result};

/// Most bytes of `/etc/passwd` or `/etc/group`.
const MAX_TABLE: u64 = 4 << 20;
/// Most groups that a user is in beside the first (`NGROUPS_MAX` of older kernels is far more).
const MAX_GROUPS: usize = 1024;

/// Who a program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's number.
    pub uid: u32,
    /// The number of the first group.
    pub gid: u32,
    /// The numbers of the other groups.
    pub groups: Vec<u32>,
    /// The user's name; its number where it has none.
    pub name: Vec<u8>,
    /// The home directory; `/` where there is none.
    pub home: Vec<u8>,
}

impl Identity {
    /// The user that `asked` names in the environment whose root is given: `NAME` or `UID`, and after a
    /// colon `GROUP` or `GID`. A user without a group has the one of its entry, or root's where a number
    /// has no entry, and with it the other groups that list its name. Blocks.
    pub fn find(root: BorrowedFd<'_>, asked: &[u8]) -> Result<Self> {
        let passwd = table(root, "etc/passwd")?;
        let group = table(root, "etc/group")?;
        Self::among(&passwd, &group, asked)
    }

    fn among(passwd: &[u8], group: &[u8], asked: &[u8]) -> Result<Self> {
        let (user, wanted_group) = match asked.iter().position(|b| *b == b':') {
            Some(at) => (&asked[..at], Some(&asked[at + 1..])),
            None => (asked, None),
        };
        let missing = |what: &str, name: &[u8]| {
            Error::UnknownUser(format!("the environment has no {what} '{}'", escape(name)))
        };
        // name:password:uid:gid:comment:home:shell
        let users = || rows(passwd).filter(|row| row.len() >= 6);
        let entry = users().find(|row| row[0] == user);
        let numbered =
            |row: &Vec<&[u8]>| number(user).is_some_and(|uid| number(row[2]) == Some(uid));
        let entry = entry.or_else(|| users().find(numbered));
        let mut found = match entry {
            Some(row) => {
                let (uid, gid) = number(row[2]).zip(number(row[3])).ok_or_else(|| {
                    Error::UnknownUser(format!("the entry of '{}' is damaged", escape(user)))
                })?;
                let home = if row[5].is_empty() { b"/" } else { row[5] };
                let (name, home) = (row[0].to_vec(), home.to_vec());
                Self { uid, gid, groups: Vec::new(), name, home }
            }
            None => {
                let uid = number(user).ok_or_else(|| missing("user", user))?;
                Self { uid, gid: 0, groups: Vec::new(), name: user.to_vec(), home: b"/".to_vec() }
            }
        };
        // name:password:gid:member,member
        let groups = || rows(group).filter(|row| row.len() >= 3);
        if let Some(wanted) = wanted_group {
            let entry = groups().find(|row| row[0] == wanted).and_then(|row| number(row[2]));
            found.gid = entry.or(number(wanted)).ok_or_else(|| missing("group", wanted))?;
        } else {
            let has = |row: &&Vec<&[u8]>| {
                row.get(3).is_some_and(|list| list.split(|b| *b == b',').any(|m| m == found.name))
            };
            let others = groups().filter(|row| has(&row)).filter_map(|row| number(row[2]));
            found.groups = others.filter(|gid| *gid != found.gid).take(MAX_GROUPS).collect();
        }
        Ok(found)
    }
}

/// A number as these tables and users write it; -1, which means "no change" to the kernel, is none.
fn number(text: &[u8]) -> Option<u32> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
    text.parse().ok().filter(|number| *number != u32::MAX)
}

fn rows(table: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    table.split(|b| *b == b'\n').map(|line| line.split(|b| *b == b':').collect())
}

/// A table of the environment; an empty one where there is none. Links lead nowhere outside.
fn table(root: BorrowedFd<'_>, path: &str) -> Result<Vec<u8>> {
    // Without waiting: it may be a pipe.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let file = match openat2(root, path, OpenHow::new().flags(flags).resolve(resolve)) {
        Err(nix::errno::Errno::ENOENT) => return Ok(Vec::new()),
        opened => File::from(opened.doing(|| format!("open /{path}"))?),
    };
    if !file.metadata().doing(|| format!("read /{path}"))?.is_file() {
        return Err(Error::Invalid(format!("/{path} is no file")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_TABLE + 1).read_to_end(&mut bytes).doing(|| format!("read /{path}"))?;
    if bytes.len() as u64 > MAX_TABLE {
        return Err(Error::Invalid(format!("/{path} has more than {MAX_TABLE} bytes")));
    }
    Ok(bytes)
}

/// Who owns what the host puts into `/workspace`: root, until a user does.
#[derive(Debug, Clone, Default)]
pub struct Owner(Arc<AtomicU64>);

impl Owner {
    /// From here on it is this user.
    pub fn set(&self, identity: &Identity) {
        let both = u64::from(identity.uid) << 32 | u64::from(identity.gid);
        self.0.store(both, Ordering::Relaxed);
    }

    /// Numbers of the user and the group.
    pub fn get(&self) -> (u32, u32) {
        let both = self.0.load(Ordering::Relaxed);
        ((both >> 32) as u32, both as u32)
    }

    /// Gives an open file of root's to the owner.
    pub fn own(&self, file: impl AsFd) -> nix::Result<()> {
        let (uid, gid) = self.ids();
        if uid.is_root() && gid.as_raw() == 0 { Ok(()) } else { fchown(file, Some(uid), Some(gid)) }
    }

    /// Gives the entry `name` of `dir` to the owner, a link itself.
    pub fn own_entry(&self, dir: impl AsFd, name: &[u8]) -> nix::Result<()> {
        let (uid, gid) = self.ids();
        fchownat(dir, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    fn ids(&self) -> (Uid, Gid) {
        let (uid, gid) = self.get();
        (Uid::from_raw(uid), Gid::from_raw(gid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\
        node:x:1000:1001::/home/node:/bin/sh\n\
        odd:x:7\n\
        broken:x:many:1::/:\n\
        1000:x:5:5::/five:\n";
    const GROUP: &[u8] = b"root:x:0:\nnode:x:1001:\ndocker:x:99:root,node\nsudo:x:27:node\n";

    fn find(asked: &str) -> Result<Identity> {
        Identity::among(PASSWD, GROUP, asked.as_bytes())
    }

    #[test]
    fn names_and_numbers_are_found() {
        let node = find("node").unwrap();
        assert_eq!((node.uid, node.gid, &node.groups[..]), (1000, 1001, &[99, 27][..]));
        assert_eq!((&node.name[..], &node.home[..]), (&b"node"[..], &b"/home/node"[..]));
        let grouped = find("node:docker").unwrap();
        assert_eq!((grouped.uid, grouped.gid, grouped.groups), (1000, 99, vec![]));
        assert_eq!(find("node:5").unwrap().gid, 5);
        assert_eq!(find("0").unwrap().home, b"/root");
        // A name comes before a number.
        assert_eq!(find("1000").unwrap().uid, 5);
    }

    #[test]
    fn a_number_needs_no_entry_and_a_name_does() {
        let nobody = find("4242").unwrap();
        assert_eq!((nobody.uid, nobody.gid, &nobody.home[..]), (4242, 0, &b"/"[..]));
        assert_eq!(nobody.name, b"4242");
        for missing in ["", "nobody", "odd", "node:none", "-1", "4294967295", "0x10", ":0"] {
            assert!(matches!(find(missing), Err(Error::UnknownUser(_))), "{missing}");
        }
        assert!(matches!(find("broken"), Err(Error::UnknownUser(_))));
    }

    #[test]
    fn tables_are_read_inside_the_root_alone() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        std::fs::write(dir.path().join("users"), PASSWD).unwrap();
        // Absolute, as some distributions have it: inside, not the host's.
        std::os::unix::fs::symlink("/users", etc.join("passwd")).unwrap();
        let root = File::open(dir.path()).unwrap();
        assert_eq!(Identity::find(root.as_fd(), b"node").unwrap().groups, Vec::<u32>::new());
        nix::unistd::mkfifo(&etc.join("group"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(Identity::find(root.as_fd(), b"node"), Err(Error::Invalid(_))));
    }
}
