-- What somebody is to be told of, until he was told.
CREATE TABLE alerts (
    id TEXT PRIMARY KEY,
    source_id TEXT NOT NULL REFERENCES sources (id),
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    -- When it is to be tried (again); null: it was told, or given up.
    try_at BIGINT,
    told_at BIGINT
);
CREATE INDEX alerts_by_try ON alerts (try_at);
CREATE INDEX alerts_by_time ON alerts (created_at);
-- Tables that are late, and that an alert was made of.
CREATE TABLE late_tables (
    source_id TEXT NOT NULL REFERENCES sources (id),
    table_name TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (source_id, table_name)
);
