use api::{FraudAction, FraudRule, RuleAction};
use money::Usdc;

/// From when on something looks like fraud, and what follows. All instances have the same. 0 switches a rule off.
#[derive(Clone, Debug, clap::Args)]
pub struct Rules {
    /// Payments of one agent within an hour from which on they are many
    #[arg(long = "fraud-rapid-per-hour", env = "FLORIN_MARKET_FRAUD_RAPID_PER_HOUR", default_value_t = Rules::RAPID_PER_HOUR, value_name = "N",
          value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub rapid_per_hour: u32,
    /// Payments of an agent on its first day from which on they are many
    #[arg(long = "fraud-new-account-per-day", env = "FLORIN_MARKET_FRAUD_NEW_ACCOUNT_PER_DAY", default_value_t = Rules::NEW_ACCOUNT_PER_DAY,
          value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub new_account_per_day: u32,
    /// USDC, or its worth in ARD, from which on a payment is large
    #[arg(long = "fraud-large", env = "FLORIN_MARKET_FRAUD_LARGE", default_value_t = Rules::LARGE, value_name = "USDC")]
    pub large: Usdc,
    /// Registrations from one address within an hour from which on they are many
    #[arg(long = "fraud-burst-per-hour", env = "FLORIN_MARKET_FRAUD_BURST_PER_HOUR", default_value_t = Rules::BURST_PER_HOUR, value_name = "N",
          value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub burst_per_hour: u32,
    /// Agents that money of one source makes a cluster from
    #[arg(long = "fraud-cluster-agents", env = "FLORIN_MARKET_FRAUD_CLUSTER_AGENTS", default_value_t = Rules::CLUSTER_AGENTS, value_name = "N",
          value_parser = clap::value_parser!(u32).range(0..=200))]
    pub cluster_agents: u32,
    /// Basis points of all pairs of them above which they deal with each other, in seven days
    #[arg(long = "fraud-cluster-density-bps", env = "FLORIN_MARKET_FRAUD_CLUSTER_DENSITY_BPS", default_value_t = Rules::CLUSTER_DENSITY_BPS,
          value_name = "BPS", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub cluster_density_bps: u16,
    /// Basis points of what they spend from which on it stays among them
    #[arg(long = "fraud-cluster-closed-bps", env = "FLORIN_MARKET_FRAUD_CLUSTER_CLOSED_BPS", default_value_t = Rules::CLUSTER_CLOSED_BPS,
          value_name = "BPS", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub cluster_closed_bps: u16,
    /// What follows, as RULE=ACTION with commas between. The rules are self_dealing, rapid_transactions, new_account, large_transaction,
    /// registration_burst and sybil_cluster. The actions are flag (somebody should look, the default), hold (withdrawals of whoever is behind the
    /// agents wait for approval, and transfers to others are refused) and refuse (the agents and their wallets pay nothing either, from the ledger or
    /// by x402)
    #[arg(long = "fraud-actions", env = "FLORIN_MARKET_FRAUD_ACTIONS", value_delimiter = ',', value_name = "RULE=ACTION")]
    pub actions: Vec<RuleAction>,
}

impl Rules {
    const RAPID_PER_HOUR: u32 = 50;
    const NEW_ACCOUNT_PER_DAY: u32 = 10;
    const LARGE: Usdc = Usdc::from_base_units(1_000_000_000);
    const BURST_PER_HOUR: u32 = 10;
    const CLUSTER_AGENTS: u32 = 3;
    const CLUSTER_DENSITY_BPS: u16 = 5_000;
    const CLUSTER_CLOSED_BPS: u16 = 8_000;

    pub(super) fn action(&self, rule: FraudRule) -> FraudAction {
        self.actions.iter().rev().find(|said| said.rule == rule).map_or(FraudAction::Flag, |said| said.action)
    }

    /// Payments of an agent that have to be remembered.
    pub(super) fn remembered(&self) -> usize {
        self.rapid_per_hour.max(self.new_account_per_day) as usize
    }
}

impl Default for Rules {
    /// The defaults of the command line.
    fn default() -> Self {
        Self {
            rapid_per_hour: Self::RAPID_PER_HOUR,
            new_account_per_day: Self::NEW_ACCOUNT_PER_DAY,
            large: Self::LARGE,
            burst_per_hour: Self::BURST_PER_HOUR,
            cluster_agents: Self::CLUSTER_AGENTS,
            cluster_density_bps: Self::CLUSTER_DENSITY_BPS,
            cluster_closed_bps: Self::CLUSTER_CLOSED_BPS,
            actions: Vec::new(),
        }
    }
}
