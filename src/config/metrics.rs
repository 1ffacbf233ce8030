//! The settings of what is measured: where it can be read.

use super::Pass;
use std::net::SocketAddr;

/// Metrics.
#[derive(Clone, Debug, Default)]
pub struct MetricsConfig {
    /// `METRICS_BIND`: an address of its own for `/metrics`, which is then not on the main one.
    pub bind: Option<SocketAddr>,
}

impl MetricsConfig {
    pub(super) fn walk(&mut self, pass: &mut Pass<'_>) {
        pass.value("METRICS_BIND", &mut self.bind);
    }

    /// Two listeners cannot share a port; port 0 is another one each time.
    pub(super) fn check(&self, main: SocketAddr, errors: &mut Vec<String>) {
        if self.bind.is_some_and(|bind| bind == main && bind.port() != 0) {
            errors.push("METRICS_BIND: must be another address than BIND".to_owned());
        }
    }
}
