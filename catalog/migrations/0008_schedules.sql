-- When sources are read by themselves, and who works on what. `spec` is what was declared; the rest is where it stands.
-- `version` grows with each change, so that of two servers that decide upon one state only one is heard.
CREATE TABLE schedules (
    source_id TEXT NOT NULL PRIMARY KEY REFERENCES sources (id),
    spec TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    next_at BIGINT,
    planned_at BIGINT,
    decided_at BIGINT NOT NULL,
    last_run TEXT,
    fired_at BIGINT,
    settled BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    recent TEXT NOT NULL,
    disabled_at BIGINT,
    disabled_reason TEXT
);
CREATE INDEX schedules_by_next ON schedules (next_at);
CREATE INDEX schedules_unsettled ON schedules (settled, source_id);

-- The server that works on a run, for as long as it says so; `cancel_at`: somebody asked for its end.
ALTER TABLE runs ADD COLUMN holder TEXT;
ALTER TABLE runs ADD COLUMN held_until BIGINT;
ALTER TABLE runs ADD COLUMN cancel_at BIGINT;
CREATE INDEX runs_unfinished ON runs (source_id) WHERE state IN ('pending', 'running');

-- The time that a table's rows tell of: when the newest reading that went through began.
ALTER TABLE lake_tables ADD COLUMN fresh_at BIGINT;

-- Sources of one discovery of many.
CREATE TABLE discovery_items (
    run_id TEXT NOT NULL REFERENCES runs (id),
    source_id TEXT NOT NULL,
    ordinal BIGINT NOT NULL,
    state TEXT NOT NULL,
    tables BIGINT,
    changes BIGINT,
    failures BIGINT,
    error TEXT,
    millis BIGINT,
    finished_at BIGINT,
    PRIMARY KEY (run_id, source_id)
);

-- What became different in a source since the discovery before.
CREATE TABLE drift (
    id BIGINT NOT NULL PRIMARY KEY,
    source_id TEXT NOT NULL,
    run_id TEXT,
    found_at BIGINT NOT NULL,
    source_schema TEXT,
    source_table TEXT NOT NULL,
    source_column TEXT,
    change TEXT NOT NULL,
    was TEXT,
    became TEXT,
    state TEXT NOT NULL
);
CREATE INDEX drift_by_source ON drift (source_id, id);
INSERT INTO counters (name, value) VALUES ('drift', 0);
