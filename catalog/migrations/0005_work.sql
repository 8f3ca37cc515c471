-- What analysts write. A view is a table without rows of its own: `view_text` is its query, `view_reads` the names of what
-- it reads.
ALTER TABLE lake_tables ADD COLUMN view_text TEXT;
ALTER TABLE lake_tables ADD COLUMN view_reads TEXT;
-- Who made it; null for what the server makes by itself.
ALTER TABLE lake_tables ADD COLUMN made_by TEXT;

-- Folders below the lake's root that are no table's: those that are being filled, and those of tables that were dropped.
CREATE TABLE loose_folders (
    location TEXT NOT NULL PRIMARY KEY,
    since BIGINT NOT NULL
);
