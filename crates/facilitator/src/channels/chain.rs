//! What the scheme asks the chain.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    providers::Provider,
    rpc::types::TransactionRequest,
    sol,
    sol_types::SolCall,
};
use x402::{
    Reason, TokenAmount,
    batch::{BATCH_CONTRACT, ChannelState, IBatchSettlement},
    recover_permit2, recover_strict,
};

use crate::{
    Error,
    engine::Engine,
    settlement::Call,
    token::{IToken, IWallet, MULTICALL3},
    verify::Invalid,
};

/// What a payer's contract may use when it judges a signature.
const JUDGE_GAS_MAX: u64 = 1_000_000;

sol! {
    #![sol(all_derives)]
    interface IReads {
        struct Read { address target; bool allowFailure; bytes callData; }
        struct Answer { bool success; bytes returnData; }
        function aggregate3(Read[] calls) external view returns (Answer[] answers);
    }
}

/// Who judges a signature on chain, where the account has no code.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judge {
    /// The token, or the channels' contract.
    Strict,
    /// Permit2.
    Permit2,
}

impl Engine {
    /// Balance, claims, withdrawal and nonce of a channel, and what `holder` has of `token`, all of one block. `None` when the contract
    /// is not there.
    pub(super) async fn channel_state(
        &self,
        id: B256,
        holder: Address,
        token: Address,
    ) -> Result<Option<(ChannelState, U256)>, Error> {
        let read = |target, data: Vec<u8>| IReads::Read { target, allowFailure: true, callData: data.into() };
        let calls = vec![
            read(BATCH_CONTRACT, IBatchSettlement::channelsCall { channelId: id }.abi_encode()),
            read(BATCH_CONTRACT, IBatchSettlement::pendingWithdrawalsCall { channelId: id }.abi_encode()),
            read(BATCH_CONTRACT, IBatchSettlement::refundNonceCall { channelId: id }.abi_encode()),
            read(token, IToken::balanceOfCall { account: holder }.abi_encode()),
        ];
        let answers = self.ask(MULTICALL3, IReads::aggregate3Call { calls }).await?.unwrap_or_default();
        let [channel, withdrawal, nonce, balance] = answers.as_slice() else { return Ok(None) };
        let (Ok(channel), Ok(withdrawal), Ok(nonce)) = (
            IBatchSettlement::channelsCall::abi_decode_returns(&channel.returnData),
            IBatchSettlement::pendingWithdrawalsCall::abi_decode_returns(&withdrawal.returnData),
            IBatchSettlement::refundNonceCall::abi_decode_returns(&nonce.returnData),
        ) else {
            return Ok(None);
        };
        let state = ChannelState {
            channel_id: id,
            balance: channel.balance,
            total_claimed: channel.totalClaimed,
            withdraw_requested_at: withdrawal.initiatedAt.to(),
            refund_nonce: TokenAmount(nonce),
            charged_cumulative_amount: None,
        };
        Ok(Some((state, IToken::balanceOfCall::abi_decode_returns(&balance.returnData).unwrap_or_default())))
    }

    /// What was claimed of each channel, all of one block. `None` when the contract is not there.
    pub(super) async fn channels_claimed(&self, ids: impl Iterator<Item = B256>) -> Result<Option<Vec<u128>>, Error> {
        let read = |channel_id| IReads::Read {
            target: BATCH_CONTRACT,
            allowFailure: true,
            callData: IBatchSettlement::channelsCall { channelId: channel_id }.abi_encode().into(),
        };
        let calls: Vec<_> = ids.map(read).collect();
        let asked = calls.len();
        let answers = self.ask(MULTICALL3, IReads::aggregate3Call { calls }).await?.unwrap_or_default();
        let channels = answers.iter().map(|answer| IBatchSettlement::channelsCall::abi_decode_returns(&answer.returnData));
        let claimed = channels.map(|channel| channel.ok().map(|channel| channel.totalClaimed)).collect::<Option<Vec<_>>>();
        Ok(claimed.filter(|claimed| claimed.len() == asked))
    }

    /// What was claimed for a receiver, and how much of it was paid out.
    pub(super) async fn receiver_totals(&self, receiver: Address, token: Address) -> Result<Option<(u128, u128)>, Error> {
        let totals = self.ask(BATCH_CONTRACT, IBatchSettlement::receiversCall { receiver, token }).await?;
        Ok(totals.map(|totals| (totals.totalClaimed, totals.totalSettled)))
    }

    pub(crate) async fn code_is_empty(&self, account: Address) -> Result<bool, Error> {
        Ok(self.verifier.provider.get_code_at(account).await?.is_empty())
    }

    pub(super) async fn allowance(&self, token: Address, owner: Address, spender: Address) -> Result<Option<U256>, Error> {
        self.ask(token, IToken::allowanceCall { owner, spender }).await
    }

    /// Whether `account` signed, as the contract that judges it on chain would say: an account with code is asked, whatever its key signed.
    pub(crate) async fn has_signed(&self, account: Address, hash: B256, signature: &Bytes, judge: Judge) -> Result<bool, Error> {
        if self.code_is_empty(account).await? {
            let signer = match judge {
                Judge::Strict => recover_strict(hash, signature),
                Judge::Permit2 => recover_permit2(hash, signature),
            };
            return Ok(signer == Some(account));
        }
        let input = IWallet::isValidSignatureCall { hash, signature: signature.clone() }.abi_encode();
        let request = TransactionRequest { gas: Some(JUDGE_GAS_MAX), ..TransactionRequest::default() };
        match self.verifier.provider.call(request.to(account).input(Bytes::from(input).into())).await {
            Ok(answer) => {
                let magic = IWallet::isValidSignatureCall::SELECTOR;
                Ok(answer.len() >= 32 && answer[..4] == magic && answer[4..32].iter().all(|byte| *byte == 0))
            }
            Err(error) if error.is_error_resp() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The call with the gas it needs, tried on the newest state; else what the chain said, under the name `reason`.
    pub(super) async fn simulate(
        &self,
        to: Address,
        input: Bytes,
        gas_max: u64,
        reason: Reason,
    ) -> Result<Result<Call, Invalid>, Error> {
        let request = TransactionRequest::default().from(self.simulator()).to(to).input(input.clone().into());
        match self.verifier.provider.estimate_gas(TransactionRequest { gas: Some(gas_max), ..request }).await {
            // A wallet's own code may use more in the block than now.
            Ok(gas) => Ok(Ok(Call::new(to, input, (gas + gas / 4).min(gas_max)))),
            Err(error) if error.is_error_resp() => {
                let message = error.as_error_resp().map(|response| response.message.to_string());
                Ok(Err(Invalid { reason, message }))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// `None` when it reverts or answers something else.
    pub(crate) async fn ask<C: SolCall>(&self, to: Address, call: C) -> Result<Option<C::Return>, Error> {
        let request = TransactionRequest::default().to(to).input(Bytes::from(call.abi_encode()).into());
        match self.verifier.provider.call(request).await {
            Ok(answer) => Ok(C::abi_decode_returns(&answer).ok()),
            Err(error) if error.is_error_resp() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
