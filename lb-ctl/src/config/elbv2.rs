//! Section `elbv2`: the endpoint for the stock `aws` command line, where it listens and who may speak to it.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    ConfigErrors, Document,
    read::sections,
    walk::{Errors, Place, Section, Value},
};

/// Section `elbv2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elbv2 {
    /// Where it listens; only loopback without keys.
    pub listen: SocketAddr,
    /// Region in ARNs, DNS names and signatures.
    pub region: String,
    /// Account in ARNs: 12 digits.
    pub account: String,
    /// What the DNS names of load balancers end with.
    pub dns_suffix: String,
    /// Who may speak to it.
    pub access: Access,
}

impl Elbv2 {
    /// Whether this is the other with other keys at most.
    pub fn is_like(&self, other: &Elbv2) -> bool {
        *self == Elbv2 { access: self.access.clone(), ..other.clone() }
    }
}

/// Whose requests are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody's who can reach a loopback address, signed or not.
    Unsigned,
    /// Those signed by a key.
    Signed {
        /// Keys of the configuration, no id twice.
        keys: Vec<AccessKey>,
        /// A file of more keys: see [`Access::keys`].
        file: Option<PathBuf>,
    },
}

impl Access {
    /// The keys of the configuration and of the file, at least one, no id twice; `None`: nobody has to sign.
    ///
    /// # Errors
    /// Says what is wrong with the file: it cannot be read, others than its owner can read it, or it is not of this form:
    /// `keys = [{ id = "...", secret = "..." }]`.
    pub fn keys(&self) -> Result<Option<Vec<AccessKey>>, ConfigErrors> {
        let Access::Signed { keys, file } = self else { return Ok(None) };
        let mut keys = keys.clone();
        if let Some(path) = file {
            let name = path.display().to_string();
            let text = read_private(path).map_err(|error| ConfigErrors::unreadable(&name, &error))?;
            keys = keys_of_file(&text, &name, keys)?;
        }
        Ok(Some(keys))
    }
}

/// A key that requests are signed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// Its id, which is no secret.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
    /// Whether it may only look.
    pub is_read_only: bool,
}

/// A text that is not for logs: its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Of this text.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The section; `Some(None)`: there is none, and no endpoint.
pub(super) fn read(root: &Section<'_>) -> Option<Option<Elbv2>> {
    let Some(section) = root.optional_section("elbv2")? else {
        return Some(None);
    };
    section.allow_only(&["listen", "region", "account", "dns_suffix", "unsigned", "keys", "keys_file"]);
    let listen = listen(&section);
    let region = text_or(&section, "region", REGION_DEFAULT, REGION_EXPECTED, is_region);
    let account = text_or(&section, "account", ACCOUNT_DEFAULT, ACCOUNT_EXPECTED, is_account);
    let dns_suffix = text_or(&section, "dns_suffix", DNS_SUFFIX_DEFAULT, DNS_SUFFIX_EXPECTED, is_dns_suffix);
    let access = access(&section, listen);
    Some(Some(Elbv2 {
        listen: listen?,
        region: region?,
        account: account?,
        dns_suffix: dns_suffix?,
        access: access?,
    }))
}

fn listen(section: &Section<'_>) -> Option<SocketAddr> {
    let value = section.required("listen", LISTEN_EXPECTED)?;
    match value.text(LISTEN_EXPECTED)?.parse() {
        Ok(address) => Some(address),
        Err(_) => value.refuse(LISTEN_EXPECTED),
    }
}

fn text_or(
    section: &Section<'_>,
    key: &str,
    default: &str,
    expected: &str,
    is_valid: fn(&str) -> bool,
) -> Option<String> {
    let Some(value) = section.optional(key) else {
        return Some(default.into());
    };
    let text = value.text(expected)?;
    if is_valid(text) { Some(text.into()) } else { value.refuse(expected) }
}

/// Unsigned, or by keys of the section, of a file or of both.
fn access(section: &Section<'_>, listen: Option<SocketAddr>) -> Option<Access> {
    let unsigned = section.optional("unsigned");
    let is_unsigned = unsigned.as_ref().map_or(Some(false), Value::boolean)?;
    let keys = keys_of(section, Vec::new())?;
    let file = section.optional("keys_file").map_or(Some(None), |value| path(&value).map(Some))?;
    match (unsigned.filter(|_| is_unsigned), keys.is_empty() && file.is_none()) {
        (Some(unsigned), _) if listen.is_some_and(|address| !address.ip().is_loopback()) => unsigned
            .refuse_with_advice("false", "without signatures only a loopback address can be listened on"),
        (Some(unsigned), false) => unsigned.refuse("keys, or unsigned = true, not both"),
        (Some(_), true) => Some(Access::Unsigned),
        (None, false) => Some(Access::Signed { keys, file }),
        (None, true) => {
            section.errors().report(&section.place, "neither keys nor unsigned = true", ACCESS_EXPECTED);
            None
        }
    }
}

fn path(value: &Value<'_>) -> Option<PathBuf> {
    let text = value.text(KEYS_FILE_EXPECTED)?;
    if text.starts_with('/') { Some(text.into()) } else { value.refuse(KEYS_FILE_EXPECTED) }
}

/// The keys of a file after those that are known.
fn keys_of_file(text: &str, name: &str, known: Vec<AccessKey>) -> Result<Vec<AccessKey>, ConfigErrors> {
    let document = Document::parse(text, name)?;
    let errors = Errors::new(Some(text));
    let section = Section::new(Place::default(), &document.table, &errors);
    section.allow_only(&["keys"]);
    let given = section.required("keys", ACCESS_EXPECTED).and_then(|value| {
        match value.items(ACCESS_EXPECTED)?.len() {
            0 => value.refuse(ACCESS_EXPECTED),
            _ => Some(()),
        }
    });
    let keys = given.and_then(|()| keys_of(&section, known));
    let errors = errors.into_sorted();
    match keys {
        Some(keys) if errors.is_empty() => Ok(keys),
        _ => Err(ConfigErrors { file: name.into(), errors }),
    }
}

/// Key `keys`, after those that are known.
fn keys_of(section: &Section<'_>, known: Vec<AccessKey>) -> Option<Vec<AccessKey>> {
    let mut keys = known;
    for section in sections(section, "keys")? {
        let section = section?;
        let key = key_of(&section)?;
        if keys.iter().any(|known| known.id == key.id) {
            return section.required("id", KEY_EXPECTED)?.refuse("each key once");
        }
        keys.push(key);
    }
    Some(keys)
}

fn key_of(section: &Section<'_>) -> Option<AccessKey> {
    section.allow_only(&["id", "secret", "read_only"]);
    let id = section.required("id", KEY_EXPECTED)?;
    let id = id.text(KEY_EXPECTED).filter(|text| is_key_id(text)).or_else(|| id.refuse(KEY_EXPECTED));
    let secret = section.required("secret", SECRET_EXPECTED)?;
    let is_read_only = section.optional("read_only").map_or(Some(false), |value| value.boolean());
    let text = secret.as_text().filter(|text| SECRET_BYTES.contains(&text.len()));
    if text.is_none() {
        // What stands there is never shown.
        section.errors().report(&secret.place, "something else (not shown)", SECRET_EXPECTED);
    }
    Some(AccessKey { id: id?.into(), secret: Secret(text?.into()), is_read_only: is_read_only? })
}

/// The text of a file that is open to its owner alone.
fn read_private(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(io::Error::other(format!("its mode {mode:04o} lets others in: chmod 600 it")));
    }
    let mut text = String::new();
    file.take(KEYS_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn is_region(text: &str) -> bool {
    (1..=LABEL_CHARACTERS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_account(text: &str) -> bool {
    text.len() == ACCOUNT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_dns_suffix(text: &str) -> bool {
    text.len() <= DNS_SUFFIX_CHARACTERS && text.split('.').all(is_region)
}

fn is_key_id(text: &str) -> bool {
    KEY_ID_CHARACTERS.contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

const LISTEN_EXPECTED: &str = "an address and a port, such as \"127.0.0.1:9180\"";

/// Also the region where nothing is configured.
pub const REGION_DEFAULT: &str = "us-east-1";
const REGION_EXPECTED: &str = "a region of 1 to 63 small letters, digits and hyphens, such as \"us-east-1\"";
const LABEL_CHARACTERS: usize = 63;

/// Also the account where nothing is configured.
pub const ACCOUNT_DEFAULT: &str = "000000000000";
const ACCOUNT_EXPECTED: &str = "12 digits";
const ACCOUNT_DIGITS: usize = 12;

const DNS_SUFFIX_DEFAULT: &str = "lbd.internal";
const DNS_SUFFIX_EXPECTED: &str = "a domain of at most 100 characters, such as \"lbd.internal\"";
/// With name, id and region before it, a DNS name stays under 253 characters.
const DNS_SUFFIX_CHARACTERS: usize = 100;

const KEY_EXPECTED: &str = "an id of 3 to 128 letters, digits and underscores";
const KEY_ID_CHARACTERS: std::ops::RangeInclusive<usize> = 3..=128;
const SECRET_EXPECTED: &str = "a secret of 16 to 256 bytes";
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=256;
const ACCESS_EXPECTED: &str = "keys = [{ id = \"...\", secret = \"...\" }], keys_file = \"/...\" or, on a loopback address, \
     unsigned = true";
const KEYS_FILE_EXPECTED: &str =
    "the absolute path of a file with keys = [{ id = \"...\", secret = \"...\" }]";
const KEYS_FILE_BYTES: u64 = 1 << 20;
const OTHERS: u32 = 0o077;
