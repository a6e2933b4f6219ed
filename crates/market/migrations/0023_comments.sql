-- What every column holds, for who reads the database; migrations/README.md is written from here.

COMMENT ON COLUMN challenges.nonce IS '32 random bytes that name the challenge.';
COMMENT ON COLUMN challenges.wallet IS 'Whose signature is asked for.';
COMMENT ON COLUMN challenges.message IS 'What is to be signed, as EIP-4361 has it.';
COMMENT ON COLUMN challenges.expires_at IS 'When it stops working.';

COMMENT ON TABLE agents IS 'Agents with a proven wallet.';
COMMENT ON COLUMN agents.id IS 'UUIDv7; also the owner of the accounts.';
COMMENT ON COLUMN agents.name IS 'Unique.';
COMMENT ON COLUMN agents.description IS 'What it says of itself.';
COMMENT ON COLUMN agents.agent_type IS 'What it does here.';
COMMENT ON COLUMN agents.active IS 'False once it was deactivated, for good.';
COMMENT ON COLUMN agents.created_at IS 'When it registered.';
COMMENT ON COLUMN agents.last_seen_at IS 'Its last heartbeat.';

COMMENT ON TABLE listings IS 'What is offered.';
COMMENT ON COLUMN listings.id IS 'UUIDv7.';
COMMENT ON COLUMN listings.seller_id IS 'Who sells it.';
COMMENT ON COLUMN listings.title IS 'Title.';
COMMENT ON COLUMN listings.description IS 'Description.';
COMMENT ON COLUMN listings.category IS 'What kind of goods.';
COMMENT ON COLUMN listings.tags IS 'Words to find it by.';
COMMENT ON COLUMN listings.content_type IS 'Media type of the content.';
COMMENT ON COLUMN listings.content_size IS 'Bytes of the content.';
COMMENT ON COLUMN listings.status IS 'draft (no content yet), active, or delisted.';
COMMENT ON COLUMN listings.created_at IS 'When it was published.';
COMMENT ON COLUMN listings.updated_at IS 'When it last changed.';

COMMENT ON COLUMN purchases.id IS 'UUIDv7.';
COMMENT ON COLUMN purchases.payment_nonce IS 'Nonce of the signed payment.';
COMMENT ON COLUMN purchases.token IS 'Contract of the token that pays.';
COMMENT ON COLUMN purchases.listing_id IS 'What is bought.';
COMMENT ON COLUMN purchases.seller_id IS 'Who sells.';
COMMENT ON COLUMN purchases.pay_to IS 'The seller''s wallet, at the time.';
COMMENT ON COLUMN purchases.payer IS 'The wallet that pays.';
COMMENT ON COLUMN purchases.amount IS 'Base units of the token.';
COMMENT ON COLUMN purchases.content_hash IS 'SHA-256 of what is bought.';
COMMENT ON COLUMN purchases.content_size IS 'Its bytes.';
COMMENT ON COLUMN purchases.content_type IS 'Its media type.';
COMMENT ON COLUMN purchases.status IS 'verified (not known whether the money moved), settled, or failed.';
COMMENT ON COLUMN purchases.transaction_hash IS 'The transaction that paid.';
COMMENT ON COLUMN purchases.failure IS 'Why it failed.';
COMMENT ON COLUMN purchases.created_at IS 'When it was written down.';
COMMENT ON COLUMN purchases.settled_at IS 'When it was known that the money moved.';

COMMENT ON COLUMN transactions.id IS 'UUIDv7.';
COMMENT ON COLUMN transactions.listing_id IS 'What is bought.';
COMMENT ON COLUMN transactions.seller_id IS 'Who sells.';
COMMENT ON COLUMN transactions.buyer IS 'The wallet that funds the agreement.';
COMMENT ON COLUMN transactions.chain_id IS 'The chain of the escrow.';
COMMENT ON COLUMN transactions.escrow IS 'The escrow''s address.';
COMMENT ON COLUMN transactions.agreement_id IS 'EIP-712 hash of the terms.';
COMMENT ON COLUMN transactions.terms IS 'What was agreed on.';
COMMENT ON COLUMN transactions.content_size IS 'Bytes of the content.';
COMMENT ON COLUMN transactions.content_type IS 'Media type of the content.';
COMMENT ON COLUMN transactions.created_at IS 'When it was started.';

COMMENT ON COLUMN accounts.id IS 'The number; below 100 the house''s.';
COMMENT ON COLUMN accounts.balance IS 'In millionths.';

COMMENT ON COLUMN ledger.only_row IS 'Always true: there is one row.';
COMMENT ON COLUMN ledger.last_id IS 'The newest transfer.';
COMMENT ON COLUMN ledger.last_at IS 'Its time.';

COMMENT ON COLUMN transfers.id IS 'From 1, without a gap, in the order of commits.';
COMMENT ON COLUMN transfers.memo IS 'A note of who asked for it.';

COMMENT ON COLUMN entries.account IS 'Whose part.';
COMMENT ON COLUMN entries.transfer IS 'Of which transfer.';

COMMENT ON COLUMN sales.transfer IS 'The transfer that paid.';
COMMENT ON COLUMN sales.id IS 'UUIDv7 of the purchase.';
COMMENT ON COLUMN sales.buyer_id IS 'Who bought.';
COMMENT ON COLUMN sales.listing_id IS 'What was bought.';
COMMENT ON COLUMN sales.seller_id IS 'Who sold.';
COMMENT ON COLUMN sales.asset IS '1 USDC, 2 ARD.';
COMMENT ON COLUMN sales.price IS 'In millionths of the asset.';
COMMENT ON COLUMN sales.content_hash IS 'SHA-256 of what was bought.';
COMMENT ON COLUMN sales.content_size IS 'Its bytes.';
COMMENT ON COLUMN sales.content_type IS 'Its media type.';

COMMENT ON COLUMN holds.id IS 'What the money waits for.';
COMMENT ON COLUMN holds.account IS 'The free account that gave.';
COMMENT ON COLUMN holds.held IS 'The held account of the same owner.';
COMMENT ON COLUMN holds.amount IS 'In millionths.';
COMMENT ON COLUMN holds.opened_by IS 'The transfer that set it aside.';
COMMENT ON COLUMN holds.ended_by IS 'The transfer that ended it.';

COMMENT ON COLUMN seals.sequence IS 'Number of the batch, from 1.';
COMMENT ON COLUMN seals.first_id IS 'Its first transfer.';
COMMENT ON COLUMN seals.count IS 'Transfers in it.';
COMMENT ON COLUMN seals.sealed_at IS 'When it was sealed.';
