-- The chat core: tenants, users, log-ins, conversations, members, messages, reactions, invites.
--
-- Names are the ones of the wire and of the Rust types. Migrations expand first and contract in a later release, so that
-- nodes of two versions may run side by side. Every index names the query it serves.

-- Retrieval stores embeddings beside the messages; the extension is asked for at the start so that a server without it
-- is refused at once and not in the middle of an upgrade.
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE tenants (
    id          uuid PRIMARY KEY,
    name        text NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 200),
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE users (
    id             uuid PRIMARY KEY,
    tenant_id      uuid NOT NULL REFERENCES tenants (id),
    -- Guests and agents have no address.
    email          text CHECK (octet_length(email) BETWEEN 3 AND 254),
    name           text NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 200),
    kind           text NOT NULL DEFAULT 'person' CHECK (kind IN ('person', 'agent', 'system')),
    role           text NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'guest')),
    tier           text NOT NULL CHECK (tier IN ('premium', 'regular', 'anonymous')),
    status         text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    -- PHC string of argon2id; null for whom no password exists.
    password_hash  text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);
-- Log-in by address; an address belongs to one user of the installation.
CREATE UNIQUE INDEX users_email_key ON users (lower(email)) WHERE email IS NOT NULL;
-- The list of a tenant's users, oldest first.
CREATE INDEX users_tenant_id_idx ON users (tenant_id, created_at, id);

-- A log-in: the family of refresh tokens that descends from one authentication.
CREATE TABLE sessions (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenants (id),
    user_id     uuid NOT NULL REFERENCES users (id),
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    revoked_at  timestamptz
);
-- Log out everywhere.
CREATE INDEX sessions_user_id_idx ON sessions (user_id) WHERE revoked_at IS NULL;
-- Removal of what has run out.
CREATE INDEX sessions_expires_at_idx ON sessions (expires_at);

CREATE TABLE refresh_tokens (
    -- SHA-256 of the token; the token itself is nowhere.
    hash        bytea PRIMARY KEY,
    session_id  uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- Set when it was exchanged; seeing it again revokes the family.
    used_at     timestamptz
);
-- Cascade from sessions.
CREATE INDEX refresh_tokens_session_id_idx ON refresh_tokens (session_id);

-- Single-use admission to the socket, for clients that cannot send a header.
CREATE TABLE socket_tickets (
    hash        bytea PRIMARY KEY,
    session_id  uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    expires_at  timestamptz NOT NULL
);
-- Removal of what has run out.
CREATE INDEX socket_tickets_expires_at_idx ON socket_tickets (expires_at);
-- Cascade from sessions.
CREATE INDEX socket_tickets_session_id_idx ON socket_tickets (session_id);

-- What every node must hear of within five seconds, also without a bus: each node reads the latest rows every second.
CREATE TABLE auth_events (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    tenant_id   uuid NOT NULL,
    user_id     uuid NOT NULL,
    -- Null: the user's name, role, tier or status changed; otherwise this log-in was revoked.
    session_id  uuid
);
-- The poll of every node, and the removal of old rows.
CREATE INDEX auth_events_created_at_idx ON auth_events (created_at);

CREATE TABLE conversations (
    id               uuid PRIMARY KEY,
    tenant_id        uuid NOT NULL REFERENCES tenants (id),
    -- Who made it.
    user_id          uuid NOT NULL REFERENCES users (id),
    agent_id         uuid,
    title            text NOT NULL CHECK (octet_length(title) BETWEEN 1 AND 200),
    last_seq         bigint NOT NULL DEFAULT 0,
    rev              bigint NOT NULL DEFAULT 0,
    -- The revision of the latest change of title or deletion.
    properties_rev   bigint NOT NULL DEFAULT 0,
    member_count     integer NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL DEFAULT now(),
    last_message_at  timestamptz,
    deleted_at       timestamptz
) WITH (fillfactor = 50);
-- Half-filled pages keep the counters' updates heap-only; no index holds a column that a message changes.

CREATE TABLE conversation_members (
    conversation_id  uuid NOT NULL REFERENCES conversations (id),
    user_id          uuid NOT NULL REFERENCES users (id),
    tenant_id        uuid NOT NULL,
    role             text NOT NULL CHECK (role IN ('owner', 'moderator', 'member')),
    read_seq         bigint NOT NULL DEFAULT 0,
    -- The revision it began with, and that of its latest change.
    joined_rev       bigint NOT NULL,
    rev              bigint NOT NULL,
    joined_at        timestamptz NOT NULL DEFAULT now(),
    removed_at       timestamptz,
    PRIMARY KEY (conversation_id, user_id)
) WITH (fillfactor = 70);
-- The list of a user's conversations.
CREATE INDEX conversation_members_user_id_idx ON conversation_members (user_id, conversation_id)
    WHERE removed_at IS NULL;
-- Resume: members changed after a revision.
CREATE INDEX conversation_members_rev_idx ON conversation_members (conversation_id, rev);

-- No foreign keys here on purpose: each would lock a row per message; the append locks the conversation's row itself
-- and joins the author's membership, so neither can be missing.
CREATE TABLE messages (
    conversation_id  uuid NOT NULL,
    seq              bigint NOT NULL,
    tenant_id        uuid NOT NULL,
    id               uuid NOT NULL,
    author_id        uuid NOT NULL,
    kind             text NOT NULL CHECK (kind IN ('person', 'agent', 'system')),
    -- Null once deleted.
    body             text,
    reply_to         uuid,
    -- The revision it was posted with, and that of its latest change.
    posted_rev       bigint NOT NULL,
    rev              bigint NOT NULL,
    -- SHA-256 over what was first sent (body and reply_to): a repeated send is recognised for ever, also after an edit.
    digest           bytea NOT NULL,
    created_at       timestamptz NOT NULL,
    edited_at        timestamptz,
    deleted_at       timestamptz,
    -- Pages of history, and the latest message of a conversation.
    PRIMARY KEY (conversation_id, seq)
);
-- Exactly once: recognises a repeated send; edits and replies find their message by it.
CREATE UNIQUE INDEX messages_tenant_id_id_key ON messages (tenant_id, id);
-- Resume: messages changed after a revision.
CREATE UNIQUE INDEX messages_rev_key ON messages (conversation_id, rev);

CREATE TABLE reactions (
    conversation_id  uuid NOT NULL,
    seq              bigint NOT NULL,
    emoji            text NOT NULL CHECK (octet_length(emoji) BETWEEN 1 AND 64),
    user_id          uuid NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The reactions of a page of messages.
    PRIMARY KEY (conversation_id, seq, emoji, user_id),
    FOREIGN KEY (conversation_id, seq) REFERENCES messages (conversation_id, seq)
);

CREATE TABLE invites (
    id               uuid PRIMARY KEY,
    tenant_id        uuid NOT NULL REFERENCES tenants (id),
    conversation_id  uuid NOT NULL REFERENCES conversations (id),
    -- 128 random bits in the URL; whoever has the link may join, so it is listed again to moderators.
    code             text NOT NULL UNIQUE,
    created_by       uuid NOT NULL REFERENCES users (id),
    created_at       timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz,
    max_uses         integer CHECK (max_uses > 0),
    uses             integer NOT NULL DEFAULT 0,
    revoked_at       timestamptz
);
-- The list of a conversation's invites.
CREATE INDEX invites_conversation_id_idx ON invites (conversation_id, created_at DESC) WHERE revoked_at IS NULL;

-- Accepting twice costs one use.
CREATE TABLE invite_uses (
    invite_id  uuid NOT NULL REFERENCES invites (id),
    user_id    uuid NOT NULL REFERENCES users (id),
    used_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (invite_id, user_id)
);
