#!/usr/bin/env python3
"""Fills a scratch database with listings and measures the statements of GET /discover: p50, p99 and the indexes of each.

    PGHOST=... PGUSER=... PGDATABASE=... crates/market/benches/discover.py [--listings 1000000] [--seconds 20] [--connections 32] [--record FILE]
    ... [--market http://127.0.0.1:8403]

The database is one that may be written into: its schema `market` is made from the migrations, unless it has listings already. psql and pgbench
must be there. The statements are those of src/discover/search.rs: by words they are prepared, the others are planned each time. With a market that
serves this database, and wrk, the same searches are also asked of it, over HTTP.
"""
import argparse, glob, hashlib, json, math, os, random, re, subprocess, tempfile, urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
SYLLABLES = "ba cer di fon gu hal ke lim mo nu pas re sil to vun wa zek chi shor tru".split()
CATEGORIES = ["web_search", "code_analysis", "document_summary", "api_response", "computation"]
ORDERS = ["l.price, l.id", "l.price DESC, l.id DESC", "l.slice DESC, l.freshness_at DESC, l.id DESC"]
WORDS, SELLERS = 50_000, 2_000
# As in search.rs.
RANKED_MAX = 100
COLUMNS = """l.id, l.seller_id, l.title, l.description, l.category, l.tags, l.price, l.metadata, l.content_type, l.content_hash, l.content_size,
    l.status, l.created_at, l.updated_at, l.version, l.quality, l.freshness_at, l.expires_at, a.wallet AS seller_wallet, a.creator_id"""
os.environ["PGOPTIONS"] = "-c search_path=market -c synchronous_commit=off"


def word(number):
    """The word that is the number-th most frequent."""
    n = number * 7919 % 160_000
    end = SYLLABLES[n // 8000 % 20] if n % 3 else ""
    return SYLLABLES[n % 20] + SYLLABLES[n // 20 % 20] + SYLLABLES[n // 400 % 20] + end


def draw(least=0.0):
    """A word as often as in a language (Zipf with exponent 1); titles and searches rather have rarer ones."""
    return word(min(WORDS - 1, int(math.exp((least + (1 - least) * random.random()) * math.log(WORDS)))))


def psql(text, *options):
    call = ["psql", "-qXAt", "-v", "ON_ERROR_STOP=1", *options]
    return subprocess.run(call, input=text, text=True, capture_output=True, check=True).stdout


def fill(listings):
    psql("""CREATE SCHEMA market; CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
        installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL)""")
    for path in sorted(glob.glob(f"{HERE}/../migrations/0*.sql")):
        psql(open(path).read())
        # As the market notes it.
        version, name = os.path.basename(path)[:-4].split("_", 1)
        digest = hashlib.sha384(open(path, "rb").read()).hexdigest()
        psql(f"INSERT INTO _sqlx_migrations VALUES ({int(version)}, '{name.replace('_', ' ')}', now(), TRUE, decode('{digest}', 'hex'), 0)")
    # What triggers do for one listing is done at once at the end.
    psql(f"""INSERT INTO agents (id, name, description, agent_type, wallet)
        SELECT md5('seller ' || n)::uuid, 'seller ' || n, '', 'seller', decode(lpad(to_hex(n), 40, '0'), 'hex') FROM generate_series(1, {SELLERS}) AS n;
        ALTER TABLE listings DISABLE TRIGGER listing_version_kept_new; ALTER TABLE listings DISABLE TRIGGER listing_words;
        DROP INDEX listings_search, listings_tags, listings_keys""")
    random.seed(5)
    titles, texts = ([draw(least) for _ in range(1_000_000)] for least in (0.25, 0.0))
    copy = "COPY listings (id, seller_id, title, description, category, tags, price, content_type, content_hash, content_size, status) FROM STDIN (FORMAT csv)"
    with subprocess.Popen(["psql", "-qX", "-c", copy], stdin=subprocess.PIPE, text=True) as to:
        for n in range(1, listings + 1):
            digest = hashlib.md5(b"%d" % n).hexdigest()
            title, text = random.choices(titles, k=6 + n % 5), random.choices(texts, k=20 + n % 41)
            seller = hashlib.md5(b"seller %d" % (1 + n * 7 % SELLERS)).hexdigest()
            price = int(1000 * math.exp(random.random() * math.log(100_000)))
            to.stdin.write(f"{1760000000000 + n:012x}7{digest[:3]}8{digest[3:18]},{seller},{' '.join(title[2:])},{' '.join(text)},{CATEGORIES[n % 5]},"
                           f"\"{{{','.join(title[:2])}}}\",{price},text/plain,\\x{digest * 2},1000,active\n")
    psql("""SET maintenance_work_mem = '1GB';
        UPDATE listings SET quality = (random() * 10000)::int WHERE get_byte(content_hash, 0) < 50;
        CREATE INDEX listings_search ON listings USING gin (search) WITH (fastupdate = off) WHERE status = 'active';
        CREATE INDEX listings_keys ON listings USING gin (listing_keys(search, slice, category, price)) WITH (fastupdate = off) WHERE status = 'active';
        ALTER INDEX listings_keys ALTER COLUMN 1 SET STATISTICS 0;
        CREATE INDEX listings_tags ON listings USING gin (tags) WHERE status = 'active';
        INSERT INTO words SELECT DISTINCT word FROM listings, regexp_split_to_table(title, ' ') AS word ON CONFLICT DO NOTHING;
        ALTER TABLE listings ENABLE TRIGGER listing_version_kept_new; ALTER TABLE listings ENABLE TRIGGER listing_words""")
    psql("VACUUM ANALYZE")


def wanted(words, category=None, most=None):
    of, below = f"'{category}'" if category else "NULL", most or "NULL"
    return f"ROW(websearch_to_tsquery('english', '{words}'), {of}, NULL, {below}, NULL, NULL, now() - make_interval(hours => NULL), NULL)::listing_filter"


def search(words, category=None, most=None, order=None):
    """By words: in an order, or else by relevance."""
    filter = wanted(words, category, most)
    if not order:
        return f"""SELECT {COLUMNS}, r.sort_key, w.began, w.ended, cardinality(w.ids) AS found
            FROM listings_newest({filter}, 2147483647, 0, NULL, NULL, 21, {RANKED_MAX}) AS w
            LEFT JOIN LATERAL (SELECT * FROM (SELECT n.id, n.rank AS sort_key FROM unnest(w.ids, w.ranks) AS n (id, rank)) AS scored
                ORDER BY sort_key DESC, id DESC LIMIT 21 OFFSET 0) AS r ON TRUE
            LEFT JOIN listings AS l ON l.id = r.id LEFT JOIN agents AS a ON a.id = l.seller_id ORDER BY r.sort_key DESC, l.id DESC"""
    if "price" in order:
        key, found = "l.price", f"listings_priced({filter}, {'DESC' not in order}, NULL, NULL, 21)"
    else:
        key, found = "(extract(epoch FROM l.freshness_at) * 1000000)::bigint", f"listings_newest({filter}, 2147483647, 0, NULL, NULL, 21, 21)"
    return f"""SELECT {COLUMNS}, l.slice, {key} AS sort_key FROM {found} AS w CROSS JOIN unnest(w.ids) AS found (id)
        JOIN listings AS l ON l.id = found.id JOIN agents AS a ON a.id = l.seller_id ORDER BY {order} LIMIT 21 OFFSET 0"""


def others(more="", order="l.id DESC", key="0::bigint"):
    """Without words."""
    return f"""SELECT {COLUMNS}, l.slice, {key} AS sort_key FROM listings AS l JOIN agents AS a ON a.id = l.seller_id
        WHERE l.status = 'active' AND (l.expires_at IS NULL OR l.expires_at > now()){more} ORDER BY {order} LIMIT 21 OFFSET 0"""


def some(count=120):
    """Words, category, price and order of searches: most with filters, one in three in another order."""
    random.seed(7)
    for n in range(count):
        words = " ".join(draw(0.25) for _ in range(random.choice([1, 1, 2, 2, 3])))
        category = random.choice(CATEGORIES) if random.random() < 0.6 else None
        most = int(1000 * math.exp(random.random() * math.log(100_000))) if random.random() < 0.6 else None
        yield words, category, most, random.choice(ORDERS) if n % 3 == 2 else None


def plan(statement):
    """As it was carried out, also within functions."""
    text = f"""LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
        SET client_min_messages = log; {statement}"""
    return subprocess.run(["psql", "-qXAt", "-v", "ON_ERROR_STOP=1"], input=text, text=True, capture_output=True, check=True).stderr


def measure(statements, connections, seconds):
    """Milliseconds at which half and 99 of 100 are done, and how many were done in a second."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for n, statement in enumerate(statements):
            files += ["-f", f"{folder}/{n}.sql"]
            open(files[-1], "w").write(" ".join(statement.split()) + ";\n")
        mode = "prepared" if all("listing_filter" in statement for statement in statements) else "simple"
        call = ["pgbench", "-n", "-M", mode, "-c", str(connections), "-j", str(min(2, connections)), "-T", str(seconds), "-l", f"--log-prefix={folder}/log", *files]
        subprocess.run(call, check=True, capture_output=True)
        times = sorted(int(line.split()[2]) for path in glob.glob(f"{folder}/log.*") for line in open(path))
    return times[len(times) // 2] / 1000, times[len(times) * 99 // 100] / 1000, len(times) / seconds


def keys():
    """Keys of some agents: a market answers an address without one 600 times a minute."""
    for n in range(1, 65):
        agent, secret = hashlib.md5(b"seller %d" % n).hexdigest(), hashlib.sha256(b"%d" % n).hexdigest()
        psql(f"""INSERT INTO api_keys (id, agent_id, name, key_hash, scopes) SELECT '{agent}', '{agent}', '', sha256(decode('{secret}', 'hex')), '{{read}}'
            ON CONFLICT DO NOTHING""")
        yield f"florin_{agent}_{secret}"


def ask(market, connections, seconds):
    """The same searches of a market."""
    sorts = dict(zip(ORDERS, ["price_asc", "price_desc", "freshness"]))
    paths = []
    for words, category, most, order in some():
        asked = {"q": words, "category": category, "max_price": most and f"{most / 1e6:.6f}", "sort_by": sorts.get(order)}
        paths.append("/api/v1/discover?" + urllib.parse.urlencode({name: value for name, value in asked.items() if value}))
    script = f"""local at, paths, keys = 0, {{{",".join(map(json.dumps, paths))}}}, {{{",".join(map(json.dumps, keys()))}}}
        function request()
            at = at + 1
            return wrk.format("GET", paths[at % #paths + 1], {{authorization = "Bearer " .. keys[at % #keys + 1]}})
        end
        function done(all, waits)
            local e = all.errors
            print(all.requests, waits:percentile(50), waits:percentile(99), e.connect + e.read + e.write + e.status + e.timeout)
        end"""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        call = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "-s", file.name, market]
        said = subprocess.run(call, check=True, capture_output=True, text=True).stdout.splitlines()[-1].split()
    assert said[3] == "0", f"{said[3]} answers were errors"
    return float(said[1]) / 1000, float(said[2]) / 1000, int(said[0]) / seconds


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in [("--listings", 1_000_000), ("--seconds", 20), ("--connections", 32)]:
        options.add_argument(name, type=int, default=default)
    options.add_argument("--record")
    options.add_argument("--market")
    options = options.parse_args()
    if psql("SELECT to_regclass('market.listings') IS NULL") == "t\n":
        fill(options.listings)
    listings, size = psql("SELECT count(*), pg_size_pretty(pg_total_relation_size('listings')) FROM listings").strip().split("|")
    near = word(3_000)
    kinds = [
        ("nothing but the newest", others()),
        ("one in ten has the word", search(word(1))),
        ("one in seventy", search(word(35))),
        ("one in a thousand", search(word(500))),
        ("three words", search(f"{word(20)} {word(60)} {word(200)}")),
        ("a word, category and price", search(word(35), "web_search", 1_000_000)),
        ("a word, cheapest first", search(word(35), order=ORDERS[0])),
        ("a rare word, cheapest first", search(word(500), order=ORDERS[0])),
        ("a rare word, freshest first", search(word(500), order=ORDERS[2])),
        ("a category, dearest first", others(" AND l.category = 'web_search'", ORDERS[1], "l.price")),
        ("a quality, best first", others(" AND coalesce(l.quality, -1) >= 8000", "coalesce(l.quality, -1) DESC, l.id DESC", "coalesce(l.quality, -1)::bigint")),
        ("two tags", others(f" AND l.tags @> ARRAY['{word(20)}', '{word(60)}']")),
        ("a misspelt word", f"SELECT * FROM words_near('{near[:2] + near[3:]}', 20)"),
    ]
    lines = [f"{listings} listings ({size}), one connection, milliseconds:", "", "| search | p50 | p99 | indexes |", "|---|---:|---:|---|"]
    for name, statement in kinds:
        shown = plan(statement)
        indexes = dict.fromkeys(re.findall(r"(?:using|Bitmap Index Scan on) (\w+)", shown))
        names = [name for name in indexes if name not in ("listings_pkey", "agents_pkey")]
        scans = ", ".join(names) + (" **Seq Scan**" if "Seq Scan on listings" in shown else "")
        p50, p99, _ = measure([statement], 1, 3)
        lines.append(f"| {name} | {p50:.1f} | {p99:.1f} | {scans} |")
    p50, p99, rate = measure([search(*one) for one in some()], options.connections, options.seconds)
    lines += ["", f"120 searches by words, most with filters, in turn on {options.connections} connections: {rate:.0f} a second, p50 {p50:.0f} ms, p99 {p99:.0f} ms.", ""]
    if options.market:
        p50, p99, rate = ask(options.market, options.connections, options.seconds)
        lines += [f"Asked over HTTP: {rate:.0f} a second, p50 {p50:.0f} ms, p99 {p99:.0f} ms.", ""]
    text = "\n".join(lines)
    print(text)
    if options.record:
        open(options.record, "a").write("\n" + text)


if __name__ == "__main__":
    main()
