-- How much one user, and one link, may leave behind.
--
-- Only adds. A node of the version before does not count.

-- How many guests a link has let in.
ALTER TABLE invites ADD COLUMN guests integer NOT NULL DEFAULT 0;
UPDATE invites i SET guests = (SELECT count(*) FROM invite_uses n JOIN users u ON u.id = n.user_id
                               WHERE n.invite_id = i.id AND u.role = 'guest')
WHERE i.uses > 0;
-- How many open links a user has.
CREATE INDEX invites_created_by_idx ON invites (created_by) WHERE revoked_at IS NULL;
-- How many conversations a user has made.
CREATE INDEX conversations_user_id_idx ON conversations (user_id) WHERE deleted_at IS NULL;
-- Removal of log-ins that were ended.
CREATE INDEX sessions_revoked_at_idx ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;
