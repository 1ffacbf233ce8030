-- The key of the marks in opaque credentials: it tells whether this installation issued one, without a look at its row.
--
-- No secret that decides anything: who has it can cause look-ups, no more. So it lies here, where all nodes find it, and
-- a change of JWT_SECRET changes nothing for API keys that live for years.
--
-- Only adds. A node of the version before issues credentials without marks, which are looked up within a budget.

ALTER TABLE installation
    ADD COLUMN credential_mark_key bytea NOT NULL
        DEFAULT decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')
        CHECK (octet_length(credential_mark_key) = 32);
