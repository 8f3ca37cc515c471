-- What was granted to whom, and what is hidden from whom. `kind`: read, write, open (leave to declare an emergency), opened
-- (an emergency), filter, mask, member. `to_kind`: user, role, public. An empty zone is the whole lake, an empty schema a
-- whole zone, an empty table a whole schema, an empty column all columns. `detail`: the condition of a filter, the mask, the role
-- of a member, the reason of an emergency. `name`: of a filter, unique on its table.
CREATE TABLE rights (
    id BIGINT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    to_kind TEXT NOT NULL,
    to_name TEXT NOT NULL,
    zone TEXT NOT NULL,
    schema_name TEXT NOT NULL,
    table_name TEXT NOT NULL,
    column_name TEXT NOT NULL,
    name TEXT NOT NULL,
    detail TEXT NOT NULL,
    granted_by TEXT NOT NULL,
    granted_at BIGINT NOT NULL,
    expires_at BIGINT
);
CREATE INDEX rights_by_grantee ON rights (to_kind, to_name);
INSERT INTO counters (name, value) VALUES ('right', 0);

-- Roles beside the built-in one, as a JSON list, and SMART scopes, as JSON.
ALTER TABLE tokens ADD COLUMN groups TEXT NOT NULL DEFAULT '[]';
ALTER TABLE tokens ADD COLUMN smart TEXT;
