-- How long tenants wait: histograms of quarters of an hour and of hours, of each node.
--
-- Only adds. A node of the version before records nothing here.

CREATE TABLE latency_histograms (
    tenant_id   uuid NOT NULL,
    -- What is waited for (src/latency/recorder.rs).
    kind        text NOT NULL CHECK (kind IN ('append', 'deliver', 'ttft')),
    -- How long a row is: a quarter, for zones that need it, or an hour, for long ranges.
    minutes     smallint NOT NULL CHECK (minutes IN (15, 60)),
    at          timestamptz NOT NULL,
    -- The run of a node that waited. Nobody else writes its rows, so no row is waited for.
    node_id     uuid NOT NULL,
    -- Values and counts (src/latency/histogram.rs); they merge.
    buckets     bytea NOT NULL CHECK (octet_length(buckets) <= 131072),
    max_us      bigint NOT NULL CHECK (max_us >= 0),
    -- The number of the last batch of this node that is in it: one that is sent twice counts once.
    batch       bigint NOT NULL,
    -- A tenant's range of time; and the node's own rows.
    PRIMARY KEY (tenant_id, kind, minutes, at, node_id)
);
