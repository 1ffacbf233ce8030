-- Who may invite, in one place; and who a tenant lets admit outsiders.
--
-- Only adds. A node of the version before does not ask either: until the last of them has ended, an invitation counts there
-- whoever made it.

-- Who may admit people from outside as members of the tenant, and who may as guests: whoever may invite in a conversation,
-- only admins of the tenant among them, or nobody.
ALTER TABLE tenants
    ADD COLUMN admits_members text NOT NULL DEFAULT 'moderators'
        CHECK (admits_members IN ('moderators', 'admins', 'nobody')),
    ADD COLUMN admits_guests text NOT NULL DEFAULT 'moderators'
        CHECK (admits_guests IN ('moderators', 'admins', 'nobody'));

-- Those who may invite to a conversation at this moment, and whom from outside. An invitation counts while its maker is here.
CREATE VIEW inviters AS
SELECT m.tenant_id, m.conversation_id, m.user_id,
       t.admits_members = 'moderators' OR t.admits_members = 'admins' AND u.role IN ('owner', 'admin') AS admits_members,
       t.admits_guests = 'moderators' OR t.admits_guests = 'admins' AND u.role IN ('owner', 'admin') AS admits_guests
FROM conversation_members m
-- By the primary keys of conversations and users: the tenant is compared, not looked up.
JOIN conversations c ON c.id = m.conversation_id AND (c.tenant_id = m.tenant_id) IS TRUE
JOIN users u ON u.id = m.user_id AND (u.tenant_id = m.tenant_id) IS TRUE
JOIN tenants t ON t.id = m.tenant_id
WHERE m.removed_at IS NULL AND m.role IN ('moderator', 'owner') AND c.deleted_at IS NULL
  AND u.status = 'active' AND u.role <> 'guest';

-- The list of a tenant's invitations, newest first.
CREATE INDEX invites_tenant_id_idx ON invites (tenant_id, created_at DESC, id DESC) WHERE revoked_at IS NULL;
