//! Calls by the document of a service: OpenAPI, gRPC, SOAP.

use base64::Engine as _;
use serde_json::{Value, json};
use sos_call::soap::Choice;
use sos_call::{Address, Answer, Call, Limits, Secret, Speak as _, Speaker, grpc, rest, soap};
use sos_workflow::machine::Fault;
use sos_workflow::program::CallKind;

use super::authentication::{credentials, discovered};
use super::executor::{Executor, LONGEST_CALL, failed, text, wrong};
use super::http::{idempotency_key, refused, transport};
use super::resources::{address_of, authentication_of, documents};
use super::uri;

/// What a call needs beside its client.
struct Told {
    endpoint: Address,
    operation: String,
    input: Value,
    authentication: Option<Value>,
}

pub(super) async fn call(
    executor: &Executor,
    key: &str,
    what: CallKind,
    with: &Value,
    input: &Value,
) -> Result<Value, Fault> {
    let document = match what {
        CallKind::Grpc => with.get("proto"),
        CallKind::Soap => with.get("wsdl"),
        _ => with.get("document"),
    };
    let document = document.ok_or_else(|| wrong("expected the document of the service"))?;
    let address = uri::address(with, &address_of(document)?, input)?;
    let client = client(executor, what, &address, authentication_of(document)).await?;
    let told = told(what, with, &client, &address)?;
    let answered = answered(executor, key, &client, &told).await?;
    if matches!(client, Speaker::Rest(_)) {
        succeeded(with, &answered)?;
    }
    output(with, answered)
}

/// What was asked, and the answer; of REST also as it came.
struct Answered {
    asked: Value,
    answer: Answer,
    bytes: Option<Vec<u8>>,
}

/// Whether the status of an answer is one that the task takes.
fn succeeded(with: &Value, answered: &Answered) -> Result<(), Fault> {
    let Ok(status) = answered.answer.status.parse::<u16>() else { return Ok(()) };
    let most = if with.get("redirect").and_then(Value::as_bool) == Some(true) { 399 } else { 299 };
    if (200..=most).contains(&status) {
        return Ok(());
    }
    let part = |name: &str| answered.asked.get(name).and_then(Value::as_str).unwrap_or_default();
    Err(refused(part("method"), part("uri"), status, answered.bytes.as_deref().unwrap_or_default()))
}

/// Calls; once more where a challenge is to be answered, or a token was no longer taken.
async fn answered(executor: &Executor, key: &str, client: &Speaker, told: &Told) -> Result<Answered, Fault> {
    let authentication = discovered(executor, told.authentication.as_ref()).await?;
    let credentials = credentials(authentication.as_ref())?;
    let over = if matches!(client, Speaker::Grpc(_)) { &executor.second } else { &executor.transport };
    let transport = transport(over, &credentials, key);
    let mut first = true;
    loop {
        let own = executor.wallet.headers(&credentials, &executor.transport).await;
        let own = own.map_err(|error| failed(&error))?;
        let mut headers = own.clone();
        headers.push(("idempotency-key".to_owned(), Secret::new(idempotency_key(key))));
        let call = Call {
            endpoint: &told.endpoint,
            operation: &told.operation,
            input: &told.input,
            headers: &headers,
            query: &[],
            timeout: LONGEST_CALL,
            limits: Limits::default(),
        };
        let called = match client {
            Speaker::Rest(rest) => {
                rest.call_whole(&transport, &call).await.map(|whole| (whole.answer, Some(whole.bytes)))
            }
            _ => client.call(&transport, &call).await.map(|answer| (answer, None)),
        };
        let error = match called {
            Ok((answer, bytes)) => return Ok(Answered { asked: asked(client, told, &call)?, answer, bytes }),
            Err(error) => error,
        };
        let unknown = error.fault.as_ref().is_some_and(|fault| fault.status == 401);
        let again = std::mem::take(&mut first)
            && unknown
            && (transport.answers_challenges() || executor.wallet.rejected(&credentials, &own));
        if !again {
            return Err(failed(&error));
        }
    }
}

/// What a call asks for, as it is shown.
fn asked(client: &Speaker, told: &Told, call: &Call<'_>) -> Result<Value, Fault> {
    match client {
        Speaker::Rest(rest) => {
            let sent = rest.sent(call).map_err(|error| failed(&error))?;
            Ok(json!({"method": sent.method, "uri": sent.uri, "headers": object(sent.headers)}))
        }
        _ => Ok(json!({"method": told.operation, "uri": told.endpoint.text(), "headers": {}})),
    }
}

async fn client(
    executor: &Executor,
    what: CallKind,
    address: &str,
    who: Option<&Value>,
) -> Result<Speaker, Fault> {
    if let Some(client) = executor.client(address) {
        return Ok(client);
    }
    let unreadable = |error: sos_call::CallError| failed(&error);
    let client = match what {
        CallKind::Grpc => {
            let documents = documents(executor, address, who, grpc::imports).await?;
            Speaker::Grpc(grpc::Client::read(&documents).map_err(unreadable)?)
        }
        CallKind::Soap => {
            let documents = documents(executor, address, who, soap::imports).await?;
            Speaker::Soap(soap::Client::read(&documents, &Choice::default()).map_err(unreadable)?)
        }
        _ => {
            let documents = documents(executor, address, who, rest::references).await?;
            Speaker::Rest(rest::Client::read(&documents).map_err(unreadable)?)
        }
    };
    executor.keep(address, &client);
    Ok(client)
}

fn told(what: CallKind, with: &Value, client: &Speaker, document: &str) -> Result<Told, Fault> {
    let part = |name: &str| with.get(name).cloned().unwrap_or_else(|| json!({}));
    match (what, client) {
        (CallKind::Grpc, _) => {
            let service = part("service");
            let (name, host) = (text(&service, "name")?, text(&service, "host")?);
            let port =
                service.get("port").and_then(Value::as_u64).map_or(String::new(), |port| format!(":{port}"));
            let host = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
            Ok(Told {
                endpoint: Address::parse(&format!("{host}{port}")).map_err(wrong)?,
                operation: operation_of(client, name, text(with, "method")?),
                input: part("arguments"),
                authentication: service.get("authentication").cloned(),
            })
        }
        (CallKind::Soap, Speaker::Soap(soap)) => {
            let address = with.get("endpoint").and_then(Value::as_str).or_else(|| soap.address());
            let address = address.ok_or_else(|| wrong("the WSDL says no address; expected `endpoint`"))?;
            Ok(Told {
                endpoint: Address::parse(address).map_err(wrong)?,
                operation: text(with, "operation")?.to_owned(),
                input: part("input"),
                authentication: with.get("authentication").cloned(),
            })
        }
        (_, Speaker::Rest(rest)) => {
            let operation = text(with, "operationId")?;
            let schema = rest.contract().operation(operation).map(|one| &one.input);
            let servers = [rest.servers_of(operation).to_vec(), rest.servers()].concat();
            let server = servers.first().map_or("/", String::as_str);
            let base = url::Url::parse(document).and_then(|base| base.join(server));
            let endpoint = base.or_else(|_| url::Url::parse(server));
            let endpoint = endpoint.map_err(|_| wrong("the document says no address of the service"))?;
            Ok(Told {
                endpoint: Address::parse(endpoint.as_str()).map_err(wrong)?,
                operation: operation.to_owned(),
                input: fitted(part("parameters"), schema.unwrap_or(&Value::Null)),
                authentication: with.get("authentication").cloned(),
            })
        }
        _ => Err(wrong("the document is of another kind of service")),
    }
}

/// The operation of a method; documents may leave the package of its service out.
fn operation_of(client: &Speaker, service: &str, method: &str) -> String {
    let (whole, short) = (format!("/{service}/{method}"), format!(".{service}/{method}"));
    let operations = &client.contract().operations;
    let found = operations.iter().find(|one| one.path == whole || one.path.ends_with(&short));
    found.map_or(whole, |one| one.name.clone())
}

/// Parameters as the description wants them: one value where a list is wanted is a list of one, a number as text is a number.
fn fitted(mut parameters: Value, schema: &Value) -> Value {
    let Value::Object(entries) = &mut parameters else { return parameters };
    for (name, value) in entries {
        let wanted = schema.pointer(&format!("/properties/{name}/type")).and_then(Value::as_str);
        let fitted = match (wanted, &*value) {
            (Some("array"), Value::String(_) | Value::Number(_) | Value::Bool(_)) => json!([value.take()]),
            (Some("integer" | "number"), Value::String(text)) => match text.parse::<serde_json::Number>() {
                Ok(number) => Value::Number(number),
                Err(_) => continue,
            },
            (Some("string"), Value::Number(_) | Value::Bool(_)) => json!(value.to_string()),
            _ => continue,
        };
        *value = fitted;
    }
    parameters
}

fn object(headers: Vec<(String, String)>) -> Value {
    Value::Object(headers.into_iter().map(|(name, value)| (name, Value::from(value))).collect())
}

fn output(with: &Value, answered: Answered) -> Result<Value, Fault> {
    let Answered { asked, answer, bytes } = answered;
    match with.get("output").and_then(Value::as_str).unwrap_or("content") {
        "content" => Ok(answer.output),
        "raw" => {
            let written = || match &answer.output {
                Value::String(text) => text.clone().into_bytes(),
                other => other.to_string().into_bytes(),
            };
            let bytes = bytes.unwrap_or_else(written);
            Ok(Value::from(base64::engine::general_purpose::STANDARD.encode(bytes)))
        }
        "response" => {
            let status = answer.status.parse::<u16>();
            let status = status.map_or_else(|_| json!(answer.status), |status| json!(status));
            let headers = object(answer.headers);
            Ok(json!({"request": asked, "statusCode": status, "headers": headers, "content": answer.output}))
        }
        other => Err(wrong(format!("unknown output `{other}`; known: content, raw, response"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_fitted_to_what_is_wanted() {
        let schema = json!({"properties": {"a": {"type": "array"}, "n": {"type": "integer"}, "t": {"type": "string"}}});
        let fit = |given: Value| fitted(given, &schema);
        assert_eq!(fit(json!({"a": "x", "n": "4", "t": 5})), json!({"a": ["x"], "n": 4, "t": "5"}));
        assert_eq!(fit(json!({"a": ["x"], "n": "four", "z": 1})), json!({"a": ["x"], "n": "four", "z": 1}));
        assert_eq!(fit(json!([1])), json!([1]));
    }
}
