-- Indexes that give rows in the order of a page, and which no other index can be taken for: their nulls (there are none) are at the other end
-- than the primary key's. Without that, Postgres walks through all payments by the primary key when it believes that every tenth is wanted.

DROP INDEX payments_payer, payments_payee, payments_kind, payments_reference;
CREATE INDEX payments_payer ON payments (payer, block_number NULLS FIRST, log_index NULLS FIRST, part NULLS FIRST);
CREATE INDEX payments_payee ON payments (payee, block_number NULLS FIRST, log_index NULLS FIRST, part NULLS FIRST);
CREATE INDEX payments_kind ON payments (kind, block_number NULLS FIRST, log_index NULLS FIRST, part NULLS FIRST);
CREATE INDEX payments_reference ON payments (reference, block_number NULLS FIRST, log_index NULLS FIRST, part NULLS FIRST)
    WHERE reference IS NOT NULL;

-- The sums of a kind or a token, the newest first.
CREATE INDEX payment_hours_kind ON payment_hours (kind, hour NULLS FIRST);
CREATE INDEX payment_hours_token ON payment_hours (token, hour NULLS FIRST);

-- Lists by status alone, and by party alone: without these, all that a party has would be sorted for each page.
CREATE INDEX agreements_status ON agreements (status, key) WHERE until_block IS NULL;
CREATE INDEX agreements_buyer_key ON agreements (buyer, key) WHERE until_block IS NULL;
CREATE INDEX agreements_seller_key ON agreements (seller, key) WHERE until_block IS NULL;
CREATE INDEX subscriptions_status ON subscriptions (status, key) WHERE until_block IS NULL;
CREATE INDEX subscriptions_payer_key ON subscriptions (payer, key) WHERE until_block IS NULL;
CREATE INDEX subscriptions_payee_key ON subscriptions (payee, key) WHERE until_block IS NULL;
CREATE INDEX proposals_treasury_key ON proposals (treasury, key) WHERE until_block IS NULL;

-- The same for the partitions: the writer makes the indexes that it misses.
DO $$
DECLARE old TEXT;
BEGIN
    FOR old IN SELECT relname FROM pg_class WHERE relnamespace = 'chain'::regnamespace AND relkind = 'i'
               AND relname ~ '^(transfers_\d+_(sender|recipient)|events_\d+_(contract|name)|event_keys_\d+_key)$' LOOP
        EXECUTE format('DROP INDEX chain.%I', old);
    END LOOP;
END $$;
