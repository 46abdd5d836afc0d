//! `audit.head`: the end of the audit record, noted beside the database so that a cut-off end is found.
//!
//! # Crash order
//! A note is written after the commit it speaks of, so a crash leaves it behind the record, never ahead. Only a power
//! cut can lose commits of [`Durability::Normal`](crate::Durability) that were noted already: the note therefore holds
//! the last entry known to be on disk as well, and after a reboot only that one is demanded.
//! Two slots are written in turn, each with a checksum, so that a torn note leaves the one before.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{End, hash_at};
use crate::error::{Result, StoreError};
use crate::{FirstBad, files, rows};

/// Name of the file in the data directory.
pub(crate) const HEAD: &str = "audit.head";
const SLOT: usize = 512;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Note {
    turn: u64,
    boot: String,
    seq: u64,
    hash: String,
    durable_seq: u64,
    durable_hash: String,
}

#[derive(Debug)]
pub(crate) struct Head {
    file: File,
    path: PathBuf,
    boot: String,
    note: Note,
}

impl Head {
    /// Opens the note; `fresh` says that there is no database yet, so there can be no note either.
    pub(crate) fn open(dir: &Path, fresh: bool) -> Result<Self> {
        let path = dir.join(HEAD);
        let missing = !path.exists();
        if missing && !fresh {
            let why = "audit.head is missing, so a cut-off end could not be seen".to_owned();
            return Err(StoreError::Audit(FirstBad { seq: 0, why }));
        }
        let file = files::private_file(&path)?;
        let mut head = Self { file, path, boot: boot_id(), note: Note::default() };
        if missing {
            head.note((0, [0; 32]), true)?;
            head.sync()?;
            files::sync_dir(dir)?;
        }
        head.reload();
        Ok(head)
    }

    /// Waits until the note is on disk. Only the first one needs it; a later one that is lost leaves an older one.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(StoreError::io("sync", &self.path))
    }

    /// Reads the note again, after another process may have written it.
    pub(crate) fn reload(&mut self) {
        if let Some(note) = read_note(&self.file) {
            self.note = note;
        }
    }

    /// Refuses a database that does not hold the noted entry: writing on would overwrite the evidence.
    pub(crate) fn check(&self, conn: &rusqlite::Connection) -> Result<()> {
        let note = read_note(&self.file)
            .ok_or_else(|| StoreError::Audit(FirstBad { seq: 0, why: "audit.head is damaged".to_owned() }))?;
        let (seq, hash) = demanded(&note, &self.boot);
        if hash_at(conn, seq)?.is_some_and(|h| rows::hex(&h) == hash) {
            return Ok(());
        }
        let why = "it is noted in audit.head but not in the record".to_owned();
        Err(StoreError::Audit(FirstBad { seq, why }))
    }

    pub(crate) fn note(&mut self, (seq, hash): End, durable: bool) -> Result<()> {
        let known = self.note.seq == seq && self.note.boot == self.boot && self.note.turn > 0;
        if known && (!durable || self.note.durable_seq == seq) {
            return Ok(());
        }
        let note = &mut self.note;
        note.turn += 1;
        note.boot.clone_from(&self.boot);
        note.seq = seq;
        note.hash = rows::hex(&hash);
        if durable {
            note.durable_seq = seq;
            note.durable_hash.clone_from(&note.hash);
        }
        let slot = encode(note)?;
        let offset = (note.turn % 2) * SLOT as u64;
        self.file.write_all_at(&slot, offset).map_err(StoreError::io("write", &self.path))
    }
}

/// The entry that the record must hold, or why that is unknown.
pub(crate) fn required(dir: &Path) -> std::result::Result<End, String> {
    let file = File::open(dir.join(HEAD)).map_err(|e| format!("audit.head cannot be read ({e})"))?;
    let note = read_note(&file).ok_or("audit.head is damaged")?;
    let (seq, hash) = demanded(&note, &boot_id());
    let hash = rows::unhex(hash).and_then(|h| h.try_into().ok()).ok_or("audit.head is damaged")?;
    Ok((seq, hash))
}

fn demanded<'a>(note: &'a Note, boot: &str) -> (u64, &'a str) {
    if !boot.is_empty() && note.boot == boot {
        (note.seq, &note.hash)
    } else {
        (note.durable_seq, &note.durable_hash)
    }
}

/// One line: checksum, blank, JSON, padded with blanks.
fn encode(note: &Note) -> Result<Vec<u8>> {
    let text = rows::text(note)?;
    let mut slot = format!("{} {text}", checksum(&text)).into_bytes();
    if slot.len() >= SLOT {
        return Err(StoreError::invalid("the note of the audit record does not fit its slot"));
    }
    slot.resize(SLOT - 1, b' ');
    slot.push(b'\n');
    Ok(slot)
}

fn checksum(text: &str) -> String {
    rows::hex(&Sha256::digest(text.as_bytes())[..8])
}

fn read_note(file: &File) -> Option<Note> {
    let slots = [0, SLOT as u64].map(|offset| {
        let mut slot = vec![0; SLOT];
        file.read_exact_at(&mut slot, offset).ok()?;
        let text = String::from_utf8(slot).ok()?;
        let (sum, text) = text.trim_end().split_once(' ')?;
        (sum == checksum(text)).then(|| serde_json::from_str::<Note>(text).ok())?
    });
    slots.into_iter().flatten().max_by_key(|note| note.turn)
}

/// Changes with every start of the operating system; empty where there is no such thing.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|s| s.trim().to_owned())
        .unwrap_or_default()
}
