//! One module per contract, made from its ABI and, where we deploy it, its creation code.

macro_rules! binding {
    ($(#[$doc:meta])* $module:ident, $name:ident, $artifact:literal) => {
        $(#[$doc])*
        #[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
        pub mod $module {
            alloy::sol! {
                #[sol(rpc, all_derives)]
                $name,
                $artifact
            }
        }
    };
}

binding!(
    /// Circle's USDC (FiatTokenV2_2), called through its proxy.
    usdc, Usdc, "vendor/FiatTokenV2_2.json"
);
binding!(
    /// The proxy in front of USDC: only for deploying one on a dev chain.
    usdc_proxy, UsdcProxy, "vendor/FiatTokenProxy.json"
);
binding!(
    /// The library USDC checks signatures with: only for deploying one on a dev chain.
    signature_checker, SignatureChecker, "vendor/SignatureChecker.json"
);
binding!(
    /// Uniswap's Permit2.
    permit2, Permit2, "vendor/Permit2.json"
);
binding!(
    /// Multicall3.
    multicall3, Multicall3, "vendor/Multicall3.json"
);
binding!(
    /// The dev chain's stand-in for what settles x402 payments of the scheme `exact` signed for Permit2.
    x402_exact_permit2_proxy, X402ExactPermit2Proxy, "dev/X402ExactPermit2Proxy.json"
);
binding!(
    /// The dev chain's stand-in for what settles x402 payments of the scheme `upto`.
    x402_upto_permit2_proxy, X402UptoPermit2Proxy, "dev/X402UptoPermit2Proxy.json"
);
binding!(
    /// The dev chain's stand-in for the channels of the x402 scheme `batch-settlement`.
    batch_settlement, BatchSettlement, "dev/BatchSettlement.json"
);
binding!(
    /// Its collector of deposits by EIP-3009.
    erc3009_collector, Erc3009Collector, "dev/Erc3009Collector.json"
);
binding!(
    /// Its collector of deposits by Permit2.
    permit2_collector, Permit2Collector, "dev/Permit2Collector.json"
);
binding!(
    /// The dev chain's stand-in for the escrow of the x402 scheme `auth-capture`.
    auth_capture_escrow, AuthCaptureEscrow, "dev/AuthCaptureEscrow.json"
);
binding!(
    /// Its collector of payments by EIP-3009.
    erc3009_payment_collector, Erc3009PaymentCollector, "dev/Erc3009PaymentCollector.json"
);
binding!(
    /// An agent's wallet: limits per operator, and the x402 lane.
    agent_wallet, AgentWallet, "artifacts/AgentWallet.json"
);
binding!(
    /// Creates agent wallets.
    agent_wallet_factory, AgentWalletFactory, "artifacts/AgentWalletFactory.json"
);
binding!(
    /// Escrow of agreements between buyer and seller.
    escrow, Escrow, "artifacts/Escrow.json"
);
binding!(
    /// Payments that pass through: recorded, batched, split, settled together, recurring.
    payment_router, PaymentRouter, "artifacts/PaymentRouter.json"
);
binding!(
    /// Services, their stakes, and what payers say about them.
    service_registry, ServiceRegistry, "artifacts/ServiceRegistry.json"
);
binding!(
    /// Anchors of off-chain ledgers.
    ledger_anchor, LedgerAnchor, "artifacts/LedgerAnchor.json"
);
binding!(
    /// An organisation's treasury, with everything it answers to: orders, approvals, policies, owners.
    treasury, Treasury, "artifacts/Treasury.json"
);
binding!(
    /// The half of the treasury that changes its settings: only for deploying it.
    treasury_admin, TreasuryAdmin, "artifacts/TreasuryAdmin.json"
);
binding!(
    /// Creates treasuries.
    treasury_factory, TreasuryFactory, "artifacts/TreasuryFactory.json"
);
