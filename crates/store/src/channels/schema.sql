-- Channels: messages in blocks, consumers with what they have not settled, ids that were seen, dead letters.
-- Times are microseconds since 1970-01-01T00:00:00Z. Positions count from 1 in each channel and never come twice.

CREATE TABLE channel (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT UNIQUE,               -- NULL: deleted; its rows go in steps
    limits TEXT NOT NULL,           -- JSON
    first INTEGER NOT NULL,         -- position of the oldest message that is kept
    next INTEGER NOT NULL,          -- position that the next message gets
    bytes INTEGER NOT NULL,         -- of all blocks
    high INTEGER NOT NULL,          -- latest time at which anything was stored
    appended INTEGER NOT NULL,
    duplicates INTEGER NOT NULL
) STRICT;

-- Messages that were appended together. What is looked at without the messages stands before them.
CREATE TABLE block (
    id INTEGER PRIMARY KEY,
    channel INTEGER NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    stored_at INTEGER NOT NULL,
    high INTEGER NOT NULL,          -- latest stored_at up to here; rises even when the clock is put back
    bytes INTEGER NOT NULL,
    sum INTEGER NOT NULL,           -- CRC-32 of payload
    keys BLOB,                      -- 64 bits per message; NULL: none has a key
    payload BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX block_place ON block (channel, first);

CREATE TABLE consumer (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel INTEGER NOT NULL,
    name TEXT NOT NULL,
    next INTEGER NOT NULL,          -- first position that was never looked at
    clock INTEGER NOT NULL,         -- latest time it was told
    given INTEGER NOT NULL,
    settled INTEGER NOT NULL,
    retried INTEGER NOT NULL,
    dead INTEGER NOT NULL,
    expired INTEGER NOT NULL,
    UNIQUE (channel, name)
) STRICT;

-- Positions below a consumer's `next` that it has not settled. What is not here is settled.
CREATE TABLE flight (
    consumer INTEGER NOT NULL,
    position INTEGER NOT NULL,
    state INTEGER NOT NULL,         -- 0 held back for its key, 1 taken, 2 waits for its retry
    attempt INTEGER NOT NULL,       -- how often it was given
    due INTEGER NOT NULL,           -- end of the lease or of the wait
    key INTEGER NOT NULL,           -- 0: none
    bytes INTEGER NOT NULL,
    letter INTEGER NOT NULL,        -- 1: its message is a dead letter that was sent again
    PRIMARY KEY (consumer, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel INTEGER NOT NULL,
    consumer TEXT,                  -- NULL: it was never a message of the channel
    position INTEGER,
    attempt INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    redriven INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    message BLOB NOT NULL
) STRICT;
CREATE INDEX letter_of ON letter (channel, consumer, position);

-- Ids of the latest messages, one row per append: 16 bytes of hash each.
CREATE TABLE recent (
    id INTEGER PRIMARY KEY,
    channel INTEGER NOT NULL,
    at INTEGER NOT NULL,
    hashes BLOB NOT NULL
) STRICT;
CREATE INDEX recent_of ON recent (channel);

-- Ids of earlier messages, sorted in runs of up to 65,536; a filter says which ids a run cannot hold.
CREATE TABLE run (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel INTEGER NOT NULL,
    newest INTEGER NOT NULL,
    ids INTEGER NOT NULL,
    filter BLOB NOT NULL
) STRICT;
CREATE INDEX run_of ON run (channel);
CREATE TABLE seen (
    id INTEGER PRIMARY KEY,         -- run * 256 + first byte of the hashes
    entries BLOB NOT NULL           -- 16 bytes of hash and 8 of time each, in order of the hash
) STRICT;
