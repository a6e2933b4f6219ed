use std::collections::HashMap;

use api::{Category, CategoryCount, Facets, PriceBand, TagCount};
use money::Usdc;
use sqlx::{PgConnection, Row};

use super::Search;
use crate::db;

/// Listings counted.
const COUNTED_MAX: usize = 1_000;
const TAGS_MAX: usize = 20;
/// Where bands of prices begin: 0, 0.001, 0.01, 0.1, 1, 10 and 100 USDC.
const BANDS: [u64; 7] = [0, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Counts what a search finds.
pub(super) async fn count(conn: &mut PgConnection, search: &Search) -> sqlx::Result<Facets> {
    let mut query = search.newest("l.category, l.price, l.tags", COUNTED_MAX + 1);
    let rows = query.build().persistent(false).fetch_all(conn).await?;
    let mut categories: Vec<CategoryCount> = Vec::new();
    let mut bands = [0; BANDS.len()];
    let mut tags: HashMap<String, u32> = HashMap::new();
    for row in rows.iter().take(COUNTED_MAX) {
        let category: Category = db::named(row, "category")?;
        match categories.iter_mut().find(|of| of.category == category) {
            Some(of) => of.count += 1,
            None => categories.push(CategoryCount { category, count: 1 }),
        }
        let price = row.try_get::<i64, _>("price")?.unsigned_abs();
        bands[BANDS.iter().rposition(|from| *from <= price).unwrap_or_default()] += 1;
        for tag in row.try_get::<Vec<String>, _>("tags")? {
            *tags.entry(tag).or_default() += 1;
        }
    }
    categories.sort_by_key(|of| std::cmp::Reverse(of.count));
    let mut tags: Vec<_> = tags.into_iter().map(|(tag, count)| TagCount { tag, count }).collect();
    tags.sort_unstable_by(|a, b| (b.count, &a.tag).cmp(&(a.count, &b.tag)));
    tags.truncate(TAGS_MAX);
    let below = |band: usize| BANDS.get(band + 1).copied().map(Usdc::from_base_units);
    let prices = (0..BANDS.len()).filter(|band| bands[*band] > 0);
    let prices =
        prices.map(|band| PriceBand { from: Usdc::from_base_units(BANDS[band]), below: below(band), count: bands[band] });
    Ok(Facets {
        counted: rows.len().min(COUNTED_MAX) as u32,
        complete: rows.len() <= COUNTED_MAX,
        categories,
        prices: prices.collect(),
        tags,
    })
}
