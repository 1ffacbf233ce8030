//! The settings of what is measured: where it can be read.

use super::walk::SettingsWalk;
use std::net::SocketAddr;

#[derive(Clone, Debug, Default)]
pub struct MetricsConfig {
    pub bind: Option<SocketAddr>,
}

impl MetricsConfig {
    pub(super) fn walk(&mut self, walk: &mut SettingsWalk<'_>) {
        walk.section("Metrics", "");
        walk.value(
            "METRICS_BIND",
            &mut self.bind,
            "An address of its own for `/metrics`, for example `127.0.0.1:9464`. It is then not on the main one. Health is on both.",
        );
        walk.unset("`/metrics` is on the main address");
    }

    /// Two listeners cannot share a port. Port 0 is another one each time.
    pub(super) fn check(&self, main: SocketAddr, errors: &mut Vec<String>) {
        if self.bind.is_some_and(|bind| bind == main && bind.port() != 0) {
            errors.push("METRICS_BIND: must be another address than BIND".to_owned());
        }
    }
}
