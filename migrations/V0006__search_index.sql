-- Search: words are indexed behind the commits, and not in the transaction that somebody waits for.
--
-- The index that V0003 put on messages goes: it was two thirds of what a post cost. From now on a task of each node
-- follows the revisions of conversations and fills search_index; a search reads what lies beyond its position directly.
-- After this migration everything lies beyond it, and is indexed by the first node that runs (some 20,000 messages a
-- second). Until then a search finds the youngest 1,000 messages of each conversation that are not indexed yet, and says
-- that it is not complete.
--
-- A node of the version before goes on beside it. What it writes is indexed like everything else. Its own searches still
-- work, but read whole tables, up to their time limit; the functions that they use stay until a later release.

CREATE TABLE search_index (
    conversation_id  uuid NOT NULL,
    seq              bigint NOT NULL,
    tenant_id        uuid NOT NULL,
    -- The folded words of the body, without positions, each behind the key of the message's slice (src/search/slices.rs),
    -- so that a word is looked up in the slices of the caller's conversations and nowhere else.
    words            tsvector NOT NULL,
    -- Replaces the words of a message that was edited.
    PRIMARY KEY (conversation_id, seq)
);
-- Search: the messages of a slice that have some words. New entries wait in a list that the task works off after each of
-- its batches; the limit only bounds what a batch may leave there.
CREATE INDEX search_index_words_idx ON search_index USING gin (words) WITH (fastupdate = on, gin_pending_list_limit = 4096);

-- How far the messages of each conversation are indexed. A conversation without a row has nothing indexed.
CREATE TABLE search_positions (
    conversation_id  uuid PRIMARY KEY,
    tenant_id        uuid NOT NULL,
    -- Every change of the conversation up to this revision is in the index.
    through_rev      bigint NOT NULL DEFAULT 0,
    -- When it was last moved: a replica may not have what was indexed just now.
    indexed_at       timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
-- Half-filled pages keep the updates of positions heap-only.

DROP INDEX messages_search_idx;
