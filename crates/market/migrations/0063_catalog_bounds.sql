-- What is looked for in the catalog by its price is found by an index, and a subscription's words are parsed once.

CREATE INDEX catalog_price ON catalog (price_from, id);
CREATE INDEX catalog_category_price ON catalog (category, price_from, id);
CREATE INDEX listings_seller_active ON listings (seller_id, id) WHERE status = 'active';

ALTER TABLE catalog_subscriptions ADD COLUMN words TSQUERY GENERATED ALWAYS AS (websearch_to_tsquery('english', q)) STORED;
COMMENT ON COLUMN catalog_subscriptions.words IS 'The same, as it is compared.';
