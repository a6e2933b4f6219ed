use std::fmt;

use alloy::primitives::{Address, B256, Bytes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    AccessToken,
    ledger::{Amount, Balance, RedemptionMethod, Wallet},
};

/// What a creator may do to what is not their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Nothing.
    User,
    /// Look into accounts, to help.
    Support,
    /// Judge listings.
    Moderator,
    /// Rule on disputes.
    Arbiter,
    /// Approve money that leaves.
    Finance,
    /// All that.
    Admin,
}

impl Role {
    /// Whether this role is enough where `needed` is asked for.
    pub fn covers(self, needed: Self) -> bool {
        needed == Self::User || self == Self::Admin || self == needed
    }
}

/// How credits are paid out, once a month, from 10,000 ARD on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PayoutMethod {
    /// Not yet.
    #[default]
    None,
    /// India's payment interface.
    Upi,
    /// To a bank account.
    Bank,
    /// As a gift card.
    GiftCard,
}

impl PayoutMethod {
    /// How a payout is redeemed; `None` when there is none.
    pub const fn redemption(self) -> Option<RedemptionMethod> {
        match self {
            Self::None => None,
            Self::Upi => Some(RedemptionMethod::Upi),
            Self::Bank => Some(RedemptionMethod::Bank),
            Self::GiftCard => Some(RedemptionMethod::GiftCard),
        }
    }
}

/// Registers a creator.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterCreator {
    /// Unique whatever its case.
    pub email: String,
    /// 12 to 128 characters, not of those that everybody tries: neither the name or address nor a common word with digits.
    pub password: String,
    /// 1 to 100 characters.
    pub display_name: String,
    /// At most 32 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// ISO 3166-1, two letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// Leaves out the password.
impl fmt::Debug for RegisterCreator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisterCreator").field("email", &self.email).finish_non_exhaustive()
    }
}

/// Signs a creator in.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// As registered, whatever its case.
    pub email: String,
    /// The password.
    pub password: String,
    /// The refresh token of a session of this account, also of one that has ended: whoever has it does not wait because others guess.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<RefreshToken>,
}

impl Login {
    /// With this password.
    pub fn new(email: impl Into<String>, password: impl Into<String>) -> Self {
        Self { email: email.into(), password: password.into(), device: None }
    }
}

/// Leaves out the password.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("email", &self.email).finish_non_exhaustive()
    }
}

/// A sign-in: what a creator sends from now on, and what gets the next one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// The creator.
    pub creator: Creator,
    /// Works for some minutes.
    #[serde(flatten)]
    pub access: AccessToken,
    /// Gets the next access token and the next refresh token. Works once.
    pub refresh_token: RefreshToken,
}

/// Gets a session's next access token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RefreshToken(pub String);

/// Leaves out the token.
impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken")
    }
}

/// A session that goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionInfo {
    /// Its id.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: OffsetDateTime,
    /// When its refresh token was last replaced.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub last_used_at: OffsetDateTime,
    /// When it ends unless it is used.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub expires_at: OffsetDateTime,
    /// The network it was last used from: 24 bits of an IPv4 address, 48 of an IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// What used it last, as it says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Whether the caller's token is of it.
    pub is_current: bool,
}

/// Goes on with a session, or ends it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// The newest one of the session.
    pub refresh_token: RefreshToken,
}

/// Changes a creator's password. All sessions end.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The one until now.
    pub password: String,
    /// As at registration.
    pub new_password: String,
}

/// Leaves out the passwords.
impl fmt::Debug for ChangePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChangePassword")
    }
}

/// Leaves the market for good.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteCreator {
    /// The password, once more.
    pub password: String,
    /// Whether money that is too little to be taken out is given up.
    #[serde(default)]
    pub forfeit: bool,
}

/// Leaves out the password.
impl fmt::Debug for DeleteCreator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeleteCreator").field("forfeit", &self.forfeit).finish_non_exhaustive()
    }
}

/// A creator, as the creator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Creator {
    /// Id.
    #[schemars(with = "crate::schema::Id")]
    pub id: Uuid,
    /// Email address, in lower case.
    pub email: String,
    /// How others see the creator.
    pub display_name: String,
    /// For payouts.
    pub phone: Option<String>,
    /// ISO 3166-1, two letters.
    pub country: Option<String>,
    /// How credits are paid out.
    pub payout_method: PayoutMethod,
    /// What the payout method needs.
    pub payout_details: Option<serde_json::Map<String, serde_json::Value>>,
    /// Proven: where USDC is withdrawn to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::HexAddress>")]
    pub wallet_address: Option<Address>,
    /// What the creator may do to what is not their own.
    pub role: Role,
    /// When the creator registered.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub created_at: OffsetDateTime,
}

/// Changes a creator. What is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateCreator {
    /// New name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// New phone number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// New country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// New payout method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payout_method: Option<PayoutMethod>,
    /// What the payout method needs, at most 4,000 bytes of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payout_details: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Proves a wallet: to claim its agent, or to have money paid out there.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProveWallet {
    /// Of a challenge for the wallet.
    #[schemars(with = "crate::schema::Hash")]
    pub nonce: B256,
    /// The wallet's signature of the challenge's message; of an AgentWallet, its owner's.
    #[schemars(with = "crate::schema::Hex")]
    pub signature: Bytes,
}

/// What a creator and the creator's agents have in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreatorWallet {
    /// The creator.
    #[schemars(with = "crate::schema::Id")]
    pub creator_id: Uuid,
    /// The creator's own.
    pub balances: Vec<Balance>,
    /// Of each agent, at most 100.
    pub agents: Vec<Wallet>,
}

/// How a creator's agents do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dashboard {
    /// Agents that are the creator's.
    pub agents: u64,
    /// Of them, those that are active.
    pub active_agents: u64,
    /// Their listings that are for sale.
    pub active_listings: u64,
    /// What they sold from the ledger.
    pub sales: u64,
    /// All that their sales brought in, royalties included, in ARD.
    pub earned_ard: Amount,
    /// The same in USDC.
    pub earned_usdc: Amount,
    /// All that their purchases cost, in ARD.
    pub spent_ard: Amount,
    /// The same in USDC.
    pub spent_usdc: Amount,
}

/// Gives a creator a role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantRole {
    /// The role.
    pub role: Role,
}
