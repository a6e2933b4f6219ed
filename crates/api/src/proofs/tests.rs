#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use alloy::primitives::{B256, Bytes};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

use super::*;

fn prover(content: &[u8]) -> Prover {
    Prover::new(witness(content))
}

fn witness(content: &[u8]) -> Witness {
    let mut committer = Committer::default();
    committer.push(content);
    committer.finish()
}

fn chunks(content: &[u8], witness: &Witness, nonce: B256) -> Vec<ChunkProof> {
    let shown = |index: u64| {
        let open = witness.open.iter().find(|open| open.index == index).unwrap();
        let start = (index * CHUNK_LEN_BYTES) as usize;
        let end = content.len().min(start + CHUNK_LEN_BYTES as usize);
        open.shown(Bytes::copy_from_slice(&content[start..end]))
    };
    witness.commitment.sample(nonce).into_iter().map(shown).collect()
}

/// Something else that reads like it: with another hexadecimal digit in a hash, or another digit in a number. `None` when it cannot be read any more.
fn mutated<T: Serialize + DeserializeOwned>(value: &T, at: prop::sample::Index, by: u32) -> Option<T> {
    let mut text = serde_json::to_string(value).unwrap().into_bytes();
    let in_hash = |text: &[u8], at: usize| {
        let start = text[..at].iter().rposition(|b| *b == b'"').map(|start| &text[start..at]);
        start.is_some_and(|start| start.starts_with(b"\"0x") && start.len() >= 3)
    };
    let digits: Vec<_> = (1..text.len())
        .filter(|at| {
            in_hash(&text, *at) && text[*at].is_ascii_hexdigit()
                || matches!(text[*at - 1], b':' | b',') && text[*at].is_ascii_digit()
        })
        .collect();
    let at = *at.get(&digits);
    let radix = if in_hash(&text, at) { 16 } else { 10 };
    let digit = char::from(text[at]).to_digit(radix).unwrap();
    text[at] = u8::try_from(char::from_digit((digit + 1 + by % (radix - 1)) % radix, radix).unwrap()).unwrap();
    serde_json::from_slice(&text).ok()
}

fn hash() -> impl Strategy<Value = B256> {
    prop_oneof![Just(B256::ZERO), any::<[u8; 32]>().prop_map(B256::from)]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, any::<u64>(), Just(u64::MAX)]
}

fn tree() -> impl Strategy<Value = Tree> {
    (number(), hash()).prop_map(|(count, root)| Tree { count, root })
}

fn set_path() -> impl Strategy<Value = SetPath> {
    (number(), prop::collection::vec(hash(), 0..70)).prop_map(|(index, path)| SetPath { index, path })
}

fn set_leaf() -> impl Strategy<Value = SetLeaf> {
    (hash(), set_path()).prop_map(|(leaf, at)| SetLeaf { leaf, at })
}

fn set_place() -> impl Strategy<Value = SetPlace> {
    let absent = (prop::option::of(set_leaf()), prop::option::of(set_leaf()));
    prop_oneof![set_path().prop_map(SetPlace::Present), absent.prop_map(|(before, after)| SetPlace::Absent { before, after })]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_commitment_follows_from_the_content_however_it_comes(
        content in prop::collection::vec(any::<u8>(), 0..3_000), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        at in any::<prop::sample::Index>(),
    ) {
        let commitment = ContentCommitment::of(&content);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(content.len() + 1)).chain([0, content.len()]).collect();
        cuts.sort_unstable();
        let mut committer = Committer::default();
        cuts.windows(2).for_each(|cut| committer.push(&content[cut[0]..cut[1]]));
        prop_assert_eq!(&committer.finish().commitment, &commitment);
        if !content.is_empty() {
            let mut other = content.clone();
            *at.get_mut(&mut other) ^= 1;
            let other = ContentCommitment::of(&other);
            prop_assert_ne!(other.id(), commitment.id());
            prop_assert!(other.chunks.root != commitment.chunks.root && other.key != commitment.key);
        }
    }

    #[test]
    fn chunks_are_those_of_the_nonce_and_of_the_content_or_refused(
        len in 25_600_usize..60_000, seed in any::<u8>(), nonce in hash(), other in hash(),
        at in any::<prop::sample::Index>(), by in any::<u32>(),
    ) {
        let content: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_mul(31) ^ (i >> 8) as u8 ^ seed).collect();
        let witness = witness(&content);
        let commitment = &witness.commitment;
        let shown = chunks(&content, &witness, nonce);
        prop_assert!(!shown.is_empty());
        prop_assert_eq!(verify_chunks(commitment, nonce, &shown), Ok(()));
        if let Some(changed) = mutated(&shown, at, by) {
            prop_assert!(verify_chunks(commitment, nonce, &changed).is_err());
        }
        prop_assert!(verify_chunks(commitment, nonce, &shown[1..]).is_err());
        if commitment.sample(other) != commitment.sample(nonce) {
            prop_assert!(verify_chunks(commitment, other, &shown).is_err());
        }
        // Of a content that is otherwise the same.
        let mut changed = content.clone();
        changed[(shown[0].index * CHUNK_LEN_BYTES) as usize] ^= 1;
        prop_assert!(verify_chunks(&ContentCommitment::of(&changed), nonce, &shown).is_err());
    }

    #[test]
    fn words_are_proved_to_be_there_or_not_and_nothing_else_is(
        words in prop::collection::btree_set("[a-z]{1,6}", 0..24), asked in "[a-z]{1,6}", at in any::<prop::sample::Index>(), by in any::<u32>(),
    ) {
        let text = words.iter().cloned().collect::<Vec<_>>().join(" - ");
        // So that a text of one JSON word is none.
        let prover = prover(format!("{text} ;").as_bytes());
        let commitment = &prover.commitment;
        for word in words.iter().chain([&asked]) {
            let (present, proof) = prover.keyword(word).unwrap();
            prop_assert_eq!(present, words.contains(word));
            prop_assert_eq!(verify_keyword(commitment, word, &proof).is_ok(), present);
            prop_assert_eq!(verify_absent(commitment, word, &proof).is_ok(), !present);
            let other = format!("{word}x");
            prop_assert!(verify_keyword(commitment, &other, &proof).is_err() && verify_absent(commitment, &other, &proof).is_err());
            let field = Field { path: word.clone(), json_type: JsonType::String };
            prop_assert!(verify_field(commitment, &field, &proof).is_err());
            if let Some(changed) = mutated(&proof, at, by) {
                prop_assert!(verify_keyword(commitment, word, &changed).is_err() && verify_absent(commitment, word, &changed).is_err());
            }
            let root = Some(Tree { root: B256::ZERO, ..commitment.words.unwrap() });
            let other = ContentCommitment { words: root, ..commitment.clone() };
            prop_assert!(words.is_empty() || verify_keyword(&other, word, &proof).is_err() && verify_absent(&other, word, &proof).is_err());
            let another = ContentCommitment { key: ContentCommitment::of(b"another").key, ..commitment.clone() };
            prop_assert!(verify_keyword(&another, word, &proof).is_err() && verify_absent(&another, word, &proof).is_err());
        }
    }

    #[test]
    fn a_hidden_count_is_proved_to_be_enough_or_not(
        count in 0..400_usize, least in 1..600_u64, at in any::<prop::sample::Index>(), by in any::<u8>(),
    ) {
        let prover = prover(format!("{} ;", "row,\n".repeat(count)).as_bytes());
        let commitment = &prover.commitment;
        let (passed, proof) = prover.count(Counted::Words, least).unwrap();
        prop_assert_eq!(passed, count as u64 >= least);
        prop_assert_eq!(verify_at_least(commitment, Counted::Words, least, &proof).is_ok(), passed);
        prop_assert_eq!(verify_fewer_than(commitment, Counted::Words, least, &proof).is_ok(), !passed);
        for other in [least - 1, least + 1] {
            prop_assert!(verify_at_least(commitment, Counted::Words, other, &proof).is_err());
            prop_assert!(verify_fewer_than(commitment, Counted::Words, other, &proof).is_err());
        }
        prop_assert!(verify_at_least(commitment, Counted::Records, least, &proof).is_err());
        let another = ContentCommitment { content_hash: B256::ZERO, ..commitment.clone() };
        prop_assert!(verify_at_least(&another, Counted::Words, least, &proof).is_err());
        let mut changed = proof.to_vec();
        *at.get_mut(&mut changed) ^= by.max(1);
        prop_assert!(verify_at_least(commitment, Counted::Words, least, &changed).is_err());
        prop_assert!(verify_fewer_than(commitment, Counted::Words, least, &changed).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever comes is refused without a panic.
    #[test]
    fn made_up_proofs_are_refused(
        (chunks, words, fields) in (tree(), tree(), tree()), (key, point, content_hash) in (hash(), hash(), hash()), size in number(),
        place in set_place(), scalars in (hash(), hash(), hash()), shown in prop::collection::vec((number(), 0..600_usize), 0..4),
        proof in prop_oneof![prop::collection::vec(any::<u8>(), 0..700), prop::collection::vec(any::<u8>(), 608..609)],
        is_real in any::<bool>(),
    ) {
        // Points that can be read lead further than those that cannot.
        let real = ContentCommitment::of(b"real words ;");
        let (key, point) = if is_real { (real.key, real.records.unwrap()) } else { (key, point) };
        let chunks = Tree { count: if is_real { size.div_ceil(CHUNK_LEN_BYTES) } else { chunks.count }, ..chunks };
        let commitment = ContentCommitment {
            version: VERSION, content_hash, content_size: size, chunks, key, words: Some(words), fields: Some(fields), records: Some(point),
            word_total: Some(point),
        };
        let (output, challenge, response) = scalars;
        let output = if is_real { point } else { output };
        let set = SetProof { evaluation: Evaluation { output, challenge, response }, place };
        let field = Field { path: "/a".into(), json_type: JsonType::Null };
        prop_assert!(verify_keyword(&commitment, "a", &set).is_err() && verify_absent(&commitment, "a", &set).is_err());
        prop_assert!(verify_field(&commitment, &field, &set).is_err() && verify_field_absent(&commitment, &field, &set).is_err());
        for counted in [Counted::Records, Counted::Words] {
            prop_assert!(verify_at_least(&commitment, counted, size, &proof).is_err());
            prop_assert!(verify_fewer_than(&commitment, counted, size, &proof).is_err());
        }
        let shown: Vec<_> = shown.into_iter().map(|(index, len)| ChunkProof { index, chunk: vec![0; len].into(), salt: output, path: vec![output; len] }).collect();
        // Of fewer than 50 chunks there is nothing to be shown.
        prop_assert!(verify_chunks(&commitment, content_hash, &shown).is_err() || shown.is_empty());
    }
}

#[test]
fn all_who_ask_together_see_a_fiftieth_at_most() {
    let nonce = |i: u32| B256::left_padding_from(&i.to_be_bytes());
    for len in [1, 511, 25_088, 25_600, 51_199, 51_200, 400_000, 3_000_000] {
        let content: Vec<u8> = (0..len).map(|i: u32| (i % 251) as u8).collect();
        let witness = witness(&content);
        let commitment = &witness.commitment;
        let seen: BTreeSet<u64> = (0..400).flat_map(|i| commitment.sample(nonce(i))).collect();
        let bytes: u64 = seen.iter().map(|index| commitment.chunk_len(*index)).sum();
        assert!(bytes * CHUNKS_PER_OPEN < u64::from(len) + CHUNK_LEN_BYTES, "{bytes} of {len} bytes");
        assert!(seen.len() as u64 <= (commitment.chunks.count / CHUNKS_PER_OPEN).min(OPEN_MAX));
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), commitment.open_chunks(), "each is shown to somebody");
        assert!(commitment.chunks.count >= CHUNKS_PER_OPEN || commitment.sample(nonce(0)).is_empty());
        assert_eq!(witness.open.iter().map(|open| open.index).collect::<Vec<_>>(), commitment.open_chunks());
    }
    let large = ContentCommitment::of(&vec![0xff; 3_000_000]);
    assert_eq!((large.open_chunks().len(), large.sample(nonce(1)).len()), (64, 16));
    assert_ne!(large.sample(nonce(1)), large.sample(nonce(2)), "the buyer's nonce picks");
    assert!(large.words.is_none() && large.records.is_none(), "it is no text");
}

#[test]
fn words_are_told_apart_the_same_way_everywhere() {
    let text = "Grüße, \u{201c}World\u{201d} 2026 x2 it's a_b Ⅷ ÄH 5µm 日本 \u{a0}end\u{2014}of";
    let prover = prover(text.as_bytes());
    for word in ["grüße", "GRüße", "world", "x2", "it", "s", "a", "b", "Ⅷ", "Äh", "5µm", "日本", "end", "of"] {
        assert!(prover.keyword(word).unwrap().0, "{word}");
    }
    for word in ["äh", "grü", "x"] {
        assert!(!prover.keyword(word).unwrap().0, "{word}");
    }
    for none in ["", "2026", "two words", "it's", " a", &"a".repeat(65)] {
        assert_eq!(prover.keyword(none).unwrap_err(), ProofError::NoWord, "{none:?}");
    }
    assert_eq!((prover.commitment.words.unwrap().count, prover.count(Counted::Words, 13).unwrap().0), (13, true));
    let many = (0..=WORDS_MAX as u32).map(|i| format!("w{i} ")).collect::<String>();
    let many = Prover::new(witness(many.as_bytes()));
    assert_eq!(many.keyword("w1").unwrap_err(), ProofError::NotCommitted { what: "words" });
    assert!(many.count(Counted::Words, 20_000).unwrap().0, "how many there are is proved all the same");
}

#[test]
fn json_is_committed_to_by_its_fields_whatever_its_numbers_are() {
    let text = r#"[{"id": 1, "tags": ["New Deal", null], "at": {"lat": 1e999}}, {"id": "two", "a/b~c": true, "*": []}, 0.21]"#;
    let prover = prover(text.as_bytes());
    let commitment = &prover.commitment;
    let there = [
        ("", JsonType::Array),
        ("/*", JsonType::Object),
        ("/*", JsonType::Number),
        ("/*/id", JsonType::Number),
        ("/*/id", JsonType::String),
        ("/*/tags", JsonType::Array),
        ("/*/tags/*", JsonType::String),
        ("/*/tags/*", JsonType::Null),
        ("/*/at", JsonType::Object),
        ("/*/at/lat", JsonType::Number),
        ("/*/a~1b~0c", JsonType::Boolean),
        ("/*/~2", JsonType::Array),
    ];
    for (path, json_type) in there {
        let field = Field { path: path.into(), json_type };
        let (present, proof) = prover.field(&field).unwrap();
        assert!(present, "{path}");
        verify_field(commitment, &field, &proof).unwrap();
        assert_eq!(verify_field_absent(commitment, &field, &proof), Err(ProofError::Opposite));
    }
    assert_eq!(commitment.fields.unwrap().count, there.len() as u64, "and no others");
    for (path, json_type) in [("/*/id", JsonType::Null), ("/0/id", JsonType::Number), ("/*/*", JsonType::Array)] {
        let field = Field { path: path.into(), json_type };
        let (present, proof) = prover.field(&field).unwrap();
        assert!(!present, "{path}");
        verify_field_absent(commitment, &field, &proof).unwrap();
    }
    // Words are those of texts and keys, without what only writes them.
    let words = ["id", "tags", "new", "deal", "at", "lat", "two", "a", "b", "c"];
    assert!(words.iter().all(|word| prover.keyword(word).unwrap().0) && !prover.keyword("null").unwrap().0);
    assert_eq!(commitment.words.unwrap().count, words.len() as u64);
    assert!(prover.count(Counted::Records, 2).unwrap().0 && !prover.count(Counted::Records, 5).unwrap().0);

    let object = Prover::new(witness(br#"{"rows": [1, 2]}"#));
    assert_eq!(object.count(Counted::Records, 1).unwrap_err(), ProofError::NotCommitted { what: "records" });
    // Lines that have something, of what is no JSON as a whole.
    for (text, lines) in [("{\"a\":1}\n{\"a\":2}\n \n\n{\"a\":3}\r\n", 3), ("a,b\n", 1), ("", 0)] {
        let found = read::read(text);
        assert_eq!((found.records, found.fields.is_none()), (Some(lines), true), "{text:?}");
    }
    // As deep as is read, and deeper.
    for (depth, is_json) in [(DEPTH_MAX, true), (DEPTH_MAX + 1, false), (100_000, false)] {
        let text = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(read::read(&text).fields.is_some(), is_json, "{depth}");
    }
    let long = format!(r#"{{"{}": 1}}"#, "k".repeat(PATH_LEN_MAX_BYTES));
    assert!(ContentCommitment::of(long.as_bytes()).fields.is_none(), "a path that is too long cannot be proved absent");
}

/// A market may keep the leaves of a word back, or commit to other chunks: whoever bought sees it.
#[test]
fn a_false_commitment_is_told_by_the_content() {
    let (sold, told) = (b"a text without the word ;".as_slice(), b"a text with goldmine ;".as_slice());
    let lie = ContentCommitment { content_hash: ContentCommitment::of(sold).content_hash, ..ContentCommitment::of(told) };
    let (_, proof) = prover(told).keyword("goldmine").unwrap();
    verify_keyword(&lie, "goldmine", &proof).unwrap();
    let bought = ContentCommitment::of(sold);
    assert!(bought.content_hash == lie.content_hash && bought != lie, "what the market signed is not the content's");
}

#[test]
fn bounds_are_round() {
    let round = [1, 2, 5, 10, 20, 50, 1_000, 500_000, 2_000_000_000];
    assert!(round.into_iter().all(is_round));
    assert!(![0, 3, 15, 999, 1_001, 5_000_000_000, u64::MAX].into_iter().any(is_round));
}
