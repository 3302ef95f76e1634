//! One client's end: which tools it has, its roots, and the calls that it makes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyro_api::{Call, ClientError, ErrorBody, ErrorCode, ErrorDocument, Event, Home, Launcher};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CustomRequest,
    CustomResult, ErrorCode as RpcCode, ErrorData, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool as Described,
};
use rmcp::service::{Peer, RequestContext};
use rmcp::{RoleServer, ServerHandler};
use serde_json::Value;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::daemon::Daemon;
use crate::http_guard::Hangup;
use crate::options::Options;
use crate::progress::Progress;
use crate::roots::Roots;
use crate::texts;
use crate::tool::Entry;
use crate::tools;

/// How long a client may take to tell its roots.
const ROOTS: Duration = Duration::from_secs(10);

/// Why a server cannot serve.
#[derive(Debug, Error)]
pub enum ServeError {
    /// A directory of `--allow-root` cannot be one.
    #[error("{path} cannot be allowed")]
    Root {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The client broke the protocol before it had begun.
    #[error("the client did not begin as the protocol says")]
    Handshake(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The address cannot be listened to, or listening broke.
    #[error("{address} cannot be served")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// What all sessions share.
#[derive(Debug)]
struct Shared {
    options: Options,
    tools: Vec<Entry>,
    daemon: Daemon,
    explicit: Option<Roots>,
    /// Calls under way, so that an end can wait for them.
    calls: TaskTracker,
}

/// Serves one client; each clone serves another one.
#[derive(Debug, Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Server {
    /// For the daemon of this home, which `launcher` starts when it is not there.
    pub fn new(
        options: Options,
        home: Home,
        launcher: impl Launcher + Clone + Send + Sync + 'static,
    ) -> Result<Self, ServeError> {
        let explicit = Roots::explicit(&options, home.path());
        let explicit = explicit.map_err(|(path, source)| ServeError::Root { path, source })?;
        let tools = tools::all().into_iter().filter(|tool| tool.profile <= options.profile);
        let shared = Shared {
            tools: tools.collect(),
            daemon: Daemon::new(home, launcher),
            explicit,
            calls: TaskTracker::new(),
            options,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns when no call is under way any more, or after `patience`.
    pub async fn settled(&self, patience: Duration) {
        self.shared.calls.close();
        let _ = tokio::time::timeout(patience, self.shared.calls.wait()).await;
    }

    fn tool(&self, name: &str) -> Option<&Entry> {
        self.shared.tools.iter().find(|tool| tool.name() == name)
    }

    /// An unknown tool is the client's mistake, not the model's choice of words.
    fn unknown(&self, name: &str) -> ErrorData {
        let shown: String = name.chars().take(100).collect();
        let profile = self.shared.options.profile;
        let message = match tools::all().iter().find(|tool| tool.name() == name) {
            Some(tool) => format!(
                "Unknown tool: {shown}: it is in the profile {}, the server runs with {}",
                tool.profile.name(),
                profile.name()
            ),
            None => format!("Unknown tool: {shown}"),
        };
        ErrorData::invalid_params(message, None)
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        let mut server = Implementation::new("pyro", env!("CARGO_PKG_VERSION"));
        server.title = Some("pyro: microVMs for commands".into());
        ServerConfig::new(capabilities)
            .with_server_info(server)
            .with_instructions(texts::instructions(self.shared.options.profile))
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        if request.is_some_and(|request| request.cursor.is_some()) {
            return Err(ErrorData::invalid_params("there is one page of tools: no cursor", None));
        }
        let tools = self.shared.tools.iter().map(|tool| tool.described.clone()).collect();
        Ok(ListToolsResult::with_all_items(tools))
    }

    fn get_tool(&self, name: &str) -> Option<Described> {
        self.tool(name).map(|tool| tool.described.clone())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let tool = self.tool(&request.name).ok_or_else(|| self.unknown(&request.name))?.clone();
        let arguments = request.arguments.unwrap_or_default();
        let changes_nothing = tool.changes_nothing();
        let call = Calling::new(self.clone(), changes_nothing, context);
        // A task of its own: whatever it does, the client gets an answer.
        let run = async move { tool.run(arguments, Arc::new(call)).await };
        let result = self.shared.calls.spawn(run).await.unwrap_or_else(|_| {
            Err(ErrorBody::new(ErrorCode::Internal, "the tool broke off: this is a bug of pyro"))
        });
        Ok(answer(result).into())
    }

    /// A request that is like none of the protocol's, or a call of a tool with another shape.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        if request.method != "tools/call" {
            let method = request.method.chars().take(100).collect::<String>();
            return Err(ErrorData::new(RpcCode::METHOD_NOT_FOUND, method, None));
        }
        let params = request.params.unwrap_or_default();
        let parsed: Result<CallToolRequestParams, _> = serde_path_to_error::deserialize(params);
        let why = match parsed {
            Err(error) => format!("params.{}: {}", error.path(), error.inner()),
            Ok(_) => "the request has another shape".to_owned(),
        };
        Err(ErrorData::invalid_params(why, None))
    }
}

/// The structure, and the same as text for clients that know no structures.
fn answer(result: Result<Value, ErrorBody>) -> CallToolResult {
    let (value, failed) = match result {
        Ok(value) => (value, false),
        Err(error) => {
            let document = serde_json::to_value(ErrorDocument { error });
            (document.unwrap_or_default(), true)
        }
    };
    let mut result = CallToolResult::success(vec![ContentBlock::text(value.to_string())]);
    result.structured_content = Some(value);
    result.is_error = Some(failed);
    result
}

/// One call of a tool: what it may reach, and whether its client still waits.
#[derive(Debug)]
pub struct Calling {
    server: Server,
    peer: Peer<RoleServer>,
    /// Its calls of the daemon can be made twice.
    changes_nothing: bool,
    /// The client has roots, and its protocol allows to ask for them.
    can_ask_roots: bool,
    cancelled: CancellationToken,
    hangup: Hangup,
    progress: Progress,
}

impl Calling {
    fn new(server: Server, changes_nothing: bool, context: RequestContext<RoleServer>) -> Self {
        let progress = Progress::new(&context.peer, context.meta.get_progress_token());
        let declares = context.client_capabilities().is_some_and(|client| client.roots.is_some());
        let hangup = context.extensions.get::<axum::http::request::Parts>();
        let hangup = hangup.and_then(|parts| parts.extensions.get::<Hangup>().cloned());
        // From 2026-07-28 on a server asks its clients nothing.
        let may_ask = context.protocol_version().is_some_and(|version| version.has_initialize());
        Self {
            can_ask_roots: declares && may_ask,
            changes_nothing,
            server,
            peer: context.peer,
            cancelled: context.ct,
            hangup: hangup.unwrap_or_default(),
            progress,
        }
    }

    /// Makes a call of the daemon. A client that gives up hangs up, which undoes the call.
    pub async fn daemon<C: Call + Sync>(&self, call: &C) -> Result<C::Reply, ErrorBody> {
        self.stream(call, |_| {}).await
    }

    /// The same; `on` sees every event but progress.
    pub async fn stream<C: Call + Sync>(
        &self,
        call: &C,
        mut on: impl FnMut(Event) + Send,
    ) -> Result<C::Reply, ErrorBody> {
        let on = |event| match event {
            Event::Progress { .. } => self.progress.note(&event),
            event => on(event),
        };
        let work = self.server.shared.daemon.call(call, self.changes_nothing, on);
        tokio::select! {
            biased;
            () = self.given_up() => Err(cancelled()),
            reply = work => reply.map_err(ClientError::into_body),
        }
    }

    /// Makes a call that must be known to have happened or not, even when the client gives up.
    pub async fn to_the_end<C: Call + Sync>(&self, call: &C) -> Result<C::Reply, ErrorBody> {
        let note = |event| self.progress.note(&event);
        let reply = self.server.shared.daemon.call(call, self.changes_nothing, note).await;
        reply.map_err(ClientError::into_body)
    }

    /// Whether the client has given up.
    pub fn is_given_up(&self) -> bool {
        self.cancelled.is_cancelled() || self.hangup.is_cancelled()
    }

    async fn given_up(&self) {
        tokio::select! {
            () = self.cancelled.cancelled() => {}
            () = self.hangup.cancelled() => {}
        }
    }

    /// Host directories that this call may use. A client is asked each time: what it said before may
    /// have changed, and its notice of that may be on its way.
    pub async fn roots(&self) -> Result<Roots, ErrorBody> {
        let Shared { options, daemon, explicit, .. } = &*self.server.shared;
        let home = daemon.home().path();
        if let Some(roots) = explicit {
            return Ok(roots.clone());
        }
        if !self.can_ask_roots {
            return Ok(Roots::default_of(options, home));
        }
        let asked = tokio::select! {
            biased;
            () = self.given_up() => return Err(cancelled()),
            asked = tokio::time::timeout(ROOTS, list_roots(&self.peer)) => asked,
        };
        let untold = |why: &str| {
            let message = format!("the client did not tell which directories it works on: {why}");
            ErrorBody::new(ErrorCode::PathNotAllowed, message)
                .hint("start the server with --allow-root DIR")
        };
        let uris = match asked {
            Ok(Ok(uris)) => uris,
            Ok(Err(why)) => return Err(untold(&why)),
            Err(_) => return Err(untold("it did not answer")),
        };
        Ok(Roots::of_client(options, home, uris.iter().map(String::as_str)))
    }
}

fn cancelled() -> ErrorBody {
    ErrorBody::new(ErrorCode::Cancelled, "the client has given up")
}

/// Clients of protocols up to 2025-11-25 tell their roots; later ones pass directories otherwise.
#[allow(deprecated)]
async fn list_roots(peer: &Peer<RoleServer>) -> Result<Vec<String>, String> {
    let listed = peer.list_roots().await.map_err(|error| error.to_string())?;
    Ok(listed.roots.into_iter().map(|root| root.uri).collect())
}
