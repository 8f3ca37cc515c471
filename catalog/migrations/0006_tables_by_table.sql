-- Tables are looked for by the beginning of their names, in whatever schema they are.
CREATE INDEX lake_tables_by_table ON lake_tables (table_name, zone, schema_name);
