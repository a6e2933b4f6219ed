/// A host name, or all names below one: `api.example`, `*.example`, `*`. Ports do not count, nor does upper or lower case. An IPv6 address
/// is written in brackets.
///
/// `*.example` does not cover `example` itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern(String);

impl HostPattern {
    /// True when `host` is covered.
    pub fn covers(&self, host: &str) -> bool {
        let host = normal(host);
        match self.0.strip_prefix('*') {
            Some("") => true,
            Some(suffix) => suffix.starts_with('.') && host.len() > suffix.len() && host.ends_with(suffix),
            None => host == self.0,
        }
    }
}

impl<T: AsRef<str>> From<T> for HostPattern {
    fn from(text: T) -> Self {
        Self(normal(text.as_ref()))
    }
}

/// Lower case, without the dot that ends a fully qualified name.
pub(super) fn normal(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// What may be paid, and what may not. Who is denied stays denied, also when allowed; a list of allowed ones excludes all others.
#[derive(Clone, Debug)]
pub(super) struct Lists<T> {
    allowed: Option<Vec<T>>,
    denied: Vec<T>,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self { allowed: None, denied: Vec::new() }
    }
}

impl<T> Lists<T> {
    pub(super) fn allow(&mut self, entry: T) {
        self.allowed.get_or_insert_default().push(entry);
    }

    pub(super) fn deny(&mut self, entry: T) {
        self.denied.push(entry);
    }

    pub(super) fn permit(&self, covers: impl Fn(&T) -> bool) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.iter().any(&covers)) && !self.denied.iter().any(&covers)
    }
}
