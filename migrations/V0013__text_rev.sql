-- The revision of a message's latest edit or deletion, so that a repeated command can be told from a late one. Null: never
-- edited, or edited before there was this column. A node of the version before leaves it as it is.
ALTER TABLE messages ADD COLUMN text_rev bigint;
