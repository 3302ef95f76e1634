//! The tree of changed names, each leading to its card.

use std::collections::BTreeMap;

use super::{named, text};
use crate::print::diff::Line;

/// Directories below each other that are shown as such; deeper names are one label.
const DEEP: usize = 12;

#[derive(Default)]
struct Dir<'l> {
    dirs: BTreeMap<&'l [u8], Dir<'l>>,
    files: Vec<(&'l [u8], char, usize)>,
}

/// Appends the tree of these lines.
pub fn write(out: &mut String, lines: &[Line<'_>]) {
    let names: Vec<_> = lines.iter().map(named).collect();
    let mut top = Dir::default();
    for (number, (letter, path)) in names.iter().enumerate() {
        let mut dir = &mut top;
        let mut rest = &path[..];
        for _ in 0..DEEP {
            let Some(at) = rest.iter().position(|byte| *byte == b'/') else { break };
            dir = dir.dirs.entry(&rest[..at]).or_default();
            rest = &rest[at + 1..];
        }
        dir.files.push((rest, *letter, number));
    }
    write_dir(out, &top);
}

fn write_dir(out: &mut String, dir: &Dir<'_>) {
    out.push_str("<ul>\n");
    for (name, below) in &dir.dirs {
        // Directories that hold nothing but one other are one line.
        let mut label = text::line(name);
        let mut below = below;
        while let (true, Some((name, only))) =
            (below.files.is_empty(), below.dirs.first_key_value())
            && below.dirs.len() == 1
        {
            label += "/";
            label += &text::line(name);
            below = only;
        }
        *out += &format!("<li><details open><summary><bdi>{label}/</bdi></summary>\n");
        write_dir(out, below);
        out.push_str("</details></li>\n");
    }
    for (name, letter, number) in &dir.files {
        let name = text::line(name);
        *out += &format!(
            "<li><a href=\"#f{number}\"><b class=\"badge {letter}\">{letter}</b>\
             <bdi>{name}</bdi></a></li>\n"
        );
    }
    out.push_str("</ul>\n");
}
