//! `sos logs`.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use reqwest::Method;

use super::block_on;
use crate::client::{Body, ServerArgs};
use crate::outcome::{Failure, Outcome};

/// A log that is not followed comes at once.
const LIMIT: Duration = Duration::from_secs(60);

/// Arguments of `sos logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the service
    service: String,
    /// Go on with new lines as they come, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines
    #[arg(long, default_value_t = 100, value_name = "N")]
    lines: usize,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints the log of a service.
pub(crate) fn run(args: &Args) -> Outcome {
    let client = args.server.client()?;
    block_on(async {
        let path = ["services", &args.service, "logs"];
        let query = [("lines", args.lines.to_string()), ("follow", args.follow.to_string())];
        let limit = (!args.follow).then_some(LIMIT);
        let mut response = client.response(Method::GET, &path, &query, Body::None, limit).await?;
        while let Some(chunk) = response.chunk().await.map_err(|error| client.unreachable(&error))? {
            let mut out = std::io::stdout().lock();
            match out.write_all(&chunk).and_then(|()| out.flush()) {
                Ok(()) => {}
                // The reader has gone (`| head`): that is enough.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(Failure::unsuccessful(format!("cannot write to stdout: {error}"))),
            }
        }
        Ok(())
    })
}
