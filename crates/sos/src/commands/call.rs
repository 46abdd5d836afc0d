//! `sos call`: what services can be asked, and asking them.

use std::io::Read as _;

use serde_json::{Map, Value, json};
use sos_api::wire::{CallRequest, ContractDetail, ContractSummary, OperationView};
use sos_model::{did_you_mean, known_list};

use super::block_on;
use crate::client::{Client, ServerArgs};
use crate::outcome::{Failure, Outcome};
use crate::output::{self, Format, OutputArgs, Table};

/// Arguments of `sos call`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the service; without one all services that can be called are listed
    service: Option<String>,
    /// Name of the operation; without one those of the service are listed
    operation: Option<String>,
    /// The input: JSON, @FILE, or - for stdin
    #[arg(long, short, value_name = "JSON")]
    input: Option<String>,
    /// One key of the input, also several times; the value is JSON where it reads as such, else text
    #[arg(long, short, value_name = "NAME=VALUE", requires = "operation")]
    param: Vec<String>,
    /// Show what the operation takes and gives, as JSON Schemas, instead of calling it
    #[arg(long, requires = "operation", conflicts_with_all = ["input", "param"])]
    schema: bool,
    /// Only services and operations in which all these words are found
    #[arg(long, value_name = "WORDS", conflicts_with = "service")]
    search: Option<String>,
    /// Longest time with all attempts [default and at most: the service's calls.deadline]
    #[arg(long, value_name = "DURATION", requires = "operation")]
    timeout: Option<String>,
    /// Sent as Idempotency-Key, the same in every attempt
    #[arg(long, value_name = "KEY", requires = "operation")]
    key: Option<String>,
    /// A further header, also several times
    #[arg(long, short = 'H', value_name = "NAME: VALUE", requires = "operation")]
    header: Vec<String>,
    /// Print the whole answer: output, status, headers, attempts, time
    #[arg(long, requires = "operation")]
    full: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Lists or calls.
pub(crate) fn run(args: &Args) -> Outcome {
    match (&args.service, &args.operation) {
        (None, _) => services(args),
        (Some(service), None) => operations(args, service),
        (Some(service), Some(operation)) if args.schema => schema(args, service, operation),
        (Some(service), Some(operation)) => call(args, service, operation),
    }
}

fn services(args: &Args) -> Outcome {
    let client = args.server.client()?;
    let query: Vec<_> = args.search.iter().map(|words| ("search", words.clone())).collect();
    block_on(async {
        let found: Vec<ContractSummary> = client.get(&["contracts"], &query).await?;
        let mut table = Table::new(&[
            "SERVICE",
            "SPEAKS",
            "TITLE",
            "VERSION",
            "OPERATIONS",
            "OWNER",
            "HEALTH",
            "ENDPOINTS",
        ]);
        for one in &found {
            let health = match &one.problem {
                Some(problem) => problem.clone(),
                None if one.circuit == "closed" || one.circuit.is_empty() => one.health.clone(),
                None => format!("{}, circuit {}", one.health, one.circuit),
            };
            table.row(vec![
                one.service.clone(),
                one.protocol.clone().unwrap_or_else(|| "?".to_owned()),
                one.title.clone(),
                one.version.clone(),
                one.operations.to_string(),
                one.owner.clone().unwrap_or_default(),
                health,
                one.endpoints.join(" "),
            ]);
            for hit in &one.matches {
                let mut cells = vec![String::new(); 8];
                hit.clone_into(&mut cells[2]);
                table.row(cells);
            }
        }
        if found.is_empty() {
            let none = "no service has a contract; declare one with spec.contract or `sos import`";
            output::note(if args.search.is_some() { "nothing is found" } else { none });
        }
        output::answer(args.output.format(), &table, &found)
    })
}

fn operations(args: &Args, service: &str) -> Outcome {
    if args.input.is_some() {
        return Err(Failure::input("an input without an operation; expected sos call SERVICE OPERATION"));
    }
    let client = args.server.client()?;
    block_on(async {
        let detail = detail(&client, service).await?;
        let mut table = Table::new(&["OPERATION", "PATH", "STREAMS", "SUMMARY"]);
        for one in &detail.operations {
            let old = if one.deprecated { "(deprecated) " } else { "" };
            let streams = if one.streaming == "none" { "" } else { &one.streaming };
            table.row(vec![
                one.name.clone(),
                one.path.clone(),
                streams.to_owned(),
                format!("{old}{}", one.summary),
            ]);
        }
        output::answer(args.output.format(), &table, &detail.operations)
    })
}

async fn detail(client: &Client, service: &str) -> Result<ContractDetail, Failure> {
    client.get(&["contracts", service], &[]).await
}

fn schema(args: &Args, service: &str, operation: &str) -> Outcome {
    let client = args.server.client()?;
    block_on(async {
        let detail = detail(&client, service).await?;
        let found = known(&detail.operations, service, operation)?;
        let format = if args.output.is_given() { args.output.format() } else { Format::Json };
        output::structured(format, &json!({ "input": found.input, "output": found.output }))
    })
}

fn known<'a>(all: &'a [OperationView], service: &str, name: &str) -> Result<&'a OperationView, Failure> {
    all.iter().find(|one| one.name == name).ok_or_else(|| {
        let names = || all.iter().map(|one| one.name.as_str());
        let hint = did_you_mean(name, names());
        Failure::input(format!(
            "service {service} has no operation \"{name}\"; {hint}{}",
            known_list(names())
        ))
    })
}

fn call(args: &Args, service: &str, operation: &str) -> Outcome {
    let request = CallRequest {
        operation: operation.to_owned(),
        input: input(args)?,
        timeout_seconds: args.timeout.as_deref().map(timeout).transpose()?,
        idempotency_key: args.key.clone(),
        headers: args.header.iter().map(|text| header(text)).collect::<Result<_, _>>()?,
    };
    let client = args.server.client()?;
    block_on(async {
        let answer = client.call(service, &request).await?;
        let format = if args.output.is_given() { args.output.format() } else { Format::Json };
        if args.full {
            output::structured(format, &answer)
        } else {
            output::structured(format, &answer.output)
        }
    })
}

/// The input as it is given: whole, by keys, or both, where keys replace those of the whole.
fn input(args: &Args) -> Result<Value, Failure> {
    let whole = match args.input.as_deref() {
        None => Value::Null,
        Some("-") => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| Failure::input(format!("cannot read stdin: {error}")))?;
            parsed(&text, "stdin")?
        }
        Some(text) => match text.strip_prefix('@') {
            None => parsed(text, "--input")?,
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| Failure::input(format!("cannot read {path}: {error}")))?;
                parsed(&text, path)?
            }
        },
    };
    if args.param.is_empty() {
        // An operation that takes nothing takes an empty map as well.
        return Ok(if args.input.is_none() { json!({}) } else { whole });
    }
    let mut map = match whole {
        Value::Null => Map::new(),
        Value::Object(map) => map,
        _ => return Err(Failure::input("--param beside an --input that is no map; expected one of them")),
    };
    for param in &args.param {
        let (name, value) = param
            .split_once('=')
            .ok_or_else(|| Failure::input(format!("--param {param} has no value; expected NAME=VALUE")))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        map.insert(name.to_owned(), value);
    }
    Ok(Value::Object(map))
}

fn parsed(text: &str, place: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::input(format!(
            "{place}:{}:{}: no JSON: {error}; expected a value such as {{\"a\": 1}}",
            error.line(),
            error.column()
        ))
    })
}

fn timeout(text: &str) -> Result<f64, Failure> {
    let time = sos_model::read_duration(text).map_err(|why| Failure::input(format!("--timeout: {why}")))?;
    if time.is_positive() {
        return Ok(time.as_secs_f64());
    }
    Err(Failure::input("--timeout: expected a time above zero, such as 5s"))
}

fn header(text: &str) -> Result<(String, String), Failure> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| Failure::input(format!("--header {text} has no value; expected \"NAME: VALUE\"")))?;
    Ok((name.trim().to_lowercase(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn args(words: &[&str]) -> Args {
        Command::try_parse_from(["call"].iter().chain(words)).unwrap().args
    }

    #[test]
    fn an_input_is_given_whole_or_by_keys() {
        let of = |words: &[&str]| input(&args(words)).unwrap();
        assert_eq!(of(&["market", "list"]), json!({}));
        assert_eq!(of(&["market", "list", "-i", "[1]"]), json!([1]));
        assert_eq!(
            of(&["market", "list", "-i", r#"{"a":1,"b":2}"#, "-p", "b=3", "-p", "c=x=y"]),
            json!({"a": 1, "b": 3, "c": "x=y"})
        );
        for wrong in
            [&["m", "o", "-i", "{"][..], &["m", "o", "-i", "[]", "-p", "a=1"], &["m", "o", "-p", "a"]]
        {
            assert!(matches!(input(&args(wrong)), Err(Failure::BadInput(_))), "{wrong:?}");
        }
    }

    #[test]
    fn headers_have_a_name_and_a_value() {
        assert_eq!(header("X-Key: a:b").unwrap(), ("x-key".to_owned(), "a:b".to_owned()));
        assert!(header("X-Key").is_err());
    }
}
