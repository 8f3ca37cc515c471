-- Host keys of SSH servers that were trusted when they were first seen. Public keys: nothing secret.
CREATE TABLE known_hosts (
    host TEXT NOT NULL,
    port BIGINT NOT NULL,
    algorithm TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    public_key TEXT NOT NULL,
    recorded_at BIGINT NOT NULL,
    PRIMARY KEY (host, port)
);
