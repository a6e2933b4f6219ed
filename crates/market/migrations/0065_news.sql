-- Instances tell each other what became of a listing, so that none goes by what it remembers.

CREATE FUNCTION listing_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('market_listings', NEW.id || ' ' || coalesce(encode(NEW.content_hash, 'hex'), ''));
    RETURN NULL;
END $$;
CREATE TRIGGER listing_changed AFTER UPDATE ON listings FOR EACH ROW
    WHEN ((OLD.updated_at, OLD.status, OLD.quality) IS DISTINCT FROM (NEW.updated_at, NEW.status, NEW.quality))
    EXECUTE FUNCTION listing_changed();
