//! What a tool is.

use std::future::Future;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use pyro_api::{ErrorBody, ErrorCode};
use rmcp::model::{JsonObject, Tool as Described, ToolAnnotations};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::options::Profile;
use crate::schema;
use crate::server::Calling;

/// What a client may want to know before it lets a model call a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hints {
    /// It changes nothing.
    pub read_only: bool,
    /// It may end or overwrite something.
    pub destructive: bool,
    /// Doing it twice is doing it once.
    pub idempotent: bool,
    /// It may reach the world outside: a guest with a network, for one.
    pub open_world: bool,
}

impl Hints {
    /// It only looks.
    pub const LOOKS: Self =
        Self { read_only: true, destructive: false, idempotent: true, open_world: false };
    /// It makes something new.
    pub const MAKES: Self =
        Self { read_only: false, destructive: false, idempotent: false, open_world: false };
    /// It brings something into a state, and ends nothing.
    pub const BRINGS: Self =
        Self { read_only: false, destructive: false, idempotent: true, open_world: false };
    /// It ends or replaces something; again, and nothing more happens.
    pub const ENDS: Self =
        Self { read_only: false, destructive: true, idempotent: true, open_world: false };
    /// It runs what the caller says, in a place that stays.
    pub const RUNS: Self =
        Self { read_only: false, destructive: true, idempotent: false, open_world: true };
    /// It runs what the caller says, in a VM that nobody else uses.
    pub const RUNS_APART: Self =
        Self { read_only: false, destructive: false, idempotent: false, open_world: true };
}

/// A tool: the type of its arguments.
pub trait Tool: DeserializeOwned + JsonSchema + Send + 'static {
    /// Its name.
    const NAME: &'static str;
    /// Its name for people.
    const TITLE: &'static str;
    /// What it does and when to call it, for models.
    const DESCRIPTION: &'static str;
    /// What a client may want to know.
    const HINTS: Hints;
    /// Its answer: a struct.
    type Output: Serialize + JsonSchema + Send + 'static;

    /// Does it. What waits, waits through `call`, which knows when the client has given up.
    fn run(
        self,
        call: &Calling,
    ) -> impl Future<Output = Result<Self::Output, ErrorBody>> + Send + '_;
}

type Run =
    dyn Fn(JsonObject, Arc<Calling>) -> BoxFuture<'static, Result<Value, ErrorBody>> + Send + Sync;

/// A tool as the server keeps it.
#[derive(Clone)]
pub struct Entry {
    /// As clients see it.
    pub described: Described,
    /// The smallest profile that has it.
    pub profile: Profile,
    run: Arc<Run>,
}

impl Entry {
    /// The tool `T`, from this profile on.
    pub fn new<T: Tool>(profile: Profile) -> Self {
        let annotations = ToolAnnotations::from_raw(
            Some(T::TITLE.into()),
            Some(T::HINTS.read_only),
            Some(T::HINTS.destructive),
            Some(T::HINTS.idempotent),
            Some(T::HINTS.open_world),
        );
        let described = Described::new(T::NAME, T::DESCRIPTION, schema::input::<T>())
            .with_title(T::TITLE)
            .with_raw_output_schema(schema::output::<T::Output>())
            .with_annotations(annotations);
        let run = |arguments, call: Arc<Calling>| {
            async move {
                let tool: T = parse(arguments)?;
                let output = tool.run(&call).await?;
                serde_json::to_value(output)
                    .map_err(|error| ErrorBody::new(ErrorCode::Internal, error.to_string()))
            }
            .boxed()
        };
        Self { described, profile, run: Arc::new(run) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.described.name
    }

    /// Whether it only looks.
    pub fn changes_nothing(&self) -> bool {
        self.described.annotations.as_ref().is_some_and(|hints| hints.read_only_hint == Some(true))
    }

    /// Calls it.
    pub fn run(
        &self,
        arguments: JsonObject,
        call: Arc<Calling>,
    ) -> BoxFuture<'static, Result<Value, ErrorBody>> {
        (self.run)(arguments, call)
    }
}

/// Arguments as their type, or which of them is wrong and why. A model can mend that, so it is an
/// answer of the tool and no error of the protocol.
fn parse<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, ErrorBody> {
    serde_path_to_error::deserialize(Value::Object(arguments)).map_err(|error| {
        let (path, reason) = (error.path().to_string(), error.inner().to_string());
        let message = match path.as_str() {
            "." => reason,
            path => format!("'{path}': {reason}"),
        };
        ErrorBody::new(ErrorCode::InvalidArgument, message)
            .hint("see the tool's input schema; arguments that are not in it are refused")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_api::VmCreate;

    fn refused(arguments: Value) -> String {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        parse::<VmCreate>(arguments).unwrap_err().message
    }

    #[test]
    fn a_wrong_argument_is_named() {
        use serde_json::json;
        let message = refused(json!({ "environment": "debian:12", "mem_mib": "much" }));
        assert_eq!(message, "'mem_mib': invalid type: string \"much\", expected u32");
        let message = refused(json!({ "environment": "debian:12", "memory": 1 }));
        assert!(message.starts_with("'memory': unknown field `memory`"), "{message}");
        assert_eq!(refused(json!({})), "missing field `environment`");
        let message = refused(json!({ "environment": 7 }));
        assert_eq!(message, "'environment': invalid type: integer `7`, expected a string");
    }
}
