//! Notifications: what waits, what was delivered, what was given up.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use sos_watch::alerts::{Notification, Reason, fingerprint};
use utoipa::IntoParams;

use super::view::{map, time};
use crate::{
    Problem,
    extract::Query,
    server::App,
    wire::{NotificationRecord, NotifiedRecord},
};

/// Notifications of one answer when the query does not say, and at most.
const LIMIT: (usize, usize) = (100, 1_000);
/// Most alerts that are named of each.
const ALERTS: usize = 20;

/// One notification of the outbox.
#[derive(Clone, Debug)]
pub struct OutboxEntry {
    /// What a notifier is to be told.
    pub notification: Arc<Notification>,
    /// How often it was tried.
    pub attempts: u32,
    /// How far it is.
    pub delivery: Delivery,
}

/// How far a notification is. Times are ms since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It is tried again.
    Waiting {
        /// What went wrong at the last try.
        error: Option<String>,
        /// When it is tried next.
        next_ms: i64,
    },
    /// The notifier has it.
    Delivered {
        /// Since when.
        at_ms: i64,
    },
    /// It was given up.
    Failed {
        /// What went wrong at the last try.
        error: String,
        /// When it was given up.
        at_ms: i64,
    },
}

impl OutboxEntry {
    /// `waiting`, `delivered` or `failed`.
    pub(super) fn word(&self) -> &'static str {
        match self.delivery {
            Delivery::Waiting { .. } => "waiting",
            Delivery::Delivered { .. } => "delivered",
            Delivery::Failed { .. } => "failed",
        }
    }

    /// When it was delivered or given up.
    pub(super) fn ended_at_ms(&self) -> Option<i64> {
        match self.delivery {
            Delivery::Waiting { .. } => None,
            Delivery::Delivered { at_ms } | Delivery::Failed { at_ms, .. } => Some(at_ms),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OutboxQuery {
    /// 1…1000; 100 when left out.
    limit: Option<usize>,
}

/// Notifications that wait, were delivered or were given up, the newest first.
#[utoipa::path(get, path = "/api/v1/notifications", tag = "alerts", params(OutboxQuery),
    responses((status = 200, body = Vec<NotificationRecord>), (status = 400, body = Problem)))]
pub(crate) async fn notifications(
    State(app): State<App>,
    Query(query): Query<OutboxQuery>,
) -> Result<Json<Vec<NotificationRecord>>, Problem> {
    let entries = app.platform.outbox(super::limit(query.limit, LIMIT)?).await?;
    Ok(Json(entries.iter().map(record).collect()))
}

fn record(entry: &OutboxEntry) -> NotificationRecord {
    let notification = &entry.notification;
    let (error, next) = match &entry.delivery {
        Delivery::Waiting { error, next_ms } => (error.clone(), Some(*next_ms)),
        Delivery::Delivered { .. } => (None, None),
        Delivery::Failed { error, .. } => (Some(error.clone()), None),
    };
    let alerts = notification.alerts.iter().take(ALERTS).map(|alert| NotifiedRecord {
        fingerprint: fingerprint(&alert.labels),
        state: if alert.is_firing() { "firing" } else { "resolved" }.to_owned(),
        labels: map(&alert.labels),
    });
    NotificationRecord {
        key: notification.key.clone(),
        notifier: notification.notifier.clone(),
        reason: word(notification.reason).to_owned(),
        at: time(notification.at_ms),
        state: entry.word().to_owned(),
        attempts: entry.attempts,
        error,
        next_try: next.map(time),
        ended_at: entry.ended_at_ms().map(time),
        alert_count: notification.alerts.len(),
        alerts: alerts.collect(),
    }
}

fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::First => "first",
        Reason::More => "more",
        Reason::Fewer => "fewer",
        Reason::Resolved => "resolved",
        Reason::Repeat => "repeat",
        Reason::Escalation => "escalation",
    }
}
