-- What agents did, as figures: folded from what is final in the ledger, in settled payments and in the escrow, at the cost of what is new.

CREATE TABLE standing (
    only_row     BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    ledger_to    BIGINT NOT NULL DEFAULT 0,
    escrow_block BIGINT NOT NULL DEFAULT 0,
    escrow_log   BIGINT NOT NULL DEFAULT 0
);
COMMENT ON TABLE standing IS 'How far the figures of agents are. Whoever folds locks it; the others leave it to them.';
COMMENT ON COLUMN standing.only_row IS 'There is one.';
COMMENT ON COLUMN standing.ledger_to IS 'The last transfer of the ledger that they have.';
COMMENT ON COLUMN standing.escrow_block IS 'The last final block whose escrow events they have, as far as escrow_log.';
COMMENT ON COLUMN standing.escrow_log IS 'The last log of that block.';
INSERT INTO standing DEFAULT VALUES;

ALTER TABLE purchases ADD COLUMN counted BOOLEAN NOT NULL DEFAULT FALSE;
COMMENT ON COLUMN purchases.counted IS 'Whether the figures of agents have it, which they do once it is settled.';
CREATE INDEX purchases_uncounted ON purchases (id) WHERE status = 'settled' AND NOT counted;

ALTER TABLE transactions ADD COLUMN outcome TEXT CHECK (outcome IN ('released', 'refunded', 'ruled'));
COMMENT ON COLUMN transactions.outcome IS
    'How it ended in a final block, as the figures of agents have it: the seller got the money, or the buyer did, or an arbiter gave most of it to the buyer.';

CREATE TABLE persons (
    person    UUID PRIMARY KEY,
    deposited BIGINT NOT NULL,
    withdrawn BIGINT NOT NULL,
    earned    BIGINT NOT NULL,
    fees      BIGINT NOT NULL,
    weight    SMALLINT NOT NULL CHECK (weight BETWEEN 0 AND 10000)
);
COMMENT ON TABLE persons IS 'What persons brought here and lost here, all in base units of USDC: how much their purchases say of who sold.';
COMMENT ON COLUMN persons.person IS 'As of agents.';
COMMENT ON COLUMN persons.deposited IS 'Came in from outside for them.';
COMMENT ON COLUMN persons.withdrawn IS 'Went outside.';
COMMENT ON COLUMN persons.earned IS 'What sales from the ledger brought them, without what was reversed.';
COMMENT ON COLUMN persons.fees IS 'What the house kept of their purchases from the ledger, without what was reversed.';
COMMENT ON COLUMN persons.weight IS 'Of that, in basis points of a counterparty (src/standing/weigh.rs).';

CREATE TABLE counterparties (
    seller_id UUID NOT NULL,
    person    UUID NOT NULL,
    paid      BIGINT NOT NULL,
    good      BIGINT NOT NULL,
    bad       BIGINT NOT NULL,
    good_day  INTEGER NOT NULL,
    bad_day   INTEGER NOT NULL,
    PRIMARY KEY (seller_id, person)
);
COMMENT ON TABLE counterparties IS 'Who bought from whom. Nobody is a counterparty of their own.';
COMMENT ON COLUMN counterparties.seller_id IS 'The agent that sold.';
COMMENT ON COLUMN counterparties.person IS 'Who is behind the agent or wallet that bought.';
COMMENT ON COLUMN counterparties.paid IS 'In USDC of whatever way to pay, in base units.';
COMMENT ON COLUMN counterparties.good IS 'Purchases that were delivered and stayed.';
COMMENT ON COLUMN counterparties.bad IS 'Purchases that were reversed, or that an arbiter gave back.';
COMMENT ON COLUMN counterparties.good_day IS 'Days from 1970 to the last purchase.';
COMMENT ON COLUMN counterparties.bad_day IS 'Days from 1970 to the last purchase that turned out bad; 0 for none.';
CREATE INDEX counterparties_person ON counterparties (person);

CREATE TABLE agent_figures (
    agent_id    UUID PRIMARY KEY,
    sold        BIGINT NOT NULL DEFAULT 0,
    bad         BIGINT NOT NULL DEFAULT 0,
    refunded    BIGINT NOT NULL DEFAULT 0,
    bought      BIGINT NOT NULL DEFAULT 0,
    earned_usdc BIGINT NOT NULL DEFAULT 0,
    earned_ard  BIGINT NOT NULL DEFAULT 0,
    spent_usdc  BIGINT NOT NULL DEFAULT 0,
    spent_ard   BIGINT NOT NULL DEFAULT 0,
    worth       BIGINT NOT NULL GENERATED ALWAYS AS (earned_usdc + earned_ard / 1000) STORED,
    listings    BIGINT NOT NULL DEFAULT 0,
    persons     BIGINT NOT NULL DEFAULT 0,
    proven      BIGINT NOT NULL DEFAULT 0,
    trust       NUMERIC NOT NULL DEFAULT 0,
    distrust    NUMERIC NOT NULL DEFAULT 0,
    unproven    NUMERIC NOT NULL DEFAULT 0,
    first_day   INTEGER,
    last_day    INTEGER
);
COMMENT ON TABLE agent_figures IS 'What agents sold and bought, and what their counterparties say of them.';
COMMENT ON COLUMN agent_figures.agent_id IS 'Whose.';
COMMENT ON COLUMN agent_figures.sold IS 'Sales that were paid and delivered and stayed.';
COMMENT ON COLUMN agent_figures.bad IS 'Sales that were reversed, or that an arbiter gave back.';
COMMENT ON COLUMN agent_figures.refunded IS 'Escrowed purchases that ended with the buyer''s money back and without a ruling.';
COMMENT ON COLUMN agent_figures.bought IS 'Purchases from the ledger that stayed.';
COMMENT ON COLUMN agent_figures.earned_usdc IS 'What sales that stayed brought after the fee, in base units.';
COMMENT ON COLUMN agent_figures.earned_ard IS 'The same in millionths of ARD.';
COMMENT ON COLUMN agent_figures.spent_usdc IS 'What purchases from the ledger cost that stayed, in base units.';
COMMENT ON COLUMN agent_figures.spent_ard IS 'The same in millionths of ARD.';
COMMENT ON COLUMN agent_figures.worth IS 'What was earned of both, in base units of USDC.';
COMMENT ON COLUMN agent_figures.listings IS 'Different listings that were sold.';
COMMENT ON COLUMN agent_figures.persons IS 'Different persons, others than its own, with a purchase that stayed.';
COMMENT ON COLUMN agent_figures.proven IS 'Those of them that have weight.';
COMMENT ON COLUMN agent_figures.trust IS 'Sum over its counterparties of the weight of what was good, growing with the day (src/standing/weigh.rs).';
COMMENT ON COLUMN agent_figures.distrust IS 'The same of what was bad.';
COMMENT ON COLUMN agent_figures.unproven IS 'The same of those without weight.';
COMMENT ON COLUMN agent_figures.first_day IS 'Days from 1970 to its first sale.';
COMMENT ON COLUMN agent_figures.last_day IS 'Days from 1970 to its last sale.';
CREATE INDEX agent_figures_trust ON agent_figures (trust DESC, agent_id);
CREATE INDEX agent_figures_worth ON agent_figures (worth DESC, agent_id);
CREATE INDEX agent_figures_listings ON agent_figures (listings DESC, agent_id);

CREATE TABLE agent_categories (
    agent_id    UUID NOT NULL,
    category    TEXT NOT NULL,
    sold        BIGINT NOT NULL,
    earned_usdc BIGINT NOT NULL,
    earned_ard  BIGINT NOT NULL,
    worth       BIGINT NOT NULL GENERATED ALWAYS AS (earned_usdc + earned_ard / 1000) STORED,
    PRIMARY KEY (agent_id, category)
);
COMMENT ON TABLE agent_categories IS 'What agents sold of each category.';
COMMENT ON COLUMN agent_categories.agent_id IS 'Who.';
COMMENT ON COLUMN agent_categories.category IS 'Of what.';
COMMENT ON COLUMN agent_categories.sold IS 'As in agent_figures.';
COMMENT ON COLUMN agent_categories.earned_usdc IS 'As in agent_figures.';
COMMENT ON COLUMN agent_categories.earned_ard IS 'As in agent_figures.';
COMMENT ON COLUMN agent_categories.worth IS 'As in agent_figures.';
CREATE INDEX agent_categories_worth ON agent_categories (category, worth DESC, agent_id);

CREATE TABLE agent_days (
    agent_id    UUID NOT NULL,
    day         INTEGER NOT NULL,
    sold        BIGINT NOT NULL,
    bought      BIGINT NOT NULL,
    earned_usdc BIGINT NOT NULL,
    earned_ard  BIGINT NOT NULL,
    spent_usdc  BIGINT NOT NULL,
    spent_ard   BIGINT NOT NULL,
    PRIMARY KEY (agent_id, day)
);
COMMENT ON TABLE agent_days IS 'What agents sold and bought day by day. What is reversed leaves the day it was sold on.';
COMMENT ON COLUMN agent_days.agent_id IS 'Who.';
COMMENT ON COLUMN agent_days.day IS 'Days from 1970, in UTC.';
COMMENT ON COLUMN agent_days.sold IS 'As in agent_figures.';
COMMENT ON COLUMN agent_days.bought IS 'As in agent_figures.';
COMMENT ON COLUMN agent_days.earned_usdc IS 'As in agent_figures.';
COMMENT ON COLUMN agent_days.earned_ard IS 'As in agent_figures.';
COMMENT ON COLUMN agent_days.spent_usdc IS 'As in agent_figures.';
COMMENT ON COLUMN agent_days.spent_ard IS 'As in agent_figures.';

CREATE TABLE market_days (
    day       INTEGER NOT NULL,
    category  TEXT NOT NULL,
    sold      BIGINT NOT NULL,
    usdc      BIGINT NOT NULL,
    ard       BIGINT NOT NULL,
    fees_usdc BIGINT NOT NULL,
    fees_ard  BIGINT NOT NULL,
    PRIMARY KEY (day, category)
);
COMMENT ON TABLE market_days IS 'What was sold day by day. What is reversed leaves the day it was sold on.';
COMMENT ON COLUMN market_days.day IS 'Days from 1970, in UTC.';
COMMENT ON COLUMN market_days.category IS 'Of which category; empty for none known.';
COMMENT ON COLUMN market_days.sold IS 'Sales that were paid and delivered and stayed.';
COMMENT ON COLUMN market_days.usdc IS 'What they cost, in base units.';
COMMENT ON COLUMN market_days.ard IS 'The same in millionths of ARD.';
COMMENT ON COLUMN market_days.fees_usdc IS 'What the house took of it, in base units.';
COMMENT ON COLUMN market_days.fees_ard IS 'The same in millionths of ARD, with what was burned.';

CREATE TABLE sold_listings (
    listing_id UUID PRIMARY KEY,
    sold       BIGINT NOT NULL
);
COMMENT ON TABLE sold_listings IS 'Listings that were sold at least once.';
COMMENT ON COLUMN sold_listings.listing_id IS 'Which.';
COMMENT ON COLUMN sold_listings.sold IS 'How often, without what was reversed.';
