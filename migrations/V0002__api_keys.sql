-- API keys: long-lived credentials of programs.
--
-- Only adds: a node of the version before ignores both columns, and reads an event of a key as a change of its user, which
-- changes nothing.

CREATE TABLE api_keys (
    id            uuid PRIMARY KEY,
    tenant_id     uuid NOT NULL REFERENCES tenants (id),
    user_id       uuid NOT NULL REFERENCES users (id),
    name          text NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 200),
    -- SHA-256 of the secret; the secret itself is nowhere.
    hash          bytea NOT NULL CHECK (octet_length(hash) = 32),
    scopes        text[] NOT NULL
                  CHECK (cardinality(scopes) BETWEEN 1 AND 3 AND scopes <@ ARRAY['chat', 'analytics:read', 'admin']),
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Null: until it is deleted.
    expires_at    timestamptz,
    -- Written at most once a minute, so behind by as much.
    last_used_at  timestamptz
);
-- Who a key stands for.
CREATE UNIQUE INDEX api_keys_hash_key ON api_keys (hash);
-- The list of a user's keys, newest first, and how many there are.
CREATE INDEX api_keys_user_id_idx ON api_keys (user_id, created_at DESC, id DESC);
-- Removal of what ran out long ago.
CREATE INDEX api_keys_expires_at_idx ON api_keys (expires_at) WHERE expires_at IS NOT NULL;

-- Set: this key was deleted. Like session_id, exclusive with the other meanings of a row.
ALTER TABLE auth_events ADD COLUMN api_key_id uuid;

-- Who ended a membership: themselves, or somebody who has a say here. Whoever was removed by another does not come back by
-- an invitation that is older than that. Null in rows from before.
ALTER TABLE conversation_members ADD COLUMN removed_by uuid;
