//! `run.script`: a script.

use serde_json::{Map, Value as Json};

use crate::definition::resource::{EXTERNAL_RESOURCE, ExternalResource};
use crate::node::Node;
use crate::shape::{MAP, Object, Property, Shape, TEXT, TEXTS};

/// A script.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// Its language, `js` or `python` in the DSL.
    pub language: String,
    /// Where it is.
    pub source: ScriptSource,
    /// What it reads: text or an expression.
    pub stdin: Option<String>,
    /// Its arguments; each may be an expression.
    pub arguments: Vec<String>,
    /// Its environment, with expressions.
    pub environment: Map<String, Json>,
}

/// Where a script is.
#[derive(Clone, Debug, PartialEq)]
pub enum ScriptSource {
    /// `code`: in the workflow.
    Code(String),
    /// `source`: elsewhere.
    Resource(ExternalResource),
}

pub(crate) static SCRIPT: Shape = Shape::Object(
    Object::of(
        "a script",
        &[
            Property::required("language", &TEXT),
            Property::optional("stdin", &TEXT),
            Property::optional("arguments", &TEXTS),
            Property::optional("environment", &MAP),
        ],
    )
    .alternatives(&[Property::optional("code", &TEXT), Property::optional("source", &EXTERNAL_RESOURCE)]),
);

impl Script {
    pub(crate) fn read(node: &Node) -> Self {
        let source = match node.read_at("source", ExternalResource::read) {
            Some(resource) => ScriptSource::Resource(resource),
            None => ScriptSource::Code(node.string_at("code")),
        };
        Self {
            language: node.string_at("language"),
            source,
            stdin: node.text_at("stdin"),
            arguments: node.list_at("arguments"),
            environment: node.map_at("environment"),
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
    fn a_script_is_read() {
        let text = "run: {script: {language: js, code: 'a()', environment: {B: c}}}";
        let TaskKind::Run(run) = task(text).kind else { panic!("a run task") };
        let Process::Script(script) = run.process else { panic!("a script") };
        assert_eq!(script.source, ScriptSource::Code("a()".to_owned()));
        assert_eq!(script.environment.len(), 1);
    }

    #[test]
    fn a_script_has_one_source_and_a_list_of_arguments() {
        let all = problems("run: {script: {language: js, arguments: {a: b}}}").join("\n");
        assert!(all.contains("a script needs code or source"));
        assert!(all.contains("run.script.arguments: expected a list, found a map"));
    }
}
