-- What all nodes of one database have in common, in one row.
--
-- Only adds. A node of the version before knows nothing of it; the first node of this version makes the row.

CREATE TABLE installation (
    -- One row, always this one.
    id                          boolean PRIMARY KEY DEFAULT true CHECK (id),
    -- HMAC-SHA256 of a fixed text with JWT_SECRET as its key: tells whether two nodes have the same secret, and not which.
    secret_fingerprint          bytea NOT NULL CHECK (octet_length(secret_fingerprint) = 32),
    -- The one before, while tokens that it signed live.
    previous_fingerprint        bytea CHECK (octet_length(previous_fingerprint) = 32),
    previous_until              timestamptz
);
