-- The tables that grow with the chain, in partitions of a million blocks. What was mirrored into the old ones comes again from the chain.
--
-- Partitions are made by the writer. So are the indexes that are not needed to write (see store/partitions.rs): filling a partition first and
-- indexing it then is several times faster. Undoing blocks deletes rows: a reorganisation touches the newest partition, rarely two.

DROP TABLE transactions, events, event_keys, transfers;
TRUNCATE blocks, contracts, balances, wallets, treasuries, proposals, agreements, subscriptions, services;
DELETE FROM sync;

ALTER TABLE sync ADD COLUMN raw BOOLEAN NOT NULL;

CREATE TABLE transactions (
    block_number BIGINT NOT NULL,
    tx_index     INTEGER NOT NULL,
    hash         BYTEA NOT NULL,
    sender       BYTEA NOT NULL,
    recipient    BYTEA,
    gas_used     BIGINT NOT NULL,
    gas_price    BIGINT NOT NULL,
    PRIMARY KEY (block_number, tx_index)
) PARTITION BY RANGE (block_number);
COMMENT ON TABLE transactions IS 'Transactions that left an event or a transfer here.';

CREATE TABLE events (
    block_number BIGINT NOT NULL,
    log_index    INTEGER NOT NULL,
    tx_index     INTEGER NOT NULL,
    contract     BYTEA NOT NULL,
    topics       BYTEA[] NOT NULL,
    data         BYTEA NOT NULL,
    name         TEXT,
    args         JSONB,
    PRIMARY KEY (block_number, log_index)
) PARTITION BY RANGE (block_number);
COMMENT ON TABLE events IS 'Every log of our contracts, as it was emitted and as it reads.';

CREATE TABLE event_keys (
    key          BYTEA NOT NULL,
    block_number BIGINT NOT NULL,
    log_index    INTEGER NOT NULL
) PARTITION BY RANGE (block_number);
COMMENT ON TABLE event_keys IS 'Every address (20 bytes) and every bytes32 reference (32 bytes) that an event mentions.';

CREATE TABLE transfers (
    block_number  BIGINT NOT NULL,
    log_index     INTEGER NOT NULL,
    tx_index      INTEGER NOT NULL,
    token         BYTEA NOT NULL,
    sender        BYTEA NOT NULL,
    recipient     BYTEA NOT NULL,
    amount        BIGINT NOT NULL CHECK (amount >= 0),
    authorization_nonce BYTEA,
    PRIMARY KEY (block_number, log_index)
) PARTITION BY RANGE (block_number);
COMMENT ON TABLE transfers IS 'USDC transfers in base units; the zero address mints and burns.';

-- Versions of balances are found by account; which accounts blocks touched is told by the transfers.
DROP INDEX balances_from;
DROP INDEX balances_until;

-- Every column says what it holds; the test `schema` finds one that does not.
COMMENT ON COLUMN sync.only_row IS 'Always true.';
COMMENT ON COLUMN sync.chain_id IS 'EIP-155 id of the chain.';
COMMENT ON COLUMN sync.usdc IS 'Address of the token whose transfers are mirrored.';
COMMENT ON COLUMN sync.raw IS 'True: only what the chain said is mirrored; balances and state stay empty.';
COMMENT ON COLUMN reorgs.id IS 'In the order in which they were noticed.';
COMMENT ON COLUMN reorgs.noticed_at IS 'When the blocks were undone here.';
COMMENT ON COLUMN reorgs.ancestor IS 'Newest block that stayed.';
COMMENT ON COLUMN reorgs.old_tip IS 'Newest block that was undone.';
COMMENT ON COLUMN reorgs.old_hash IS 'Hash of it.';
COMMENT ON COLUMN reorgs.new_tip IS 'Newest block that the node announced instead.';
COMMENT ON COLUMN reorgs.new_hash IS 'Hash of it; zero when it was too far ahead to be known.';
COMMENT ON COLUMN blocks.number IS 'Height.';
COMMENT ON COLUMN blocks.hash IS 'Keccak-256 of the header, computed here.';
COMMENT ON COLUMN blocks.parent_hash IS 'Hash of the block before it.';
COMMENT ON COLUMN blocks.timestamp IS 'Time that the header states.';
COMMENT ON COLUMN transactions.block_number IS 'Block that holds it.';
COMMENT ON COLUMN transactions.tx_index IS 'Place within the block, from 0.';
COMMENT ON COLUMN transactions.hash IS 'Transaction hash, as the node told it.';
COMMENT ON COLUMN transactions.sender IS 'Account that signed it, as the node told it.';
COMMENT ON COLUMN transactions.recipient IS 'Account that it called; null for a contract creation.';
COMMENT ON COLUMN transactions.gas_used IS 'Units of gas that it used.';
COMMENT ON COLUMN transactions.gas_price IS 'Wei per unit of gas actually paid.';
COMMENT ON COLUMN contracts.address IS 'The contract.';
COMMENT ON COLUMN contracts.kind IS 'agent_wallet or treasury.';
COMMENT ON COLUMN contracts.block_number IS 'Block that created it.';
COMMENT ON COLUMN contracts.log_index IS 'Place of the factory''s event within the block.';
COMMENT ON COLUMN events.block_number IS 'Block that holds it.';
COMMENT ON COLUMN events.log_index IS 'Place within the block, from 0.';
COMMENT ON COLUMN events.tx_index IS 'Place of its transaction within the block.';
COMMENT ON COLUMN events.contract IS 'Contract that emitted it.';
COMMENT ON COLUMN events.topics IS 'Topics as emitted; the first is the event''s signature hash.';
COMMENT ON COLUMN events.data IS 'Data as emitted: the arguments that are not indexed, ABI-encoded.';
COMMENT ON COLUMN events.name IS 'Null when the log is of no event that this version knows; the raw log is kept.';
COMMENT ON COLUMN events.args IS 'Arguments by name: integers as decimal strings, addresses and bytes as hex.';
COMMENT ON COLUMN event_keys.key IS 'Address or reference.';
COMMENT ON COLUMN event_keys.block_number IS 'Block of the event.';
COMMENT ON COLUMN event_keys.log_index IS 'Place of the event within the block.';
COMMENT ON COLUMN transfers.block_number IS 'Block that holds it.';
COMMENT ON COLUMN transfers.log_index IS 'Place of the log within the block, from 0.';
COMMENT ON COLUMN transfers.tx_index IS 'Place of its transaction within the block.';
COMMENT ON COLUMN transfers.token IS 'The token.';
COMMENT ON COLUMN transfers.sender IS 'Account that paid; zero for a mint.';
COMMENT ON COLUMN transfers.recipient IS 'Account that was paid; zero for a burn.';
COMMENT ON COLUMN transfers.amount IS 'Base units. The indexer stops at an amount above 2^63, of which USDC has none.';
COMMENT ON COLUMN transfers.authorization_nonce IS 'Nonce of the EIP-3009 authorization that the transfer executed.';
COMMENT ON COLUMN balances.token IS 'The token.';
COMMENT ON COLUMN balances.account IS 'The account.';
COMMENT ON COLUMN balances.from_block IS 'Block at whose end it began to hold.';
COMMENT ON COLUMN balances.until_block IS 'Block at whose end it ceased to hold; null: it still does.';

DO $$
DECLARE versions TEXT;
BEGIN
    FOREACH versions IN ARRAY ARRAY['wallets', 'treasuries', 'proposals', 'agreements', 'subscriptions', 'services'] LOOP
        EXECUTE format('COMMENT ON COLUMN %I.key IS ''Address (20 bytes) or id (32 bytes) of the object.''', versions);
        EXECUTE format('COMMENT ON COLUMN %I.from_block IS ''Block at whose end it began to hold.''', versions);
        EXECUTE format('COMMENT ON COLUMN %I.until_block IS ''Block at whose end it ceased to hold; null: it still does.''', versions);
        EXECUTE format('COMMENT ON COLUMN %I.state IS ''All of the object: integers of 64 bits and more as decimal strings.''', versions);
    END LOOP;
END $$;
COMMENT ON COLUMN wallets.owner IS 'Who may change the wallet and empty it.';
COMMENT ON COLUMN treasuries.paused IS 'Whether a guardian stopped all payments.';
COMMENT ON COLUMN proposals.treasury IS 'Treasury that is asked.';
COMMENT ON COLUMN proposals.status IS 'How far it is.';
COMMENT ON COLUMN agreements.status IS 'funded, delivered, disputed, released, refunded or resolved.';
COMMENT ON COLUMN agreements.buyer IS 'Who pays.';
COMMENT ON COLUMN agreements.seller IS 'Who delivers and is paid.';
COMMENT ON COLUMN agreements.token IS 'What is paid with.';
COMMENT ON COLUMN agreements.funded IS 'Sum of all fundings.';
COMMENT ON COLUMN agreements.released IS 'Sum of all that left towards the seller, fees included.';
COMMENT ON COLUMN agreements.refunded IS 'Sum of all that went back to the buyer, the bond of a dispute left out.';
COMMENT ON COLUMN subscriptions.status IS 'active or cancelled.';
COMMENT ON COLUMN subscriptions.payer IS 'Who pays.';
COMMENT ON COLUMN subscriptions.payee IS 'Who is paid.';
COMMENT ON COLUMN subscriptions.token IS 'What is paid with.';
COMMENT ON COLUMN subscriptions.price IS 'Of a period, from the next charge on.';
COMMENT ON COLUMN subscriptions.charged IS 'Charged so far.';
COMMENT ON COLUMN services.owner IS 'Who may change it.';
COMMENT ON COLUMN services.payee IS 'Who is paid for it.';
COMMENT ON COLUMN services.retired IS 'Whether its owner took it back.';
COMMENT ON COLUMN services.stake IS 'What its owner put behind it.';
COMMENT ON COLUMN services.volume IS 'Sum of what payers said that they paid.';
