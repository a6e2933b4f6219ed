use url::Url;

/// Most of an answer that is quoted in an error, in bytes.
const QUOTE_BYTES_MAX: usize = 300;

/// Where the node is, as it may be told: providers put keys into paths and queries, and transports quote them in their errors.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    name: String,
    secrets: Vec<String>,
}

impl Endpoint {
    pub(crate) fn new(url: &Url) -> Self {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let name = format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default());
        // As it was given, as it is sent (without user and password), and what follows the host.
        let mut sent = url.clone();
        let _ = sent.set_username("").and_then(|()| sent.set_password(None));
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let secrets = vec![url.to_string(), sent.to_string(), format!("{}{query}", url.path())];
        Self { name, secrets: secrets.into_iter().filter(|secret| secret != "/").collect() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What a transport said, cut short and without secrets.
    pub(super) fn quote(&self, text: &impl ToString) -> String {
        let mut text = text.to_string();
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), &self.name);
        }
        // Postgres keeps no NUL, and this is kept.
        text = text.replace('\0', "\u{fffd}");
        let end = (0..=QUOTE_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_can_be_kept() {
        let endpoint = Endpoint::new(&"http://node.example".parse().expect("it is a URL"));
        assert_eq!(endpoint.quote(&"a\0b"), "a\u{fffd}b");
    }

    #[test]
    fn a_key_in_the_url_is_never_told() {
        let endpoint = Endpoint::new(&"https://me:word@node.example:99/v2/KEY?token=KEY".parse().expect("it is a URL"));
        for said in [
            "no route to https://node.example:99/v2/KEY?token=KEY",
            "GET /v2/KEY?token=KEY",
            "https://me:word@node.example:99/v2/KEY?token=KEY",
        ] {
            let told = endpoint.quote(&said);
            assert!(!told.contains("KEY") && !told.contains("word"), "{told}");
        }
    }
}
