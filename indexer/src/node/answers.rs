use alloy::primitives::bytes::Bytes;
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::value::RawValue;

/// The answers to a batch as they came. Most of catching up is reading them, so they are read once, and where that keeps nobody waiting.
pub(super) enum Answers {
    /// Taken apart by the transport.
    Apart(Vec<Box<RawValue>>),
    /// An HTTP body.
    Together(Bytes),
}

/// One answer of a body. A batch may be answered in any order.
#[derive(Deserialize)]
struct Answer<T> {
    id: usize,
    result: Option<T>,
    error: Option<IgnoredAny>,
}

impl Answers {
    /// What [`Self::read`] has to read, in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Apart(answers) => answers.iter().map(|answer| answer.get().len()).sum(),
            Self::Together(body) => body.len(),
        }
    }

    /// The answer to each of so many questions, in their order; none where the endpoint says null.
    pub(super) fn read<T: DeserializeOwned>(&self, questions: usize) -> Result<Vec<Option<T>>, String> {
        match self {
            Self::Apart(answers) => {
                answers.iter().map(|answer| serde_json::from_str(answer.get()).map_err(|error| error.to_string())).collect()
            }
            Self::Together(body) => together(body, questions),
        }
    }
}

fn together<T: DeserializeOwned>(body: &[u8], questions: usize) -> Result<Vec<Option<T>>, String> {
    // Looked through once as a whole, not again string by string.
    let body = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let mut answers: Vec<Answer<T>> = serde_json::from_str(body).map_err(|error| error.to_string())?;
    if answers.iter().any(|answer| answer.error.is_some()) {
        return Err("a question of the batch was refused".into());
    }
    answers.sort_by_key(|answer| answer.id);
    if !answers.iter().map(|answer| answer.id).eq(0..questions) {
        return Err("not every question of the batch was answered once".into());
    }
    Ok(answers.into_iter().map(|answer| answer.result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &'static str) -> Result<Vec<Option<u8>>, String> {
        Answers::Together(Bytes::from_static(body.as_bytes())).read(2)
    }

    #[test]
    fn answers_belong_to_the_questions_whose_id_they_carry() {
        assert_eq!(read(r#"[{"id":1,"result":null},{"jsonrpc":"2.0","id":0,"result":7}]"#), Ok(vec![Some(7), None]));
        for wrong in [
            r#"[{"id":0,"result":7}]"#,
            r#"[{"id":0,"result":7},{"id":0,"result":8}]"#,
            r#"[{"id":0,"result":7},{"id":1,"error":{"code":-1,"message":"no"}}]"#,
            r#"{"id":null,"error":{"code":-1,"message":"no"}}"#,
            r#"[{"id":0,"result":7},{"id":1,"resu"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
