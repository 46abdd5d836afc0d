-- Runs: what each began with, how it stands, and its journal. Times are microseconds since 1970-01-01T00:00:00Z.

-- What runs do; runs that do the same share it.
CREATE TABLE run_documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    key TEXT,                       -- of a beginning that must not be repeated
    owner TEXT NOT NULL,            -- what is run
    document INTEGER NOT NULL,
    labels TEXT,                    -- JSON; NULL: none
    began INTEGER NOT NULL,
    start BLOB NOT NULL,            -- what it began with
    state TEXT NOT NULL,
    wake INTEGER,                   -- when a run that rests goes on by itself
    hears TEXT,                     -- what a run that rests listens to
    ended INTEGER,
    result BLOB
) STRICT;
CREATE UNIQUE INDEX runs_key ON runs (key) WHERE key IS NOT NULL;
CREATE INDEX runs_open ON runs (id) WHERE ended IS NULL;
CREATE INDEX runs_ended ON runs (ended) WHERE ended IS NOT NULL;
CREATE INDEX runs_document ON runs (document);
CREATE INDEX runs_owner ON runs (owner, id);

CREATE TABLE run_entries (
    run INTEGER NOT NULL,
    number INTEGER NOT NULL,        -- 1, 2, 3 … in each run
    at INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

-- Small values that change together with runs.
CREATE TABLE run_marks (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What runs wait for people to do.
CREATE TABLE run_tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL,
    key TEXT NOT NULL UNIQUE,       -- of the step that asks
    asked INTEGER NOT NULL,
    due INTEGER,                    -- when it is passed on to others
    body TEXT NOT NULL              -- JSON
) STRICT;
CREATE INDEX run_tasks_run ON run_tasks (run);
