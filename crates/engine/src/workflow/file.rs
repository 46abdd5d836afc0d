//! The journal of one run in a file: what it began with, then what happened, a line each. A line counts when it is on disk.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};
use sos_workflow::program::Resources;

use super::drive::Entry;
use super::entry::{event, written};

/// What a run began with: all that is needed to restore it but its secrets, which are never written down.
#[derive(Clone, Debug, PartialEq)]
pub struct Beginning {
    /// The name of the run.
    pub id: String,
    /// When it began.
    pub at: Timestamp,
    /// The document.
    pub document: Value,
    /// What the document needs from elsewhere.
    pub resources: Resources,
    /// The input as it came.
    pub input: Value,
    /// The names of the secrets that it was given.
    pub secrets: Vec<String>,
}

/// A journal that is written to.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

/// A journal as it was found.
#[derive(Debug)]
pub struct Found {
    /// What the run began with.
    pub beginning: Beginning,
    /// What happened.
    pub entries: Vec<Entry>,
    /// To go on with.
    pub journal: Journal,
}

impl Journal {
    /// Begins a journal.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn begin(path: &Path, beginning: &Beginning) -> Result<Self, String> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = file.map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        lock(&file, path)?;
        let mut journal = Self { path: path.to_owned(), file };
        let resources: BTreeMap<&String, &Value> = beginning.resources.iter().collect();
        journal.write(&json!({
            "run": beginning.id,
            "at": beginning.at.to_string(),
            "document": beginning.document,
            "resources": resources,
            "input": beginning.input,
            "secrets": beginning.secrets,
        }))?;
        // The name of the file has to be on disk too.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| format!("cannot write {}: {error}", folder.display()))?;
        Ok(journal)
    }

    /// Reads a journal. A last line that is not whole was never acknowledged: it is cut off.
    ///
    /// # Errors
    /// When it cannot be read, or is no journal.
    pub fn open(path: &Path) -> Result<Found, String> {
        let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
        let mut file = OpenOptions::new().read(true).append(true).open(path).map_err(failed)?;
        lock(&file, path)?;
        let mut reader = BufReader::new(&file);
        let (mut lines, mut line, mut whole) = (Vec::new(), String::new(), 0);
        loop {
            line.clear();
            let read = reader.read_line(&mut line).map_err(failed)?;
            if !line.ends_with('\n') {
                break;
            }
            whole += read as u64;
            let place = lines.len() + 1;
            let value: Value = serde_json::from_str(&line)
                .map_err(|error| format!("{}:{place}: no line of a journal: {error}", path.display()))?;
            lines.push(value);
        }
        file.set_len(whole).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let wrong = |place: usize| format!("{}:{}: no line of a journal of a run", path.display(), place + 1);
        let beginning = lines.first().and_then(beginning).ok_or_else(|| wrong(0))?;
        let entries =
            lines.iter().enumerate().skip(1).map(|(place, line)| entry(line).ok_or_else(|| wrong(place)));
        let entries = entries.collect::<Result<_, _>>()?;
        Ok(Found { beginning, entries, journal: Self { path: path.to_owned(), file } })
    }

    /// Keeps what happened; returns when it is on disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), String> {
        let line =
            |(event, at): &Entry| format!("{}\n", json!({"at": at.to_string(), "event": written(event)}));
        self.add(&entries.iter().map(line).collect::<String>())
    }

    fn write(&mut self, value: &Value) -> Result<(), String> {
        self.add(&format!("{value}\n"))
    }

    fn add(&mut self, lines: &str) -> Result<(), String> {
        let written = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| format!("cannot write {}: {error}", self.path.display()))
    }
}

/// Keeps others off while this process has it.
fn lock(file: &File, path: &Path) -> Result<(), String> {
    file.try_lock().map_err(|_| format!("{} belongs to a run that another process runs now", path.display()))
}

fn time(of: &Value) -> Option<Timestamp> {
    of.get("at")?.as_str()?.parse().ok()
}

fn beginning(line: &Value) -> Option<Beginning> {
    let resources = line.get("resources")?.as_object()?;
    // Runs before there was such a line had all that their document declares.
    let secrets = line.get("secrets").or_else(|| line.pointer("/document/use/secrets"));
    let secrets = secrets.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    Some(Beginning {
        id: line.get("run")?.as_str()?.to_owned(),
        at: time(line)?,
        document: line.get("document")?.clone(),
        resources: resources.iter().map(|(address, value)| (address.clone(), value.clone())).collect(),
        input: line.get("input")?.clone(),
        secrets: secrets.map(str::to_owned).collect(),
    })
}

fn entry(line: &Value) -> Option<Entry> {
    Some((event(line.get("event")?)?, time(line)?))
}

#[cfg(test)]
mod tests {
    use sos_workflow::machine::{Event, Fault};
    use sos_workflow::template::data;

    use super::*;
    use crate::workflow::entry::TIMERS;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_600_000 + second).unwrap()
    }

    fn began() -> Beginning {
        let resources = Resources::from([("https://a/s.json".to_owned(), json!({"type": "object"}))]);
        Beginning {
            id: "r".to_owned(),
            at: at(0),
            document: json!({"do": []}),
            resources,
            input: json!({"n": 1.5}),
            secrets: vec!["key".to_owned()],
        }
    }

    fn events() -> Vec<Event> {
        let fault =
            Fault::from_json(&json!({"type": "t", "status": 503, "title": "x", "instance": "/do/0/a"}))
                .unwrap();
        let mut events =
            vec![Event::Started, Event::Continued, Event::Suspended, Event::Resumed, Event::Cancelled];
        events.push(Event::Done { id: 3, outcome: Ok(data(&json!({"a": [1, null, "ü"]}))) });
        events.push(Event::Done { id: 4, outcome: Err(fault) });
        events.extend(TIMERS.map(|(timer, _)| Event::Due { id: 5, timer }));
        events.push(Event::Received { id: 6, event: data(&json!({"type": "t"})) });
        events
    }

    #[test]
    fn what_was_kept_is_found_again_and_a_torn_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.jsonl");
        let mut journal = Journal::begin(&path, &began()).unwrap();
        for (second, event) in events().iter().enumerate() {
            journal.append(&[(event.clone(), at(second as i64))]).unwrap();
        }
        std::fs::write(&path, [std::fs::read(&path).unwrap(), b"{\"at\": \"20".to_vec()].concat()).unwrap();
        assert!(Journal::open(&path).unwrap_err().contains("another process"));
        drop(journal);
        let Found { beginning, entries, mut journal } = Journal::open(&path).unwrap();
        assert_eq!(beginning, began());
        assert_eq!(entries.iter().map(|(event, _)| event.clone()).collect::<Vec<_>>(), events());
        assert_eq!(entries[2].1, at(2));
        journal.append(&[(Event::Continued, at(99))]).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&path).unwrap().entries.len(), events().len() + 1);
        assert!(Journal::begin(&path, &began()).unwrap_err().contains("cannot create"));
    }

    #[test]
    fn a_journal_without_names_of_secrets_had_those_of_its_document() {
        let line = json!({"run": "r", "at": at(0).to_string(), "resources": {}, "input": {}, "document": {"use": {"secrets": ["a"]}}});
        assert_eq!(beginning(&line).unwrap().secrets, ["a"]);
    }

    #[test]
    fn what_is_no_journal_is_said_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.jsonl");
        drop(Journal::begin(&path, &began()).unwrap());
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, whole + "{\"at\": \"2026-01-05T08:00:00Z\", \"event\": {\"x\": 1}}\n").unwrap();
        assert!(Journal::open(&path).unwrap_err().contains("r.jsonl:2: no line of a journal"));
        std::fs::write(&path, "").unwrap();
        assert!(Journal::open(&path).unwrap_err().contains(":1:"));
    }
}
