//! Words that are misspelt, or only begun.

use api::{SuggestQuery, Suggestions};
use axum::{Json, extract::State};
use sqlx::{PgConnection, PgPool};

use super::words;
use crate::{input::Params, problem::Problem, service::Market};

/// Words of a search that are looked at; each costs a look into the index of trigrams.
const WORDS_MAX: usize = 8;
/// Words with enough trigrams in common that are compared letter by letter.
const NEAR_MAX: i32 = 20;
const LEN_MIN_CHARS: usize = 4;
const LEN_MAX_CHARS: usize = 32;
const SUGGESTIONS_MAX: i64 = 10;
/// What begins with less is too much to look through.
const BEGUN_LEN_MIN_CHARS: usize = 2;
/// Words looked for in the listings in one go.
const CLEANED_MAX: i64 = 50;

/// `GET /api/v1/discover/suggestions`
pub(crate) async fn suggestions(
    State(market): State<Market>,
    Params(asked): Params<SuggestQuery>,
) -> Result<Json<Suggestions>, Problem> {
    let Some(text) = words(Some(&asked.q))?.map(|text| text.to_lowercase()) else {
        return Ok(Json(Suggestions { data: Vec::new() }));
    };
    let (before, begun) = text.rsplit_once(char::is_whitespace).unwrap_or(("", &text));
    if begun.chars().count() < BEGUN_LEN_MIN_CHARS {
        return Ok(Json(Suggestions { data: Vec::new() }));
    }
    // The shortest first: what is meant is more often the word than one made of it.
    let ends = sqlx::query_scalar("SELECT word FROM words WHERE word LIKE $1 ORDER BY length(word), word LIMIT $2");
    let pattern = format!("{}%", begun.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
    let mut found: Vec<String> = ends.bind(pattern).bind(SUGGESTIONS_MAX).fetch_all(&market.pool).await?;
    if found.is_empty() {
        found.extend(nearest(&mut *market.pool.acquire().await?, begun).await?);
    }
    let whole = |word: String| if before.is_empty() { word } else { format!("{before} {word}") };
    Ok(Json(Suggestions { data: found.into_iter().map(whole).collect() }))
}

/// What was likely meant by a search that found nothing, if it has a word that is near to one that there is.
pub(super) async fn meant(conn: &mut PgConnection, text: &str) -> sqlx::Result<Option<String>> {
    let mut meant = text.to_lowercase();
    let words = meant.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned);
    let words: Vec<_> = words.take(WORDS_MAX).collect();
    // A word that there is is not misspelt: to look for others like it would cost more than the search did.
    let right =
        "SELECT word FROM unnest($1::text[]) AS said (word) WHERE EXISTS (SELECT FROM words AS w WHERE w.word = said.word)";
    let right = sqlx::query_scalar(right).bind(&words);
    let right: Vec<String> = right.fetch_all(&mut *conn).await?;
    for word in words.iter().filter(|word| !right.contains(word)) {
        if let Some(near) = nearest(conn, word).await? {
            meant = replace(&meant, word, &near);
        }
    }
    Ok((meant != text.to_lowercase()).then_some(meant))
}

/// The word that a misspelt one is nearest to; none for one that there is, and for one that is near to none.
async fn nearest(conn: &mut PgConnection, word: &str) -> sqlx::Result<Option<String>> {
    let len = word.chars().count();
    if !(LEN_MIN_CHARS..=LEN_MAX_CHARS).contains(&len) {
        return Ok(None);
    }
    let near = sqlx::query_scalar("SELECT * FROM words_near($1, $2)").bind(word).bind(NEAR_MAX).fetch_all(conn).await?;
    let edits_max = if len < 8 { 1 } else { 2 };
    let near = near.into_iter().map(|near: String| (edits(word, &near), near)).filter(|(edits, _)| *edits <= edits_max);
    Ok(near.min().filter(|(edits, _)| *edits > 0).map(|(_, word)| word))
}

/// Removes, of the next words, those that no active listing has any more. A listing that comes with one of them at the same moment leaves it out
/// until it is changed.
pub(crate) async fn clean(pool: &PgPool) -> sqlx::Result<()> {
    let mut tx = pg::begin(pool).await?;
    let from = sqlx::query_scalar("SELECT words_to FROM demand FOR UPDATE SKIP LOCKED").fetch_optional(&mut *tx).await?;
    let Some(from): Option<String> = from else { return Ok(()) };
    // Words that no search looks for by themselves are left alone: no listing is found by them.
    let clean = "WITH next AS MATERIALIZED (SELECT word FROM words WHERE word > $1 ORDER BY word LIMIT $2),
         gone AS (DELETE FROM words WHERE word IN (SELECT word FROM next WHERE cardinality(ts_lexize('english_stem', word)) > 0
             AND NOT EXISTS (SELECT 1 FROM listings WHERE status = 'active' AND search @@ plainto_tsquery('english', word))))
         UPDATE demand SET words_to = coalesce((SELECT max(word) FROM next), '')";
    sqlx::query(clean).bind(from).bind(CLEANED_MAX).execute(&mut *tx).await?;
    tx.commit().await
}

/// Puts a word in the place of another, where it stands alone.
fn replace(text: &str, word: &str, with: &str) -> String {
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let end = at + word.len();
        let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let alone = !inside(rest[..at].chars().next_back()) && !inside(rest[end..].chars().next());
        // What stands before the rest was cut off at the end of the word, so that its last character is looked at, too.
        let alone = alone && (at > 0 || !inside(done.chars().next_back()));
        done.push_str(&rest[..at]);
        done.push_str(if alone { with } else { word });
        rest = &rest[end..];
    }
    done + rest
}

/// How many letters are to be put in, left out, changed, or swapped with their neighbour (optimal string alignment).
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let mut least = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        (before, last) = (last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_is_one_or_two_edits_away() {
        for (a, b, far) in
            [("wether", "weather", 1), ("waether", "weather", 1), ("forcats", "forecast", 2), ("load", "load", 0), ("", "ab", 2)]
        {
            assert_eq!((edits(a, b), edits(b, a)), (far, far), "{a} {b}");
        }
    }

    #[test]
    fn only_whole_words_are_replaced() {
        assert_eq!(replace("the wether -wethers \"wether\"", "wether", "weather"), "the weather -wethers \"weather\"");
        assert_eq!(replace("aa aaa aa", "aa", "b"), "b aaa b");
    }
}
