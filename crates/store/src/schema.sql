-- Schema 1. Times are microseconds since 1970-01-01T00:00:00Z unless a column says otherwise.
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;

CREATE TABLE resource (
  kind TEXT NOT NULL, name TEXT NOT NULL, uid INTEGER NOT NULL, manager TEXT NOT NULL,
  generation INTEGER NOT NULL, version INTEGER NOT NULL,
  spec TEXT NOT NULL, labels TEXT NOT NULL, replicas INTEGER,
  PRIMARY KEY (kind, name));
CREATE INDEX resource_manager ON resource (manager);
-- One row per writer, so that no writer rewrites what another one reports.
CREATE TABLE status (
  kind TEXT NOT NULL, name TEXT NOT NULL, writer TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (kind, name, writer));
CREATE TABLE history (
  kind TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL,
  manager TEXT NOT NULL, version INTEGER NOT NULL, spec TEXT NOT NULL,
  PRIMARY KEY (kind, name, generation));
CREATE TABLE change (
  version INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, part INTEGER NOT NULL);

CREATE TABLE stream (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, first INTEGER NOT NULL);
CREATE TABLE journal (
  id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, seq INTEGER NOT NULL,
  kind TEXT NOT NULL, version INTEGER NOT NULL, bytes BLOB NOT NULL);
CREATE UNIQUE INDEX journal_seq ON journal (stream, seq);

CREATE TABLE audit (
  seq INTEGER PRIMARY KEY, time TEXT NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, target TEXT NOT NULL,
  why TEXT NOT NULL, "before" TEXT, "after" TEXT, hash BLOB NOT NULL);
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN
  SELECT RAISE(ABORT, 'the audit record is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN
  SELECT RAISE(ABORT, 'the audit record is append-only'); END;

CREATE TABLE series (id INTEGER PRIMARY KEY, name TEXT NOT NULL, labels TEXT NOT NULL, UNIQUE (name, labels));
-- Full chunks: bounds in milliseconds, so that a range reads only what it needs.
CREATE TABLE chunk (
  id INTEGER PRIMARY KEY, series INTEGER NOT NULL, t_min INTEGER NOT NULL, t_max INTEGER NOT NULL,
  samples INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX chunk_range ON chunk (series, t_max);
-- What is not yet in chunks: one row per append. A series' samples of batches up to `flushed.batch` are in chunks,
-- the last of which is `flushed.chunk`.
CREATE TABLE hot (batch INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE flushed (series INTEGER PRIMARY KEY, batch INTEGER NOT NULL, chunk INTEGER NOT NULL);

CREATE TABLE event (
  kind TEXT NOT NULL, name TEXT NOT NULL, type INTEGER NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL,
  seq INTEGER NOT NULL, count INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  PRIMARY KEY (kind, name, type, reason, message));
CREATE UNIQUE INDEX event_seq ON event (seq);

CREATE TABLE kv (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE secret (
  name TEXT NOT NULL, key TEXT NOT NULL, nonce BLOB NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (name, key));
CREATE TABLE token (name TEXT PRIMARY KEY, role TEXT NOT NULL, hash BLOB NOT NULL);
CREATE TABLE login_code (hash BLOB PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, expires INTEGER NOT NULL);
