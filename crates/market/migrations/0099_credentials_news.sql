-- Instances tell each other that credentials ended, or are worth something else, so that none goes by whom it remembers.

CREATE FUNCTION credentials_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('market_credentials', '');
    RETURN NULL;
END $$;
CREATE TRIGGER credentials_changed AFTER UPDATE ON api_keys FOR EACH ROW
    WHEN ((OLD.revoked_at, OLD.expires_at) IS DISTINCT FROM (NEW.revoked_at, NEW.expires_at))
    EXECUTE FUNCTION credentials_changed();
-- A session that is renewed ends later, which is no news.
CREATE TRIGGER credentials_changed AFTER UPDATE ON sessions FOR EACH ROW
    WHEN (OLD.revoked_at IS DISTINCT FROM NEW.revoked_at OR NEW.expires_at < OLD.expires_at)
    EXECUTE FUNCTION credentials_changed();
CREATE TRIGGER credentials_gone AFTER DELETE ON sessions FOR EACH ROW
    WHEN (OLD.revoked_at IS NULL)
    EXECUTE FUNCTION credentials_changed();
CREATE TRIGGER credentials_changed AFTER UPDATE ON agents FOR EACH ROW
    WHEN ((OLD.active, OLD.person) IS DISTINCT FROM (NEW.active, NEW.person))
    EXECUTE FUNCTION credentials_changed();
CREATE TRIGGER credentials_changed AFTER UPDATE ON creators FOR EACH ROW
    WHEN ((OLD.active, OLD.role) IS DISTINCT FROM (NEW.active, NEW.role))
    EXECUTE FUNCTION credentials_changed();
