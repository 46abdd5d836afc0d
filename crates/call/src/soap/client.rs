//! A client of one port of a service.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use http::{Request, Uri};

use super::envelope::{self, Extras};
use super::json_schema;
use super::names::{listed, short};
use super::operation::{Operation, first_failure};
use super::read::{Arrived, answer};
use super::security::Security;
use super::sources::Sources;
use super::wsdl::{Choice, Version, Wsdl, choose, describe};
use super::xsd::{Compiler, Schemas};
use super::{addressing, wsdl};
use crate::call::{Answer, Call};
use crate::contract::{Contract, Documents, Operation as Offered, Protocol, Streaming};
use crate::error::{CallError, ErrorKind};
use crate::http::{Address, Auth, Transport, collect, whole};

/// Gives random bytes, for nonces and names of messages.
pub type Random = Arc<dyn Fn() -> [u8; 16] + Send + Sync>;

/// Values in all schemas of a contract; beyond that they are not told.
const SCHEMA_VALUES: usize = 1_000_000;

/// Calls the operations of one port of a WSDL. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    security: Option<Arc<Security>>,
    addressing: bool,
    random: Option<Random>,
}

/// What was read of the documents.
#[derive(Debug)]
pub(crate) struct Inner {
    contract: Contract,
    operations: BTreeMap<String, Operation>,
    /// Operations that cannot be used, and why.
    refused: Vec<(String, CallError)>,
    pub(crate) schemas: Schemas,
    pub(crate) version: Version,
    address: Option<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("service", &self.inner.contract.title)
            .field("operations", &self.inner.operations.keys())
            .field("security", &self.security)
            .field("addressing", &self.addressing)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Reads a WSDL 1.1 document with all that it imports. Nothing is fetched.
    ///
    /// Operations that are correct and not supported (SOAP encoding, attachments) are left out of the contract; see
    /// [`Client::refused`].
    ///
    /// # Errors
    /// `BadDocument` with the place: not well-formed, a DTD, a name that leads nowhere, types that never end, no port
    /// that speaks SOAP over HTTP, or no operation that is supported.
    pub fn read(documents: &Documents, choice: &Choice) -> Result<Self, CallError> {
        let Some((name, _)) = documents.all.first() else {
            return Err(CallError::new(ErrorKind::BadDocument, "", "expected a WSDL document, found none"));
        };
        let mut sources = Sources::new(documents);
        let Some(first) = sources.open(name)? else {
            return Err(CallError::new(ErrorKind::BadDocument, name, "expected a WSDL document"));
        };
        let mut wsdl = Wsdl::load(&mut sources, first)?;
        let port = choose(&sources, &wsdl, choice)?;
        let described = describe(&sources, &wsdl, &port)?;
        let components = std::mem::take(&mut wsdl.components);
        let mut compiler = Compiler::new(&sources, &components);
        let (mut operations, mut refused, mut offered) = (vec![], vec![], vec![]);
        for one in described {
            let told = Offered {
                name: one.name.clone(),
                path: if one.action.is_empty() { one.name.clone() } else { one.action.clone() },
                summary: one.summary.clone(),
                input: serde_json::Value::Null,
                output: serde_json::Value::Null,
                streaming: Streaming::None,
                repeatable: one.safe,
                deprecated: false,
            };
            let name = one.name.clone();
            match Operation::compile(&mut compiler, one) {
                Ok(operation) => {
                    operations.push(operation);
                    offered.push(told);
                }
                Err(failure) if failure.unsupported => {
                    refused.push((name, failure.error().of("", &told.name)))
                }
                Err(failure) => return Err(failure.error().of("", &name)),
            }
        }
        let schemas = compiler.finish();
        let mut inner = Inner {
            contract: Contract {
                protocol: Protocol::Soap,
                title: port.title.clone(),
                version: String::new(),
                operations: vec![],
            },
            operations: BTreeMap::new(),
            refused,
            schemas,
            version: port.version,
            address: port.address.clone(),
        };
        inner.fill(operations, offered)?;
        Ok(Self { inner: Arc::new(inner), security: None, addressing: port.addressing, random: None })
    }

    /// What can be called.
    #[must_use]
    pub fn contract(&self) -> &Contract {
        &self.inner.contract
    }

    /// Names of operations that the document has and that are not supported, with the reason.
    #[must_use]
    pub fn refused(&self) -> &[(String, CallError)] {
        &self.inner.refused
    }

    /// The address of the port, as the document tells it.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.inner.address.as_deref()
    }

    /// The same client that says with each message who calls.
    #[must_use]
    pub fn with_security(mut self, security: Security) -> Self {
        self.security = Some(Arc::new(security));
        self
    }

    /// The same client that sends WS-Addressing headers, or does not, whatever the document says.
    #[must_use]
    pub fn with_addressing(mut self, addressing: bool) -> Self {
        self.addressing = addressing;
        self
    }

    /// The same client with other random bytes than those of the operating system.
    #[must_use]
    pub fn with_random(mut self, random: Random) -> Self {
        self.random = Some(random);
        self
    }

    /// Makes one call: checks the input, sends it, checks the answer.
    ///
    /// # Errors
    /// `BadInput` with a JSON pointer before anything is sent; `Fault` for faults of SOAP and statuses of 400 or more;
    /// `BadAnswer` with a path such as `/Envelope/Body/price, line 4, column 7`; `TooLarge`, `TimedOut`,
    /// `Unreachable`, `Broken`.
    pub async fn call(&self, transport: &Transport, call: &Call<'_>) -> Result<Answer, CallError> {
        let attempt = self.attempt(transport, call);
        let ended = tokio::time::timeout(call.timeout, attempt).await;
        let ended = ended.unwrap_or_else(|_| {
            let message = format!("no whole answer within {} s", call.timeout.as_secs_f64());
            Err(CallError::new(ErrorKind::TimedOut, "", message))
        });
        ended.map_err(|error| error.of("", call.operation))
    }

    async fn attempt(&self, transport: &Transport, call: &Call<'_>) -> Result<Answer, CallError> {
        let operation = self.operation(call.operation)?;
        let sent = if self.addressing { Some(addressing::message_id(self.random()?)) } else { None };
        let request = self.request(operation, call, sent.as_deref())?;
        let response = transport.send(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let reason = status.canonical_reason().unwrap_or_default();
        let body = collect(response, call.limits.bytes).await?;
        let arrived = Arrived { status: status.as_u16(), reason, headers: &headers, body: &body };
        answer(&self.inner, operation, &arrived, sent.as_deref(), &call.limits)
    }

    fn operation(&self, name: &str) -> Result<&Operation, CallError> {
        if let Some(operation) = self.inner.operations.get(name) {
            return Ok(operation);
        }
        if let Some((_, reason)) = self.inner.refused.iter().find(|(refused, _)| refused == name) {
            let message = format!("the operation is not supported: {}", reason.message);
            return Err(CallError::new(ErrorKind::BadInput, reason.place.clone(), message));
        }
        let known = listed(self.inner.operations.keys().map(String::as_str));
        Err(CallError::new(
            ErrorKind::BadInput,
            "",
            format!("there is no operation `{}`; known: {known}", short(name)),
        ))
    }

    fn random(&self) -> Result<[u8; 16], CallError> {
        if let Some(random) = &self.random {
            return Ok(random());
        }
        let mut bytes = [0; 16];
        let filled = getrandom::fill(&mut bytes);
        filled.map_err(|error| {
            CallError::new(ErrorKind::NoCredentials, "", format!("no random bytes: {error}"))
        })?;
        Ok(bytes)
    }

    fn request(
        &self,
        operation: &Operation,
        call: &Call<'_>,
        sent: Option<&str>,
    ) -> Result<Request<crate::http::Body>, CallError> {
        let uri = with_query(call)?;
        let to = uri.to_string();
        let security = match &self.security {
            Some(security) => Some((&**security, self.random()?)),
            None => None,
        };
        let extras = Extras { security, addressing: sent.map(|id| (to.as_str(), id)) };
        let text = envelope::write(&self.inner.schemas, self.inner.version, operation, call.input, &extras)?;
        let mut request = Request::post(uri)
            .body(whole(text))
            .map_err(|error| CallError::new(ErrorKind::BadInput, "", error.to_string()))?;
        *request.headers_mut() = self.headers(operation, call)?;
        Ok(request)
    }

    fn headers(&self, operation: &Operation, call: &Call<'_>) -> Result<HeaderMap, CallError> {
        let mut headers = given_headers(call)?;
        let action = &operation.action;
        let bad = |_| {
            CallError::new(
                ErrorKind::BadDocument,
                "",
                format!("no header can carry the action `{}`", short(action)),
            )
        };
        let (kind, accept) = match self.inner.version {
            Version::V11 => {
                let value = HeaderValue::from_str(&format!("\"{action}\"")).map_err(bad)?;
                headers.insert(HeaderName::from_static("soapaction"), value);
                ("text/xml; charset=utf-8".to_owned(), "text/xml, multipart/related")
            }
            Version::V12 => {
                let action = if action.is_empty() { String::new() } else { format!("; action=\"{action}\"") };
                (
                    format!("application/soap+xml; charset=utf-8{action}"),
                    "application/soap+xml, multipart/related",
                )
            }
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(&kind).map_err(bad)?);
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        Ok(headers)
    }

    /// Reads an answer as it would arrive; for tests without a connection.
    #[cfg(test)]
    pub(crate) fn read_answer(
        &self,
        operation: &str,
        arrived: &Arrived<'_>,
        sent: Option<&str>,
    ) -> Result<Answer, CallError> {
        answer(&self.inner, self.operation(operation)?, arrived, sent, &crate::call::Limits::default())
    }

    /// Reads a request back as if it were an answer; for tests of both directions.
    #[cfg(test)]
    pub(crate) fn read_back(&self, operation: &str, text: &str) -> Result<serde_json::Value, CallError> {
        let bad =
            |error: super::xml::XmlError| CallError::new(ErrorKind::BadAnswer, error.place, error.message);
        let tree = super::xml::parse(text, &super::xml::Bounds::DOCUMENT).map_err(bad)?;
        let envelope = envelope::Envelope::of(tree.root())?;
        let input = &self.operation(operation)?.input;
        envelope::read(&self.inner.schemas, input, envelope, &super::mime::Attachments::new())
    }

    /// Writes a request as it would be sent; for tests without a connection.
    #[cfg(test)]
    pub(crate) fn write_request(
        &self,
        operation: &str,
        input: &serde_json::Value,
    ) -> Result<String, CallError> {
        let extras = Extras { security: None, addressing: None };
        Ok(envelope::write(
            &self.inner.schemas,
            self.inner.version,
            self.operation(operation)?,
            input,
            &extras,
        )?)
    }
}

impl Inner {
    /// Tells the schemas of all operations whose types can be used.
    fn fill(&mut self, operations: Vec<Operation>, offered: Vec<Offered>) -> Result<(), CallError> {
        let mut values = 0;
        for (operation, mut told) in operations.into_iter().zip(offered) {
            if let Some(failure) = first_failure(&self.schemas, &operation.elements()) {
                let error = failure.error().of("", &operation.name);
                if !failure.unsupported {
                    return Err(error);
                }
                self.refused.push((operation.name.clone(), error));
                continue;
            }
            if values > SCHEMA_VALUES {
                (told.input, told.output) = (json_schema::untold(), json_schema::untold());
            } else {
                let input = operation.input.schema(&self.schemas, true);
                let output = operation.output.as_ref().map(|output| output.schema(&self.schemas, false));
                let (output, size) = output.unwrap_or_else(|| (json_schema::nothing(), 1));
                values += input.1 + size;
                (told.input, told.output) = (input.0, output);
            }
            self.contract.operations.push(told);
            self.operations.insert(operation.name.clone(), operation);
        }
        if self.operations.is_empty() {
            let none = || CallError::new(ErrorKind::BadDocument, "", "the port has no operations");
            return Err(self.refused.first().map_or_else(none, |(_, error)| error.clone()));
        }
        Ok(())
    }
}

impl wsdl::Version {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::V11 => "1.1",
            Self::V12 => "1.2",
        }
    }
}

/// Headers that the caller gives, and the login of the address.
fn given_headers(call: &Call<'_>) -> Result<HeaderMap, CallError> {
    let mut headers = HeaderMap::new();
    if let Auth::Basic(login) = call.endpoint.auth() {
        let pair = format!("{}:{}", login.user, login.password.expose());
        let text = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| CallError::new(ErrorKind::NoCredentials, "", "the login cannot be sent"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    for (name, value) in call.headers {
        let bad = || {
            CallError::new(
                ErrorKind::BadInput,
                format!("header {}", short(name)),
                "a name or value that HTTP cannot carry",
            )
        };
        let name: HeaderName = name.parse().map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| bad())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The address with the query parameters that the caller gives.
fn with_query(call: &Call<'_>) -> Result<Uri, CallError> {
    let uri: &Uri = Address::uri(call.endpoint);
    if call.query.is_empty() {
        return Ok(uri.clone());
    }
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in call.query {
        query.append_pair(name, value.expose());
    }
    let between = if uri.query().is_some() { '&' } else { '?' };
    let text = format!("{uri}{between}{}", query.finish());
    text.parse().map_err(|_| CallError::new(ErrorKind::BadInput, "", "the query cannot be sent"))
}
