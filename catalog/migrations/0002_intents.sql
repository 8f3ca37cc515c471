-- Writes to several tables that were promised and are not published yet. The payload is what to write, as the pipeline
-- stores it; it goes with the publication.
CREATE TABLE intents (
    id TEXT NOT NULL PRIMARY KEY,
    payload BYTEA NOT NULL,
    written_at BIGINT NOT NULL
);
CREATE TABLE intent_tables (
    intent_id TEXT NOT NULL REFERENCES intents (id),
    table_id TEXT NOT NULL,
    PRIMARY KEY (intent_id, table_id)
);
CREATE INDEX intent_tables_by_table ON intent_tables (table_id);
