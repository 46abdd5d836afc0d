//! The client under test of `connectconformance` (connectrpc.com/conformance): our gRPC client in a program that reads test
//! cases from stdin and writes what became of them to stdout. `crates/call/tests/it/grpc_conformance.rs` runs it.
//!
//! `SOS_CONFORMANCE_PROTO` names the folder with the suite's `.proto` files.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::{Map, Value, json};
use sos_call::grpc::{Client, Outputs};
use sos_call::{
    Address, Call, CallError, Documents, ErrorKind, Identity, Limits, Secret, Settings, Transport, Trust,
    Version,
};

type Failure = Box<dyn Error + Send + Sync>;

/// Cases that run at the same time.
const AT_ONCE: usize = 16;
const PACKAGE: &str = "connectrpc.conformance.v1";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let folder = std::env::var("SOS_CONFORMANCE_PROTO")?;
    let suite = Suite::read(Path::new(&folder))?;
    let (cases, waiting) = mpsc::channel(AT_ONCE);
    let request = suite.request.clone();
    let reading = tokio::task::spawn_blocking(move || read_cases(&request, cases));
    let mut results = waiting.map(|case| run(&suite, case)).buffer_unordered(AT_ONCE);
    let mut stdout = std::io::stdout();
    while let Some(result) = results.next().await {
        let bytes = DynamicMessage::deserialize(suite.response.clone(), result)?.encode_to_vec();
        stdout.write_all(&u32::try_from(bytes.len())?.to_be_bytes())?;
        stdout.write_all(&bytes)?;
        stdout.flush()?;
    }
    reading.await?
}

/// What the suite's files say.
struct Suite {
    client: Client,
    request: MessageDescriptor,
    response: MessageDescriptor,
}

impl Suite {
    fn read(folder: &Path) -> Result<Self, Failure> {
        let name = |file: &str| format!("connectrpc/conformance/v1/{file}.proto");
        let mut compiler = protox::Compiler::new([folder])?;
        compiler.include_imports(true).open_file(name("client_compat"))?;
        let pool: DescriptorPool = compiler.descriptor_pool();
        let message = |name: &str| {
            pool.get_message_by_name(&format!("{PACKAGE}.{name}"))
                .ok_or_else(|| format!("there is no {name}"))
        };
        let all = ["service", "config"]
            .map(|file| Ok::<_, Failure>((name(file), std::fs::read(folder.join(name(file)))?)));
        let client = Client::read(&Documents { all: all.into_iter().collect::<Result<_, _>>()? })?;
        Ok(Self {
            client,
            request: message("ClientCompatRequest")?,
            response: message("ClientCompatResponse")?,
        })
    }
}

/// Cases, each with its length before it, until stdin ends.
fn read_cases(request: &MessageDescriptor, mut cases: mpsc::Sender<Value>) -> Result<(), Failure> {
    let mut stdin = std::io::stdin();
    let mut length = [0; 4];
    while stdin.read_exact(&mut length).is_ok() {
        let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
        stdin.read_exact(&mut bytes)?;
        let case = DynamicMessage::decode(request.clone(), bytes.as_slice())?;
        futures::executor::block_on(cases.send(serde_json::to_value(&case)?))?;
    }
    Ok(())
}

async fn run(suite: &Suite, case: Value) -> Value {
    let name = case["testName"].clone();
    match attempt(suite, &case).await {
        Ok(response) => json!({ "testName": name, "response": response }),
        Err(error) => json!({ "testName": name, "error": { "message": error.to_string() } }),
    }
}

/// How a case wants to be given up.
enum Cancel {
    Never,
    BeforeCloseSend,
    AfterCloseSend(Duration),
    AfterResponses(usize),
}

fn cancel(case: &Value) -> Cancel {
    let cancel = &case["cancel"];
    if cancel.get("beforeCloseSend").is_some() {
        Cancel::BeforeCloseSend
    } else if let Some(count) = cancel.get("afterNumResponses") {
        Cancel::AfterResponses(number(count).try_into().unwrap_or(usize::MAX))
    } else if let Some(wait) = cancel.get("afterCloseSendMs") {
        Cancel::AfterCloseSend(Duration::from_millis(number(wait)))
    } else {
        Cancel::Never
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn bytes(value: &Value) -> Result<Vec<u8>, Failure> {
    use base64::Engine as _;
    Ok(base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap_or_default())?)
}

fn transport(case: &Value) -> Result<Transport, Failure> {
    let mut settings = Settings { version: Version::Http2, ..Settings::default() };
    if case.get("serverTlsCert").is_some() {
        settings.trust = Trust::Authorities(bytes(&case["serverTlsCert"])?);
    }
    if let Some(ours) = case.get("clientTlsCreds") {
        let key = Secret::new(String::from_utf8(bytes(&ours["key"])?)?);
        settings.identity = Some(Identity { certificates: bytes(&ours["cert"])?, key });
    }
    Ok(Transport::new(&settings)?)
}

async fn attempt(suite: &Suite, case: &Value) -> Result<Value, Failure> {
    let transport = transport(case)?;
    let scheme = if case.get("serverTlsCert").is_some() { "https" } else { "http" };
    let host = case["host"].as_str().unwrap_or_default();
    let endpoint = Address::parse(&format!("{scheme}://{host}:{}", case["port"]))?;
    let operation = format!(
        "{}/{}",
        case["service"].as_str().unwrap_or("connectrpc.conformance.v1.ConformanceService"),
        case["method"].as_str().unwrap_or_default()
    );
    let limit = number(&case["messageReceiveLimit"]);
    let limits = Limits {
        bytes: if limit == 0 { Limits::default().bytes } else { usize::try_from(limit)? },
        ..Limits::default()
    };
    let headers = headers(&case["requestHeaders"]);
    let call = Call {
        endpoint: &endpoint,
        operation: &operation,
        input: &Value::Null,
        headers: &headers,
        query: &[],
        timeout: case.get("timeoutMs").map_or(Duration::MAX, |ms| Duration::from_millis(number(ms))),
        limits,
    };
    let client = suite.client.clone().with_gzip(case["compression"] == "COMPRESSION_GZIP");
    let (inputs, coming) = mpsc::channel(0);
    let outputs = client.stream(&transport, &call, coming).await?;
    let mut talk =
        Talk { inputs: Some(inputs), outputs: Some(outputs), payloads: vec![], error: None, unsent: 0 };
    talk.hold(case).await;
    talk.response().await
}

fn headers(list: &Value) -> Vec<(String, Secret)> {
    let mut all = vec![];
    for header in list.as_array().into_iter().flatten() {
        for value in header["value"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            all.push((text(&header["name"]), Secret::new(text(value))));
        }
    }
    all
}

/// One call under way.
struct Talk {
    inputs: Option<mpsc::Sender<Value>>,
    /// `None` once it was given up.
    outputs: Option<Outputs>,
    payloads: Vec<Value>,
    error: Option<Value>,
    unsent: usize,
}

impl Talk {
    async fn hold(&mut self, case: &Value) {
        let messages: Vec<Value> = case["requestMessages"].as_array().cloned().unwrap_or_default();
        let delay = Duration::from_millis(number(&case["requestDelayMs"]));
        let cancel = cancel(case);
        let full_duplex = case["streamType"] == "STREAM_TYPE_FULL_DUPLEX_BIDI_STREAM";
        for (n, mut message) in messages.into_iter().enumerate() {
            if let Value::Object(fields) = &mut message {
                fields.remove("@type");
            }
            if self.error.is_some() || self.outputs.is_none() {
                self.unsent += 1;
                continue;
            }
            if !delay.is_zero() && (n > 0 || !full_duplex) {
                tokio::time::sleep(delay).await;
            }
            let sent = match &mut self.inputs {
                Some(inputs) => inputs.send(message).await.is_ok(),
                None => false,
            };
            if !sent {
                self.unsent += 1;
                continue;
            }
            if full_duplex {
                self.receive(&cancel).await;
            }
        }
        if matches!(cancel, Cancel::BeforeCloseSend) {
            return self.give_up();
        }
        self.inputs = None;
        if let Cancel::AfterCloseSend(wait) = cancel {
            // The answer may be there before; it is not looked at, as the case wants it.
            tokio::time::sleep(wait).await;
            return self.give_up();
        }
        while self.error.is_none() && self.receive(&cancel).await {}
    }

    /// Whether there may be more.
    async fn receive(&mut self, cancel: &Cancel) -> bool {
        if matches!(cancel, Cancel::AfterResponses(count) if self.payloads.len() >= *count) {
            self.give_up();
        }
        let Some(outputs) = &mut self.outputs else { return false };
        match outputs.next().await {
            Some(Ok(output)) => {
                self.payloads.push(output.get("payload").cloned().unwrap_or_else(|| json!({})));
                if matches!(cancel, Cancel::AfterResponses(count) if self.payloads.len() >= *count) {
                    self.give_up();
                }
                true
            }
            Some(Err(error)) => {
                self.error = Some(told(&error));
                false
            }
            None => false,
        }
    }

    fn give_up(&mut self) {
        self.outputs = None;
        self.error.get_or_insert_with(|| json!({ "code": "CODE_CANCELED", "message": "given up" }));
    }

    async fn response(mut self) -> Result<Value, Failure> {
        let mut response = json!({ "payloads": self.payloads, "numUnsentRequests": self.unsent });
        if let Some(outputs) = &mut self.outputs {
            let headers = outputs.headers().await.map_or(vec![], <[_]>::to_vec);
            response["responseHeaders"] = grouped(&headers);
            response["responseTrailers"] = grouped(outputs.trailers());
        }
        if let Some(error) = self.error {
            response["error"] = error;
        }
        Ok(response)
    }
}

fn grouped(headers: &[(String, String)]) -> Value {
    let mut all: Map<String, Value> = Map::new();
    for (name, value) in headers {
        if let Value::Array(values) = all.entry(name).or_insert_with(|| json!([])) {
            values.push(json!(value));
        }
    }
    all.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

/// An error as a gRPC code, which is what the suite asks for; kinds that are ours stand for the code that gRPC has for them.
fn told(error: &CallError) -> Value {
    let code = match (&error.fault, error.kind) {
        (Some(fault), _) => fault.code.as_str(),
        (None, ErrorKind::TimedOut) => "DEADLINE_EXCEEDED",
        (None, ErrorKind::TooLarge) => "RESOURCE_EXHAUSTED",
        (None, ErrorKind::Unreachable) => "UNAVAILABLE",
        (None, ErrorKind::Broken) => "UNKNOWN",
        (None, ErrorKind::BadAnswer) if error.message.starts_with("expected one message") => "UNIMPLEMENTED",
        (None, ErrorKind::BadAnswer) if error.place == "header content-type" => "UNKNOWN",
        (None, _) => "INTERNAL",
    };
    let message =
        error.message.strip_prefix(code).map_or(error.message.as_str(), |rest| rest.trim_start_matches(": "));
    let details = error.fault.as_ref().map_or(Value::Null, |fault| fault.detail.clone());
    let details = if details.is_array() { details } else { json!([]) };
    let code = if code == "CANCELLED" { "CANCELED" } else { code };
    json!({ "code": format!("CODE_{code}"), "message": message, "details": details })
}
