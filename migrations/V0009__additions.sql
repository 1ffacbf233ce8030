-- Being added to conversations by others: who does not want it, and how many people one may add a day.
--
-- Only adds. A node of the version before does not ask, and does not count.

-- Who is not added by whom.
CREATE TABLE user_blocks (
    user_id     uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    blocked_id  uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    tenant_id   uuid NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Whether somebody may be added by somebody.
    PRIMARY KEY (user_id, blocked_id)
);
-- The list of whom a user has blocked, newest first.
CREATE INDEX user_blocks_created_at_idx ON user_blocks (user_id, created_at DESC, blocked_id DESC);

-- Removal of a user, by whom they were blocked.
CREATE INDEX user_blocks_blocked_id_idx ON user_blocks (blocked_id);

-- Who left a conversation and is not added to it again. An invitation brings them back, if they follow it.
CREATE TABLE declined_conversations (
    user_id          uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    conversation_id  uuid NOT NULL REFERENCES conversations (id),
    tenant_id        uuid NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, conversation_id)
);

-- How many people a user has added on the day (UTC) on which they last added somebody.
CREATE TABLE member_additions (
    user_id    uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    tenant_id  uuid NOT NULL,
    day        date NOT NULL,
    n          integer NOT NULL CHECK (n >= 0)
);
