//! Logs: how they are bounded, followed, understood and searched.
//!
//! A process appends to its log itself, so that nobody needs to stay alive for it (decision 0031); `sos` writes its
//! own beside them through [`RotatingFile`]. [`search`] goes through both (decision 0035).

mod copied;
mod files;
mod find;
mod json;
mod keys;
mod level;
mod record;
mod rotation;
mod scan;
mod search;
mod source;
mod tail;
mod text;
mod time;
mod writer;

pub(crate) use copied::{CopiedLine, LogCopy};
pub use find::{LogQuery, LogQueryError, MAX_LOG_RECORDS, MAX_LOG_SCAN};
pub use level::Level;
pub use record::{LogRecord, LogStream, MAX_LOG_LINE};
pub use rotation::rotate;
pub use search::{LogAnswer, search};
pub(crate) use source::zone_named;
pub use source::{LogSource, RunSpan, local_zone};
pub use tail::{LogChunk, LogReader};
pub use writer::RotatingFile;
