-- What others are still to be told of runs: kept in one transaction with what it tells of.
CREATE TABLE run_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX run_events_channel ON run_events (channel, id);
