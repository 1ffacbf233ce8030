//! The settings of signing in: how long credentials live, and the key that signs them.

use super::values::{DAY, Secret, seconds};
use super::walk::SettingsWalk;
use std::time::Duration;

/// The shortest signing key. HS256 wants a key as long as its digest.
const JWT_SECRET_BYTES_MIN: usize = 32;

#[derive(Clone, Debug)]
pub struct AuthConfig {
    pub access_token_ttl: Duration,
    pub refresh_token_ttl: Duration,
    pub login_ttl_max: Duration,
    pub jwt_secret: Option<Secret>,
    pub jwt_secret_previous: Option<Secret>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            access_token_ttl: Duration::from_secs(900),
            refresh_token_ttl: Duration::from_hours(30 * 24),
            login_ttl_max: Duration::from_hours(90 * 24),
            jwt_secret: None,
            jwt_secret_previous: None,
        }
    }
}

impl AuthConfig {
    pub(super) fn walk(&mut self, walk: &mut SettingsWalk<'_>) {
        walk.section("Signing in", "");
        walk.bounded(
            "ACCESS_TOKEN_TTL",
            &mut self.access_token_ttl,
            seconds(1, DAY),
            "How long an access token is good for.",
        );
        walk.bounded(
            "PARLANCE_REFRESH_TOKEN_TTL",
            &mut self.refresh_token_ttl,
            seconds(60, 400 * DAY),
            "How long a login lasts that is not used.",
        );
        walk.bounded(
            "PARLANCE_LOGIN_TTL_MAX",
            &mut self.login_ttl_max,
            seconds(60, 3_660 * DAY),
            "How long a login lasts at most, however often it is used. Then people sign in anew.",
        );
        walk.value(
            "JWT_SECRET",
            &mut self.jwt_secret,
            "The key that signs access tokens, at least 32 bytes. All nodes need the same one.",
        );
        walk.unset("one is made and kept in `DATA_DIR`");
        walk.value(
            "JWT_SECRET_PREVIOUS",
            &mut self.jwt_secret_previous,
            "A second key whose tokens are accepted, while `JWT_SECRET` is changed: the one of before, or the next.",
        );
        walk.unset("none");
    }

    pub(super) fn check(&self, errors: &mut Vec<String>) {
        let secrets = [
            ("JWT_SECRET", &self.jwt_secret),
            ("JWT_SECRET_PREVIOUS", &self.jwt_secret_previous),
        ];
        for (name, secret) in secrets {
            if secret
                .as_ref()
                .is_some_and(|secret| secret.expose().len() < JWT_SECRET_BYTES_MIN)
            {
                errors.push(format!("{name}: must have at least {JWT_SECRET_BYTES_MIN} bytes"));
            }
        }
    }
}
