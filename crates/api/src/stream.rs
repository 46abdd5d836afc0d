//! Long answers: the event stream of the dashboard and followed logs. Each holds one of a bounded number of places.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::stream;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        broadcast::{Receiver, error::RecvError},
        mpsc,
    },
    time::{MissedTickBehavior, interval},
};
use utoipa::IntoParams;

use crate::{
    LiveEvent, Problem,
    access::Credential,
    extract::Query,
    server::App,
    wire::{EventRecord, SiteLive},
};

/// A reader gets at most this many states of a site in a second; between them only the newest is kept.
const STATES_PER_SECOND: u64 = 4;
/// Events kept for a reader between two sendings; the oldest go first.
const EVENTS_KEPT: usize = 256;
/// How often a stream checks that its token is still valid, and says that it is alive.
const ALIVE: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StreamQuery {
    /// Only this site's states; all sites when left out.
    site: Option<String>,
}

/// A place among the open streams.
pub(crate) fn place(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        app.counters.stream_refused.fetch_add(1, Relaxed);
        Problem::unavailable(format!(
            "all {} places for live streams are taken: close a dashboard that is not needed, or try again later",
            app.options.max_streams
        ))
    })
}

/// Server-sent events: `site` (a SiteLive), `event` (an EventRecord), `ping` (every 10 s when nothing else), `bye` (the
/// server stops, or the token was revoked). Begins with the latest state of each site.
#[utoipa::path(get, path = "/api/v1/stream", tag = "sites", params(StreamQuery),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 503, body = Problem)))]
pub(crate) async fn stream(
    State(app): State<App>,
    axum::Extension(credential): axum::Extension<Credential>,
    Query(query): Query<StreamQuery>,
) -> Result<Response, Problem> {
    let place = place(&app)?;
    // Subscribed before the first state is read: nothing falls between the two.
    let live = app.platform.subscribe();
    let (sender, receiver) = mpsc::channel(8);
    let reader = Reader { app, credential, site: query.site, waiting: Waiting::default(), sender };
    tokio::spawn(async move {
        reader.run(live).await;
        drop(place);
    });
    let events = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|event| (Ok::<_, Infallible>(event), receiver))
    });
    // A named event, as scripts do not see comments: the page notices a connection that died silently.
    let alive = KeepAlive::new().interval(ALIVE).event(Event::default().event("ping").data("{}"));
    Ok(Sse::new(events).keep_alive(alive).into_response())
}

#[derive(Default)]
struct Waiting {
    sites: BTreeMap<String, Arc<SiteLive>>,
    events: VecDeque<Arc<EventRecord>>,
}

struct Reader {
    app: App,
    credential: Credential,
    site: Option<String>,
    waiting: Waiting,
    sender: mpsc::Sender<Event>,
}

impl Reader {
    async fn run(mut self, mut live: Receiver<LiveEvent>) {
        for site in self.app.platform.sites() {
            if let Some(state) = self.app.platform.site_live(&site.name) {
                self.keep(LiveEvent::Site(state));
            }
        }
        let mut pace = interval(Duration::from_millis(1000 / STATES_PER_SECOND));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut check = interval(ALIVE);
        loop {
            let empty = self.waiting.sites.is_empty() && self.waiting.events.is_empty();
            tokio::select! {
                () = self.app.stop.cancelled() => return self.bye("the server stops").await,
                () = self.sender.closed() => return,
                _ = check.tick() => if self.app.platform.check_token(&self.credential.0).is_none() {
                    return self.bye("the token was revoked").await;
                },
                _ = pace.tick(), if !empty => if self.send().await.is_none() { return },
                next = live.recv() => match next {
                    Ok(event) => self.keep(event),
                    Err(RecvError::Lagged(count)) => {
                        self.app.counters.stream_skipped.fetch_add(count, Relaxed);
                    }
                    Err(RecvError::Closed) => return self.bye("the server stops").await,
                },
            }
        }
    }

    fn keep(&mut self, event: LiveEvent) {
        match event {
            LiveEvent::Site(state) => {
                if self.site.as_ref().is_none_or(|site| *site == state.site) {
                    self.waiting.sites.insert(state.site.clone(), state);
                }
            }
            LiveEvent::Event(event) => {
                self.waiting.events.push_back(event);
                if self.waiting.events.len() > EVENTS_KEPT {
                    self.waiting.events.pop_front();
                    self.app.counters.stream_skipped.fetch_add(1, Relaxed);
                }
            }
        }
    }

    /// `None` when the reader has gone.
    async fn send(&mut self) -> Option<()> {
        let waiting = std::mem::take(&mut self.waiting);
        for state in waiting.sites.values() {
            self.sender.send(named("site", state.as_ref())).await.ok()?;
        }
        for event in waiting.events {
            self.sender.send(named("event", event.as_ref())).await.ok()?;
        }
        Some(())
    }

    async fn bye(self, why: &str) {
        let _ = self.sender.send(named("bye", &why)).await;
    }
}

/// JSON has no line breaks, so one `data:` line carries it.
fn named(name: &str, value: &impl Serialize) -> Event {
    Event::default().event(name).data(serde_json::to_string(value).unwrap_or_default())
}
