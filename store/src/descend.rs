//! A walk over a tree of directories by several threads: down through `enter`, parents first, and
//! up through `leave`, when everything below a directory is done.
//!
//! Directories are reached only through descriptors of their parents, one name at a time and
//! without following links: no path is too long, and nobody who swaps a directory for a link leads
//! the walk astray. Only a few descriptors stay open, however deep or wide the tree.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io;

use crate::error::{Error, Result};
use crate::store::locked;

/// Descriptors kept open, so that children find their parent's without climbing.
const RECENT_DIRS: usize = 64;

/// One directory of the walk.
pub(crate) struct Node<D> {
    parent: Option<Arc<Node<D>>>,
    name: Box<[u8]>,
    /// Levels below the top, which has 0.
    pub(crate) depth: usize,
    fd: Mutex<Weak<OwnedFd>>,
    /// Pieces of work below this directory that are not done; one more while it is entered.
    pending: AtomicUsize,
    /// What the walk knows about it.
    pub(crate) data: D,
}

impl<D> Node<D> {
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    pub(crate) fn parent(&self) -> Option<&Arc<Node<D>>> {
        self.parent.as_ref()
    }

    /// The path below the top, names joined by `/`; empty for the top.
    pub(crate) fn path(&self) -> Vec<u8> {
        let mut names = Vec::with_capacity(self.depth);
        let mut node = self;
        while let Some(parent) = &node.parent {
            names.push(&*node.name);
            node = parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// The path of something in this directory.
    pub(crate) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.path();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }
}

impl<D> Drop for Node<D> {
    /// One after the other: the chain of parents may be deeper than the stack.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut node) = parent.and_then(Arc::into_inner) {
            parent = node.parent.take();
        }
    }
}

/// What entering a directory found to do.
pub(crate) struct Found<D, G> {
    /// Directories below, by name.
    pub(crate) dirs: Vec<(Box<[u8]>, D)>,
    /// Groups of other entries, each for one thread.
    pub(crate) groups: Vec<G>,
}

/// What a walk does.
pub(crate) trait Descent: Sync {
    /// Kept for each directory.
    type Dir: Send + Sync;
    /// Some entries of one directory.
    type Group: Send;
    /// Belongs to one thread.
    type Worker: Send;

    /// Looks into a directory.
    fn enter(
        &self,
        worker: &mut Self::Worker,
        node: &Node<Self::Dir>,
        fds: &DirFds,
    ) -> Result<Found<Self::Dir, Self::Group>>;

    /// Works on some of its entries.
    fn group(
        &self,
        worker: &mut Self::Worker,
        node: &Node<Self::Dir>,
        fds: &DirFds,
        group: Self::Group,
    ) -> Result<()>;

    /// Everything in the directory and below is done.
    fn leave(&self, worker: &mut Self::Worker, node: &Node<Self::Dir>, fds: &DirFds) -> Result<()>;
}

/// Opens the directories of a walk.
pub(crate) struct DirFds {
    top: Arc<OwnedFd>,
    recent: Mutex<VecDeque<Arc<OwnedFd>>>,
}

impl DirFds {
    /// The directory, opened again from the nearest ancestor that is still open if need be.
    pub(crate) fn open<D>(&self, node: &Node<D>) -> io::Result<Arc<OwnedFd>> {
        let mut closed = Vec::new();
        let mut at = node;
        let mut fd = loop {
            let Some(parent) = &at.parent else { break self.top.clone() };
            if let Some(fd) = locked(&at.fd).upgrade() {
                break fd;
            }
            closed.push(at);
            at = parent;
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for (left, node) in closed.into_iter().enumerate().rev() {
            fd = Arc::new(openat(&*fd, &*node.name, flags, Mode::empty())?);
            // The nearest ancestors stay open too: a walk on its way up wants them next.
            if left < RECENT_DIRS / 2 {
                *locked(&node.fd) = Arc::downgrade(&fd);
                let mut recent = locked(&self.recent);
                recent.push_back(fd.clone());
                if recent.len() > RECENT_DIRS {
                    recent.pop_front();
                }
            }
        }
        Ok(fd)
    }
}

enum Work<J: Descent> {
    Dir(Arc<Node<J::Dir>>),
    Group(Arc<Node<J::Dir>>, J::Group),
}

struct Queue<J: Descent> {
    /// Last in, first out: the walk goes deep before it goes wide, which bounds what waits here.
    stack: Vec<Work<J>>,
    busy: usize,
    failed: Option<Error>,
    stopped: bool,
}

struct Walk<'a, J: Descent> {
    job: &'a J,
    fds: DirFds,
    queue: Mutex<Queue<J>>,
    changed: Condvar,
}

/// Walks from `top` with one thread for each worker. The first error stops the walk.
pub(crate) fn descend<J: Descent>(
    job: &J,
    top: OwnedFd,
    data: J::Dir,
    workers: &mut [J::Worker],
) -> Result<()> {
    let node = Node {
        parent: None,
        name: Box::default(),
        depth: 0,
        fd: Mutex::default(),
        pending: AtomicUsize::new(1),
        data,
    };
    let walk = Walk {
        job,
        fds: DirFds { top: Arc::new(top), recent: Mutex::default() },
        queue: Mutex::new(Queue {
            stack: vec![Work::Dir(Arc::new(node))],
            busy: 0,
            failed: None,
            stopped: false,
        }),
        changed: Condvar::new(),
    };
    std::thread::scope(|scope| {
        for worker in workers {
            scope.spawn(|| walk.run(worker));
        }
    });
    let failed = locked(&walk.queue).failed.take();
    failed.map_or(Ok(()), Err)
}

/// Counts a thread as busy; if it panics, the others stop instead of waiting for it.
struct Busy<'w, 'a, J: Descent>(&'w Walk<'a, J>);

impl<J: Descent> Drop for Busy<'_, '_, J> {
    fn drop(&mut self) {
        let mut queue = locked(&self.0.queue);
        queue.busy -= 1;
        queue.stopped |= std::thread::panicking();
        self.0.changed.notify_all();
    }
}

impl<J: Descent> Walk<'_, J> {
    fn run(&self, worker: &mut J::Worker) {
        while let Some(work) = self.next() {
            let busy = Busy(self);
            if let Err(error) = self.perform(worker, work) {
                let mut queue = locked(&self.queue);
                queue.stopped = true;
                queue.failed.get_or_insert(error);
            }
            drop(busy);
        }
    }

    /// Waits for work; none when all is done or the walk was stopped.
    fn next(&self) -> Option<Work<J>> {
        let mut queue = locked(&self.queue);
        loop {
            if queue.stopped {
                return None;
            }
            if let Some(work) = queue.stack.pop() {
                queue.busy += 1;
                return Some(work);
            }
            if queue.busy == 0 {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(|poison| poison.into_inner());
        }
    }

    fn perform(&self, worker: &mut J::Worker, work: Work<J>) -> Result<()> {
        let node = match work {
            Work::Group(node, group) => {
                self.job.group(worker, &node, &self.fds, group)?;
                node
            }
            Work::Dir(node) => {
                let found = self.job.enter(worker, &node, &self.fds)?;
                node.pending.fetch_add(found.dirs.len() + found.groups.len(), Ordering::Relaxed);
                let mut queue = locked(&self.queue);
                for (name, data) in found.dirs.into_iter().rev() {
                    queue.stack.push(Work::Dir(Arc::new(Node {
                        parent: Some(node.clone()),
                        name,
                        depth: node.depth + 1,
                        fd: Mutex::default(),
                        pending: AtomicUsize::new(1),
                        data,
                    })));
                }
                let groups = found.groups.into_iter().rev();
                queue.stack.extend(groups.map(|group| Work::Group(node.clone(), group)));
                self.changed.notify_all();
                drop(queue);
                node
            }
        };
        self.done(worker, node)
    }

    /// One piece of a directory's work is done; if it was the last, the directory is, and so on up.
    fn done(&self, worker: &mut J::Worker, mut node: Arc<Node<J::Dir>>) -> Result<()> {
        while node.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.job.leave(worker, &node, &self.fds)?;
            match &node.parent {
                Some(parent) => node = parent.clone(),
                None => break,
            }
        }
        Ok(())
    }
}
