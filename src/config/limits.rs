//! The settings of limits: the quotas of the tiers, the flood guard in front of them, and which
//! proxies are believed.
//!
//! The length of the windows is not a setting: clients are told "per minute". Both are fields all
//! the same, so that tests need not wait for one.

use super::values::Setting;
use super::walk::SettingsWalk;
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::Duration;

/// Largest quota that can be set: the minute's window remembers each of its requests (16 bytes).
const QUOTA_MAX: usize = 100_000;
/// Largest quota of a tenant for an hour; the hour's window remembers seconds.
const TENANT_HOUR_MAX: usize = 10_000_000;

/// How much one kind of user may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaConfig {
    pub per_minute: usize,
    pub per_hour: usize,
}

/// How much one client address may ask for in a short time, no matter who is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodConfig {
    /// Requests a second that are let through for any length of time.
    pub per_second: usize,
    /// Requests that are let through at once, after a pause.
    pub burst: usize,
}

/// Limits on requests. The caps on connections are in `SessionsConfig`: they cannot be turned off.
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    pub enabled: bool,
    pub anonymous: QuotaConfig,
    pub regular: QuotaConfig,
    pub premium: QuotaConfig,
    pub expensive_per_minute: usize,
    /// All people of a tenant together, by its plan.
    pub tenant_regular: QuotaConfig,
    pub tenant_premium: QuotaConfig,
    pub flood: FloodConfig,
    /// The same guard for `/auth/…`, in addition to the one for everything.
    pub flood_auth: FloodConfig,
    pub trusted_proxies: Vec<IpNet>,
    /// The minute of the quotas. Not a setting.
    pub minute: Duration,
    /// The hour of the quotas. Not a setting.
    pub hour: Duration,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let quota = |per_minute, per_hour| QuotaConfig { per_minute, per_hour };
        Self {
            enabled: true,
            anonymous: quota(50, 1_000),
            regular: quota(100, 1_000),
            premium: quota(200, 10_000),
            expensive_per_minute: 10,
            tenant_regular: quota(6_000, 100_000),
            tenant_premium: quota(60_000, 2_000_000),
            flood: FloodConfig {
                per_second: 50,
                burst: 100,
            },
            flood_auth: FloodConfig {
                per_second: 5,
                burst: 10,
            },
            trusted_proxies: Vec::new(),
            minute: Duration::from_mins(1),
            hour: Duration::from_hours(1),
        }
    }
}

impl LimitsConfig {
    pub(super) fn walk(&mut self, walk: &mut SettingsWalk<'_>) {
        walk.section(
            "Limits",
            "A quota counts requests and frames of a user together, over all connections and API keys, and with Redis over \
             all nodes. Who shows no good credentials is counted by client address (IPv6: by /64).",
        );
        walk.value(
            "RATE_LIMIT_ENABLED",
            &mut self.enabled,
            "Turns the quotas, the flood guard and the login throttle on or off together. The caps on connections stay.",
        );
        self.walk_quotas(walk);
        self.walk_tenants(walk);
        self.walk_floods(walk);
        walk.value(
            "TRUSTED_PROXIES",
            &mut self.trusted_proxies,
            "Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed: `127.0.0.1,10.0.0.0/8`.",
        );
        walk.unset("none");
    }

    fn walk_quotas(&mut self, walk: &mut SettingsWalk<'_>) {
        let quota = 1..=QUOTA_MAX;
        walk.bounded(
            "RATE_LIMIT_ANONYMOUS_PER_MINUTE",
            &mut self.anonymous.per_minute,
            quota.clone(),
            "A guest, or an address without credentials, in any minute.",
        );
        walk.bounded(
            "RATE_LIMIT_ANONYMOUS_PER_HOUR",
            &mut self.anonymous.per_hour,
            quota.clone(),
            "The same in any hour.",
        );
        walk.bounded(
            "RATE_LIMIT_REGULAR_PER_MINUTE",
            &mut self.regular.per_minute,
            quota.clone(),
            "A user of the regular tier, in any minute.",
        );
        walk.bounded(
            "RATE_LIMIT_REGULAR_PER_HOUR",
            &mut self.regular.per_hour,
            quota.clone(),
            "The same in any hour.",
        );
        walk.bounded(
            "RATE_LIMIT_PREMIUM_PER_MINUTE",
            &mut self.premium.per_minute,
            quota.clone(),
            "A user of the premium tier, in any minute.",
        );
        walk.bounded(
            "RATE_LIMIT_PREMIUM_PER_HOUR",
            &mut self.premium.per_hour,
            quota.clone(),
            "The same in any hour.",
        );
        walk.bounded(
            "RATE_LIMIT_EXPENSIVE_PER_MINUTE",
            &mut self.expensive_per_minute,
            quota,
            "One caller to all routes that cost much, in any minute, besides the quota.",
        );
    }

    fn walk_tenants(&mut self, walk: &mut SettingsWalk<'_>) {
        walk.bounded(
            "RATE_LIMIT_TENANT_REGULAR_PER_MINUTE",
            &mut self.tenant_regular.per_minute,
            1..=QUOTA_MAX,
            "All users of a tenant of the regular plan together, in any minute, besides their own quotas.",
        );
        walk.bounded(
            "RATE_LIMIT_TENANT_REGULAR_PER_HOUR",
            &mut self.tenant_regular.per_hour,
            1..=TENANT_HOUR_MAX,
            "The same in any hour.",
        );
        walk.bounded(
            "RATE_LIMIT_TENANT_PREMIUM_PER_MINUTE",
            &mut self.tenant_premium.per_minute,
            1..=QUOTA_MAX,
            "All users of a tenant of the premium plan together, in any minute, besides their own quotas.",
        );
        walk.bounded(
            "RATE_LIMIT_TENANT_PREMIUM_PER_HOUR",
            &mut self.tenant_premium.per_hour,
            1..=TENANT_HOUR_MAX,
            "The same in any hour.",
        );
    }

    fn walk_floods(&mut self, walk: &mut SettingsWalk<'_>) {
        let rate = 1..=1_000_000;
        walk.bounded(
            "PARLANCE_FLOOD_PER_SECOND",
            &mut self.flood.per_second,
            rate.clone(),
            "Requests of one client address (IPv6: of one /64), or of one user who is signed in, sustained.",
        );
        walk.bounded(
            "PARLANCE_FLOOD_BURST",
            &mut self.flood.burst,
            rate.clone(),
            "Requests of one client address or user at once.",
        );
        walk.bounded(
            "PARLANCE_FLOOD_AUTH_PER_SECOND",
            &mut self.flood_auth.per_second,
            rate.clone(),
            "Those to `/auth/…`, sustained.",
        );
        walk.bounded(
            "PARLANCE_FLOOD_AUTH_BURST",
            &mut self.flood_auth.burst,
            rate,
            "Those to `/auth/…` at once.",
        );
    }
}

/// Addresses and networks, separated by commas: `10.0.0.0/8, ::1`.
impl Setting for Vec<IpNet> {
    const FORM: &'static str = "addresses and networks, separated by commas";

    fn parse(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| {
                let address = item.parse::<IpAddr>().map(IpNet::from);
                address
                    .or_else(|_| item.parse::<IpNet>())
                    .map(|network| network.trunc())
                    .map_err(|_| "must be addresses or networks, like 10.0.0.0/8,192.0.2.7,::1".to_owned())
            })
            .collect()
    }

    fn show(&self) -> String {
        self.iter().map(IpNet::to_string).collect::<Vec<_>>().join(",")
    }
}
