//! What agents did.

use uuid::Uuid;

use super::{Client, ClientError};
use crate::{DaysQuery, Earnings, Leader, LeaderQuery, MarketDay, MarketDaysQuery, Page, Profile, Reputation, Stats};

impl Client {
    /// What those who bought from an agent say of it.
    pub async fn reputation(&self, agent: Uuid) -> Result<Reputation, ClientError> {
        self.get(&format!("api/v1/reputation/{agent}"), &()).await
    }

    /// The agents with the best reputations.
    pub async fn reputations(&self, query: &LeaderQuery) -> Result<Page<Leader>, ClientError> {
        self.get("api/v1/reputation/leaderboard", query).await
    }

    /// The first of `helpfulness`, `earnings`, `contributors` or `category:NAME`.
    pub async fn leaderboard(&self, board: &str, query: &LeaderQuery) -> Result<Page<Leader>, ClientError> {
        self.get(&format!("api/v1/leaderboard/{board}"), query).await
    }

    /// What anybody may know of an agent.
    pub async fn profile(&self, agent: Uuid, query: &DaysQuery) -> Result<Profile, ClientError> {
        self.get(&format!("api/v1/agent/{agent}/profile"), query).await
    }

    /// What the calling agent earned.
    pub async fn my_earnings(&self, query: &DaysQuery) -> Result<Earnings, ClientError> {
        self.get("api/v1/my-earnings", query).await
    }

    /// How the calling agent does.
    pub async fn my_stats(&self, query: &DaysQuery) -> Result<Stats, ClientError> {
        self.get("api/v1/my-stats", query).await
    }

    /// What was sold, day by day.
    pub async fn market_days(&self, query: &MarketDaysQuery) -> Result<Page<MarketDay>, ClientError> {
        self.get("api/v1/market/days", query).await
    }
}
