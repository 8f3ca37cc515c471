-- One text for both backends: only TEXT, BIGINT, DOUBLE PRECISION and BYTEA. Ids are text, times are microseconds since
-- 1970 in UTC, lists and objects are JSON text. On PostgreSQL every TEXT compares by bytes, as it does on SQLite.

-- Numbers that grow by one, in the order of commits: the row is locked until its transaction ends.
CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value)
VALUES ('discovery', 0), ('snapshot', 0), ('quarantine', 0), ('audit', 0);

CREATE TABLE sources (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    params TEXT NOT NULL,
    authoritative BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    removed_at BIGINT
);

CREATE TABLE discoveries (
    id BIGINT NOT NULL PRIMARY KEY,
    source_id TEXT NOT NULL REFERENCES sources (id),
    made_at BIGINT NOT NULL,
    report TEXT NOT NULL
);
CREATE INDEX discoveries_by_source ON discoveries (source_id, id);

CREATE TABLE lake_tables (
    id TEXT NOT NULL PRIMARY KEY,
    zone TEXT NOT NULL,
    schema_name TEXT NOT NULL,
    table_name TEXT NOT NULL,
    source_id TEXT,
    source_schema TEXT,
    source_table TEXT,
    location TEXT NOT NULL UNIQUE,
    key_columns TEXT NOT NULL,
    comment TEXT,
    row_count BIGINT,
    version BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX lake_tables_by_name ON lake_tables (zone, schema_name, table_name);
CREATE INDEX lake_tables_by_schema ON lake_tables (schema_name, zone, table_name);
CREATE INDEX lake_tables_by_source ON lake_tables (source_id, zone, schema_name, table_name);

CREATE TABLE lake_columns (
    table_id TEXT NOT NULL REFERENCES lake_tables (id),
    position BIGINT NOT NULL,
    name TEXT NOT NULL,
    source_name TEXT,
    data_type TEXT NOT NULL,
    source_type TEXT,
    nullable BIGINT NOT NULL,
    comment TEXT,
    PRIMARY KEY (table_id, position)
);

-- `removed_at` stands on the newest version of a mapping that was taken away; versions never go back.
CREATE TABLE mappings (
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    resource TEXT NOT NULL,
    source_id TEXT,
    text TEXT NOT NULL,
    applied_at BIGINT NOT NULL,
    removed_at BIGINT,
    PRIMARY KEY (name, version)
);

CREATE TABLE code_maps (
    name TEXT NOT NULL PRIMARY KEY,
    updated_at BIGINT NOT NULL
);
CREATE TABLE code_map_rows (
    map_name TEXT NOT NULL REFERENCES code_maps (name),
    ordinal BIGINT NOT NULL,
    source_code TEXT NOT NULL,
    target_code TEXT NOT NULL,
    target_system TEXT,
    target_display TEXT,
    PRIMARY KEY (map_name, ordinal)
);

-- `log_sequence` and `unit_sequence` number the run's log lines and the order in which its units began.
CREATE TABLE runs (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    source_id TEXT,
    request TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    state TEXT NOT NULL,
    parent_id TEXT,
    attempt BIGINT NOT NULL,
    error TEXT,
    counts TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    log_sequence BIGINT NOT NULL,
    unit_sequence BIGINT NOT NULL
);
CREATE INDEX runs_by_time ON runs (created_at, id);
CREATE INDEX runs_by_source ON runs (source_id, created_at, id);
CREATE INDEX runs_by_state ON runs (state, created_at, id);

CREATE TABLE run_units (
    run_id TEXT NOT NULL REFERENCES runs (id),
    step TEXT NOT NULL,
    table_id TEXT NOT NULL,
    ordinal BIGINT NOT NULL,
    state TEXT NOT NULL,
    counts TEXT NOT NULL,
    error TEXT,
    seconds DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (run_id, step, table_id)
);

CREATE TABLE run_log (
    run_id TEXT NOT NULL REFERENCES runs (id),
    sequence BIGINT NOT NULL,
    at BIGINT NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (run_id, sequence)
);
CREATE INDEX run_log_by_time ON run_log (at, run_id, sequence);

CREATE TABLE cursors (
    app_id TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    table_id TEXT NOT NULL,
    from_cursor TEXT,
    to_cursor TEXT,
    run_id TEXT NOT NULL,
    written_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, sequence)
);
CREATE INDEX cursors_by_time ON cursors (written_at, app_id, sequence);

-- A row stays when the lease is given back, so that its epoch never goes back.
CREATE TABLE leases (
    table_id TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE lake_snapshots (
    id BIGINT NOT NULL PRIMARY KEY,
    run_id TEXT,
    published_at BIGINT NOT NULL,
    versions TEXT NOT NULL
);
CREATE INDEX lake_snapshots_by_time ON lake_snapshots (published_at);

CREATE TABLE quarantine (
    id BIGINT NOT NULL PRIMARY KEY,
    app_id TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    run_id TEXT NOT NULL,
    table_id TEXT NOT NULL,
    step TEXT NOT NULL,
    reason TEXT NOT NULL,
    origin TEXT NOT NULL,
    payload BYTEA NOT NULL,
    state TEXT NOT NULL,
    at BIGINT NOT NULL,
    UNIQUE (app_id, sequence, ordinal)
);
CREATE INDEX quarantine_by_table ON quarantine (table_id, id);
CREATE INDEX quarantine_by_run ON quarantine (run_id, id);
CREATE INDEX quarantine_by_state ON quarantine (state, id);

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    scope TEXT NOT NULL,
    secret_hash TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
CREATE UNIQUE INDEX tokens_live_name ON tokens (name) WHERE revoked_at IS NULL;

CREATE TABLE audit (
    id BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    allowed BIGINT NOT NULL,
    door TEXT NOT NULL,
    row_count BIGINT
);
