//! What a definition becomes before it runs: expressions read, schemas compiled, names resolved.

mod build;
mod schema;

use std::sync::Arc;

use crate::{Backoff, Definition, Duration, ErrorFilter, ReadAs};

use crate::jq::Data;
use crate::template::Template;

pub(crate) use self::build::PERMIT;
pub use self::build::{AS_IT_IS, Missing, Refused, Resources, SPOKEN, Unbuilt, trigger};
pub(crate) use self::schema::Validator;
pub use self::schema::fits;

/// A step's place in [`Program::steps`].
pub(crate) type StepId = usize;
/// Steps that follow each other, or branches.
pub(crate) type List = Arc<[StepId]>;

/// A workflow that can run.
#[derive(Debug)]
pub struct Program {
    pub(crate) definition: Definition,
    /// The definition as expressions see it.
    pub(crate) document: Data,
    pub(crate) steps: Vec<Step>,
    pub(crate) main: List,
    pub(crate) input: Transform,
    pub(crate) output: Transform,
    pub(crate) timeout: Option<Span>,
    pub(crate) extensions: Vec<Extension>,
}

impl Program {
    /// The definition that it was built from.
    #[must_use]
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Whether it has tasks that listen to events.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(&step.kind, Kind::Listen(listen) if listen.subscription.is_none()))
    }

    pub(crate) fn step(&self, id: StepId) -> &Step {
        &self.steps[id]
    }
}

/// A task.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) reference: String,
    pub(crate) definition: Data,
    pub(crate) when: Option<Template>,
    pub(crate) input: Transform,
    pub(crate) output: Transform,
    pub(crate) export: Transform,
    pub(crate) timeout: Option<Span>,
    /// Of a call: who it says that it comes from.
    pub(crate) authentication: Option<Template>,
    /// What it waits for a permit with.
    pub(crate) permit: Option<Data>,
    pub(crate) then: Next,
    pub(crate) kind: Kind,
    /// Whether its effect must not be begun again when its outcome was lost.
    pub(crate) once: bool,
    /// Extensions around it, the outermost first.
    pub(crate) around: Vec<usize>,
}

/// A schema and a template, each where it is said.
#[derive(Debug, Default)]
pub(crate) struct Transform {
    pub(crate) schema: Option<Validator>,
    pub(crate) with: Option<Template>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Continue,
    Exit,
    End,
    /// A place in the same list.
    Place(usize),
}

/// How long something takes.
#[derive(Debug)]
pub(crate) enum Span {
    Fixed(Duration),
    Of(Template),
}

#[derive(Debug)]
pub(crate) enum Kind {
    Call {
        with: Template,
        what: CallKind,
    },
    Function {
        with: Template,
        task: List,
    },
    /// From now on, a fault of the workflow runs these tasks.
    Compensate {
        with: Template,
        undo: List,
    },
    Do(List),
    Emit(Template),
    For {
        each: String,
        at: String,
        items: Template,
        condition: Option<Template>,
        tasks: List,
    },
    Fork {
        branches: List,
        compete: bool,
    },
    Listen(Box<Listen>),
    Raise(Template),
    Run {
        with: Template,
        what: RunKind,
        awaits: bool,
    },
    Set(Template),
    Switch(Vec<(Option<Template>, Next)>),
    Try {
        tasks: List,
        catch: Box<Catch>,
    },
    Wait(Span),
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// A request over HTTP.
    Http,
    /// An operation of an OpenAPI document.
    OpenApi,
    /// A method of a gRPC service.
    Grpc,
    /// A channel or operation of an AsyncAPI document.
    AsyncApi,
    /// An agent.
    A2a,
    /// A tool or resource of a model context.
    Mcp,
    /// An operation of a SOAP service, a function of the default catalogue.
    Soap,
    /// An operation of a declared service, a function of the default catalogue.
    Service,
    /// A task of a person, a function of the default catalogue.
    Human,
}

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunKind {
    /// A container.
    Container,
    /// A script.
    Script,
    /// A command.
    Shell,
    /// Another workflow.
    Workflow,
}

#[derive(Debug)]
pub(crate) struct Catch {
    pub(crate) errors: Option<ErrorFilter>,
    pub(crate) variable: String,
    pub(crate) when: Option<Template>,
    pub(crate) except_when: Option<Template>,
    pub(crate) retry: Option<Retry>,
    pub(crate) tasks: Option<List>,
    pub(crate) then: Option<Next>,
}

#[derive(Debug, Default)]
pub(crate) struct Retry {
    pub(crate) when: Option<Template>,
    pub(crate) except_when: Option<Template>,
    pub(crate) delay: Option<Span>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) attempts: Option<u32>,
    pub(crate) attempt_lasts: Option<Span>,
    pub(crate) lasts: Option<Span>,
    pub(crate) jitter: Option<(Span, Span)>,
}

#[derive(Debug)]
pub(crate) struct Listen {
    pub(crate) to: Strategy,
    pub(crate) read: ReadAs,
    pub(crate) each: Option<Each>,
    /// Of messages: where they come from.
    pub(crate) subscription: Option<Subscription>,
}

/// Where messages come from, and for how long they are waited for.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) with: Template,
    pub(crate) lasts: Option<Span>,
}

/// What is done with each event or message that is consumed.
#[derive(Debug)]
pub(crate) struct Each {
    pub(crate) item: String,
    pub(crate) at: String,
    pub(crate) tasks: List,
    pub(crate) output: Transform,
    pub(crate) export: Transform,
}

#[derive(Debug)]
pub(crate) enum Strategy {
    One(Filter),
    All(Vec<Filter>),
    Any {
        filters: Vec<Filter>,
        until: Option<Until>,
    },
    /// Messages of a subscription.
    Messages {
        filter: Option<Template>,
        consume: Consume,
    },
}

/// How many messages are consumed.
#[derive(Debug)]
pub(crate) enum Consume {
    Amount(usize),
    While(Template),
    Until(Template),
}

#[derive(Debug)]
pub(crate) enum Until {
    Condition(Template),
    Events(Box<Strategy>),
}

/// A text that an attribute of an event is compared with: itself, or an expression that matches it as a whole.
#[derive(Clone, Debug)]
pub struct Pattern(String, Option<regex::Regex>);

impl Pattern {
    /// The pattern of a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned(), regex::Regex::new(&format!("^(?:{text})$")).ok())
    }

    /// Whether it lets a text pass.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.0 == text || self.1.as_ref().is_some_and(|pattern| pattern.is_match(text))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub(crate) with: Vec<(String, Match)>,
    pub(crate) correlate: Vec<(String, Template, Option<Template>)>,
}

/// What an attribute of an event has to be.
#[derive(Debug)]
pub(crate) enum Match {
    /// This value, or a text that this expression matches as a whole.
    Value(Data, Option<Pattern>),
    /// An expression over the attribute: true, or equal to it; or a value with expressions in it, equal to it.
    Expression(Template),
}

#[derive(Debug)]
pub(crate) struct Extension {
    pub(crate) when: Option<Template>,
    pub(crate) before: List,
    pub(crate) after: List,
}
