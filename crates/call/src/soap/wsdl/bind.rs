//! Which service, port and binding are used.

use super::Version;
use super::load::{Wsdl, named};
use crate::error::{CallError, ErrorKind};
use crate::soap::names::{POLICY, QName, WSAM, WSAW, WSDL, WSU, listed};
use crate::soap::sources::{At, Sources};
use crate::soap::xml::Element;

/// Which service and port of a WSDL are used. By default the first port that speaks SOAP over HTTP, 1.2 and 1.1 alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Name of the service.
    pub service: Option<String>,
    /// Name of the port, or of its binding.
    pub port: Option<String>,
}

/// The port that is used.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    /// The service, or the binding where the document has no service.
    pub(crate) title: String,
    pub(crate) address: Option<String>,
    pub(crate) binding_name: QName,
    pub(crate) binding: At,
    pub(crate) port_type: At,
    pub(crate) port_type_name: QName,
    pub(crate) version: Version,
    /// `style` of `soap:binding`.
    pub(crate) rpc: bool,
    /// Whether the document asks for WS-Addressing.
    pub(crate) addressing: bool,
}

/// A port, or a binding without one.
struct Candidate {
    service: Option<String>,
    port: Option<At>,
    name: String,
    binding: At,
    binding_name: QName,
}

/// The port of this choice.
///
/// # Errors
/// `BadDocument` when there is none, with the names that are known.
pub(crate) fn choose(sources: &Sources<'_>, wsdl: &Wsdl, choice: &Choice) -> Result<Port, CallError> {
    let all = candidates(sources, wsdl)?;
    let first = wsdl.definitions[0];
    if let Some(wanted) = &choice.service
        && !all.iter().any(|one| one.service.as_ref() == Some(wanted))
    {
        let known = listed(wsdl.services.iter().map(|(name, _)| &*name.local));
        return Err(sources.bad(first, format!("there is no service `{wanted}` with ports; known: {known}")));
    }
    let of_service = |one: &&Candidate| choice.service.is_none() || one.service == choice.service;
    let is_wanted = |one: &&Candidate| {
        choice.port.as_ref().is_none_or(|wanted| one.name == *wanted || *one.binding_name.local == **wanted)
    };
    let offered: Vec<&Candidate> = all.iter().filter(of_service).collect();
    let wanted: Vec<&&Candidate> = offered.iter().filter(|one| is_wanted(one)).collect();
    if let (true, Some(port)) = (wanted.is_empty(), &choice.port) {
        let known = listed(offered.iter().map(|one| one.name.as_str()));
        return Err(sources.bad(first, format!("there is no port `{port}`; known: {known}")));
    }
    let mut problems = vec![];
    for candidate in wanted {
        match port(sources, wsdl, candidate)? {
            Ok(port) => return Ok(port),
            Err(problem) => problems.push(format!("`{}` {problem}", candidate.name)),
        }
    }
    let why = if problems.is_empty() {
        "it has neither services nor bindings".to_owned()
    } else {
        problems.join("; ")
    };
    Err(CallError::new(
        ErrorKind::BadDocument,
        sources.place(first),
        format!("no port speaks SOAP over HTTP: {why}"),
    ))
}

fn candidates(sources: &Sources<'_>, wsdl: &Wsdl) -> Result<Vec<Candidate>, CallError> {
    let mut all = vec![];
    for (service, at) in &wsdl.services {
        for port in sources.element(*at).children().filter(|child| child.is(WSDL, "port")) {
            let here = At { source: at.source, node: port.id() };
            let binding_name = named(sources, here, "binding")?;
            let binding = wsdl.binding(sources, here, &binding_name)?;
            let name = port.attribute("name").unwrap_or_default().to_owned();
            all.push(Candidate {
                service: Some(service.local.to_string()),
                port: Some(here),
                name,
                binding,
                binding_name,
            });
        }
    }
    if all.is_empty() {
        let bindings = wsdl.bindings.iter().map(|(name, at)| Candidate {
            service: None,
            port: None,
            name: name.local.to_string(),
            binding: *at,
            binding_name: name.clone(),
        });
        all.extend(bindings);
    }
    Ok(all)
}

/// The port, or why it cannot be used.
fn port(
    sources: &Sources<'_>,
    wsdl: &Wsdl,
    candidate: &Candidate,
) -> Result<Result<Port, String>, CallError> {
    let binding = sources.element(candidate.binding);
    let found = [Version::V11, Version::V12]
        .into_iter()
        .find_map(|version| Some((version, binding.child(version.wsdl(), "binding")?)));
    let Some((version, soap)) = found else { return Ok(Err("is no SOAP binding".to_owned())) };
    let transport = soap.attribute("transport").unwrap_or_default().trim();
    let http = [
        "http://schemas.xmlsoap.org/soap/http",
        "http://www.w3.org/2003/05/soap/bindings/HTTP/",
        "http://schemas.xmlsoap.org/soap/http/",
    ];
    if !http.contains(&transport) {
        return Ok(Err(format!("has the transport `{transport}`")));
    }
    let rpc = match soap.attribute("style").map(str::trim) {
        None | Some("document") => false,
        Some("rpc") => true,
        Some(other) => {
            let here = At { source: candidate.binding.source, node: soap.id() };
            return Err(sources.bad(here, format!("expected the style `document` or `rpc`, found `{other}`")));
        }
    };
    let port = candidate.port.map(|at| sources.element(at));
    // Some write the address in the namespace of the other version.
    let address = port.and_then(|port| {
        let of = |version: Version| port.child(version.wsdl(), "address");
        of(version).or_else(|| of(Version::V11)).or_else(|| of(Version::V12))?.attribute("location")
    });
    let port_type_name = named(sources, candidate.binding, "type")?;
    let port_type = wsdl.port_type(sources, candidate.binding, &port_type_name)?;
    let addressing = asks_for_addressing(sources, wsdl, binding)
        || port.is_some_and(|port| asks_for_addressing(sources, wsdl, port));
    Ok(Ok(Port {
        title: candidate.service.clone().unwrap_or_else(|| candidate.binding_name.local.to_string()),
        address: address.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
        binding_name: candidate.binding_name.clone(),
        binding: candidate.binding,
        port_type,
        port_type_name,
        version,
        rpc,
        addressing,
    }))
}

/// Whether a binding or port says `wsaw:UsingAddressing`, or has a policy with `wsam:Addressing`.
fn asks_for_addressing(sources: &Sources<'_>, wsdl: &Wsdl, element: Element<'_>) -> bool {
    element.children().any(|child| {
        let using = WSAW.contains(&child.namespace()) && child.local() == "UsingAddressing";
        let policy =
            POLICY.contains(&child.namespace()) && child.local() == "Policy" && says_addressing(child);
        let referred = POLICY.contains(&child.namespace()) && child.local() == "PolicyReference";
        using || policy || (referred && referred_policy(sources, wsdl, child).is_some_and(says_addressing))
    })
}

fn referred_policy<'a>(sources: &'a Sources<'_>, wsdl: &Wsdl, reference: Element<'_>) -> Option<Element<'a>> {
    let id = reference.attribute("URI")?.strip_prefix('#')?;
    let all = wsdl.definitions.iter().flat_map(|at| sources.element(*at).children());
    all.filter(|child| POLICY.contains(&child.namespace()))
        .find(|policy| policy.attribute_of(WSU, "Id") == Some(id))
}

/// Whether the assertion stands anywhere within; an alternative without it is not looked for, as sending it harms none.
fn says_addressing(policy: Element<'_>) -> bool {
    let mut open = vec![policy];
    while let Some(element) = open.pop() {
        let is = (WSAM.contains(&element.namespace()) && element.local() == "Addressing")
            || (WSAW.contains(&element.namespace()) && element.local() == "UsingAddressing");
        if is {
            return true;
        }
        open.extend(element.children());
    }
    false
}
