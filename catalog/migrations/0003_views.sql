-- SQL on FHIR: ViewDefinitions, and Libraries that hold SQL.

CREATE TABLE views (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version BIGINT NOT NULL,
    -- The name in SQL, in lower case; null for what is no table.
    name TEXT,
    url TEXT,
    resource TEXT,
    text TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);

CREATE UNIQUE INDEX views_by_name ON views (name);
CREATE INDEX views_by_url ON views (url);
