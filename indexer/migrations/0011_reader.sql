-- For analysts: a role that may read everything here and change nothing. Nobody can log in as it; GRANT florin_reader TO somebody.
--
-- Roles belong to the whole server, so it may be there already, or be made by another database's migration at this moment.

DO $$
BEGIN
    CREATE ROLE florin_reader NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE WARNING 'no role florin_reader: this user may not create roles. CREATE ROLE florin_reader and grant it what it may read';
END $$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'florin_reader') THEN
        GRANT USAGE ON SCHEMA chain TO florin_reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA chain TO florin_reader;
        -- Partitions, and tables of migrations to come.
        ALTER DEFAULT PRIVILEGES IN SCHEMA chain GRANT SELECT ON TABLES TO florin_reader;
    END IF;
END $$;
