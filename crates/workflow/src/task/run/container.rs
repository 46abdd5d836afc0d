//! `run.container`: a container.

use serde_json::{Map, Value as Json};

use crate::definition::DURATION;
use crate::duration::DurationValue;
use crate::node::Node;
use crate::shape::{Check, MAP, Object, Property, Shape, TEXT, TEXTS};

/// A container.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// The image.
    pub image: String,
    /// The name of the container.
    pub name: Option<String>,
    /// The command instead of that of the image.
    pub command: Option<String>,
    /// Ports, with expressions.
    pub ports: Map<String, Json>,
    /// Volumes, with expressions.
    pub volumes: Map<String, Json>,
    /// The environment, with expressions.
    pub environment: Map<String, Json>,
    /// What it reads: text or an expression.
    pub stdin: Option<String>,
    /// The command's arguments; each may be an expression.
    pub arguments: Vec<String>,
    /// When it is removed.
    pub cleanup: Cleanup,
    /// `pullPolicy`: when the image is fetched.
    pub pull: PullPolicy,
}

/// When a container is removed (`lifetime`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cleanup {
    /// Never by the runtime.
    #[default]
    Never,
    /// As soon as it has ended.
    Always,
    /// A while after it has ended.
    Eventually(DurationValue),
}

/// When an image is fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// When it is not there.
    #[default]
    IfNotPresent,
    /// Each time.
    Always,
    /// Never.
    Never,
}

static LIFETIME: Shape = Shape::Object(
    Object::of(
        "a lifetime",
        &[
            Property::required("cleanup", &Shape::Choice(&["always", "never", "eventually"])),
            Property::optional("after", &DURATION),
        ],
    )
    .rule(after_eventually),
);

pub(crate) static CONTAINER: Shape = Shape::Object(Object::of(
    "a container",
    &[
        Property::required("image", &TEXT),
        Property::optional("name", &TEXT),
        Property::optional("command", &TEXT),
        Property::optional("ports", &MAP),
        Property::optional("volumes", &MAP),
        Property::optional("environment", &MAP),
        Property::optional("stdin", &TEXT),
        Property::optional("arguments", &TEXTS),
        Property::optional("lifetime", &LIFETIME),
        Property::optional("pullPolicy", &Shape::Choice(&["ifNotPresent", "always", "never"])),
    ],
));

/// `after` goes with `eventually`, and only with it.
fn after_eventually<'n>(node: &'n Node, check: &mut Check<'n>) {
    let Some(cleanup) = node.get("cleanup").and_then(Node::text) else { return };
    match (cleanup == "eventually", node.get("after").is_some()) {
        (true, false) => {
            check.refuse(
                node.position,
                "`after` is missing in a lifetime",
                "`cleanup: eventually` says after how long",
            );
        }
        (false, true) => {
            let message = "`after` without `cleanup: eventually`";
            check.refuse(node.position, message, "leave `after` out, or clean up eventually");
        }
        _ => {}
    }
}

impl Container {
    pub(crate) fn read(node: &Node) -> Self {
        Self {
            image: node.string_at("image"),
            name: node.text_at("name"),
            command: node.text_at("command"),
            ports: node.map_at("ports"),
            volumes: node.map_at("volumes"),
            environment: node.map_at("environment"),
            stdin: node.text_at("stdin"),
            arguments: node.list_at("arguments"),
            cleanup: node.read_at("lifetime", Cleanup::read).unwrap_or_default(),
            pull: PullPolicy::read(node),
        }
    }
}

impl Cleanup {
    fn read(node: &Node) -> Self {
        match (node.get("cleanup").and_then(Node::text), node.get("after")) {
            (Some("eventually"), Some(after)) => Self::Eventually(DurationValue::read(after)),
            (Some("always"), _) => Self::Always,
            _ => Self::Never,
        }
    }
}

impl PullPolicy {
    fn read(node: &Node) -> Self {
        match node.get("pullPolicy").and_then(Node::text) {
            Some("always") => Self::Always,
            Some("never") => Self::Never,
            _ => Self::IfNotPresent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskKind;
    use crate::task::run::Process;
    use crate::testing::{problems, task};

    #[test]
    fn a_container_is_read() {
        let text = "run: {container: {image: a, arguments: [b], lifetime: {cleanup: eventually, after: PT1M}, pullPolicy: never, ports: {8080: 80}}}";
        let TaskKind::Run(run) = task(text).kind else { panic!("a run task") };
        let Process::Container(container) = run.process else { panic!("a container") };
        assert!(matches!(container.cleanup, Cleanup::Eventually(_)));
        assert_eq!(
            (container.pull, container.arguments.len(), container.ports.len()),
            (PullPolicy::Never, 1, 1)
        );
    }

    #[test]
    fn a_time_goes_with_eventually_only() {
        let lifetime =
            |text: &str| problems(&format!("run: {{container: {{image: a, lifetime: {text}}}}}")).join("\n");
        assert!(lifetime("{cleanup: eventually}").contains("`after` is missing in a lifetime"));
        assert!(lifetime("{cleanup: always, after: PT1S}").contains("`after` without `cleanup: eventually`"));
        assert!(lifetime("{cleanup: always}").is_empty());
        assert!(lifetime("{cleanup: sometimes}").contains("known: always, never, eventually"));
    }
}
