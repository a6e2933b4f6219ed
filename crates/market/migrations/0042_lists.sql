-- A page of what somebody bought or sold is read in the order of its index, however long the ledger is.

CREATE INDEX sales_buyer_newest ON sales (buyer_id, id);
CREATE INDEX sales_seller_newest ON sales (seller_id, id);
DROP INDEX sales_seller;
COMMENT ON COLUMN decisions.subject IS
    'The withdrawal, redemption, deposit, listing, creator or purchase it is about; for a reversed transfer the agent who got the money back.';
