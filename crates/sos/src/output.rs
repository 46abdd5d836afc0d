//! Answers on stdout: tables for people, JSON, YAML and CSV for programs.

use std::io::{BufWriter, IsTerminal, StdoutLock, Write};

use crate::outcome::{Failure, Outcome};

/// Form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns.
    Table,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Comma-separated values.
    Csv,
}

/// The form that is asked for.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// Form of the answer [default: a table on a terminal, else json]
    #[arg(short, long, value_name = "FORM")]
    output: Option<Format>,
}

impl OutputArgs {
    /// Tables are for people: what no person looks at is JSON unless another form is asked for.
    pub(crate) fn format(self) -> Format {
        let table_or_json = || if std::io::stdout().is_terminal() { Format::Table } else { Format::Json };
        self.output.unwrap_or_else(table_or_json)
    }

    /// Whether a form was asked for.
    pub(crate) const fn is_given(self) -> bool {
        self.output.is_some()
    }

    /// The form for answers that are rows for programs, wherever they go.
    pub(crate) fn or_csv(self) -> Format {
        self.output.unwrap_or(Format::Csv)
    }

    /// The form for answers whose usual one is text for people, wherever it goes.
    pub(crate) fn or_text(self) -> Format {
        self.output.unwrap_or(Format::Table)
    }
}

/// Rows of text below a header.
#[derive(Debug, Default)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    pub(crate) fn new(header: &[&str]) -> Self {
        Self { header: header.iter().map(|&name| name.to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row; as many cells as columns. What a terminal would obey (control characters) becomes a space.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.into_iter().map(|cell| cell.replace(char::is_control, " ")).collect());
    }

    /// Whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Aligned columns, with a line for the header.
    pub(crate) fn aligned(&self) -> String {
        let widths: Vec<usize> = (0..self.header.len())
            .map(|i| {
                let cells = self.rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count());
                cells.chain([self.header[i].len()]).max().unwrap_or(0)
            })
            .collect();
        let line = |cells: Vec<&str>| {
            let padded: Vec<String> =
                cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
            padded.join("   ").trim_end().to_owned() + "\n"
        };
        let header = line(self.header.iter().map(String::as_str).collect());
        let rows = self.rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
        std::iter::once(header).chain(rows).collect()
    }

    fn csv(&self) -> String {
        let quote = |cell: &str| {
            if cell.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell.to_owned()
            }
        };
        let line = |cells: Vec<&str>| cells.into_iter().map(quote).collect::<Vec<_>>().join(",") + "\n";
        let header = line(self.header.iter().map(String::as_str).collect());
        let rows = self.rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
        std::iter::once(header.to_lowercase()).chain(rows).collect()
    }
}

/// Prints an answer that has both a table and a value; the table is for people and CSV alike.
pub(crate) fn answer(format: Format, table: &Table, value: &impl serde::Serialize) -> Outcome {
    match format {
        Format::Table => text(&table.aligned()),
        Format::Csv => csv(table),
        Format::Json | Format::Yaml => structured(format, value),
    }
}

/// Prints a table as comma-separated values.
pub(crate) fn csv(table: &Table) -> Outcome {
    text(&table.csv())
}

/// Prints a value as JSON or YAML.
pub(crate) fn structured(format: Format, value: &impl serde::Serialize) -> Outcome {
    match format {
        Format::Yaml => {
            let value = serde_json::to_value(value).map_err(Failure::unsuccessful)?;
            text(&crate::yaml::to_yaml(&value))
        }
        Format::Table | Format::Json | Format::Csv => json(value),
    }
}

/// Tells people something beside the answer.
#[expect(clippy::print_stderr, reason = "what is not the answer goes to stderr")]
pub(crate) fn note(text: impl std::fmt::Display) {
    eprintln!("{text}");
}

/// Prints a value as indented JSON, as it goes: an answer may be large.
pub(crate) fn json(value: &impl serde::Serialize) -> Outcome {
    print(|out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

/// Prints text.
pub(crate) fn text(text: &str) -> Outcome {
    print(|out| out.write_all(text.as_bytes()))
}

/// Writes to stdout; a reader that has gone away (`| head`) is not an error.
fn print(write: impl FnOnce(&mut BufWriter<StdoutLock<'_>>) -> std::io::Result<()>) -> Outcome {
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::unsuccessful(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_csv_quotes() {
        let mut table = Table::new(&["NAME", "MESSAGE"]);
        table.row(vec!["home-1".into(), "ready".into()]);
        table.row(vec!["a".into(), "says \"no\", twice".into()]);
        assert_eq!(table.aligned(), "NAME     MESSAGE\nhome-1   ready\na        says \"no\", twice\n");
        assert_eq!(table.csv(), "name,message\nhome-1,ready\na,\"says \"\"no\"\", twice\"\n");
    }
}
