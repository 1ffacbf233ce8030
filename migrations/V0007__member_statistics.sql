-- The append looks up each author's membership by conversation and user. In an installation where most conversations have
-- one member, PostgreSQL takes any index that begins with the conversation for as good, also one that then reads every
-- member of a large conversation for each post. So it is told that a conversation has about a hundred members: a plan that
-- reads a conversation's members one by one is never taken for cheap. Counts from the next ANALYZE on; until then there are
-- no statistics, and the plan is right.
--
-- A node of the version before is not touched by it.
ALTER TABLE conversation_members ALTER COLUMN conversation_id SET (n_distinct = -0.01);
