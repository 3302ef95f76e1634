//! The environments that can be built, and what is in each.

use crate::{Error, Result};

/// How one environment is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// The public name.
    pub name: &'static str,
    /// One line for `pyro env list`.
    pub description: &'static str,
    /// Debian's suite.
    pub suite: &'static str,
    /// Packages beyond the minimal base; each list extends the one before it.
    packages: &'static [&'static [&'static str]],
}

/// What any command runner needs on top of Debian's minimal base.
const BASE: &[&str] = &["ca-certificates", "procps"];

/// What day-to-day work on source text needs.
const WORK: &[&str] =
    &["curl", "git", "jq", "less", "patch", "python3", "python3-venv", "unzip", "xz-utils"];

/// What compiling C and C++ and native Python extensions needs.
const COMPILE: &[&str] = &["build-essential", "cmake", "pkg-config", "python3-dev"];

/// Every known environment, the default one first.
pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        name: "debian:12",
        description: "Debian 12 with git, python3 and everyday tools",
        suite: "bookworm",
        packages: &[BASE, WORK],
    },
    Recipe {
        name: "debian:12-base",
        description: "Debian 12, minimal",
        suite: "bookworm",
        packages: &[BASE],
    },
    Recipe {
        name: "debian:12-build",
        description: "Debian 12 with compilers and build tools",
        suite: "bookworm",
        packages: &[BASE, WORK, COMPILE],
    },
];

impl Recipe {
    /// The recipe called `name`.
    pub fn find(name: &str) -> Result<&'static Self> {
        RECIPES.iter().find(|recipe| recipe.name == name).ok_or_else(|| Error::Unknown {
            name: name.to_owned(),
            known: RECIPES.iter().map(|recipe| recipe.name.to_owned()).collect(),
            closest: closest(name),
        })
    }

    /// The packages asked for by name; their dependencies come with them.
    pub fn packages(&self) -> impl Iterator<Item = &'static str> {
        self.packages.iter().flat_map(|list| list.iter().copied())
    }
}

/// Whether pyro knows how to build an environment of this name from packages.
pub fn is_built_here(name: &str) -> bool {
    Recipe::find(name).is_ok()
}

/// An environment's name as one path component.
pub(crate) fn directory(name: &str) -> String {
    name.replace('%', "%25").replace(':', "%3A").replace('/', "%2F")
}

fn closest(name: &str) -> Option<String> {
    RECIPES
        .iter()
        .map(|recipe| (strsim::jaro_winkler(recipe.name, name), recipe.name))
        // Below this, names share little but chance.
        .filter(|(likeness, _)| *likeness >= 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_owned())
}

/// The name that [`directory`] made this of.
pub(crate) fn name_of(directory: &str) -> String {
    directory.replace("%2F", "/").replace("%3A", ":").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_get_the_known_ones_and_the_closest() {
        let message = Recipe::find("debain:12").unwrap_err().to_string();
        assert_eq!(
            message,
            "there is no environment `debain:12`, did you mean debian:12?; known: debian:12, \
             debian:12-base, debian:12-build"
        );
        let message = Recipe::find("\u{1b}[2J").unwrap_err().to_string();
        assert!(message.starts_with("there is no environment `\\u{1b}[2J`; known:"), "{message}");
    }

    #[test]
    fn directories_are_single_components_and_differ() {
        let names: std::collections::BTreeSet<_> =
            RECIPES.iter().map(|recipe| directory(recipe.name)).collect();
        assert_eq!(names.len(), RECIPES.len());
        assert!(names.iter().all(|name| !name.contains(['/', ':'])));
    }
}
