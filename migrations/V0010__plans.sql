-- What the operator gives a tenant: how much all of its people together may ask for, and which tiers its admins may give.
--
-- Only adds. The admins of a node of the version before still give any tier.

ALTER TABLE tenants
    ADD COLUMN plan text NOT NULL DEFAULT 'regular' CHECK (plan IN ('regular', 'premium'));
-- Who has given the higher tier keeps it, and who has more people than the quota of the regular plan is made for.
UPDATE tenants t SET plan = 'premium'
WHERE EXISTS (SELECT FROM users u WHERE u.tenant_id = t.id AND u.tier = 'premium')
   OR (SELECT count(*) FROM users u WHERE u.tenant_id = t.id AND u.role <> 'guest') > 60;
