//! Moves a staged push into place, all of it or nothing, and finishes what a crash interrupted.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, renameat2};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use pyro_format::TreePath;

use super::journal::{self, Journal, Step};
use super::stage::Staged;
use super::stage_name;
use crate::beneath::{self, Kind};
use crate::error::{Doing, Error, Result};
use crate::exec::Cgroups;
use crate::workspace::Workspace;

/// Longest wait for commands to stand still while a push is moved in.
const FREEZE_WITHIN: Duration = Duration::from_secs(1);

/// Commits a staged push. Blocks.
pub fn commit(staged: &Staged, cgroups: Option<&Cgroups>) -> Result<()> {
    let workspace = &*staged.workspace;
    let mover = Mover { top: workspace.top()?, stage: staged.dir()? };
    let steps = steps(staged)?;
    if steps.is_empty() {
        return Ok(());
    }
    let frozen = cgroups.map(|cgroups| cgroups.freeze(FREEZE_WITHIN));
    for placement in &staged.placements {
        mover.check(&placement.target, placement.replaces)?;
    }
    journal::write(workspace.scratch(), &Journal { id: staged.id, steps: steps.clone() })?;
    let moved = mover.all(&steps);
    drop(frozen);
    // Undone or done, it must be on disk before the journal goes.
    workspace.sync()?;
    journal::remove(workspace.scratch())?;
    moved
}

fn steps(staged: &Staged) -> Result<Vec<Step>> {
    let stage = staged.workspace.upper_stage()?;
    let name = stage_name(staged.id);
    let stage = beneath::open_dir(stage, name.as_bytes()).doing(|| "open the stage".into())?;
    let mut steps = Vec::with_capacity(staged.placements.len() + staged.modes.len());
    for (number, placement) in staged.placements.iter().enumerate() {
        steps.push(Step::Place {
            staged: number,
            target: placement.target.clone(),
            exchange: placement.replaces.is_some(),
            inode: inode(&stage, number)?.ok_or_else(|| lost(number))?,
        });
    }
    steps.extend(staged.modes.iter().map(|change| Step::Chmod {
        target: change.target.clone(),
        old: change.old.bits(),
        new: change.new.bits(),
    }));
    Ok(steps)
}

fn lost(number: usize) -> Error {
    Error::NotFound(format!("the staged item {number} is gone"))
}

/// Inode, in the upper layer itself, of what is staged under a number.
fn inode(stage: &OwnedFd, number: usize) -> Result<Option<u64>> {
    let stat = beneath::stat_if_any(stage, number.to_string().as_bytes());
    Ok(stat.doing(|| "look at the stage".into())?.map(|stat| stat.st_ino))
}

/// Finishes an interrupted commit and empties the stage. Before anybody uses `/workspace`. Blocks.
pub fn recover(workspace: &Workspace) -> Result<()> {
    if let Some(journal) = journal::read(workspace.scratch())? {
        finish(workspace, &journal)?;
        workspace.sync()?;
        journal::remove(workspace.scratch())?;
    }
    let stage = workspace.stage()?;
    let listed = beneath::reopen_dir(stage.as_fd()).and_then(beneath::names);
    for name in listed.doing(|| "list the stage".into())? {
        beneath::remove_all(stage.as_fd(), &name).doing(|| "empty the stage".into())?;
    }
    Ok(())
}

fn finish(workspace: &Workspace, journal: &Journal) -> Result<()> {
    let name = stage_name(journal.id);
    let open = |stage| beneath::open_dir(stage, name.as_bytes());
    let upper = open(workspace.upper_stage()?).doing(|| "open the stage".into())?;
    let stage = open(workspace.stage()?).doing(|| "open the stage".into())?;
    let mover = Mover { top: workspace.top()?, stage };
    let mut done = Vec::new();
    let mut left = Vec::new();
    for step in &journal.steps {
        match step {
            Step::Place { staged, inode: wanted, .. }
                if inode(&upper, *staged)? != Some(*wanted) =>
            {
                done.push(step.clone());
            }
            _ => left.push(step.clone()),
        }
    }
    match mover.all(&left) {
        Ok(()) => Ok(()),
        // It cannot be finished: then none of it happened.
        Err(_) => mover.undo(&done),
    }
}

struct Mover {
    top: OwnedFd,
    stage: OwnedFd,
}

impl Mover {
    /// Makes sure that the target is what was planned with.
    fn check(&self, target: &TreePath, replaces: Option<Kind>) -> Result<()> {
        let (parent, name) = self.parent(target)?;
        let stat = beneath::stat_if_any(&parent, &name).doing(|| format!("look at '{target}'"))?;
        let now = stat.as_ref().map(beneath::kind);
        let same = now == replaces
            && (now != Some(Kind::Dir) || beneath::is_empty_dir(&parent, &name) == Ok(true));
        if same { Ok(()) } else { Err(changed(target)) }
    }

    fn parent(&self, target: &TreePath) -> Result<(OwnedFd, Vec<u8>)> {
        let (parent, name) =
            target.split_last().ok_or_else(|| Error::Invalid("the top cannot move".into()))?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        match beneath::open(self.top.as_fd(), &parent, flags) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Err(changed(target)),
            other => Ok((other.doing(|| format!("open '{parent}'"))?, name.as_bytes().to_vec())),
        }
    }

    /// Does all steps, or undoes those that were done.
    fn all(&self, steps: &[Step]) -> Result<()> {
        for (at, step) in steps.iter().enumerate() {
            if let Err(error) = self.one(step, false) {
                self.undo(&steps[..at])?;
                return Err(error);
            }
        }
        Ok(())
    }

    fn undo(&self, steps: &[Step]) -> Result<()> {
        steps.iter().rev().try_for_each(|step| self.one(step, true))
    }

    fn one(&self, step: &Step, back: bool) -> Result<()> {
        match step {
            Step::Place { staged, target, exchange, .. } => {
                let (parent, name) = self.parent(target)?;
                let staged = staged.to_string();
                let here = (self.stage.as_fd(), staged.as_bytes());
                let there = (parent.as_fd(), &name[..]);
                let ((from, old), (to, new)) = if back { (there, here) } else { (here, there) };
                rename(from, old, to, new, *exchange).map_err(|errno| match errno {
                    Errno::EEXIST | Errno::ENOENT => changed(target),
                    errno => Error::Io {
                        what: format!("cannot put '{target}' into place"),
                        source: errno.into(),
                    },
                })
            }
            Step::Chmod { target, old, new } => {
                let mode = if back { *old } else { *new };
                let (parent, name) = self.parent(target)?;
                if beneath::stat(&parent, &name).map(|s| beneath::kind(&s)) == Ok(Kind::Symlink) {
                    return Err(changed(target));
                }
                let mode = Mode::from_bits_truncate(mode.into());
                fchmodat(&parent, &name[..], mode, FchmodatFlags::FollowSymlink)
                    .doing(|| format!("change the mode of '{target}'"))
            }
        }
    }
}

fn rename(
    from: BorrowedFd<'_>,
    old: &[u8],
    to: BorrowedFd<'_>,
    new: &[u8],
    exchange: bool,
) -> Result<(), Errno> {
    let flags = if exchange { RenameFlags::RENAME_EXCHANGE } else { RenameFlags::RENAME_NOREPLACE };
    renameat2(from, old, to, new, flags)
}

fn changed(target: &TreePath) -> Error {
    Error::Conflict(format!("'{target}' was changed while the push was under way"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    const ID: u64 = 7;

    /// A staged push of four steps: a new file, a replaced file, a file that becomes a directory, a
    /// mode.
    fn prepare(dir: &Path) -> (Workspace, Vec<Step>) {
        let workspace = Workspace::plain(dir);
        let (top, stage) = (dir.join("merged/ws"), dir.join("merged/stage/push-7"));
        fs::create_dir(&stage).unwrap();
        for name in ["replaced", "file", "mode"] {
            fs::write(top.join(name), "old").unwrap();
        }
        fs::write(stage.join("0"), "new").unwrap();
        fs::write(stage.join("1"), "new").unwrap();
        fs::create_dir(stage.join("2")).unwrap();
        let fd = beneath::open_dir(workspace.stage().unwrap(), b"push-7").unwrap();
        let path = |name: &str| TreePath::parse(name.as_bytes()).unwrap();
        let place = |staged, target, exchange| Step::Place {
            staged,
            target: path(target),
            exchange,
            inode: inode(&fd, staged).unwrap().unwrap(),
        };
        let steps = vec![
            place(0, "added", false),
            place(1, "replaced", true),
            place(2, "file", true),
            Step::Chmod { target: path("mode"), old: 0o644, new: 0o600 },
        ];
        (workspace, steps)
    }

    fn mover(workspace: &Workspace) -> Mover {
        let stage = beneath::open_dir(workspace.stage().unwrap(), b"push-7").unwrap();
        Mover { top: workspace.top().unwrap(), stage }
    }

    /// What `/workspace` holds, and what is left in the stage.
    fn state(dir: &Path) -> (Vec<String>, usize) {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir.join("merged/ws")).unwrap() {
            let path = entry.unwrap().path();
            let content = fs::read_to_string(&path).unwrap_or("directory".into());
            found.push(format!("{}={content}", path.file_name().unwrap().to_str().unwrap()));
        }
        found.sort();
        (found, fs::read_dir(dir.join("merged/stage")).unwrap().count())
    }

    #[test]
    fn a_commit_cut_off_after_any_step_is_finished() {
        for done in 0..=4 {
            let dir = tempfile::tempdir().unwrap();
            let (workspace, steps) = prepare(dir.path());
            let journal = Journal { id: ID, steps: steps.clone() };
            journal::write(workspace.scratch(), &journal).unwrap();
            mover(&workspace).all(&steps[..done]).unwrap();
            recover(&workspace).unwrap();
            let (found, staged) = state(dir.path());
            assert_eq!(found, ["added=new", "file=directory", "mode=old", "replaced=new"]);
            assert_eq!(staged, 0);
            assert_eq!(journal::read(workspace.scratch()).unwrap(), None);
        }
    }

    #[test]
    fn a_commit_that_cannot_be_finished_is_undone() {
        for done in 0..=2 {
            let dir = tempfile::tempdir().unwrap();
            let (workspace, steps) = prepare(dir.path());
            let journal = Journal { id: ID, steps: steps.clone() };
            journal::write(workspace.scratch(), &journal).unwrap();
            mover(&workspace).all(&steps[..done]).unwrap();
            fs::remove_file(dir.path().join("merged/ws/file")).unwrap();
            recover(&workspace).unwrap();
            assert_eq!(state(dir.path()), (vec!["mode=old".into(), "replaced=old".into()], 0));
        }
    }

    #[test]
    fn without_a_journal_the_stage_is_emptied_and_nothing_else_touched() {
        let dir = tempfile::tempdir().unwrap();
        let (workspace, _) = prepare(dir.path());
        recover(&workspace).unwrap();
        let (found, staged) = state(dir.path());
        assert_eq!(found, ["file=old", "mode=old", "replaced=old"]);
        assert_eq!(staged, 0);
    }
}
