//! `sos events`.

use sos_api::wire::EventRecord;
use sos_model::AnyKind;

use super::block_on;
use super::resource::kind_name;
use crate::client::{Client, ServerArgs};
use crate::outcome::{Failure, Outcome};
use crate::output::{self, OutputArgs, Table};

/// The columns of events.
pub(super) const HEADER: [&str; 7] = ["TIME", "SITE TIME", "TYPE", "REASON", "RESOURCE", "COUNT", "MESSAGE"];
/// What `sos up --watch` tells about, which is no kind of resource.
const FOLDER: &str = "Folder";

/// Arguments of `sos events`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only of resources of this kind, also as plural or short name
    #[arg(long)]
    kind: Option<String>,
    /// Only of resources with this name
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Shows what happened, the latest last.
pub(crate) fn run(args: &Args) -> Outcome {
    let kind = match args.kind.as_deref() {
        None => None,
        Some(kind) if kind.eq_ignore_ascii_case(FOLDER) => Some(FOLDER),
        Some(kind) => Some(kind_name(AnyKind::resolve(kind).map_err(Failure::input)?)),
    };
    let client = args.server.client()?;
    block_on(async {
        let events = of(&client, kind, args.name.as_deref()).await?;
        if events.is_empty() {
            output::note("no events found");
        }
        output::answer(args.output.format(), &table(&events), &events)
    })
}

/// The latest events that the server gives, of a kind and a name.
pub(super) async fn of(
    client: &Client,
    kind: Option<&str>,
    name: Option<&str>,
) -> Result<Vec<EventRecord>, Failure> {
    let mut events: Vec<EventRecord> = client.get(&["events"], &[]).await?;
    events.retain(|event| kind.is_none_or(|k| event.kind == k) && name.is_none_or(|n| event.name == n));
    Ok(events)
}

/// Events as rows.
pub(super) fn table(events: &[EventRecord]) -> Table {
    let mut table = Table::new(&HEADER);
    for event in events {
        table.row(vec![
            event.time.clone(),
            event.site_time.clone().unwrap_or_default(),
            event.level.clone(),
            event.reason.clone(),
            format!("{}/{}", event.kind, event.name),
            event.count.to_string(),
            event.message.clone(),
        ]);
    }
    table
}
