//! Access tokens: JWT with HS256 and nothing else. Pure: the time is an argument, the key is given.
//!
//! A token says everything a request needs to know about its caller, so authentication costs no
//! query. What has changed since it was issued is in `revocation.rs`.
//!
//! Bound: a token longer than [`TOKEN_BYTES_MAX`] is refused before anything is decoded.
//!
//! The `jsonwebtoken` crate is used without its crypto backends. The pure-Rust one brings the `rsa`
//! crate with its open timing advisory, and a single algorithm is needed. The provider below offers
//! exactly HS256 over `hmac` and `sha2`. So no header can select another algorithm, and no code of
//! ours can either.

use super::principal::{Credential, Principal};
use crate::ids::{ConversationId, Plan, Role, SessionId, TenantId, Tier, UserId, UserKind};
use bytestring::ByteString;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result as JwtResult};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, TokenData, Validation};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::time::Duration;
use uuid::Uuid;

/// Longest access token that is looked at, in bytes; ours are about 600.
pub(super) const TOKEN_BYTES_MAX: usize = 4_096;
/// Clock difference between nodes that is forgiven, in seconds.
const LEEWAY_S: i64 = 5;
const ISSUER: &str = "parlance";
const AUDIENCE: &str = "parlance";
/// Media type of the header's `typ`, as RFC 9068 has it: no other kind of token can pass for an
/// access token.
const TYPE: &str = "at+jwt";

/// Why a token is not accepted; the difference is for logs, callers see `unauthenticated`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of ours, or altered.
    #[error("the token is not valid")]
    Invalid,
    #[error("the token has run out")]
    Expired,
    /// Of a user who is not there, as after the database was restored from a backup.
    #[error("there is no such user")]
    UnknownUser,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    tid: TenantId,
    sid: SessionId,
    name: ByteString,
    kind: UserKind,
    role: Role,
    tier: Tier,
    /// Not in tokens of the version before.
    #[serde(default = "default_plan")]
    plan: Plan,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    conversation: Option<ConversationId>,
    iat: i64,
    exp: i64,
    /// Ours have none; who signs with our key may say from when a token counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    jti: Uuid,
}

const fn default_plan() -> Plan {
    Plan::Regular
}

/// Signs access tokens with one key, and verifies those of that key and of another that is accepted
/// besides.
pub(super) struct Signer {
    encoding: EncodingKey,
    decoding: DecodingKey,
    accepted: Option<DecodingKey>,
    header: Header,
    validation: Validation,
    ttl: Duration,
}

impl Signer {
    /// A signer whose tokens live for `ttl`.
    #[must_use]
    pub(super) fn new(key: &[u8], accepted: Option<&[u8]>, ttl: Duration) -> Self {
        // A second installation (another signer of the same process) is refused and harmless: it is
        // the same provider.
        CryptoProvider::install_default(&PROVIDER).ok();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The library would read the system clock; `verify` compares with the `now` it is given.
        validation.validate_exp = false;
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYPE.to_owned());
        Self {
            encoding: EncodingKey::from_secret(key),
            decoding: DecodingKey::from_secret(key),
            accepted: accepted.map(DecodingKey::from_secret),
            header,
            validation,
            ttl,
        }
    }

    /// A token for `principal` and when it runs out; `jti` makes it unique.
    ///
    /// # Errors
    /// [`TokenError::Invalid`] for a key, which gets no tokens, or if the claims cannot be encoded,
    /// which no principal causes.
    pub(super) fn issue(
        &self,
        principal: &Principal,
        now: DateTime<Utc>,
        jti: Uuid,
    ) -> Result<(String, DateTime<Utc>), TokenError> {
        let sid = principal.session_id().ok_or(TokenError::Invalid)?;
        // Whole seconds, as JWT has them: what clients get is exactly what is checked.
        let iat = now.timestamp();
        let exp = iat.saturating_add_unsigned(self.ttl.as_secs());
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: principal.user_id,
            tid: principal.tenant_id,
            sid,
            name: principal.name.clone(),
            kind: principal.kind,
            role: principal.role,
            tier: principal.tier,
            plan: principal.plan,
            conversation: principal.conversation,
            iat,
            exp,
            nbf: None,
            jti,
        };
        let token = jsonwebtoken::encode(&self.header, &claims, &self.encoding).map_err(|_| TokenError::Invalid)?;
        let expires_at = DateTime::from_timestamp(exp, 0).ok_or(TokenError::Invalid)?;
        Ok((token, expires_at))
    }

    /// Whom the token stands for.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(super) fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Principal, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let data = self.decode(token).map_err(|_| TokenError::Invalid)?;
        if data.header.typ.as_deref() != Some(TYPE) || data.header.crit.is_some() {
            return Err(TokenError::Invalid);
        }
        let claims = data.claims;
        let now = now.timestamp();
        let counts_from = claims.nbf.map_or(claims.iat, |nbf| nbf.max(claims.iat));
        if counts_from > now.saturating_add(LEEWAY_S) {
            return Err(TokenError::Invalid);
        }
        if claims.exp.saturating_add(LEEWAY_S) <= now {
            return Err(TokenError::Expired);
        }
        Ok(Principal {
            tenant_id: claims.tid,
            user_id: claims.sub,
            credential: Credential::Session(claims.sid),
            kind: claims.kind,
            name: claims.name,
            role: claims.role,
            tier: claims.tier,
            plan: claims.plan,
            conversation: claims.conversation,
            expires_at: DateTime::from_timestamp(claims.exp, 0),
        })
    }

    fn decode(&self, token: &str) -> JwtResult<TokenData<Claims>> {
        let decoded = jsonwebtoken::decode(token, &self.decoding, &self.validation);
        match (decoded, &self.accepted) {
            (Err(error), Some(accepted)) if *error.kind() == ErrorKind::InvalidSignature => {
                jsonwebtoken::decode(token, accepted, &self.validation)
            }
            (decoded, _) => decoded,
        }
    }
}

/// Offers HS256 and no other algorithm.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| match algorithm {
        Algorithm::HS256 if key.family() == AlgorithmFamily::Hmac => Ok(Box::new(Hs256::new(key.as_bytes())?)),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    },
    verifier_factory: |algorithm, key| match algorithm {
        Algorithm::HS256 if key.family() == AlgorithmFamily::Hmac => Ok(Box::new(Hs256::new(key.try_get_as_bytes()?)?)),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    },
    // Only used for JWKs, which we neither publish nor read.
    key_utils: KeyUtils::new_unimplemented(),
};

struct Hs256(Hmac<Sha256>);

impl Hs256 {
    fn new(key: &[u8]) -> JwtResult<Self> {
        Hmac::new_from_slice(key)
            .map(Self)
            .map_err(|_| ErrorKind::InvalidKeyFormat.into())
    }
}

impl signature::Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl signature::Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        // Constant time.
        self.0
            .clone()
            .chain_update(message)
            .verify_slice(signature)
            .map_err(signature::Error::from_source)
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
    use chrono::TimeDelta;
    use serde_json::{Value, json};

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
    const OTHER_KEY: &[u8] = b"another key of thirty-two bytes!";

    fn signer() -> Signer {
        Signer::new(KEY, None, Duration::from_secs(900))
    }

    fn principal() -> Principal {
        Principal {
            tenant_id: TenantId::new(),
            user_id: UserId::new(),
            credential: Credential::Session(SessionId::new()),
            kind: UserKind::Person,
            name: "Åsa \"quote\"".into(),
            role: Role::Member,
            tier: Tier::Regular,
            plan: Plan::Premium,
            conversation: Some(ConversationId::new()),
            expires_at: None,
        }
    }

    fn issue(now: DateTime<Utc>) -> String {
        signer().issue(&principal(), now, Uuid::now_v7()).unwrap().0
    }

    /// Signs any header and claims with the right key, to show that each check is made and not only
    /// the signature's.
    fn forge(change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let token = issue(Utc::now());
        let mut parts = token.split('.').map(|part| B64.decode(part).unwrap());
        let mut header: Value = serde_json::from_slice(&parts.next().unwrap()).unwrap();
        let mut claims: Value = serde_json::from_slice(&parts.next().unwrap()).unwrap();
        change(&mut header, &mut claims);
        let message = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let mac = Hmac::<Sha256>::new_from_slice(KEY)
            .unwrap()
            .chain_update(&message)
            .finalize()
            .into_bytes();
        format!("{message}.{}", B64.encode(mac))
    }

    #[test]
    fn a_token_brings_its_principal_back() {
        let (now, who) = (Utc::now(), principal());
        let (token, expires_at) = signer().issue(&who, now, Uuid::now_v7()).unwrap();
        let back = signer().verify(&token, now).unwrap();
        assert_eq!(
            back,
            Principal {
                expires_at: Some(expires_at),
                ..who
            }
        );
        assert_eq!(expires_at.timestamp(), now.timestamp() + 900);
        assert!(token.len() < TOKEN_BYTES_MAX);
    }

    #[test]
    fn it_runs_out_with_five_seconds_of_leeway() {
        let now = Utc::now();
        let token = issue(now);
        let at = |s| signer().verify(&token, now + TimeDelta::seconds(s)).map(drop);
        assert_eq!(at(900 + LEEWAY_S - 1), Ok(()));
        assert_eq!(at(900 + LEEWAY_S), Err(TokenError::Expired));
        assert_eq!(at(-LEEWAY_S - 1), Err(TokenError::Invalid), "issued in the future");
    }

    #[test]
    fn it_counts_from_when_it_says() {
        let from = |s: i64| forge(|_, claims| claims["nbf"] = json!(Utc::now().timestamp() + s));
        assert!(signer().verify(&from(-60), Utc::now()).is_ok());
        assert!(signer().verify(&from(LEEWAY_S - 1), Utc::now()).is_ok());
        let early = signer().verify(&from(LEEWAY_S + 2), Utc::now());
        assert_eq!(early.map(drop), Err(TokenError::Invalid));
    }

    #[test]
    fn a_second_key_is_accepted_and_does_not_sign() {
        let (now, who) = (Utc::now(), principal());
        let both = Signer::new(OTHER_KEY, Some(KEY), Duration::from_secs(900));
        assert!(both.verify(&issue(now), now).is_ok());
        let (token, _) = both.issue(&who, now, Uuid::now_v7()).unwrap();
        assert!(both.verify(&token, now).is_ok());
        assert_eq!(signer().verify(&token, now).map(drop), Err(TokenError::Invalid));
        let late = both.verify(&issue(now), now + TimeDelta::seconds(1_000));
        assert_eq!(late.map(drop), Err(TokenError::Expired));
    }

    #[test]
    fn everything_else_is_refused() {
        let ok = forge(|_, _| ());
        assert!(signer().verify(&ok, Utc::now()).is_ok(), "the forger works");
        let refused = [
            forge(|h, _| h["alg"] = json!("none")),
            forge(|h, _| h["alg"] = json!("HS512")),
            forge(|h, _| h["alg"] = json!("RS256")),
            forge(|h, _| h["typ"] = json!("JWT")),
            forge(|h, _| drop(h.as_object_mut().unwrap().remove("typ"))),
            forge(|h, _| h["crit"] = json!(["x"])),
            forge(|_, c| c["iss"] = json!("elsewhere")),
            forge(|_, c| c["aud"] = json!("elsewhere")),
            forge(|_, c| drop(c.as_object_mut().unwrap().remove("aud"))),
            forge(|_, c| drop(c.as_object_mut().unwrap().remove("exp"))),
            forge(|_, c| c["role"] = json!("emperor")),
            forge(|_, c| c["sub"] = json!("nobody")),
            forge(|_, c| c["nbf"] = json!("tomorrow")),
            ok[..ok.len() - 4].to_owned(),
            ok.replace('.', ""),
            String::new(),
            "x".repeat(TOKEN_BYTES_MAX + 1),
        ];
        for token in refused {
            assert_eq!(
                signer().verify(&token, Utc::now()).map(drop),
                Err(TokenError::Invalid),
                "{token}"
            );
        }
        let other = Signer::new(OTHER_KEY, None, Duration::from_secs(900));
        assert_eq!(other.verify(&ok, Utc::now()).map(drop), Err(TokenError::Invalid));
        let unsigned = format!("{}.", &ok[..ok.rfind('.').unwrap()]);
        assert_eq!(
            signer().verify(&unsigned, Utc::now()).map(drop),
            Err(TokenError::Invalid)
        );
    }
}
