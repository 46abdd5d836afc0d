//! Operations of a port, as the document describes them.

use std::sync::Arc;

use super::bind::Port;
use super::load::{Wsdl, named};
use crate::error::CallError;
use crate::soap::names::{ENCODING11, ENCODING12, QName, WSAM, WSAW, WSDL, WSDL_MIME, WSDLX, short};
use crate::soap::sources::{At, Sources};
use crate::soap::xml::Element;
use crate::soap::xsd::Failure;

/// An operation.
#[derive(Debug)]
pub(crate) struct Described {
    /// Its name, each once: `name`, or `name.input` where several have the same.
    pub(crate) name: String,
    /// The name as the document has it.
    pub(crate) local: String,
    /// `SOAPAction`, without quotes.
    pub(crate) action: String,
    /// What WS-Addressing calls the input (WS-Addressing Metadata, 4.4).
    pub(crate) wsa_action: String,
    pub(crate) summary: String,
    pub(crate) safe: bool,
    pub(crate) rpc: bool,
    pub(crate) place: At,
    pub(crate) messages: Result<Messages, Failure>,
}

#[derive(Debug)]
pub(crate) struct Messages {
    pub(crate) input: DescribedMessage,
    /// `None` where nothing is answered.
    pub(crate) output: Option<DescribedMessage>,
    pub(crate) faults: Vec<Part>,
}

/// A message.
#[derive(Debug, Default)]
pub(crate) struct DescribedMessage {
    pub(crate) body: Vec<Part>,
    pub(crate) headers: Vec<HeaderPart>,
    /// Namespace of the wrapper of `rpc`.
    pub(crate) namespace: String,
    /// Names of parts that are sent beside the envelope.
    attached: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct HeaderPart {
    pub(crate) part: Part,
}

/// A part of a message.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) name: Arc<str>,
    pub(crate) ty: PartType,
    pub(crate) at: At,
}

#[derive(Clone, Debug)]
pub(crate) enum PartType {
    Element(QName),
    Type(QName),
}

struct Reader<'a> {
    sources: &'a Sources<'a>,
    wsdl: &'a Wsdl,
    port: &'a Port,
}

/// Operations of a port, those that cannot be used with the reason.
///
/// # Errors
/// `BadDocument` when names lead nowhere.
pub(crate) fn describe(sources: &Sources<'_>, wsdl: &Wsdl, port: &Port) -> Result<Vec<Described>, CallError> {
    let reader = Reader { sources, wsdl, port };
    let binding = sources.element(port.binding);
    let mut all = vec![];
    for operation in binding.children().filter(|child| child.is(WSDL, "operation")) {
        let at = At { source: port.binding.source, node: operation.id() };
        all.push((
            reader.operation(at)?,
            operation.child(WSDL, "input").and_then(|input| input.attribute("name")),
        ));
    }
    let names: Vec<String> = all.iter().map(|(one, _)| one.local.clone()).collect();
    let mut described: Vec<Described> = vec![];
    for (mut one, input) in all {
        if names.iter().filter(|name| **name == one.local).count() > 1 {
            one.name = format!("{}.{}", one.local, input.unwrap_or_default());
        }
        if described.iter().any(|other| other.name == one.name) {
            return Err(sources.bad(one.place, format!("operation `{}` stands twice in a binding", one.name)));
        }
        described.push(one);
    }
    Ok(described)
}

impl Reader<'_> {
    fn unsupported(&self, at: At, message: impl Into<String>) -> Failure {
        Failure { unsupported: true, ..Failure::from(self.sources.bad(at, message)) }
    }

    fn at(&self, source: usize, element: Element<'_>) -> At {
        At { source, node: element.id() }
    }

    fn soap(&self, element: Element<'_>, local: &str) -> Option<Element<'_>> {
        // Looked up again, so that it lives as long as the documents.
        let found = element.child(self.port.version.wsdl(), local)?;
        Some(self.sources.element(self.at(self.port.binding.source, found)))
    }

    fn operation(&self, at: At) -> Result<Described, CallError> {
        let bound = self.sources.element(at);
        let Some(local) = bound.attribute("name").map(str::trim) else {
            return Err(self.sources.bad(at, "`operation` needs a `name`"));
        };
        let declared_at = self.declared(at, local)?;
        let declared = self.sources.element(declared_at);
        let soap = self.soap(bound, "operation");
        let action = soap.and_then(|soap| soap.attribute("soapAction")).unwrap_or_default().trim().to_owned();
        let rpc = match soap.and_then(|soap| soap.attribute("style")).map(str::trim) {
            Some("rpc") => true,
            Some("document") => false,
            _ => self.port.rpc,
        };
        let summary = declared.child(WSDL, "documentation").or_else(|| bound.child(WSDL, "documentation"));
        let summary = summary.map(|text| text.text().split_whitespace().collect::<Vec<_>>().join(" "));
        let summary: String = summary.unwrap_or_default().chars().take(300).collect();
        Ok(Described {
            name: local.to_owned(),
            local: local.to_owned(),
            wsa_action: self.wsa_action(declared, &action),
            action,
            summary,
            safe: declared
                .attribute_of(WSDLX, "safe")
                .is_some_and(|safe| matches!(safe.trim(), "true" | "1")),
            rpc,
            place: at,
            messages: self.messages(at, declared_at, rpc),
        })
    }

    /// The operation of the port type. Where several have the name, the one with the same names of messages.
    fn declared(&self, at: At, local: &str) -> Result<At, CallError> {
        let port_type = self.sources.element(self.port.port_type);
        let alike: Vec<Element<'_>> = port_type
            .children()
            .filter(|child| {
                child.is(WSDL, "operation") && child.attribute("name").map(str::trim) == Some(local)
            })
            .collect();
        let bound = self.sources.element(at);
        let name = |operation: Element<'_>, of: &str| {
            operation.child(WSDL, of).and_then(|child| child.attribute("name")).map(str::to_owned)
        };
        let found = match alike[..] {
            [] => None,
            [only] => Some(only),
            _ => alike.iter().copied().find(|one| {
                ["input", "output"]
                    .iter()
                    .all(|of| name(bound, of).is_none() || name(bound, of) == name(*one, of))
            }),
        };
        let found = found.ok_or_else(|| {
            let message =
                format!("operation `{}` is not in port type `{}`", short(local), self.port.port_type_name);
            self.sources.bad(at, message)
        })?;
        Ok(self.at(self.port.port_type.source, found))
    }

    fn wsa_action(&self, declared: Element<'_>, soap_action: &str) -> String {
        let input = declared.child(WSDL, "input");
        let told = input.and_then(|input| {
            let all = WSAM.into_iter().chain(WSAW).chain(std::iter::once(super::super::names::WSA));
            all.filter_map(|namespace| input.attribute_of(namespace, "Action")).next()
        });
        if let Some(told) = told {
            return told.trim().to_owned();
        }
        if !soap_action.is_empty() {
            return soap_action.to_owned();
        }
        // The default: NAMESPACE/PORTTYPE/INPUT, and INPUT is OPERATION or OPERATIONRequest.
        let namespace = &self.port.port_type_name.namespace;
        let operation = declared.attribute("name").unwrap_or_default().trim();
        let one_way = declared.child(WSDL, "output").is_none();
        let usual = if one_way { operation.to_owned() } else { format!("{operation}Request") };
        let input = input.and_then(|input| input.attribute("name")).map_or(usual, str::to_owned);
        let between = if namespace.starts_with("urn:") { ":" } else { "/" };
        let namespace = namespace.strip_suffix(between).unwrap_or(namespace);
        format!("{namespace}{between}{}{between}{input}", self.port.port_type_name.local)
    }

    fn messages(&self, at: At, declared_at: At, rpc: bool) -> Result<Messages, Failure> {
        let (bound, declared) = (self.sources.element(at), self.sources.element(declared_at));
        let mut order = declared
            .children()
            .filter(|child| child.namespace() == WSDL && matches!(child.local(), "input" | "output"));
        let input =
            match order.next() {
                Some(first) if first.local() == "input" => first,
                _ => return Err(self.unsupported(
                    declared_at,
                    "the service would ask here (solicit-response or notification), which is not supported",
                )),
            };
        let input_at = self.at(declared_at.source, input);
        let message = named(self.sources, input_at, "message")?;
        let body = bound.child(WSDL, "input").unwrap_or(bound);
        let input = self.message(at, body, input_at, &message, rpc)?;
        if let Some(attached) =
            body.child(WSDL_MIME, "multipartRelated").filter(|_| !input.attached.is_empty())
        {
            let here = self.at(at.source, attached);
            return Err(self.unsupported(
                here,
                "requests have attachments (`mime:multipartRelated`), which are not supported",
            ));
        }
        let output = match declared.child(WSDL, "output") {
            None => None,
            Some(output) => {
                let output_at = self.at(declared_at.source, output);
                let message = named(self.sources, output_at, "message")?;
                let body = bound.child(WSDL, "output").unwrap_or(bound);
                Some(self.message(at, body, output_at, &message, rpc)?)
            }
        };
        let mut faults = vec![];
        for fault in declared.children().filter(|child| child.is(WSDL, "fault")) {
            let fault_at = self.at(declared_at.source, fault);
            let message = named(self.sources, fault_at, "message")?;
            faults.extend(self.parts(fault_at, &message)?);
        }
        for side in ["input", "output"] {
            let headers = bound.child(WSDL, side).into_iter().flat_map(|side| side.children());
            for header in headers.filter(|child| child.is(self.port.version.wsdl(), "header")) {
                for fault in header.children().filter(|child| child.local() == "headerfault") {
                    faults.push(self.header(self.at(at.source, fault))?.part);
                }
            }
        }
        Ok(Messages { input, output, faults })
    }

    /// A message with what its binding says of body and headers.
    fn message(
        &self,
        at: At,
        bound: Element<'_>,
        from: At,
        name: &QName,
        rpc: bool,
    ) -> Result<DescribedMessage, Failure> {
        let mut all = self.parts(from, name)?;
        let (holder, attached) = self.holder(bound);
        all.retain(|part| !attached.contains(&part.name.to_string()));
        let body = self.soap(holder, "body");
        let headers = holder.children().filter(|child| child.is(self.port.version.wsdl(), "header"));
        let headers: Vec<HeaderPart> =
            headers.map(|header| self.header(self.at(at.source, header))).collect::<Result<_, _>>()?;
        if let Some(body) = body {
            self.literal(self.at(at.source, body), rpc)?;
        }
        match body.and_then(|body| body.attribute("parts")) {
            Some(parts) => {
                let parts: Vec<&str> = parts.split_ascii_whitespace().collect();
                all.retain(|part| parts.contains(&&*part.name));
            }
            // Parts that are sent as headers are not sent again, though not all say so.
            None => all.retain(|part| !headers.iter().any(|header| header.part.at == part.at)),
        }
        let namespace =
            body.and_then(|body| body.attribute("namespace")).unwrap_or_default().trim().to_owned();
        Ok(DescribedMessage { body: all, headers, namespace, attached })
    }

    /// Where `soap:body` stands: directly, or in a part of `mime:multipartRelated`; and names of parts that are attached.
    fn holder<'e>(&self, bound: Element<'e>) -> (Element<'e>, Vec<String>) {
        let Some(multipart) = bound.child(WSDL_MIME, "multipartRelated") else { return (bound, vec![]) };
        let mut parts = multipart.children().filter(|child| child.is(WSDL_MIME, "part"));
        let holder = parts.find(|part| part.child(self.port.version.wsdl(), "body").is_some());
        let contents =
            multipart.children().flat_map(Element::children).filter(|child| child.is(WSDL_MIME, "content"));
        let attached =
            contents.map(|content| content.attribute("part").unwrap_or_default().trim().to_owned());
        (holder.unwrap_or(multipart), attached.collect())
    }

    /// Refuses `use="encoded"`.
    fn literal(&self, at: At, rpc: bool) -> Result<(), Failure> {
        let element = self.sources.element(at);
        let encoding = element.attribute("encodingStyle").unwrap_or_default();
        let encoded = element.attribute("use").map(str::trim) == Some("encoded")
            || (element.attribute("use").is_none()
                && [ENCODING11, ENCODING12].iter().any(|known| encoding.contains(known)));
        if !encoded {
            return Ok(());
        }
        let style = if rpc { "rpc" } else { "document" };
        let binding = &self.port.binding_name.local;
        let message = format!(
            "binding `{binding}` has {style}/encoded messages here (SOAP encoding), which are not supported; expected use=\"literal\""
        );
        Err(self.unsupported(at, message))
    }

    fn header(&self, at: At) -> Result<HeaderPart, Failure> {
        self.literal(at, false)?;
        let message = named(self.sources, at, "message")?;
        let wanted = self.sources.element(at).attribute("part").unwrap_or_default().trim();
        let parts = self.parts(at, &message)?;
        let found = parts.into_iter().find(|part| &*part.name == wanted);
        let part = found.ok_or_else(|| {
            Failure::from(
                self.sources.bad(at, format!("message `{message}` has no part `{}`", short(wanted))),
            )
        })?;
        Ok(HeaderPart { part })
    }

    fn parts(&self, from: At, name: &QName) -> Result<Vec<Part>, CallError> {
        let at = self.wsdl.message(self.sources, from, name)?;
        let message = self.sources.element(at);
        let mut parts: Vec<Part> = vec![];
        for part in message.children().filter(|child| child.is(WSDL, "part")) {
            let here = self.at(at.source, part);
            let own = part.attribute("name").unwrap_or_default().trim();
            if parts.iter().any(|other| &*other.name == own) {
                let message = format!("message `{name}` has two parts `{}`", short(own));
                return Err(self.sources.bad(here, message));
            }
            let ty = if part.attribute("element").is_some() {
                PartType::Element(named(self.sources, here, "element")?)
            } else {
                PartType::Type(named(self.sources, here, "type")?)
            };
            parts.push(Part { name: Arc::from(own), ty, at: here });
        }
        Ok(parts)
    }
}
