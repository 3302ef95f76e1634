//! Which packages a root holds.

use std::fs;
use std::path::Path;

use crate::{Error, Package, Result};

/// The installed packages of the root at `root`, by name, from dpkg's status file.
pub(crate) fn installed(root: &Path) -> Result<Vec<Package>> {
    let path = root.join("var/lib/dpkg/status");
    let status = fs::read(&path).map_err(Error::io("read", &path))?;
    let mut packages = parse(&String::from_utf8_lossy(&status));
    packages.sort();
    Ok(packages)
}

fn parse(status: &str) -> Vec<Package> {
    let stanza = |stanza: &str| {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
        let installed = field("Status: ")?.ends_with(" installed");
        let (name, version) = (field("Package: ")?, field("Version: ")?);
        installed.then(|| Package { name: name.to_owned(), version: version.to_owned() })
    };
    status.split("\n\n").filter_map(stanza).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count() {
        let status = "Package: bash\nStatus: install ok installed\nVersion: 5.2.15-2+b7\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                      Package: git\nEssential: no\nStatus: install ok installed\nDescription: x\n \
                      Version: 9\nVersion: 1:2.39.5\n";
        let packages = parse(status);
        let shown: Vec<_> = packages.iter().map(|p| format!("{} {}", p.name, p.version)).collect();
        assert_eq!(shown, ["bash 5.2.15-2+b7", "git 1:2.39.5"]);
    }
}
