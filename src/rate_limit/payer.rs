//! Whose budget a request is taken from.

use super::table::SubjectKey;
use crate::ids::{Plan, TenantId, Tier, UserId};
use std::net::IpAddr;

/// A user over all of their connections and credentials, or the network of a client that shows no
/// good ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payer {
    key: SubjectKey,
    tier: Tier,
    /// Whose budget is taken from besides.
    tenant: Option<TenantBudget>,
}

/// What all people of a tenant have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TenantBudget {
    id: TenantId,
    plan: Plan,
}

impl Payer {
    #[must_use]
    pub const fn user(id: UserId, tier: Tier) -> Self {
        Self {
            key: SubjectKey::User(id),
            tier,
            tenant: None,
        }
    }

    /// The same user as one of a tenant, which has a quota of its own besides theirs. Guests do not
    /// spend it: everybody with a link is one, and could take it from the members.
    #[must_use]
    pub const fn of_tenant(self, id: TenantId, plan: Plan) -> Self {
        let tenant = match self.tier {
            Tier::Anonymous => None,
            Tier::Regular | Tier::Premium => Some(TenantBudget { id, plan }),
        };
        Self { tenant, ..self }
    }

    /// Anyone who is at this address and shows no credentials.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self::anonymous(SubjectKey::Network(address.into()))
    }

    /// Anyone who is at this address and shows credentials that are not good.
    #[must_use]
    pub fn false_credentials(address: IpAddr) -> Self {
        Self::anonymous(SubjectKey::NetworkCredentials(address.into()))
    }

    /// Anyone who signs up at this address, or enters as a guest.
    #[must_use]
    pub fn sign_up(address: IpAddr) -> Self {
        Self::anonymous(SubjectKey::NetworkSignUp(address.into()))
    }

    const fn anonymous(key: SubjectKey) -> Self {
        Self {
            key,
            tier: Tier::Anonymous,
            tenant: None,
        }
    }

    /// The same caller's budget for what costs much. It is taken from besides the other.
    #[must_use]
    pub const fn expensive(self) -> Self {
        let key = match self.key {
            SubjectKey::User(id) | SubjectKey::UserExpensive(id) => SubjectKey::UserExpensive(id),
            // A tenant is never a payer by itself.
            SubjectKey::Tenant(id) => SubjectKey::Tenant(id),
            SubjectKey::Network(network)
            | SubjectKey::NetworkCredentials(network)
            | SubjectKey::NetworkSignUp(network)
            | SubjectKey::NetworkExpensive(network) => SubjectKey::NetworkExpensive(network),
        };
        Self {
            key,
            tenant: None,
            ..self
        }
    }

    /// The tenant as the payer, if there is one that pays besides.
    #[must_use]
    pub(super) fn tenant(self) -> Option<Self> {
        let TenantBudget { id, .. } = self.tenant?;
        let key = SubjectKey::Tenant(id);
        Some(Self { key, ..self })
    }

    /// The plan of the tenant's quota.
    pub(super) fn plan(&self) -> Plan {
        self.tenant.map_or(Plan::Regular, |tenant| tenant.plan)
    }

    /// The tier of the quota.
    #[must_use]
    pub const fn tier(&self) -> Tier {
        self.tier
    }

    pub(super) const fn key(&self) -> SubjectKey {
        self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_do_not_spend_what_the_members_have() {
        let tenant_of = |tier| {
            let user = Payer::user(UserId::new(), tier);
            user.of_tenant(TenantId::new(), Plan::Regular).tenant()
        };
        assert!(tenant_of(Tier::Regular).is_some());
        assert_eq!(tenant_of(Tier::Anonymous), None);
    }
}
