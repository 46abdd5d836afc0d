//! A server's description of itself: `grpc.reflection.v1.ServerReflection`, and `v1alpha` of older servers, which differs in name
//! only.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::StreamExt as _;
use futures::channel::mpsc;
use hyper::http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::DescriptorPool;

use super::attempt::{self, Deadline, Target};
use super::codec::Typed;
use super::descriptors::{self, Described};
use super::documents::{BYTES, FILES, Read, bad, built_in};
use super::operations::is_about_others;
use super::response::{self, Answered};
use crate::error::{CallError, ErrorKind};
use crate::http::{Address, Transport};
use crate::secret::Secret;

/// Services that are asked about.
const SERVICES: usize = 1024;
/// Bytes of one answer.
const MESSAGE: usize = 16 << 20;
const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(oneof = "Question", tags = "3, 4, 7")]
    question: Option<Question>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Question {
    #[prost(string, tag = "3")]
    FileByFilename(String),
    #[prost(string, tag = "4")]
    FileContainingSymbol(String),
    #[prost(string, tag = "7")]
    ListServices(String),
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(oneof = "Reply", tags = "4, 6, 7")]
    reply: Option<Reply>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Reply {
    #[prost(message, tag = "4")]
    Files(Files),
    #[prost(message, tag = "6")]
    Services(Services),
    #[prost(message, tag = "7")]
    Failed(Failed),
}

#[derive(Clone, PartialEq, Message)]
struct Files {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Services {
    #[prost(message, repeated, tag = "1")]
    service: Vec<Service>,
}

#[derive(Clone, PartialEq, Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Failed {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// Asks a server what it has.
pub(super) async fn ask(
    transport: &Transport,
    endpoint: &Address,
    headers: &[(String, Secret)],
    timeout: Duration,
) -> Result<Read, CallError> {
    let [path, older] = PATHS.map(PathAndQuery::from_static);
    let target = Target { transport, endpoint, path: &path, headers, timeout, gzip: false };
    let asking = async {
        match conversation(target).await {
            Err(error) if error.fault.as_ref().is_some_and(|fault| fault.code == "UNIMPLEMENTED") => {
                conversation(Target { path: &older, ..target }).await
            }
            other => other,
        }
    };
    Deadline::after(timeout).hold(asking).await.map_err(|error| error.of("", "server reflection"))
}

async fn conversation(target: Target<'_>) -> Result<Read, CallError> {
    let (questions, coming) = mpsc::channel(1);
    let first = Request { question: Some(Question::ListServices("*".to_owned())) };
    let coming = futures::stream::iter([first]).chain(coming).map(|request| Ok(request.encode_to_vec()));
    let response = target.send(target.request(attempt::coming(coming, false))?).await?;
    // Descriptors of error details are not known yet, and not needed.
    let answered =
        response::answered(response, Typed::<Response>::new(), MESSAGE, &DescriptorPool::new()).await;
    let mut talk = Talk { questions, answered: answered.map_err(|refused| refused.error)?, bytes: 0 };
    let services = talk.services().await?;
    let mut files = talk.files(&services).await?;
    descriptors::add_imports(&mut files)?;
    let pool = descriptors::pool(files)?;
    let services = services.iter().filter_map(|name| pool.get_service_by_name(name)).collect();
    Ok(Read { pool, services })
}

/// Questions and answers, one after the other.
struct Talk {
    questions: mpsc::Sender<Request>,
    answered: Answered<Typed<Response>>,
    bytes: usize,
}

impl Talk {
    async fn reply(&mut self) -> Result<Reply, CallError> {
        let wrong = |message: &str| CallError::new(ErrorKind::BadAnswer, "", message);
        let response =
            self.answered.next().await.ok_or_else(|| wrong("the server ended its description early"))??;
        response.reply.ok_or_else(|| wrong("expected files, services or an error, found none of them"))
    }

    async fn ask(&mut self, question: Question) -> Result<Reply, CallError> {
        // Where nobody listens any more, the answer says why.
        let _ended = self.questions.try_send(Request { question: Some(question) });
        self.reply().await
    }

    /// The services that the first question asked for.
    async fn services(&mut self) -> Result<Vec<String>, CallError> {
        let all: Vec<String> = match self.reply().await? {
            Reply::Services(services) => services.service.into_iter().map(|service| service.name).collect(),
            Reply::Failed(failed) => return Err(refused("the services", &failed)),
            Reply::Files(_) => {
                return Err(CallError::new(ErrorKind::BadAnswer, "", "expected services, found files"));
            }
        };
        if all.len() > SERVICES {
            return Err(bad("", format!("expected at most {SERVICES} services, found {}", all.len())));
        }
        let of_its_own: Vec<String> = all.iter().filter(|name| !is_about_others(name)).cloned().collect();
        Ok(if of_its_own.is_empty() { all } else { of_its_own })
    }

    /// The files of these services and all that they import.
    async fn files(&mut self, services: &[String]) -> Result<Vec<Described>, CallError> {
        let mut known: HashMap<String, Described> = HashMap::new();
        let mut wanted = VecDeque::new();
        let mut unknown = None;
        for service in services {
            match self.ask(Question::FileContainingSymbol(service.clone())).await? {
                // Some servers name services that were added without their descriptors; the others can be called.
                Reply::Failed(failed) => unknown = Some(refused(service, &failed)),
                reply => self.take(service, reply, &mut known, &mut wanted)?,
            }
        }
        if let Some(error) = unknown.filter(|_| known.is_empty()) {
            return Err(error);
        }
        while let Some(name) = wanted.pop_front() {
            if known.contains_key(&name) {
                continue;
            }
            let reply = self.ask(Question::FileByFilename(name.clone())).await?;
            // Some servers do not have the files that everybody has.
            if !(matches!(reply, Reply::Failed(_)) && built_in(&name).is_some()) {
                self.take(&name, reply, &mut known, &mut wanted)?;
                if !known.contains_key(&name) {
                    return Err(bad(
                        &name,
                        "the server answered with other files than the one it was asked for",
                    ));
                }
            }
        }
        let mut files: Vec<Described> = known.into_values().collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    fn take(
        &mut self,
        what: &str,
        reply: Reply,
        known: &mut HashMap<String, Described>,
        wanted: &mut VecDeque<String>,
    ) -> Result<(), CallError> {
        let files = match reply {
            Reply::Files(files) => files.file,
            Reply::Failed(failed) => return Err(refused(what, &failed)),
            Reply::Services(_) => {
                return Err(CallError::new(ErrorKind::BadAnswer, what, "expected files, found services"));
            }
        };
        for bytes in files {
            self.bytes = self.bytes.saturating_add(bytes.len());
            let file = Described::read(what, bytes)?;
            wanted.extend(file.imports.iter().filter(|import| !known.contains_key(*import)).cloned());
            known.insert(file.name.clone(), file);
            if self.bytes > BYTES || known.len() > FILES {
                return Err(bad(
                    what,
                    format!("expected at most {BYTES} bytes in {FILES} files, found more"),
                ));
            }
        }
        Ok(())
    }
}

fn refused(what: &str, failed: &Failed) -> CallError {
    let message = format!("the server does not describe it (code {}): {}", failed.code, failed.message);
    bad(what, message)
}
