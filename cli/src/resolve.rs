//! From arguments to calls: host paths made absolute, bytes kept, defaults left to the daemon.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{self, Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use pyro_api::{
    BytesText, EnvironmentCreate, EnvironmentImport, EnvironmentInspect, EnvironmentPrune,
    EnvironmentPull, ExecKill, ExecRead, ExecStart, Export, GitFetch, Run, SeedOptions, ShellClose,
    ShellOpen, ShellRead, ShellSignal, SnapshotCreate, StoreCat, StoreCheckout, StoreDiff,
    StoreExportBundle, StoreGc, StoreImportBundle, StoreIngest, StoreLs, StoreMount, SyncPush,
    VmCreate, VmExec, WorkspaceApply, WorkspaceApplyUndo, WorkspaceCreate, WorkspaceDiff,
    WorkspaceExec, WorkspaceFork, WorkspaceReset,
};

use crate::args::{
    ApplyArgs, CreateArgs, DiffArgs, EnvCreate, EnvImport, EnvInspect, EnvPrune, EnvPull,
    ExecReadArgs, ExecRef, ExecStartArgs, ExecWaitArgs, ExportArgs, ExportFormat, ForkArgs,
    GitFetchArgs, HereArgs, KEPT, PushArgs, ResetArgs, RunArgs, SeedArgs, ShellOpenArgs,
    ShellReadArgs, ShellRef, ShellSignalArgs, SnapshotCreateArgs, StoreCatArgs, StoreCheckoutArgs,
    StoreDiffArgs, StoreExportBundleArgs, StoreGcArgs, StoreImportBundleArgs, StoreIngestArgs,
    StoreLsArgs, StoreMountArgs, StoreTreeArgs, StoredArgs, VmCreateArgs, VmExecArgs,
};
use crate::error::Error;

/// Absolute, without looking at what is there: links are not resolved.
pub fn absolute(path: &Path) -> Result<BytesText, Error> {
    path::absolute(path)
        .map(|path| path.as_path().into())
        .map_err(|source| Error::system("the current directory cannot be found", source))
}

fn bytes(words: Vec<OsString>) -> Vec<BytesText> {
    words.iter().map(|word| word.as_os_str().into()).collect()
}

fn guest_path(path: Option<OsString>) -> Option<BytesText> {
    path.map(|path| path.as_os_str().into())
}

/// The id of a tree.
fn tree_id(text: String) -> Result<String, Error> {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    let text =
        format!("'{}' is not the id of a tree: those have 64 hex digits", text.escape_debug());
    Err(Error::usage(text).hint("'pyro workspace diff' prints the id of what it shows"))
}

impl StoredArgs {
    /// How the daemon calls it.
    fn name(self) -> Result<Option<String>, Error> {
        Ok(self.tree.map(tree_id).transpose()?.or(self.snapshot))
    }
}

impl From<SeedArgs> for SeedOptions {
    fn from(args: SeedArgs) -> Self {
        Self {
            exclude: args.exclude,
            gitignore: args.gitignore,
            allow_changing: args.allow_changing,
            skip_unreadable: args.skip_unreadable,
        }
    }
}

impl From<EnvPull> for EnvironmentPull {
    fn from(args: EnvPull) -> Self {
        Self { environment: args.environment, force: args.force }
    }
}

impl From<EnvInspect> for EnvironmentInspect {
    fn from(args: EnvInspect) -> Self {
        Self { environment: args.environment }
    }
}

impl From<EnvPrune> for EnvironmentPrune {
    fn from(args: EnvPrune) -> Self {
        Self { dry_run: args.dry_run, images: args.images }
    }
}

impl TryFrom<EnvImport> for EnvironmentImport {
    type Error = Error;

    fn try_from(args: EnvImport) -> Result<Self, Error> {
        Ok(Self { path: absolute(&args.path)?, name: args.name })
    }
}

impl TryFrom<EnvCreate> for EnvironmentCreate {
    type Error = Error;

    fn try_from(args: EnvCreate) -> Result<Self, Error> {
        Ok(Self { name: args.name, from_dir: absolute(&args.from_dir)? })
    }
}

impl From<RunArgs> for Run {
    fn from(args: RunArgs) -> Self {
        Self {
            environment: args.environment,
            command: bytes(args.command),
            vcpu_count: args.machine.vcpu_count,
            mem_mib: args.machine.mem_mib,
            disk_mib: args.machine.disk_mib,
            user: args.machine.user,
            timeout_seconds: args.timeout_seconds,
            ttl_seconds: args.machine.ttl_seconds,
            network: args.machine.network,
            allow_host_compat: args.machine.allow_host_compat,
        }
    }
}

impl ShellOpenArgs {
    /// The call.
    pub fn call(self) -> ShellOpen {
        ShellOpen {
            workspace_id: self.workspace_id,
            cwd: guest_path(self.start.cwd),
            user: self.start.user,
            cols: self.cols,
            rows: self.rows,
            env: self.start.env,
        }
    }
}

impl ShellReadArgs {
    /// The call.
    pub fn call(self) -> ShellRead {
        ShellRead {
            workspace_id: self.shell.workspace_id,
            shell_id: self.shell.shell_id,
            cursor: self.cursor,
            max_chars: self.max_chars,
            plain: self.plain,
            wait_for_idle_ms: self.wait_for_idle_ms,
        }
    }
}

impl ShellSignalArgs {
    /// The call.
    pub fn call(self) -> ShellSignal {
        let ShellRef { workspace_id, shell_id } = self.shell;
        ShellSignal { workspace_id, shell_id, signal: Some(self.signal) }
    }
}

impl ShellRef {
    /// The call that closes it.
    pub fn close(self) -> ShellClose {
        ShellClose { workspace_id: self.workspace_id, shell_id: self.shell_id }
    }
}

impl From<VmCreateArgs> for VmCreate {
    fn from(args: VmCreateArgs) -> Self {
        Self {
            environment: args.environment,
            vcpu_count: args.machine.vcpu_count,
            mem_mib: args.machine.mem_mib,
            disk_mib: args.machine.disk_mib,
            user: args.machine.user,
            ttl_seconds: args.machine.ttl_seconds,
            network: args.machine.network,
            allow_host_compat: args.machine.allow_host_compat,
        }
    }
}

impl From<VmExecArgs> for VmExec {
    fn from(args: VmExecArgs) -> Self {
        Self {
            vm_id: args.vm.vm_id,
            command: bytes(args.command),
            timeout_seconds: args.timeout_seconds,
        }
    }
}

impl From<ExecStartArgs> for WorkspaceExec {
    fn from(args: ExecStartArgs) -> Self {
        Self {
            workspace_id: args.workspace_id,
            command: bytes(args.command),
            timeout_seconds: args.timeout_seconds,
            cwd: guest_path(args.cwd),
            user: args.user,
            env: args.env,
        }
    }
}

impl From<ExecStartArgs> for ExecStart {
    fn from(args: ExecStartArgs) -> Self {
        let WorkspaceExec { workspace_id, command, timeout_seconds, cwd, user, env } = args.into();
        Self { workspace_id, command, timeout_seconds, cwd, user, env }
    }
}

impl From<ExecReadArgs> for ExecRead {
    fn from(args: ExecReadArgs) -> Self {
        Self {
            workspace_id: args.exec.workspace_id,
            sequence: args.exec.sequence,
            stdout_cursor: args.cursors.stdout_cursor,
            stderr_cursor: args.cursors.stderr_cursor,
            max_bytes: args.max_bytes,
            wait_seconds: None,
        }
    }
}

impl From<ExecWaitArgs> for ExecRead {
    fn from(args: ExecWaitArgs) -> Self {
        let ExecWaitArgs { exec, wait_seconds, cursors, max_bytes } = args;
        let max_bytes = max_bytes.or(Some(KEPT));
        Self { wait_seconds, ..ExecReadArgs { exec, cursors, max_bytes }.into() }
    }
}

impl From<ExecRef> for ExecKill {
    fn from(args: ExecRef) -> Self {
        Self { workspace_id: args.workspace_id, sequence: args.sequence }
    }
}

impl CreateArgs {
    /// The call.
    pub fn call(self) -> Result<WorkspaceCreate, Error> {
        let mut labels = std::collections::BTreeMap::new();
        for (key, value) in self.labels {
            if labels.insert(key.clone(), value).is_some() {
                return Err(Error::usage(format!("label '{key}' is given twice")));
            }
        }
        Ok(WorkspaceCreate {
            environment: self.environment,
            seed_path: self.seed_path.as_deref().map(absolute).transpose()?,
            seed: self.seed.into(),
            name: self.name,
            labels,
            vcpu_count: self.machine.vcpu_count,
            mem_mib: self.machine.mem_mib,
            disk_mib: self.machine.disk_mib,
            user: self.machine.user,
            ttl_seconds: self.machine.ttl_seconds,
            network: self.machine.network,
            allow_host_compat: self.machine.allow_host_compat,
        })
    }
}

impl HereArgs {
    /// The workspace, seeded from the current directory.
    pub fn create(&self) -> Result<WorkspaceCreate, Error> {
        let here = std::env::current_dir()
            .map_err(|source| Error::system("the current directory cannot be found", source))?;
        let machine = self.machine.clone();
        Ok(WorkspaceCreate {
            environment: self.environment.clone(),
            seed_path: Some(here.as_path().into()),
            seed: self.seed.clone().into(),
            name: None,
            labels: Default::default(),
            vcpu_count: machine.vcpu_count,
            mem_mib: machine.mem_mib,
            disk_mib: machine.disk_mib,
            user: machine.user,
            ttl_seconds: machine.ttl_seconds,
            network: machine.network,
            allow_host_compat: machine.allow_host_compat,
        })
    }

    /// The command, in a workspace.
    pub fn exec(&self, workspace_id: &str) -> WorkspaceExec {
        WorkspaceExec {
            workspace_id: workspace_id.into(),
            command: bytes(self.command.clone()),
            timeout_seconds: self.timeout_seconds,
            cwd: None,
            user: None,
            env: Vec::new(),
        }
    }
}

impl PushArgs {
    /// The call.
    pub fn call(self) -> Result<SyncPush, Error> {
        Ok(SyncPush {
            workspace_id: self.workspace_id,
            source_path: absolute(&self.source_path)?,
            dest: guest_path(self.dest),
            seed: self.seed.into(),
        })
    }
}

impl ExportArgs {
    /// The call.
    pub fn call(self) -> Result<Export, Error> {
        let decode = |b64: &String| {
            let bytes = STANDARD.decode(b64);
            bytes
                .map(BytesText)
                .map_err(|error| Error::usage(format!("--path-b64 is not Base64: {error}")))
        };
        let exact = self.path_b64.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
        let mut paths = bytes(self.paths).into_iter().chain(exact);
        let (path, more) = (paths.next(), paths.collect());
        Ok(Export {
            workspace_id: self.workspace_id,
            path: path.unwrap_or_else(|| BytesText::from(".")),
            more,
            changed: self.changed,
            archive: self.format == ExportFormat::Tar,
            output_path: match self.output.as_os_str().as_encoded_bytes() {
                b"-" => None,
                _ => Some(absolute(&self.output)?),
            },
            force: self.force,
            tree: self.stored.name()?,
            no_freeze: self.freeze.no_freeze,
        })
    }
}

impl DiffArgs {
    /// The call, with or without a patch.
    pub fn call(&self, patch: bool, stream: bool) -> WorkspaceDiff {
        WorkspaceDiff {
            full: self.full,
            patch,
            stream,
            from: self.from.clone(),
            to: self.to.clone(),
            no_freeze: self.freeze.no_freeze,
            no_pin: self.no_pin,
            paths: bytes(self.paths.clone()),
            exclude: self.exclude.clone(),
            gitignore: self.gitignore,
            context: self.unified,
            binary: self.binary,
            ..WorkspaceDiff::of(self.workspace_id.clone())
        }
    }
}

impl ApplyArgs {
    /// The call, or only its plan.
    pub fn call(&self, dry_run: bool) -> Result<WorkspaceApply, Error> {
        Ok(WorkspaceApply {
            workspace_id: self.workspace_id.clone(),
            host_path: absolute(&self.host_dir)?,
            elsewhere: self.elsewhere,
            dry_run,
            beside: self.beside,
            tree: self.stored.clone().name()?,
            paths: bytes(self.paths.clone()),
            exclude: self.exclude.clone(),
            gitignore: self.gitignore,
            no_freeze: self.freeze.no_freeze,
        })
    }

    /// The call that takes back.
    pub fn undo(self) -> Result<WorkspaceApplyUndo, Error> {
        let host_path = absolute(&self.host_dir)?;
        Ok(WorkspaceApplyUndo { workspace_id: self.workspace_id, host_path })
    }
}

impl GitFetchArgs {
    /// The call.
    pub fn call(self) -> Result<GitFetch, Error> {
        Ok(GitFetch {
            workspace_id: self.workspace_id,
            repository: self.repo.as_deref().map(absolute).transpose()?,
            branch: self.branch,
            force: self.force,
            tree: self.stored.name()?,
            no_freeze: self.freeze.no_freeze,
        })
    }
}

impl SnapshotCreateArgs {
    /// The call.
    pub fn call(self) -> Result<SnapshotCreate, Error> {
        Ok(SnapshotCreate {
            workspace_id: self.snapshot.workspace_id,
            name: self.snapshot.name,
            tree: self.tree.map(tree_id).transpose()?,
            no_freeze: self.freeze.no_freeze,
        })
    }
}

impl ResetArgs {
    /// The call.
    pub fn call(self) -> Result<WorkspaceReset, Error> {
        Ok(WorkspaceReset { workspace_id: self.workspace_id, tree: self.stored.name()? })
    }
}

impl ForkArgs {
    /// The call.
    pub fn call(self) -> Result<WorkspaceFork, Error> {
        let labels = self.labels.into_iter().collect();
        Ok(WorkspaceFork {
            workspace_id: self.workspace_id,
            tree: self.stored.name()?,
            name: self.name,
            labels: Some(labels).filter(|labels: &BTreeMap<_, _>| !labels.is_empty()),
            vcpu_count: self.vcpu_count,
            mem_mib: self.mem_mib,
            disk_mib: self.disk_mib,
            ttl_seconds: self.ttl_seconds,
            network: self.network,
            no_freeze: self.freeze.no_freeze,
        })
    }
}

impl StoreIngestArgs {
    /// The call.
    pub fn call(self) -> Result<StoreIngest, Error> {
        Ok(StoreIngest { source_path: absolute(&self.source_path)?, seed: self.seed.into() })
    }
}

impl StoreCheckoutArgs {
    /// The call.
    pub fn call(self) -> Result<StoreCheckout, Error> {
        Ok(StoreCheckout {
            baseline: self.baseline,
            path: guest_path(self.path),
            output_path: absolute(&self.output_path)?,
            force: self.force,
            no_sync: self.no_sync,
        })
    }
}

impl From<StoreLsArgs> for StoreLs {
    fn from(args: StoreLsArgs) -> Self {
        Self { baseline: args.baseline, path: guest_path(args.path), recursive: args.recursive }
    }
}

impl From<StoreCatArgs> for StoreCat {
    fn from(args: StoreCatArgs) -> Self {
        Self { baseline: args.baseline, path: args.path.as_os_str().into() }
    }
}

impl StoreExportBundleArgs {
    /// The call.
    pub fn call(self) -> Result<StoreExportBundle, Error> {
        let output_path = absolute(&self.output)?;
        Ok(StoreExportBundle { baselines: self.baselines, output_path, force: self.force })
    }
}

impl StoreImportBundleArgs {
    /// The call.
    pub fn call(self) -> Result<StoreImportBundle, Error> {
        Ok(StoreImportBundle { path: absolute(&self.path)? })
    }
}

impl StoreMountArgs {
    /// The call.
    pub fn call(self) -> Result<StoreMount, Error> {
        Ok(StoreMount { baseline: self.baseline, mount_path: absolute(&self.mount_path)? })
    }
}

impl From<&StoreTreeArgs> for StoreLs {
    fn from(args: &StoreTreeArgs) -> Self {
        let (baseline, path) = (args.baseline.clone(), guest_path(args.path.clone()));
        Self { baseline, path, recursive: true }
    }
}

impl From<StoreGcArgs> for StoreGc {
    fn from(args: StoreGcArgs) -> Self {
        Self { dry_run: args.dry_run, grace_seconds: args.grace_seconds }
    }
}

impl From<StoreDiffArgs> for StoreDiff {
    fn from(args: StoreDiffArgs) -> Self {
        Self { old: args.old, new: args.new }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command, SyncCommand, WorkspaceCommand};

    fn parse(words: &[&[u8]]) -> Command {
        let words = words.iter().map(|word| OsString::from_vec(word.to_vec()));
        Cli::try_parse_from([OsString::from("pyro")].into_iter().chain(words)).unwrap().command
    }

    #[test]
    fn arguments_that_are_not_utf8_reach_the_guest() {
        let words: [&[u8]; 8] =
            [b"ws", b"exec", b"fix", b"--env", b"A=\xfe", b"--", b"ls", b"--json\xff"];
        let Command::Workspace(WorkspaceCommand::Exec(args)) = parse(&words) else { panic!() };
        let call = WorkspaceExec::from(args.start.unwrap());
        assert_eq!(call.command, [BytesText(b"ls".into()), BytesText(b"--json\xff".into())]);
        assert_eq!(call.env, [("A".into(), BytesText(b"\xfe".into()))]);
    }

    #[test]
    fn host_paths_become_absolute_and_guest_paths_stay() {
        let words: [&[u8]; 7] =
            [b"workspace", b"sync", b"push", b"fix", b"a\xff/./b", b"--dest", b"../x"];
        let Command::Workspace(WorkspaceCommand::Sync(SyncCommand::Push(args))) = parse(&words)
        else {
            panic!()
        };
        let call = args.call().unwrap();
        let expected = std::env::current_dir().unwrap().join(OsString::from_vec(b"a\xff/b".into()));
        assert_eq!(call.source_path.to_path(), expected);
        assert_eq!(call.dest, Some("../x".into()));
    }

    #[test]
    fn a_path_can_be_given_in_base64() {
        let export = |word: &str| {
            let words = ["workspace", "export", "fix", "--path-b64", word, "--output", "/o"];
            let words = words.map(str::as_bytes);
            let Command::Workspace(WorkspaceCommand::Export(args)) = parse(&words) else {
                panic!()
            };
            args.call()
        };
        assert_eq!(export("/2E=").unwrap().path.0, b"\xffa");
        assert_eq!(export("%").unwrap_err().exit_code(crate::error::ExitCodes::Own), 2);
    }
}
