-- What kind of samples a series has: 0 readings with the time they were known at, 1 metrics.
ALTER TABLE series ADD COLUMN kind INTEGER NOT NULL DEFAULT 0;
-- Seconds of a step of downsampled values; 0 for the samples themselves.
ALTER TABLE chunk ADD COLUMN step INTEGER NOT NULL DEFAULT 0;
DROP INDEX chunk_range;
CREATE INDEX chunk_range ON chunk (series, step, t_max);
-- Samples of metrics that are not yet in chunks: one row per change, also of the series themselves. The last row is
-- always kept: its number tells whether the metrics have changed.
CREATE TABLE metric_log (batch INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE metric (name TEXT PRIMARY KEY, type TEXT NOT NULL, help TEXT NOT NULL, unit TEXT NOT NULL);
