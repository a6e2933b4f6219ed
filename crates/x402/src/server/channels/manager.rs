use std::{collections::HashMap, time::Duration};

use alloy::primitives::{Address, B256};
use tokio::time::MissedTickBehavior;

use super::{Authorizer, Channel, Channels, Pending, now_ms, turn::refund_payload};
use crate::{
    FacilitatorError, Network, PaymentPayload, PaymentRequest, PaymentRequirements, Reason, Scheme, SettleResponse, TokenAmount,
    V2,
    batch::{BatchPayload, Chain, ChannelState, Claim, Voucher},
    server::ReservationError,
};

/// Channels read from the store at once.
const PAGE: usize = 500;
/// How long a channel is held for a refund of the seller's own, in milliseconds: longer than a settlement takes.
const REFUND_HOLD_MS: u64 = 300_000;

/// When claims go to the chain.
#[derive(Clone, Debug)]
pub struct ClaimPolicy {
    /// How often the channels are looked through. Never less often than a sixth of the withdraw delay.
    pub every: Duration,
    /// Claims what is older than this. Never later than a third of the withdraw delay after the first charge, whatever is said here.
    pub after: Duration,
    /// Vouchers in one transaction, at most (1 to 100).
    pub batch: usize,
    /// Gives channels back that were not used for so long and have money left. `None` leaves that to the payers.
    pub refund_idle: Option<Duration>,
}

impl Default for ClaimPolicy {
    fn default() -> Self {
        Self { every: Duration::from_secs(60), after: Duration::from_secs(3600), batch: 100, refund_idle: None }
    }
}

/// What one look through the channels did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// Channels claimed.
    pub channels: usize,
    /// Base units claimed, all tokens together.
    pub amount: u128,
    /// Transactions of claims, payouts and refunds.
    pub transactions: Vec<String>,
    /// Channels given back.
    pub refunded: usize,
    /// Claims the chain refuses. They are tried again with the next look.
    pub refused: Vec<(B256, String)>,
}

/// Why channels could not be looked through to the end. What was done stays done; the next look goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// The store failed.
    #[error("the store of channels failed: {0}")]
    Store(#[from] ReservationError),
    /// The facilitator did not answer.
    #[error("the facilitator did not answer: {0}; claims wait for it")]
    Facilitator(#[from] FacilitatorError),
    /// The facilitator refused.
    #[error("the facilitator refused a {what}: {reason} {message}")]
    Refused {
        /// Claim, payout or refund.
        what: &'static str,
        /// Its reason.
        reason: Reason,
        /// What the chain said.
        message: String,
    },
    /// The authorizer did not sign.
    #[error("the receiver's authorizer did not sign: {0}")]
    Sign(#[from] alloy::signers::Error),
}

/// Takes what was charged out of the channels, in time: before a payer that announced its withdrawal can have it.
///
/// Everything it does can be repeated: a claim of what is claimed already changes nothing, so a crash between any two steps costs at most
/// one transaction. Several copies of a service may each run one.
#[derive(Clone, Debug)]
pub struct ChannelManager {
    channels: Channels,
    policy: ClaimPolicy,
}

/// Claims that can go into one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Account {
    chain_id: u64,
    receiver: Address,
    token: Address,
    authorizer: Address,
}

impl Account {
    fn of(channel: &Channel) -> Self {
        let config = &channel.config;
        let (receiver, token, authorizer) = (config.receiver, config.token, config.receiver_authorizer);
        Self { chain_id: channel.chain_id, receiver, token, authorizer }
    }
}

impl ChannelManager {
    /// A manager of these channels. It does nothing before [`Self::run`] or [`Self::look`].
    pub fn new(channels: Channels, policy: ClaimPolicy) -> Self {
        Self { channels, policy }
    }

    /// Looks through the channels again and again; drop the future to end it.
    pub async fn run(self) {
        let every = self.policy.every.min(Duration::from_secs(self.channels.0.withdraw_delay / 6)).max(Duration::from_millis(10));
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What was claimed by a process that then died may not have been paid out.
        let mut owed = true;
        loop {
            ticks.tick().await;
            let after = self.policy.after;
            match self.pass(after, owed).await {
                Ok(done) if done == Claimed::default() => owed = false,
                Ok(done) => {
                    owed = false;
                    tracing::info!(channels = done.channels, amount = %done.amount, refunded = done.refunded, "channels claimed");
                    for (channel, why) in &done.refused {
                        tracing::error!(%channel, why, "a claim is refused by the chain");
                    }
                }
                Err(error) => {
                    owed = true;
                    tracing::warn!(%error, "channels could not be claimed; trying again");
                }
            }
        }
    }

    /// Claims and pays out all there is, now.
    ///
    /// # Errors
    /// [`ManagerError`]; what was done before stays done.
    pub async fn look(&self) -> Result<Claimed, ManagerError> {
        self.pass(Duration::ZERO, true).await
    }

    async fn pass(&self, after: Duration, pay_all: bool) -> Result<Claimed, ManagerError> {
        let now = now_ms() / 1000;
        let (mut due, mut accounts, mut idle) = (HashMap::<Account, Vec<Channel>>::new(), Vec::new(), Vec::new());
        let mut last = None;
        loop {
            let page = self.channels.0.store.list(last, PAGE).await?;
            let Some(end) = page.last() else { break };
            last = Some(end.id);
            for channel in page {
                let account = Account::of(&channel);
                if pay_all && !accounts.contains(&account) {
                    accounts.push(account.clone());
                }
                if is_due(&channel, now, after) {
                    due.entry(account).or_default().push(channel);
                } else if self.is_idle(&channel, now) {
                    idle.push(channel);
                }
            }
        }
        let mut done = Claimed::default();
        for (account, channels) in due {
            for batch in channels.chunks(self.policy.batch.clamp(1, 100)) {
                self.claim(&account, batch.to_vec(), &mut done).await?;
            }
            if !accounts.contains(&account) {
                accounts.push(account);
            }
        }
        for account in accounts {
            self.pay_out(&account, &mut done).await?;
        }
        for channel in idle {
            self.give_back(&channel, &mut done).await?;
        }
        Ok(done)
    }

    fn is_idle(&self, channel: &Channel, now: u64) -> bool {
        let is_old = |idle: Duration| now.saturating_sub(channel.used_at) >= idle.as_secs();
        // What is charged is claimed first, or the refund would take it along.
        let is_settled = channel.unclaimed() == 0 && channel.balance > channel.charged && !channel.is_busy(now_ms());
        let can_sign = matches!(self.channels.0.authorizer, Authorizer::Own(_));
        can_sign && is_settled && self.policy.refund_idle.is_some_and(is_old)
    }

    /// Claims a batch. The chain refuses a batch for one bad voucher, so a refused one is halved until the bad one is alone.
    async fn claim(&self, account: &Account, batch: Vec<Channel>, done: &mut Claimed) -> Result<(), ManagerError> {
        let mut batches = vec![batch];
        while let Some(mut batch) = batches.pop() {
            let claims: Vec<Claim> = batch.iter().filter_map(Channel::claim).collect();
            if claims.is_empty() {
                continue;
            }
            let signature = self.channels.0.authorizer.sign(Chain::new(account.chain_id).claim_batch_hash(&claims)).await?;
            let payload = BatchPayload::Claim { claims: claims.clone(), claim_authorizer_signature: signature };
            let answer = self.send(account, &payload).await?;
            if answer.success {
                done.channels += claims.len();
                done.amount = done.amount.saturating_add(batch.iter().map(Channel::unclaimed).sum());
                done.transactions.push(answer.transaction);
                for (channel, claim) in batch.iter().zip(&claims) {
                    self.claimed(channel.id, claim.total_claimed).await?;
                }
            } else if answer.error_reason == Some(Reason::BatchNothingToSettle) {
                // By another copy of the service, or before a crash.
                for (channel, claim) in batch.iter().zip(&claims) {
                    self.claimed(channel.id, claim.total_claimed).await?;
                }
            } else if answer.error_reason == Some(Reason::PaymentBelowMinimum) {
                // Not worth its gas yet: what they are charged later is claimed with it.
            } else if answer.error_reason != Some(Reason::BatchClaimSimulationFailed) {
                return Err(refused("claim", answer));
            } else if batch.len() > 1 {
                let half = batch.split_off(batch.len() / 2);
                batches.extend([batch, half]);
            } else if let Some(channel) = batch.first() {
                done.refused.push((channel.id, answer.error_message.unwrap_or_default()));
            }
        }
        Ok(())
    }

    /// Writes down what the chain has claimed.
    async fn claimed(&self, id: B256, total: u128) -> Result<(), ManagerError> {
        loop {
            let Some(channel) = self.channels.0.store.load(id).await?.filter(|channel| channel.total_claimed < total) else {
                return Ok(());
            };
            let unclaimed_since = if channel.charged > total { now_ms() / 1000 } else { 0 };
            let next = Channel { total_claimed: total, unclaimed_since, version: channel.version + 1, ..channel };
            if self.channels.0.store.swap(next).await? {
                return Ok(());
            }
        }
    }

    async fn pay_out(&self, account: &Account, done: &mut Claimed) -> Result<(), ManagerError> {
        let payload = BatchPayload::Settle { receiver: account.receiver, token: account.token };
        let answer = self.send(account, &payload).await?;
        match answer.error_reason {
            _ if answer.success => done.transactions.push(answer.transaction),
            Some(Reason::BatchNothingToSettle | Reason::PaymentBelowMinimum) => {}
            _ => return Err(refused("payout", answer)),
        }
        Ok(())
    }

    /// Gives what was not charged back to its payer. The channel is held meanwhile: what is charged now could not be claimed any more.
    async fn give_back(&self, channel: &Channel, done: &mut Claimed) -> Result<(), ManagerError> {
        let pending = Pending { id: 0, until_ms: now_ms().saturating_add(REFUND_HOLD_MS) };
        let held = Channel { pending: Some(pending), version: channel.version + 1, ..channel.clone() };
        if !self.channels.0.store.swap(held).await? {
            return Ok(());
        }
        let chain = Chain::new(channel.chain_id);
        let voucher =
            Voucher { channel_id: channel.id, max_claimable_amount: channel.ceiling, signature: channel.signature.clone() };
        let left = channel.balance - channel.charged;
        let payload = refund_payload(&self.channels, &chain, channel, &voucher, left, Vec::new()).await?;
        let answer = self.send(&Account::of(channel), &payload).await?;
        if answer.is_pending() {
            // Held until it is known, or the hold lapses; its next voucher asks the chain.
            return Ok(());
        }
        if !answer.success {
            done.refused.push((channel.id, refused("refund", answer).to_string()));
            return Ok(self.channels.refunded(channel.id, None).await?);
        }
        done.transactions.push(answer.transaction);
        done.refunded += 1;
        Ok(self.channels.refunded(channel.id, ChannelState::from_extra(answer.extra.as_ref()).as_ref()).await?)
    }

    async fn send(&self, account: &Account, payload: &BatchPayload) -> Result<SettleResponse, ManagerError> {
        let requirements = PaymentRequirements {
            scheme: Scheme::BatchSettlement.as_str().into(),
            network: Network::evm(account.chain_id),
            amount: TokenAmount::ZERO,
            asset: account.token.to_checksum(None),
            pay_to: account.receiver.to_checksum(None),
            max_timeout_seconds: 60,
            extra: None,
        };
        let (accepted, payload) = (requirements.clone(), payload.to_json());
        let payment_payload = PaymentPayload { x402_version: V2, resource: None, accepted, payload, extensions: None };
        let request = PaymentRequest { x402_version: V2, payment_payload, payment_requirements: requirements };
        let mut answer = self.channels.0.facilitator.settle(&request).await?;
        if answer.is_pending() {
            answer = self.channels.0.facilitator.settle(&request).await?;
        }
        Ok(answer)
    }
}

/// Old enough, or so old that a payer might get ahead: half of the time a withdrawal takes is left then, and more.
fn is_due(channel: &Channel, now: u64, after: Duration) -> bool {
    let age = now.saturating_sub(channel.unclaimed_since);
    let latest = channel.config.withdraw_delay / 3;
    channel.claim().is_some() && (channel.withdraw_requested_at != 0 || age >= after.as_secs().min(latest))
}

fn refused(what: &'static str, answer: SettleResponse) -> ManagerError {
    let reason = answer.error_reason.unwrap_or(Reason::UnexpectedSettleError);
    ManagerError::Refused { what, reason, message: answer.error_message.unwrap_or_default() }
}
