-- Analytics: counts of messages, made behind the commits by a follower.
--
-- After this migration nothing is counted; the first node that runs counts what is there. Until then questions are
-- answered with `unavailable`. A node of the version before goes on beside it: what it commits is found by its time and
-- its conversation, like everything else.

CREATE TABLE analytics_tenants (
    tenant_id   uuid PRIMARY KEY,
    -- The generation that is read. Without a row it is 0.
    generation  integer NOT NULL DEFAULT 0,
    -- The one that a rebuild makes, or has left unfinished.
    building    integer
);

-- One row: up to when everything is counted. None until everything was counted once.
CREATE TABLE analytics_progress (
    is_only       boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    data_through  timestamptz NOT NULL
) WITH (fillfactor = 10);

-- How far each conversation is counted, and what the next reply delay begins with. Without a row nothing is counted.
CREATE TABLE analytics_positions (
    conversation_id  uuid NOT NULL,
    generation       integer NOT NULL,
    tenant_id        uuid NOT NULL,
    -- Every message up to this number is counted.
    through_seq      bigint NOT NULL DEFAULT 0,
    -- Who posted last, and when; and when the last was posted by somebody else than that.
    last_author_id   uuid,
    last_at          timestamptz,
    other_at         timestamptz,
    PRIMARY KEY (conversation_id, generation)
) WITH (fillfactor = 50);
-- Half-filled pages keep the updates of positions heap-only.

-- Packed counts of some messages of a day of UTC (src/analytics/block.rs). Blocks of a day add up.
CREATE TABLE analytics_blocks (
    tenant_id   uuid NOT NULL,
    generation  integer NOT NULL,
    -- Days since 1970-01-01.
    day         integer NOT NULL,
    number      bigint GENERATED ALWAYS AS IDENTITY,
    -- How often it was merged: eight blocks of a level become one of the next.
    level       smallint NOT NULL DEFAULT 0,
    cells       bytea NOT NULL,
    delays      bytea NOT NULL,
    -- Every question: the blocks of a tenant's days.
    PRIMARY KEY (tenant_id, generation, day, number)
);
-- Packed already: to compress them again costs time and saves nothing.
ALTER TABLE analytics_blocks ALTER COLUMN cells SET STORAGE EXTERNAL;
ALTER TABLE analytics_blocks ALTER COLUMN delays SET STORAGE EXTERNAL;

-- When each person posted for the first time.
CREATE TABLE analytics_people (
    tenant_id   uuid NOT NULL,
    generation  integer NOT NULL,
    user_id     uuid NOT NULL,
    first_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, generation, user_id)
);
-- Who posted for the first time in a range.
CREATE INDEX analytics_people_first_at_idx ON analytics_people (tenant_id, generation, first_at);

-- What was posted since the last look of the follower; the messages of a quarter of an hour that a range cuts; exports.
CREATE INDEX messages_tenant_id_created_at_idx ON messages (tenant_id, created_at);
-- Conversations that were made in a range.
CREATE INDEX conversations_tenant_id_created_at_idx ON conversations (tenant_id, created_at);
