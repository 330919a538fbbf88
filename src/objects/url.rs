//! Where a directory or an object store is, as people write it.
//!
//! Owns: which schemes there are, what each needs, and that no secret stands in a URL: URLs are kept in identity files, printed
//! and logged. Credentials come by each vendor's own ways. No error here repeats what it was given, because that may be a secret;
//! only the scheme is named.
//!
//! | written | means |
//! |---|---|
//! | `PATH`, `file:///PATH` | a local path; in the URL, `%20` is a blank |
//! | `s3://BUCKET/PREFIX` | Amazon S3, or what speaks its protocol |
//! | `gs://BUCKET/PREFIX` | Google Cloud Storage |
//! | `az://ACCOUNT/CONTAINER/PREFIX` | Azure Blob Storage and Data Lake |
//! | `abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PREFIX` | the same, as Hadoop writes it; `abfs` too: the connection is encrypted all the same |
//! | `adls://...` | the same, in either form: with a `@` as `abfss`, without one as `az` |
//!
//! In object stores a prefix is taken as it is written: `%20` stands for itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Every scheme that is known, as errors list them.
pub const SCHEMES: &str = "file, s3, gs, az, abfss, adls";

/// The longest prefix in bytes: with the longest key behind it, it fits the 1,024 bytes of every store.
const PREFIX_BYTES_MAX: usize = 512;

/// Where something is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// A path of this machine.
    Local(PathBuf),
    /// A bucket of S3, or of a store that speaks its protocol.
    S3 {
        /// The bucket.
        bucket: String,
        /// What all keys begin with, without `/` at either end; empty for none.
        prefix: String,
    },
    /// A bucket of Google Cloud Storage.
    Gcs {
        /// The bucket.
        bucket: String,
        /// As for S3.
        prefix: String,
    },
    /// A container of Azure Blob Storage.
    Azure {
        /// The storage account.
        account: String,
        /// The container.
        container: String,
        /// As for S3.
        prefix: String,
    },
}

/// Why a text is no location. No variant holds more of the text than its scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLocation {
    /// Nothing was given.
    #[error("a directory is empty text; it is a path or a url")]
    Empty,
    /// No path has this byte.
    #[error("a path holds a NUL byte")]
    Nul,
    /// Nobody knows this scheme.
    #[error("unknown scheme of a directory: scheme=`{scheme}`, known=`{SCHEMES}`")]
    UnknownScheme {
        /// The scheme.
        scheme: String,
    },
    /// A user, a password, a token or a query stands in it.
    #[error("a url holds credentials or a query, which are not kept there: scheme=`{scheme}`")]
    Secret {
        /// The scheme.
        scheme: String,
    },
    /// It has not the form that its scheme needs.
    #[error("not a url of its scheme: scheme=`{scheme}`, what=`{what}`, wanted=`{wanted}`")]
    Form {
        /// The scheme.
        scheme: String,
        /// What is wrong.
        what: &'static str,
        /// How one looks.
        wanted: &'static str,
    },
}

impl InvalidLocation {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Secret { .. } => {
                "give credentials by the vendor's own environment variables or files (AWS_*, AZURE_*), and the url without them"
            }
            _ => {
                "a directory is a path, file:///PATH, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://ACCOUNT/CONTAINER/PREFIX"
            }
        }
    }
}

impl From<InvalidLocation> for crate::Error {
    fn from(error: InvalidLocation) -> Self {
        let hint = error.hint();
        Self::new(crate::ErrorKind::Invalid, error.to_string()).with_hint(hint)
    }
}

impl Location {
    /// Whether it is in an object store of somebody else, not on this machine's disks.
    #[must_use]
    pub const fn is_remote(&self) -> bool {
        !matches!(self, Self::Local(_))
    }

    /// The path, where it is on this machine.
    #[must_use]
    pub fn local_path(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            _ => None,
        }
    }

    /// Whether `text` is written as a URL, and not as a path.
    #[must_use]
    pub fn is_url(text: &str) -> bool {
        split_scheme(text).is_some()
    }
}

/// The scheme, and what follows `://`. What is no scheme by the rules of URLs is the beginning of a path.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    is_scheme.then_some((scheme, rest))
}

impl FromStr for Location {
    type Err = InvalidLocation;

    fn from_str(text: &str) -> Result<Self, InvalidLocation> {
        if text.is_empty() {
            return Err(InvalidLocation::Empty);
        }
        let Some((scheme, rest)) = split_scheme(text) else {
            return if text.contains('\0') { Err(InvalidLocation::Nul) } else { Ok(Self::Local(text.into())) };
        };
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "file" => file(rest),
            "s3" | "gs" => {
                let url = Url { scheme: &scheme, wanted: "SCHEME://BUCKET/PREFIX" };
                url.refuse_secrets(rest, false)?;
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                url.check_bucket(bucket)?;
                let (bucket, prefix) = (bucket.to_owned(), url.prefix(prefix)?);
                Ok(if scheme == "s3" { Self::S3 { bucket, prefix } } else { Self::Gcs { bucket, prefix } })
            }
            "az" => azure(&scheme, rest),
            "abfs" | "abfss" => hadoop(&scheme, rest),
            "adls" if rest.split('/').next().is_some_and(|front| front.contains('@')) => hadoop(&scheme, rest),
            "adls" => azure(&scheme, rest),
            _ => Err(InvalidLocation::UnknownScheme { scheme }),
        }
    }
}

fn file(rest: &str) -> Result<Location, InvalidLocation> {
    let wanted = "file:///PATH with an absolute path, or the path alone";
    let wrong = |what| InvalidLocation::Form { scheme: "file".into(), what, wanted };
    let path = rest.strip_prefix("localhost").filter(|rest| rest.starts_with('/')).unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(wrong("it names a host, or the path is not absolute"));
    }
    let path = percent_decoded(path).ok_or_else(|| wrong("a broken escape, or one that is no utf-8"))?;
    if path.contains('\0') {
        return Err(InvalidLocation::Nul);
    }
    Ok(Location::Local(path.into()))
}

fn azure(scheme: &str, rest: &str) -> Result<Location, InvalidLocation> {
    let url = Url { scheme, wanted: "SCHEME://ACCOUNT/CONTAINER/PREFIX" };
    url.refuse_secrets(rest, false)?;
    let (account, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let (container, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    url.azure(account, container, prefix)
}

fn hadoop(scheme: &str, rest: &str) -> Result<Location, InvalidLocation> {
    let url = Url { scheme, wanted: "SCHEME://CONTAINER@ACCOUNT.dfs.core.windows.net/PREFIX" };
    url.refuse_secrets(rest, true)?;
    let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let (container, host) = authority.split_once('@').ok_or_else(|| url.wrong("there is no container before a `@`"))?;
    let account = [".dfs.core.windows.net", ".blob.core.windows.net"].iter().find_map(|end| host.strip_suffix(end));
    url.azure(account.ok_or_else(|| url.wrong("the host is none of the storage service"))?, container, prefix)
}

/// What the parts of one URL are checked by.
struct Url<'a> {
    scheme: &'a str,
    wanted: &'static str,
}

impl Url<'_> {
    fn wrong(&self, what: &'static str) -> InvalidLocation {
        InvalidLocation::Form { scheme: self.scheme.to_owned(), what, wanted: self.wanted }
    }

    /// A query may be a token that opens the store (SAS, a presigned URL); what stands before a `@`, or behind a `:`, a password.
    fn refuse_secrets(&self, rest: &str, at_sign_has_meaning: bool) -> Result<(), InvalidLocation> {
        let authority = rest.split('/').next().unwrap_or("");
        let user = if at_sign_has_meaning { authority.matches('@').count() > 1 } else { authority.contains('@') };
        if user || authority.contains(':') || rest.contains(['?', '#']) {
            return Err(InvalidLocation::Secret { scheme: self.scheme.to_owned() });
        }
        Ok(())
    }

    fn check_bucket(&self, bucket: &str) -> Result<(), InvalidLocation> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = bucket.as_bytes();
        let is_name = (3..=222).contains(&bytes.len())
            && bytes.iter().all(|byte| is_plain(*byte))
            && ends(bytes.first())
            && ends(bytes.last());
        if is_name { Ok(()) } else { Err(self.wrong("the bucket has no name that one may have")) }
    }

    fn azure(&self, account: &str, container: &str, prefix: &str) -> Result<Location, InvalidLocation> {
        let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if !(3..=24).contains(&account.len()) || !account.bytes().all(lower) {
            return Err(self.wrong("an account is 3 to 24 small letters and digits"));
        }
        let is_container = (3..=63).contains(&container.len())
            && container.bytes().all(|byte| lower(byte) || byte == b'-')
            && !container.starts_with('-')
            && !container.ends_with('-')
            && !container.contains("--");
        if !is_container {
            return Err(self.wrong("a container is 3 to 63 small letters, digits and single `-` between them"));
        }
        let prefix = self.prefix(prefix)?;
        Ok(Location::Azure { account: account.to_owned(), container: container.to_owned(), prefix })
    }

    /// Without `/` at its ends. A part that file systems and clients take for something else is refused, not cleaned up: two
    /// spellings of one place would be two places.
    fn prefix(&self, prefix: &str) -> Result<String, InvalidLocation> {
        let prefix = prefix.trim_matches('/');
        if prefix.len() > PREFIX_BYTES_MAX {
            return Err(self.wrong("the prefix is longer than 512 bytes"));
        }
        if prefix.chars().any(|character| character.is_control() || character == '\\') {
            return Err(self.wrong("the prefix has a control character or a `\\`"));
        }
        if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(self.wrong("the prefix has an empty part, `.` or `..`"));
        }
        Ok(prefix.to_owned())
    }
}

/// Read back by [`FromStr`] as the same location. Azure is written as `az`.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = |prefix: &str| if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        match self {
            Self::Local(path) if path.is_absolute() => write!(f, "file://{}", percent_encoded(&path.to_string_lossy())),
            Self::Local(path) => {
                let text = path.to_string_lossy();
                f.write_str(if split_scheme(&text).is_some() { "./" } else { "" })?;
                f.write_str(&text)
            }
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}{}", slash(prefix)),
            Self::Gcs { bucket, prefix } => write!(f, "gs://{bucket}{}", slash(prefix)),
            Self::Azure { account, container, prefix } => write!(f, "az://{account}/{container}{}", slash(prefix)),
        }
    }
}

/// A URL's path as text; `None` for a broken escape, or bytes that are no UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(crate::types::ids::from_hex::<1>(digits)?[0]);
            rest = &after[2..];
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).ok()
}

fn percent_encoded(path: &str) -> String {
    use fmt::Write as _;
    path.bytes().fold(String::with_capacity(path.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~' | b'+' | b'=' | b',' | b':')
        {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02x}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Location {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn azure_place(prefix: &str) -> Location {
        Location::Azure { account: "acct".into(), container: "logs".into(), prefix: prefix.into() }
    }

    #[test]
    fn each_scheme_is_what_it_says() {
        assert_eq!(read("data"), Location::Local("data".into()));
        assert_eq!(read("a:b"), Location::Local("a:b".into()));
        assert_eq!(read("./s3://x"), Location::Local("./s3://x".into()));
        assert_eq!(read("file:///a%20b/c"), Location::Local("/a b/c".into()));
        assert_eq!(read("FILE://localhost/a"), Location::Local("/a".into()));
        let bucket = || "my-bucket".to_owned();
        assert_eq!(read("s3://my-bucket"), Location::S3 { bucket: bucket(), prefix: String::new() });
        assert_eq!(read("S3://my-bucket/a/b/"), Location::S3 { bucket: bucket(), prefix: "a/b".into() });
        assert_eq!(read("s3://my-bucket/a%20b"), Location::S3 { bucket: bucket(), prefix: "a%20b".into() });
        assert_eq!(read("gs://my-bucket/p"), Location::Gcs { bucket: bucket(), prefix: "p".into() });
        for text in [
            "az://acct/logs/p/q",
            "adls://acct/logs/p/q",
            "abfss://logs@acct.dfs.core.windows.net/p/q",
            "abfs://logs@acct.dfs.core.windows.net/p/q/",
            "adls://logs@acct.dfs.core.windows.net/p/q",
            "abfss://logs@acct.blob.core.windows.net/p/q",
        ] {
            assert_eq!(read(text), azure_place("p/q"), "{text}");
            assert_eq!(read(text).to_string(), "az://acct/logs/p/q");
        }
        assert_eq!(read("az://acct/logs"), azure_place(""));
    }

    #[test]
    fn unknown_schemes_are_refused_by_name() {
        for scheme in ["ftp", "http", "https", "hdfs", "s4", "wasb+x"] {
            let error = format!("{scheme}://user:pw@host/x").parse::<Location>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("unknown scheme of a directory: scheme=`{scheme}`, known=`file, s3, gs, az, abfss, adls`")
            );
        }
    }

    #[test]
    fn what_has_not_its_schemes_form_is_refused() {
        for text in [
            "",
            "file://host/a",
            "file://a",
            "file:///%zz",
            "file:///%f",
            "file:///%ff",
            "file:///%00",
            "s3://",
            "s3:///p",
            "s3://ab",
            "s3://-ab",
            "s3://my bucket",
            "s3://bucket/a//b",
            "s3://bucket/../b",
            "s3://bucket/./b",
            "s3://bucket/a\nb",
            "s3://bucket/a\\b",
            "gs://",
            "az://acct",
            "az://Acct/logs",
            "az://acct/Logs",
            "az://acct/-logs",
            "az://ac/logs",
            "abfss://logs@acct.example.org/p",
            "abfss://acct/logs",
            "abfss://logs@.dfs.core.windows.net",
            "adls://a",
        ] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_are_refused_and_not_repeated() {
        for text in [
            "s3://AKIA:hunter2@bucket/p",
            "s3://hunter2@bucket/p",
            "s3://bucket:hunter2/p",
            "s3://bucket/p?X-Amz-Signature=hunter2",
            "s3://bucket?hunter2",
            "s3://bucket/p#hunter2",
            "gs://hunter2@bucket",
            "az://acct/logs/p?sig=hunter2",
            "az://acct?sig=hunter2",
            "az://acct:hunter2/logs",
            "abfss://logs:hunter2@acct.dfs.core.windows.net/p",
            "abfss://logs@acct.dfs.core.windows.net/p?sig=hunter2",
            "adls://logs@acct.dfs.core.windows.net?sig=hunter2",
            "abfss://a@hunter2@acct.dfs.core.windows.net",
            "https://acct/logs?sig=hunter2",
            "file://hunter2@host/x",
        ] {
            let error = text.parse::<Location>().unwrap_err();
            let error = crate::Error::from(error);
            assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("hunter2"), "{text}: {error:?}");
        }
        let error = "s3://a:b@bucket".parse::<Location>().unwrap_err();
        assert!(matches!(error, InvalidLocation::Secret { .. }), "{error}");
    }

    fn prefixes() -> impl Strategy<Value = String> {
        proptest::collection::vec("[^/\\\\?#\\p{C}]{1,12}", 0..4)
            .prop_filter("no dots", |parts| parts.iter().all(|part| part != "." && part != ".."))
            .prop_map(|parts| parts.join("/"))
    }

    fn locations() -> impl Strategy<Value = Location> {
        let bucket = "[a-z0-9][a-z0-9.-]{1,40}[a-z0-9]";
        prop_oneof![
            "/[^\0]{0,40}".prop_map(|path| Location::Local(path.into())),
            "[^\0]{1,40}".prop_map(|path| Location::Local(path.into())),
            r"(s3|file|a\.b)://[^\x00]{0,10}".prop_map(|path| Location::Local(format!("./{path}").into())),
            (bucket, prefixes()).prop_map(|(bucket, prefix)| Location::S3 { bucket, prefix }),
            (bucket, prefixes()).prop_map(|(bucket, prefix)| Location::Gcs { bucket, prefix }),
            ("[a-z0-9]{3,24}", "[a-z0-9]{3,63}", prefixes()).prop_map(|(account, container, prefix)| Location::Azure {
                account,
                container,
                prefix
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(location in locations()) {
            prop_assert_eq!(location.to_string().parse::<Location>(), Ok(location));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "((s3|az|gs|file|abfss|adls)://)?.{0,40}") {
            if let Ok(location) = text.parse::<Location>() {
                prop_assert_eq!(location.to_string().parse::<Location>(), Ok(location));
            }
        }
    }
}
