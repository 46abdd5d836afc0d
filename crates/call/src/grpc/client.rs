//! Calls by a contract that was read at run time.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use hyper::http::uri::PathAndQuery;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use serde_json::Value;

use super::attempt::{self, Deadline, Target};
use super::codec::Dynamic;
use super::documents::{self, Read};
use super::outputs::{self, Inputs, Outputs, Reading};
use super::{json, operations, reflection, response};
use crate::call::{Answer, Call, Limits};
use crate::contract::{Contract, Documents, Operation};
use crate::error::{CallError, ErrorKind};
use crate::http::{Address, Transport};
use crate::secret::Secret;

/// A list of outputs that is collected has at most this many times the bytes that one message may have.
const COLLECTED: usize = 4;

/// Calls by one contract. Cheap to clone. They need a transport that speaks [`Version::Http2`](crate::Version::Http2).
///
/// # Names of operations
/// `Method`, where no other service of the contract has a method of that name; always `Service/Method`, where no other
/// package has such a service, and `package.Service/Method`. The contract lists the shortest of these that is unique.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    gzip: bool,
    defaults: bool,
}

struct Inner {
    pool: DescriptorPool,
    contract: Contract,
    methods: Vec<Known>,
    index: HashMap<String, usize>,
}

/// A method, with what each call needs of it.
struct Known {
    path: PathAndQuery,
    input: json::Type,
    output: json::Type,
    streams_inputs: bool,
    streams_outputs: bool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contract = &self.inner.contract;
        f.debug_struct("Client")
            .field("title", &contract.title)
            .field("operations", &contract.operations.len())
            .field("gzip", &self.gzip)
            .field("defaults", &self.defaults)
            .finish()
    }
}

impl Client {
    /// Reads a contract: `.proto` texts by their import paths, or one compiled `FileDescriptorSet`
    /// (`protoc --include_imports --descriptor_set_out=FILE`). The files of `google/protobuf/` are there already. The operations
    /// are those of the first document, of all documents where it has none. Editions are read from compiled sets only.
    ///
    /// # Errors
    /// `BadDocument` with file, line and column.
    pub fn read(documents: &Documents) -> Result<Self, CallError> {
        Self::of(documents::read(documents)?)
    }

    /// Asks a server for its own description (server reflection, `grpc.reflection.v1`, else `v1alpha`). The services for
    /// reflection and health are left out, unless there are no others.
    ///
    /// # Errors
    /// Those of a call; `Fault` with `UNIMPLEMENTED` where the server does not describe itself; `BadDocument` for a
    /// description that cannot be used.
    pub async fn reflect(
        transport: &Transport,
        endpoint: &Address,
        headers: &[(String, Secret)],
        timeout: Duration,
    ) -> Result<Self, CallError> {
        Self::of(reflection::ask(transport, endpoint, headers, timeout).await?)
    }

    fn of(read: Read) -> Result<Self, CallError> {
        let (contract, descriptors) = operations::of(&read)?;
        let index = operations::index(&descriptors);
        let all = descriptors.iter().map(MethodDescriptor::input);
        let mut inputs = json::types(all.chain(descriptors.iter().map(MethodDescriptor::output)));
        let outputs = inputs.split_off(descriptors.len());
        let known = |((descriptor, input), output): ((MethodDescriptor, _), _)| {
            let path = operations::path(&descriptor);
            let wrong = |_| documents::bad(path.as_str(), "the method has a name that no request can carry");
            Ok(Known {
                path: path.parse().map_err(wrong)?,
                input,
                output,
                streams_inputs: descriptor.is_client_streaming(),
                streams_outputs: descriptor.is_server_streaming(),
            })
        };
        let methods = descriptors.into_iter().zip(inputs).zip(outputs).map(known);
        let methods = methods.collect::<Result<_, CallError>>()?;
        let inner = Arc::new(Inner { pool: read.pool, contract, methods, index });
        Ok(Self { inner, gzip: false, defaults: false })
    }

    /// Whether messages are sent compressed with gzip. Compressed answers are always read.
    #[must_use]
    pub fn with_gzip(self, gzip: bool) -> Self {
        Self { gzip, ..self }
    }

    /// Whether outputs have fields that were not sent because they have their default value: zeros, empty texts, empty
    /// lists. Only fields without presence can be told so.
    #[must_use]
    pub fn with_defaults(self, defaults: bool) -> Self {
        Self { defaults, ..self }
    }

    /// What can be called. Schemas describe one message, also where operations take or give many.
    #[must_use]
    pub fn contract(&self) -> &Contract {
        &self.inner.contract
    }

    /// A compiled `FileDescriptorSet` that [`Client::read`] makes the same contract of.
    #[must_use]
    pub fn descriptor_set(&self) -> Vec<u8> {
        self.inner.pool.encode_to_vec()
    }

    /// The operation with one of its names.
    ///
    /// # Errors
    /// `BadInput` with the known names.
    pub fn operation(&self, name: &str) -> Result<&Operation, CallError> {
        Ok(&self.inner.contract.operations[self.place(name)?])
    }

    /// All types, for the unit tests of this folder.
    #[cfg(test)]
    pub(super) fn types(&self) -> &DescriptorPool {
        &self.inner.pool
    }

    fn place(&self, name: &str) -> Result<usize, CallError> {
        let found = self.inner.index.get(name.strip_prefix('/').unwrap_or(name)).copied();
        found.ok_or_else(|| {
            let names =
                json::named(self.inner.contract.operations.iter().map(|operation| operation.name.as_str()));
            CallError::new(ErrorKind::BadInput, "", format!("there is no operation `{name}`; known: {names}"))
        })
    }

    /// One attempt. Where inputs are streamed, all are given as a list and sent; where outputs are streamed, all are
    /// collected into a list: at most `limits.messages`, and together four times `limits.bytes`.
    ///
    /// # Errors
    /// Each kind but `BadDocument`; the place of `BadInput` and `BadAnswer` is a JSON pointer into the message, or into
    /// the list of messages.
    pub async fn call(&self, transport: &Transport, call: &Call<'_>) -> Result<Answer, CallError> {
        let place = self.place(call.operation)?;
        let method = &self.inner.methods[place];
        let answer = Deadline::after(call.timeout).hold(self.attempt(transport, call, method)).await;
        answer.map_err(|error| error.of("", &self.inner.contract.operations[place].name))
    }

    /// The same call with inputs and outputs as they come: inputs are sent while outputs are read, in any order. `call.input` is not
    /// used, nor is `call.limits.messages`. Returns at once; what goes wrong is told by the outputs.
    ///
    /// # Errors
    /// `BadInput` when there is no such operation or a header cannot be sent.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[expect(clippy::unused_async, reason = "callers wait for calls; this one may come to wait as well")]
    pub async fn stream<S>(
        &self,
        transport: &Transport,
        call: &Call<'_>,
        inputs: S,
    ) -> Result<Outputs, CallError>
    where
        S: Stream<Item = Value> + Send + 'static,
    {
        let place = self.place(call.operation)?;
        let (method, name) = (&self.inner.methods[place], &self.inner.contract.operations[place].name);
        let target = self.target(transport, call, method).map_err(|error| error.of("", name))?;
        let (inputs, spoilt, guard) = Inputs::new(inputs, method.input.clone());
        let request =
            target.request(attempt::coming(inputs, self.gzip)).map_err(|error| error.of("", name))?;
        let output = self.reading(method, call.limits);
        let head = outputs::head(target, request, output, call.limits.bytes, self.inner.pool.clone());
        let reading = Reading {
            operation: name.clone(),
            deadline: Deadline::after(call.timeout),
            single: !method.streams_outputs,
        };
        Ok(Outputs::new(head, reading, spoilt, guard))
    }

    fn target<'a>(
        &self,
        transport: &'a Transport,
        call: &Call<'a>,
        method: &'a Known,
    ) -> Result<Target<'a>, CallError> {
        if let Some((name, _)) = call.query.first() {
            let message = "gRPC has no query parameters; give it as a header";
            return Err(CallError::new(ErrorKind::BadInput, format!("query {name}"), message));
        }
        Ok(Target {
            transport,
            endpoint: call.endpoint,
            path: &method.path,
            headers: call.headers,
            timeout: call.timeout,
            gzip: self.gzip,
        })
    }

    async fn attempt(
        &self,
        transport: &Transport,
        call: &Call<'_>,
        method: &Known,
    ) -> Result<Answer, CallError> {
        let target = self.target(transport, call, method)?;
        let body = attempt::ready(encoded(method, call.input)?, self.gzip)?;
        let response = target.send(target.request(body)?).await?;
        let read = self.reading(method, call.limits);
        let answered = response::answered(response, read, call.limits.bytes, &self.inner.pool).await;
        let mut answered = answered.map_err(|refused| refused.error)?;
        let output = if method.streams_outputs {
            many(&mut answered, call.limits).await?
        } else {
            only(&mut answered).await?
        };
        let headers = outputs::both(answered.headers(), answered.trailers());
        Ok(Answer { output, status: "OK".to_owned(), headers })
    }

    fn reading(&self, method: &Known, limits: Limits) -> Dynamic {
        Dynamic { of: method.output.clone(), depth: limits.depth, defaults: self.defaults }
    }
}

/// Exactly one message; anything else breaks the contract.
async fn only(answered: &mut response::Answered<Dynamic>) -> Result<Value, CallError> {
    let output = answered.next().await.ok_or_else(|| response::not_one("none"))??;
    let written = output.json.map_err(|wrong| wrong.into_error(ErrorKind::BadAnswer))?;
    match answered.next().await {
        None => Ok(written),
        Some(Ok(_)) => Err(response::not_one("more")),
        Some(Err(error)) => Err(error),
    }
}

async fn many(answered: &mut response::Answered<Dynamic>, limits: Limits) -> Result<Value, CallError> {
    let mut all = vec![];
    let mut bytes = 0_usize;
    while let Some(output) = answered.next().await {
        let output = output?;
        bytes = bytes.saturating_add(output.bytes);
        if all.len() >= limits.messages || bytes > limits.bytes.saturating_mul(COLLECTED) {
            let message = format!(
                "expected at most {} messages with {} bytes together, found more",
                limits.messages,
                limits.bytes.saturating_mul(COLLECTED)
            );
            return Err(CallError::new(ErrorKind::TooLarge, format!("/{}", all.len()), message));
        }
        let wrong = |wrong: json::Wrong| wrong.within(all.len()).into_error(ErrorKind::BadAnswer);
        all.push(output.json.map_err(wrong)?);
    }
    Ok(Value::Array(all))
}

/// The messages of an input.
fn encoded(method: &Known, input: &Value) -> Result<Vec<Vec<u8>>, CallError> {
    let wrong = |wrong: json::Wrong| wrong.into_error(ErrorKind::BadInput);
    if !method.streams_inputs {
        return Ok(vec![method.input.encode(input).map_err(wrong)?]);
    }
    let Value::Array(all) = input else {
        return Err(CallError::new(
            ErrorKind::BadInput,
            "",
            "expected a list of messages, as inputs are streamed",
        ));
    };
    let encoded = all
        .iter()
        .enumerate()
        .map(|(n, one)| method.input.encode(one).map_err(|error| wrong(error.within(n))));
    encoded.collect()
}
