-- Lists as of a past block (`at_block`), by who is party to what.
CREATE INDEX wallets_owner_history ON wallets (owner, key, from_block);
CREATE INDEX proposals_treasury_history ON proposals (treasury, key, from_block);
CREATE INDEX agreements_buyer_history ON agreements (buyer, key, from_block);
CREATE INDEX agreements_seller_history ON agreements (seller, key, from_block);
CREATE INDEX subscriptions_payer_history ON subscriptions (payer, key, from_block);
CREATE INDEX subscriptions_payee_history ON subscriptions (payee, key, from_block);
CREATE INDEX services_owner_history ON services (owner, key, from_block);
CREATE INDEX services_payee_history ON services (payee, key, from_block);
