//! Limits: the quotas of the tiers, the flood guard in front of them, and whose word on a client's address is taken.
//!
//! In a file of its own because it is one subject; see `sections.rs` for how settings are added. How long the windows are
//! is not a setting: clients are told "per minute". They are fields all the same, so that tests need not wait for one.

use super::Pass;
use super::values::Setting;
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::Duration;

/// Largest quota that can be set: the minute's window remembers each of its requests (16 bytes).
const QUOTA_MAX: usize = 100_000;

/// What one kind of caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaConfig {
    /// `RATE_LIMIT_…_PER_MINUTE`: in any minute.
    pub per_minute: usize,
    /// `RATE_LIMIT_…_PER_HOUR`: in any hour.
    pub per_hour: usize,
}

/// What one address may do in short, whoever is behind it: a sustained rate and a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodConfig {
    /// Requests a second, sustained.
    pub per_second: usize,
    /// Requests at once.
    pub burst: usize,
}

/// Limits on requests. The caps on connections are in `SessionsConfig`: they are not turned off.
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// `RATE_LIMIT_ENABLED`: the quotas, the flood guard and the throttle of log-ins together.
    pub enabled: bool,
    /// `RATE_LIMIT_ANONYMOUS_PER_…`: guests; and whoever shows no credentials, by address.
    pub anonymous: QuotaConfig,
    /// `RATE_LIMIT_REGULAR_PER_…`
    pub regular: QuotaConfig,
    /// `RATE_LIMIT_PREMIUM_PER_…`
    pub premium: QuotaConfig,
    /// `RATE_LIMIT_EXPENSIVE_PER_MINUTE`: routes that cost much, of one caller, besides their quota.
    pub expensive_per_minute: usize,
    /// `PARLANCE_FLOOD_PER_SECOND`, `PARLANCE_FLOOD_BURST`: all requests of an address.
    pub flood: FloodConfig,
    /// `PARLANCE_FLOOD_AUTH_PER_SECOND`, `PARLANCE_FLOOD_AUTH_BURST`: those to `/auth/…`.
    pub flood_auth: FloodConfig,
    /// `TRUSTED_PROXIES`: whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
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
    pub(super) fn walk(&mut self, pass: &mut Pass<'_>) {
        let quota = 1..=QUOTA_MAX;
        pass.value("RATE_LIMIT_ENABLED", &mut self.enabled);
        pass.bounded(
            "RATE_LIMIT_ANONYMOUS_PER_MINUTE",
            &mut self.anonymous.per_minute,
            quota.clone(),
        );
        pass.bounded(
            "RATE_LIMIT_ANONYMOUS_PER_HOUR",
            &mut self.anonymous.per_hour,
            quota.clone(),
        );
        pass.bounded(
            "RATE_LIMIT_REGULAR_PER_MINUTE",
            &mut self.regular.per_minute,
            quota.clone(),
        );
        pass.bounded("RATE_LIMIT_REGULAR_PER_HOUR", &mut self.regular.per_hour, quota.clone());
        pass.bounded(
            "RATE_LIMIT_PREMIUM_PER_MINUTE",
            &mut self.premium.per_minute,
            quota.clone(),
        );
        pass.bounded("RATE_LIMIT_PREMIUM_PER_HOUR", &mut self.premium.per_hour, quota.clone());
        pass.bounded("RATE_LIMIT_EXPENSIVE_PER_MINUTE", &mut self.expensive_per_minute, quota);
        let rate = 1..=1_000_000;
        pass.bounded("PARLANCE_FLOOD_PER_SECOND", &mut self.flood.per_second, rate.clone());
        pass.bounded("PARLANCE_FLOOD_BURST", &mut self.flood.burst, rate.clone());
        pass.bounded(
            "PARLANCE_FLOOD_AUTH_PER_SECOND",
            &mut self.flood_auth.per_second,
            rate.clone(),
        );
        pass.bounded("PARLANCE_FLOOD_AUTH_BURST", &mut self.flood_auth.burst, rate);
        pass.value("TRUSTED_PROXIES", &mut self.trusted_proxies);
    }
}

/// Addresses and networks, separated by commas: `10.0.0.0/8, ::1`.
impl Setting for Vec<IpNet> {
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
