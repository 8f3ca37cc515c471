-- The audit is only added to, whoever writes. For SQLite.
CREATE TRIGGER audit_keeps_its_lines BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;
CREATE TRIGGER audit_keeps_what_it_says BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;
