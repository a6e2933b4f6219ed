-- EIP-3009 and Permit2 count nonces apart.

ALTER TABLE settlements ADD COLUMN method TEXT NOT NULL DEFAULT 'eip3009' CHECK (method IN ('eip3009', 'permit2'));
ALTER TABLE settlements ALTER COLUMN method DROP DEFAULT;
ALTER TABLE settlements DROP CONSTRAINT settlements_chain_id_token_payer_nonce_key;
ALTER TABLE settlements ADD UNIQUE (chain_id, method, token, payer, nonce);
COMMENT ON COLUMN settlements.method IS 'How the token moves.';
COMMENT ON COLUMN settlements.nonce IS 'Of the EIP-3009 authorization, or of Permit2.';
