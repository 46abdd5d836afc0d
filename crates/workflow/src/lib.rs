//! The Open Workflow DSL 1.0.3, pure: documents are text, time is an argument.
//!
//! [`read`] turns YAML 1.2 or JSON into a [`Document`] in which every value knows its place. [`Document::check`] lists
//! everything that is wrong with it, or gives the typed [`Definition`]. What a document may look like is declared as data:
//! each kind of task is one file with its shape, its definition and its tests (`docs/decisions/0140-workflow-shapes.md`).
//!
//! # Errors
//! All problems are told at once, with line, column and path. [`ProblemKind`] keeps apart what the schema of the DSL refuses
//! and what it lets pass although it cannot work.

mod cron;
mod definition;
mod document;
mod duration;
mod error_type;
mod expression;
pub mod jq;
pub mod machine;
mod node;
mod path;
mod problem;
pub mod program;
mod read;
pub mod rule;
mod scalar;
mod shape;
mod task;
pub mod template;
#[cfg(test)]
mod testing;

pub use cron::Cron;
pub use definition::authentication::{
    Authentication, AuthenticationPolicy, Login, OAuth2, OAuth2Client, OAuth2Endpoints, OAuth2Token, Secretly,
};
pub use definition::data_flow::{Export, Input, Output, Schema, SchemaSource};
pub use definition::error::{ErrorDefinition, ErrorFilter};
pub use definition::event::{
    Correlation, EventConsumption, EventFilter, ReadAs, SubscriptionIterator, Until,
};
pub use definition::extension::Extension;
pub use definition::resource::{Catalog, Endpoint, ExternalResource};
pub use definition::retry::{Backoff, Jitter, Retry, RetryPolicy};
pub use definition::reuse::Use;
pub use definition::schedule::Schedule;
pub use definition::timeout::Timeout;
pub use definition::{Definition, DocumentInfo, Evaluate, EvaluateMode};
pub use document::{Document, read};
pub use duration::{Duration, DurationValue, MAX_SECONDS};
pub use error_type::{ErrorType, same_error_type};
pub use expression::is_expression;
pub use node::{Key, Node, Position, Value};
pub use problem::{MAX_PROBLEMS, Problem, ProblemKind, Problems};
pub use read::{MAX_ALIAS_BYTES, MAX_BYTES, MAX_DEPTH, MAX_VALUES};
pub use task::call::a2a::A2aCall;
pub use task::call::asyncapi::{
    AsyncApiAction, AsyncApiCall, AsyncApiServer, AsyncApiSubscription, AsyncApiTarget, Consume,
};
pub use task::call::function::FunctionCall;
pub use task::call::grpc::GrpcCall;
pub use task::call::http::HttpCall;
pub use task::call::mcp::{McpCall, McpClient, McpTransport};
pub use task::call::openapi::OpenApiCall;
pub use task::call::{Arguments, Call, HttpOutput, Named, Texts};
pub use task::emit::Emit;
pub use task::for_loop::For;
pub use task::fork::Fork;
pub use task::listen::Listen;
pub use task::raise::Raise;
pub use task::run::container::{Cleanup, Container, PullPolicy};
pub use task::run::script::{Script, ScriptSource};
pub use task::run::shell::Shell;
pub use task::run::workflow::SubWorkflow;
pub use task::run::{Process, Run, RunReturn};
pub use task::switch::{Case, Switch};
pub use task::try_catch::{Catch, Try};
pub use task::{FlowDirective, Task, TaskKind};
