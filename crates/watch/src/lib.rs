//! Queries over everything measured: PromQL, evaluated over any [`Source`] of series; rules that watch them, and who is
//! told when something is wrong.
//!
//! # Units
//! Times are ms since 1970-01-01 UTC and durations ms, both `i64`; values are plain numbers in the unit of their series.
//!
//! # How it fits together
//! [`Query::parse`] makes an expression of a text, [`Query::instant`] and [`Query::range`] evaluate it. Nothing here
//! reads a clock: a deadline is the caller's [`Options::stop`]. `docs/decisions/0065-promql.md` says why parser and
//! evaluator are the project's own.
//!
//! - `promql/parser.rs`: text → [`promql::ast`]; what is well formed but wrong: `promql/check.rs`.
//! - `promql/functions/mod.rs`: one line per function.
//! - `promql/eval/mod.rs`: evaluation, series × steps at once.
//! - [`rules`]: alerting and recording rules as a state machine; [`template`] the texts of alerts.
//! - [`rule_test`]: unit tests of rules in promtool's format.
//! - [`alerts`]: from alerts that fire to notifications, none twice. `docs/decisions/0066-rules-and-templates.md` says what
//!   is as in Prometheus and Alertmanager and what is not.
//! - [`pack`]: ready rules for services, sites, assets, forecasts and `sos` itself, with their runbooks.
//! - [`notation`]: series as tests write them, `1+1x10 _ stale`.

pub mod alerts;
mod document;
pub mod duration;
pub mod format;
pub mod labels;
pub mod matcher;
pub mod notation;
pub mod pack;
mod pattern;
pub mod promql;
pub mod rule_test;
pub mod rules;
pub mod series;
pub mod template;
mod written;

pub use labels::Labels;
pub use matcher::{MatchOp, Matcher};
pub use promql::{Answer, Error, ErrorKind, Limits, Options, Query, ResultSeries};
pub use series::{Memory, STALE, Sample, Selection, Series, Source, SourceError};
