use money::Usdc;

use super::{ChannelError, ChannelRecord, Channels, VoucherUnderWay, book::Turn};
use crate::{
    PaymentRequirements, Reason, Scheme, SettleResponse, TokenAmount,
    batch::{BatchPayload, Chain, ChannelState, Deposit, DepositPayload, RefundPayload, Voucher, VoucherPayload, VoucherState},
    client::{DepositRequest, PayError, Payer, offer::Demand, payer::now_secs, policy::Price, signing::Signed},
};

/// A channel in use by one request, until its outcome is known or nobody waits for it any more.
pub(crate) struct Hold {
    channels: Channels,
    chain: Chain,
    record: ChannelRecord,
    _turn: Turn,
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("channel", &self.record.id).finish_non_exhaustive()
    }
}

impl Hold {
    pub(super) fn new(channels: Channels, chain: Chain, record: ChannelRecord, turn: Turn) -> Self {
        Self { channels, chain, record, _turn: turn }
    }

    /// What has to be deposited so that the channel covers one more request; 0 when it does.
    pub(crate) fn deposit_for(&self, offer: &PaymentRequirements, per_payment: Usdc) -> Result<u128, ChannelError> {
        let price = price(offer)?;
        let ceiling = self.record.base().checked_add(price).ok_or(ChannelError::Offer("its price is too high"))?;
        let needed = ceiling.saturating_sub(self.record.balance);
        if needed == 0 {
            return Ok(0);
        }
        let announced = offer.extra_str("minDeposit").and_then(|text| text.parse::<TokenAmount>().ok());
        let announced = announced.and_then(|least| u128::try_from(least.0).ok()).filter(|least| *least >= price);
        let wished = announced.unwrap_or_else(|| price.saturating_mul(u128::from(self.channels.0.multiple))).max(needed);
        let max = self.channels.deposit_max(per_payment);
        if needed > max { Err(ChannelError::DepositTooHigh { needed, max }) } else { Ok(wished.min(max)) }
    }

    /// Signs the voucher of one more request, and the deposit it needs. On record when this returns, and not sent.
    pub(in crate::client) async fn sign<P: Payer>(
        &mut self,
        payer: &P,
        offer: &PaymentRequirements,
        price: &Price,
        deposit: u128,
        validity_max_secs: u64,
    ) -> Result<Signed, PayError> {
        let valid_before = now_secs().saturating_add(offer.max_timeout_seconds.min(validity_max_secs));
        let ceiling = self.record.base().saturating_add(self::price(offer)?);
        let voucher = self.voucher(ceiling).await?;
        let channel_config = self.record.config;
        let payload = if deposit == 0 {
            BatchPayload::Voucher(VoucherPayload { channel_config, voucher })
        } else {
            let request = DepositRequest {
                chain: self.chain,
                channel: channel_config,
                token: price.domain.clone(),
                amount: deposit,
                valid_before,
                method: price.way.method(),
            };
            let authorization = payer.authorize_deposit(&request).await?;
            if authorization.method() != request.method || authorization.valid_before() > valid_before {
                return Err(PayError::PayerMismatch("deposit"));
            }
            BatchPayload::Deposit(DepositPayload { channel_config, voucher, deposit: Deposit { amount: deposit, authorization } })
        };
        self.record.ceiling = self.record.ceiling.max(ceiling);
        self.record.unconfirmed = self.record.unconfirmed.saturating_add(deposit);
        self.record.under_way = Some(VoucherUnderWay { ceiling, deposit });
        self.channels.0.book.write(&self.record).await?;
        Ok(Signed { payload: payload.to_json(), allowance: None, valid_before })
    }

    async fn voucher(&self, ceiling: u128) -> Result<Voucher, ChannelError> {
        let signature = self.channels.sign(self.chain.voucher_hash(self.record.id, ceiling)).await?;
        Ok(Voucher { channel_id: self.record.id, max_claimable_amount: ceiling, signature })
    }

    /// Writes down what the seller says it charged. It is believed up to what was signed; without a word, all that was signed is charged.
    pub(crate) async fn settled(&mut self, receipt: Option<&SettleResponse>) -> Result<(), ChannelError> {
        let Some(sent) = self.record.under_way else { return Ok(()) };
        let extra = receipt.filter(|receipt| receipt.success).and_then(|receipt| receipt.extra.as_ref());
        let state = ChannelState::from_extra(extra);
        let said = state.as_ref().and_then(|state| state.charged_cumulative_amount);
        self.record.charged = match said {
            Some(said) if (self.record.charged..=sent.ceiling).contains(&said) => said,
            _ => sent.ceiling.max(self.record.charged),
        };
        if extra.is_some() && sent.deposit > 0 {
            self.record.balance = self.record.balance.saturating_add(sent.deposit);
            self.record.unconfirmed = self.record.unconfirmed.saturating_sub(sent.deposit);
        }
        self.record.under_way = None;
        self.channels.0.book.write(&self.record).await
    }

    /// Goes on from where the seller says, when it proves it by a voucher of ours, or asks for no more than was signed. True when the
    /// request may be tried once more.
    pub(crate) async fn correct(&mut self, demand: &Demand) -> Result<bool, ChannelError> {
        if !matches!(demand.error, Some(Reason::BatchCumulativeMismatch | Reason::BatchCumulativeBelowClaimed)) {
            return Ok(false);
        }
        let ours = demand.offers.iter().filter(|offer| Scheme::of(offer) == Some(Scheme::BatchSettlement));
        let told = ours.filter_map(|offer| offer.extra.as_ref()).find(|extra| extra.contains_key("channelState"));
        let state = ChannelState::from_extra(told).filter(|state| state.channel_id == self.record.id);
        let (mut charged, mut is_proved) = (self.record.charged, false);
        if let Some(state) = &state {
            charged = state.charged_cumulative_amount.unwrap_or(state.total_claimed);
            let shown = told.and_then(|extra| extra.get("voucherState")).cloned();
            if let Some(shown) = shown.and_then(|shown| serde_json::from_value::<VoucherState>(shown).ok()) {
                let VoucherState { signed_max_claimable: ceiling, signature } = shown;
                let voucher = Voucher { channel_id: self.record.id, max_claimable_amount: ceiling, signature };
                is_proved = charged <= ceiling && voucher.signer(&self.chain) == Some(self.record.config.payer_authorizer);
            }
        }
        if charged > self.record.ceiling && !is_proved {
            return Err(ChannelError::NotOurs { said: charged });
        }
        if self.channels.look(&mut self.record).await? {
            charged = charged.max(self.record.charged);
            self.record.unconfirmed = 0;
        } else if let Some(state) = &state {
            self.record.balance = state.balance;
        } else {
            return Ok(false);
        }
        self.record.charged = charged;
        self.record.ceiling = self.record.ceiling.max(charged);
        self.record.under_way = None;
        self.channels.0.book.write(&self.record).await?;
        Ok(true)
    }

    /// The wish to get `amount` back, or all that is left.
    pub(in crate::client) async fn refund(&self, amount: Option<u128>) -> Result<Signed, ChannelError> {
        let payload = BatchPayload::Refund(RefundPayload {
            channel_config: self.record.config,
            voucher: self.voucher(self.record.charged).await?,
            amount,
            refund_nonce: None,
            claims: None,
            refund_authorizer_signature: None,
            claim_authorizer_signature: None,
        });
        Ok(Signed { payload: payload.to_json(), allowance: None, valid_before: now_secs() })
    }

    /// Writes down what a refund left.
    pub(crate) async fn refunded(&mut self, receipt: &SettleResponse) -> Result<(), ChannelError> {
        if let Some(state) = ChannelState::from_extra(receipt.extra.as_ref()) {
            self.record.balance = state.balance;
        }
        self.record.under_way = None;
        self.channels.0.book.write(&self.record).await
    }
}

fn price(offer: &PaymentRequirements) -> Result<u128, ChannelError> {
    u128::try_from(offer.amount.0).map_err(|_| ChannelError::Offer("its price is too high"))
}
