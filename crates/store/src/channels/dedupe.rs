//! Ids that were seen within the window of a channel.
//!
//! The latest up to 65,536 ids are in memory and, as one row per append, in the table `recent`. When there are more they
//! become a run: sorted, in 256 rows by their first byte, found again through a filter of two bytes per id in memory.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _};

use crate::error::{Result, StoreError};
use crate::rows;

/// How many ids make a run.
const RUN: usize = 1 << 16;
const ENTRY: usize = 24;
/// 16 bits per id, in blocks of 512 bits.
const FILTER_WORDS: usize = RUN * 16 / 64;
const FILTER_BLOCKS: usize = FILTER_WORDS / 8;
const PROBES: u32 = 7;

#[derive(Debug, Default)]
pub(super) struct Dedupe {
    recent: HashMap<u128, i64>,
    /// Oldest first.
    runs: Vec<Run>,
}

#[derive(Debug)]
struct Run {
    id: i64,
    newest: i64,
    ids: u64,
    filter: Filter,
}

impl Dedupe {
    pub(super) fn load(conn: &Connection, channel: i64) -> Result<Self> {
        let mut dedupe = Self::default();
        let mut query = conn.prepare_cached("SELECT at, hashes FROM recent WHERE channel = ? ORDER BY id")?;
        let mut found = query.query([channel])?;
        while let Some(row) = found.next()? {
            let at = row.get(0)?;
            let hashes = row.get_ref(1)?.as_blob().map_err(|_| damaged())?;
            let (hashes, rest) = hashes.as_chunks::<16>();
            if !rest.is_empty() {
                return Err(damaged());
            }
            dedupe.recent.extend(hashes.iter().map(|hash| (u128::from_be_bytes(*hash), at)));
        }
        let mut query =
            conn.prepare_cached("SELECT id, newest, ids, filter FROM run WHERE channel = ? ORDER BY id")?;
        let mut found = query.query([channel])?;
        while let Some(row) = found.next()? {
            let filter = Filter::read(row.get_ref(3)?.as_blob().map_err(|_| damaged())?)?;
            let ids = row.get::<_, i64>(2)?.unsigned_abs();
            dedupe.runs.push(Run { id: row.get(0)?, newest: row.get(1)?, ids, filter });
        }
        Ok(dedupe)
    }

    /// About how many bytes of memory this takes.
    pub(super) fn weight(&self) -> usize {
        self.recent.capacity() * 40 + self.runs.len() * FILTER_WORDS * 8
    }

    /// Notes an id, unless it was seen at `cutoff` or later: then answers `false`.
    pub(super) fn note(&mut self, conn: &Connection, id: u128, at: i64, cutoff: i64) -> Result<bool> {
        if self.recent.get(&id).is_some_and(|seen| *seen >= cutoff) {
            return Ok(false);
        }
        for run in self.runs.iter().rev().filter(|run| run.newest >= cutoff) {
            if run.filter.may_hold(id) && look_up(conn, run.id, id)?.is_some_and(|seen| seen >= cutoff) {
                return Ok(false);
            }
        }
        self.recent.insert(id, at);
        Ok(true)
    }

    /// Takes back what was noted by an append that is then refused.
    pub(super) fn forget(&mut self, ids: impl Iterator<Item = u128>) {
        for id in ids {
            self.recent.remove(&id);
        }
    }

    /// Makes the ids of an append durable with it.
    pub(super) fn append(&self, conn: &Connection, channel: i64, at: i64, ids: &[u128]) -> Result<()> {
        let hashes: Vec<u8> = ids.iter().flat_map(|id| id.to_be_bytes()).collect();
        conn.prepare_cached("INSERT INTO recent (channel, at, hashes) VALUES (?, ?, ?)")?
            .execute((channel, at, hashes))?;
        Ok(())
    }

    pub(super) fn is_long(&self) -> bool {
        self.recent.len() >= RUN
    }

    /// Moves the latest ids into runs. Of those and of the runs before, what is older than `cutoff` is dropped, and
    /// the oldest when there are more than `most`.
    pub(super) fn roll(&mut self, conn: &Connection, channel: i64, cutoff: i64, most: u64) -> Result<()> {
        let mut ids: Vec<(u128, i64)> =
            std::mem::take(&mut self.recent).into_iter().filter(|(_, at)| *at >= cutoff).collect();
        conn.prepare_cached("DELETE FROM recent WHERE channel = ?")?.execute([channel])?;
        ids.sort_unstable();
        // One append may bring more than a run; filters are made for about one.
        let runs = if ids.is_empty() { 0 } else { (ids.len() / RUN).max(1) };
        for part in 0..runs {
            let part: Vec<_> = ids.iter().skip(part).step_by(runs).copied().collect();
            self.runs.push(Run::write(conn, channel, &part)?);
        }
        self.drop_runs(conn, cutoff, most, 4)?;
        Ok(())
    }

    /// Drops up to `steps` runs that nobody needs; says whether there may be more.
    pub(super) fn drop_runs(
        &mut self,
        conn: &Connection,
        cutoff: i64,
        most: u64,
        steps: usize,
    ) -> Result<bool> {
        for _ in 0..steps {
            let total: u64 = self.runs.iter().map(|run| run.ids).sum();
            let surplus = total > most;
            let Some(index) = self.runs.iter().position(|run| surplus || run.newest < cutoff) else {
                return Ok(false);
            };
            delete_run(conn, self.runs.remove(index).id)?;
        }
        Ok(true)
    }

    /// Drops the latest ids of a channel where nothing happens any more; answers whether it did.
    pub(super) fn drop_recent(&mut self, conn: &Connection, channel: i64, cutoff: i64) -> Result<bool> {
        if self.recent.is_empty() || self.recent.values().any(|at| *at >= cutoff) {
            return Ok(false);
        }
        self.recent = HashMap::new();
        conn.prepare_cached("DELETE FROM recent WHERE channel = ?")?.execute([channel])?;
        Ok(true)
    }
}

impl Run {
    fn write(conn: &Connection, channel: i64, ids: &[(u128, i64)]) -> Result<Self> {
        let mut filter = Filter::new();
        ids.iter().for_each(|(id, _)| filter.insert(*id));
        let newest = ids.iter().map(|(_, at)| *at).max().unwrap_or(i64::MIN);
        let id: i64 = conn
            .prepare_cached(
                "INSERT INTO run (channel, newest, ids, filter) VALUES (?, ?, ?, ?) RETURNING id",
            )?
            .query_row((channel, newest, rows::limit(ids.len()), filter.bytes()), |r| r.get(0))?;
        let mut insert = conn.prepare_cached("INSERT INTO seen (id, entries) VALUES (?, ?)")?;
        for part in ids.chunk_by(|(a, _), (b, _)| a >> 120 == b >> 120) {
            let entries: Vec<u8> = part
                .iter()
                .flat_map(|(id, at)| id.to_be_bytes().into_iter().chain(at.to_be_bytes()))
                .collect();
            let first = part.first().map_or(0, |(id, _)| *id);
            insert.execute((part_of(id, first), entries))?;
        }
        Ok(Self { id, newest, ids: ids.len() as u64, filter })
    }
}

fn part_of(run: i64, id: u128) -> i64 {
    run << 8 | (id >> 120) as i64
}

/// Deletes a run, of a channel or of one that is gone.
pub(super) fn delete_run(conn: &Connection, run: i64) -> Result<()> {
    conn.prepare_cached("DELETE FROM run WHERE id = ?")?.execute([run])?;
    conn.prepare_cached("DELETE FROM seen WHERE id BETWEEN ? AND ?")?.execute((run << 8, run << 8 | 255))?;
    Ok(())
}

/// When an id was seen, as a run says.
fn look_up(conn: &Connection, run: i64, id: u128) -> Result<Option<i64>> {
    let mut query = conn.prepare_cached("SELECT entries FROM seen WHERE id = ?")?;
    let found = query.query_row([part_of(run, id)], |row| {
        let entries = row.get_ref(0)?.as_blob()?;
        let (entries, rest) = entries.as_chunks::<ENTRY>();
        if !rest.is_empty() {
            return Ok(Err(damaged()));
        }
        let place = entries.binary_search_by(|entry| entry[..16].cmp(&id.to_be_bytes()[..]));
        Ok(Ok(place.ok().map(|at| entries[at]).and_then(|entry| entry.last_chunk().copied())))
    });
    let time: Option<[u8; 8]> = found.optional()?.transpose()?.flatten();
    Ok(time.map(i64::from_be_bytes))
}

fn damaged() -> StoreError {
    StoreError::corrupt("the ids that a channel has seen are not those that were stored")
}

/// A blocked Bloom filter: all bits of an id are in one line of the processor's cache. About one id in a thousand that
/// is not there passes.
#[derive(Debug)]
struct Filter(Box<[u64]>);

impl Filter {
    fn new() -> Self {
        Self(vec![0; FILTER_WORDS].into())
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        if words.len() != FILTER_WORDS || !rest.is_empty() {
            return Err(damaged());
        }
        Ok(Self(words.iter().map(|word| u64::from_le_bytes(*word)).collect()))
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Index of the word and mask of each bit of an id.
    fn places(id: u128) -> impl Iterator<Item = (usize, u64)> {
        let block = (id >> 64) as usize % FILTER_BLOCKS * 8;
        (0..PROBES).map(move |probe| {
            let bit = (id >> (probe * 9)) as usize & 511;
            (block + bit / 64, 1 << (bit % 64))
        })
    }

    fn insert(&mut self, id: u128) {
        Self::places(id).for_each(|(word, mask)| self.0[word] |= mask);
    }

    fn may_hold(&self, id: u128) -> bool {
        Self::places(id).all(|(word, mask)| self.0[word] & mask != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> u128 {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(n.to_le_bytes());
        u128::from_be_bytes(digest[..16].try_into().unwrap())
    }

    fn database() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("schema.sql")).unwrap();
        conn
    }

    /// Appends ids in batches as the writer does, with their number as the time.
    fn fill(conn: &Connection, dedupe: &mut Dedupe, ids: std::ops::Range<u64>, cutoff: i64) {
        for start in ids.clone().step_by(10_000) {
            let batch: Vec<u128> = (start..ids.end.min(start + 10_000)).map(id).collect();
            for hash in &batch {
                assert!(dedupe.note(conn, *hash, start.cast_signed(), cutoff).unwrap());
            }
            dedupe.append(conn, 1, start.cast_signed(), &batch).unwrap();
            if dedupe.is_long() {
                dedupe.roll(conn, 1, cutoff, u64::MAX).unwrap();
            }
        }
    }

    #[test]
    fn ids_are_known_in_memory_in_runs_and_after_reading_them_again() {
        let conn = database();
        let mut dedupe = Dedupe::default();
        fill(&conn, &mut dedupe, 0..250_000, i64::MIN);
        assert_eq!(dedupe.runs.len(), 3);
        for mut dedupe in [dedupe, Dedupe::load(&conn, 1).unwrap()] {
            for n in (0..250_000).step_by(997) {
                assert!(!dedupe.note(&conn, id(n), 250_000, 0).unwrap(), "{n} was forgotten");
            }
            assert!(dedupe.note(&conn, id(250_000), 250_000, 0).unwrap());
            // Outside the window an id is new again.
            assert!(dedupe.note(&conn, id(5), 250_000, 60_000).unwrap());
            assert!(!dedupe.note(&conn, id(5), 250_001, 60_000).unwrap());
        }
    }

    #[test]
    fn runs_that_are_too_old_or_too_many_go() {
        let conn = database();
        let mut dedupe = Dedupe::default();
        fill(&conn, &mut dedupe, 0..300_000, i64::MIN);
        let runs = dedupe.runs.len();
        assert!(!dedupe.drop_runs(&conn, 70_000, u64::MAX, 10).unwrap());
        assert_eq!(dedupe.runs.len(), runs - 1);
        assert!(dedupe.drop_runs(&conn, i64::MIN, 0, 2).unwrap());
        assert!(!dedupe.drop_runs(&conn, i64::MIN, 0, 10).unwrap());
        let left: i64 = conn.query_row("SELECT count(*) FROM seen", [], |r| r.get(0)).unwrap();
        assert_eq!((dedupe.runs.len(), left), (0, 0));
        assert!(!dedupe.drop_recent(&conn, 1, 0).unwrap());
        assert!(dedupe.drop_recent(&conn, 1, 300_000).unwrap());
        assert!(Dedupe::load(&conn, 1).unwrap().recent.is_empty());
    }

    #[test]
    fn filters_let_few_strangers_pass() {
        let mut filter = Filter::new();
        (0..RUN as u64).for_each(|n| filter.insert(id(n)));
        let filter = Filter::read(&filter.bytes()).unwrap();
        assert!((0..RUN as u64).all(|n| filter.may_hold(id(n))));
        let passed = (1_000_000..1_100_000).filter(|n| filter.may_hold(id(*n))).count();
        assert!(passed < 300, "{passed} of 100,000");
    }
}
