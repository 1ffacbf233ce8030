-- A refresh whose answer was lost may be repeated: what it takes to tell that from a stolen token.
--
-- Only adds. A node of the version before writes no parent, and treats every repetition as reuse; a token that it exchanged
-- has no successor that is known here, and its repetition is reuse here too.

-- The token that this one was exchanged for.
ALTER TABLE refresh_tokens ADD COLUMN parent bytea;
-- Set when it was exchanged a second time.
ALTER TABLE refresh_tokens ADD COLUMN repeated_at timestamptz;
