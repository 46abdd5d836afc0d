//! What targets expose: Prometheus' text format 0.0.4 and OpenMetrics 1.0, both with quoted UTF-8 names.
//!
//! A body is read once into a [`ScrapedBody`], which owns its text and knows where each part of it is; its samples
//! are borrowed from it. What is accepted is what Prometheus' own parser accepts, as decision 0101 lists it.

mod cursor;
mod labels;
mod number;
mod openmetrics;
mod sample;
mod text;

pub use sample::{Labels, Metadata, MetricType, Sample, Told};

use cursor::Span;

/// Samples of one body that are taken unless told otherwise.
pub const DEFAULT_SAMPLE_LIMIT: usize = 1_000_000;
/// Labels that one sample may have.
pub const LABEL_LIMIT: usize = 128;

/// A form of exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4: blanks and comments are free, timestamps are ms.
    Text,
    /// OpenMetrics 1.0: single spaces, `# EOF` at the end, timestamps are seconds.
    OpenMetrics,
}

impl Format {
    /// The form that a `Content-Type` announces. What is missing or names neither is read as text, which most
    /// exporters that announce nothing or something else send.
    ///
    /// # Errors
    /// When it announces a form that is no text.
    pub fn announced(content_type: Option<&str>) -> Result<Self, String> {
        let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/openmetrics-text") {
            Ok(Self::OpenMetrics)
        } else if kind.eq_ignore_ascii_case("application/vnd.google.protobuf") {
            Err(format!("`{kind}` cannot be read; expected text/plain or application/openmetrics-text"))
        } else {
            Ok(Self::Text)
        }
    }
}

/// Why a body is no exposition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Character in it, from 1.
    pub column: usize,
    /// What was expected and what was found.
    pub message: String,
}

/// A body with everything it says, without a text of its own for each part.
#[derive(Clone, Debug)]
pub struct ScrapedBody {
    text: String,
    format: Format,
    samples: Vec<RawSample>,
    labels: Vec<RawLabel>,
    metadata: Vec<RawMetadata>,
}

#[derive(Clone, Copy, Debug)]
struct RawSample {
    name: Span,
    first_label: u32,
    labels: u32,
    value: f64,
    timestamp_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct RawLabel {
    name: Span,
    value: Span,
}

#[derive(Clone, Copy, Debug)]
struct RawMetadata {
    name: Span,
    told: RawTold,
}

#[derive(Clone, Copy, Debug)]
enum RawTold {
    Type(MetricType),
    Help(Span),
    Unit(Span),
}

impl ScrapedBody {
    /// Reads a body of at most 4 GiB; more than `sample_limit` samples are refused.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(body: Vec<u8>, format: Format, sample_limit: usize) -> Result<Self, ParseError> {
        let text = String::from_utf8(body).map_err(|error| no_utf8(&error))?;
        if u32::try_from(text.len()).is_err() {
            let message = format!("a body of {} bytes is too long, at most 4 GiB are read", text.len());
            return Err(ParseError { line: 1, column: 1, message });
        }
        let mut this =
            Self { text: String::new(), format, samples: vec![], labels: vec![], metadata: vec![] };
        match format {
            Format::Text => text::parse(&text, &mut this, sample_limit)?,
            Format::OpenMetrics => openmetrics::parse(&text, &mut this, sample_limit)?,
        }
        this.text = text;
        Ok(this)
    }

    /// Keeps what is said about a metric; `""` is accepted as a name, and nothing is known by it.
    fn tell(&mut self, name: Span, told: RawTold) {
        if !name.is_empty() {
            self.metadata.push(RawMetadata { name, told });
        }
    }

    /// The form it was read as.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether it has no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// All samples in their order. The same series may come twice, as it may for Prometheus.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = Sample<'_>> + '_ {
        self.samples.iter().map(|raw| {
            let first = raw.first_label as usize;
            Sample {
                name: raw.name.unescaped(&self.text),
                labels: Labels::new(&self.text, &self.labels[first..first + raw.labels as usize]),
                value: raw.value,
                timestamp_ms: raw.timestamp_ms,
            }
        })
    }

    /// What it says about its metrics, in order; of one metric the last word counts.
    pub fn metadata(&self) -> impl ExactSizeIterator<Item = Metadata<'_>> + '_ {
        self.metadata.iter().map(|raw| Metadata {
            name: raw.name.unescaped(&self.text),
            told: match raw.told {
                RawTold::Type(kind) => Told::Type(kind),
                RawTold::Help(text) => Told::Help(text.unescaped_help(&self.text, self.format)),
                RawTold::Unit(text) => Told::Unit(text.of(&self.text)),
            },
        })
    }

    /// Forgets the timestamps that the target gave.
    pub fn drop_timestamps(&mut self) {
        self.samples.iter_mut().for_each(|sample| sample.timestamp_ms = None);
    }
}

fn no_utf8(error: &std::string::FromUtf8Error) -> ParseError {
    let good = error.utf8_error().valid_up_to();
    let before = String::from_utf8_lossy(&error.as_bytes()[..good]);
    let byte = error.as_bytes().get(good).copied().unwrap_or_default();
    cursor::error_at(&before, good, format!("expected UTF-8, found the byte 0x{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_decides_and_an_unknown_one_means_text() {
        let of = |kind| Format::announced(kind);
        assert_eq!(
            of(Some("application/openmetrics-text; version=1.0.0; charset=utf-8")),
            Ok(Format::OpenMetrics)
        );
        assert_eq!(of(Some("text/plain; version=0.0.4")), Ok(Format::Text));
        assert_eq!(of(Some("text/html")), Ok(Format::Text));
        assert_eq!(of(None), Ok(Format::Text));
        assert!(
            of(Some("application/vnd.google.protobuf; encoding=delimited"))
                .unwrap_err()
                .contains("expected text/plain")
        );
    }

    #[test]
    fn the_first_byte_that_is_no_utf8_is_named() {
        let error = ScrapedBody::parse(b"a 1\nb{c=\"\xe4\"} 1\n".to_vec(), Format::Text, 10).unwrap_err();
        assert_eq!(error.to_string(), "line 2, column 6: expected UTF-8, found the byte 0xe4");
    }

    #[test]
    fn samples_above_the_limit_are_refused_with_the_place() {
        let error = ScrapedBody::parse(b"a 1\nb 1\nc 1\n".to_vec(), Format::Text, 2).unwrap_err();
        assert_eq!(error.to_string(), "line 3, column 1: more than 2 samples");
    }
}
